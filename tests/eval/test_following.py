import pytest

from eval.following import answer_follows, following_statistics
from reasoner.mining.questions import TEMPORAL_QUESTION
from reasoner.prompts import format_completion

CLASSES = ["A) Edema", "B) Pneumothorax", "C) No Finding", "D) Lung Lesion"]
KINDS = ["A) Abnormal", "B) Normal"]


def row(task, question, options, said, answer):
    return {"task": task, "question": question, "options": options, "completion": format_completion(said, answer)}


def follows(task, said, answer, question="", options=()):
    asked = row(task, question, list(options), said, answer)
    return answer_follows(asked)


@pytest.mark.parametrize(
    ("said", "answer", "expected"),
    [
        ("There is a left pleural effusion. The heart is enlarged.", "Cardiomegaly, Pleural Effusion", True),
        ("There is a left pleural effusion. The heart is enlarged.", "Pleural Effusion", False),
        ("There is a left pleural effusion.", "Edema, Pleural Effusion", False),
        ("No pleural effusion. The lungs are clear.", "No Finding", True),
        ("No pleural effusion. The lungs are clear.", "Edema", False),
        ("There is a pneumothorax.", "Pneumothorax, Scurvy", False),
        # What is hedged may be named or not.
        ("There is a pneumothorax. Possible edema.", "Pneumothorax", True),
        ("There is a pneumothorax. Possible edema.", "Edema, Pneumothorax", True),
        ("There is a pneumothorax. Possible edema.", "Edema", False),
        ("Possible edema.", "No Finding", True),
        ("Possible edema.", "Edema", True),
        ("Possible edema.", "Fracture", False),
        ("Look at the heart first.", "No Finding", None),
        ("There is an abnormality.", "No Finding", None),
        ("There is a pneumothorax.", "", None),
    ],
)
def test_lists(said, answer, expected):
    assert follows("abnormality_list", said, answer) is expected


@pytest.mark.parametrize(
    ("said", "answer", "expected"),
    [
        ("A small left pneumothorax is seen.", "Yes", True),
        ("A small left pneumothorax is seen.", "No", False),
        ("No pneumothorax. There is an effusion.", "No", True),
        ("No pneumothorax. There is an effusion.", "Yes", False),
        ("A hydropneumothorax is seen.", "yes", True),
        ("Possible pneumothorax.", "Yes", None),
        ("The heart is enlarged.", "Yes", None),
        ("A small left pneumothorax is seen.", "Perhaps", None),
    ],
)
def test_yes_or_no(said, answer, expected):
    assert follows("binary", said, answer, "Is there a pneumothorax?") is expected
    assert follows("binary", said, answer, "Is there a pneumothorax?", ["A) No", "B) Yes"]) is expected


def test_a_question_about_anything_asks_for_the_whole_film():
    for said, implied in (("There is edema.", "Yes"), ("No edema. No fracture.", "No")):
        assert follows("binary", said, implied, "Is there any abnormality?") is True
    assert follows("binary", "The heart is enlarged.", "Yes", "Is the heart enlarged?") is True


@pytest.mark.parametrize(
    ("said", "answer", "expected"),
    [
        ("No pneumothorax. There is a right lung mass. No edema.", "D", True),
        ("No pneumothorax. There is a right lung mass. No edema.", "Lung Lesion", True),
        ("No pneumothorax. There is a right lung mass. No edema.", "A", False),
        ("No pneumothorax. No edema. No nodule.", "C", True),
        ("No pneumothorax. No edema. No nodule.", "D", False),
        ("There is edema. There is a pneumothorax.", "A", None),  # two options
        ("No pneumothorax. There is a fracture.", "C", None),  # none, and something is found
        ("No pneumothorax. Possible edema.", "C", None),
    ],
)
def test_one_option(said, answer, expected):
    assert follows("single", said, answer, "Which of these is present?", CLASSES) is expected


def test_several_options_and_open_names():
    said = "There is edema. There is a left pneumothorax. Possible nodule."
    for answer, expected in (("A, B", True), ("A, B, D", True), ("A", False), ("A, B, C", False)):
        assert follows("multiple", said, answer, "Which of these?", CLASSES) is expected
    question = "Which findings are present in the lungs? Name all, separated by commas."
    said = "There is edema. There is consolidation in the left lower lobe. There is a pneumothorax."
    assert follows("multiple", said, "Consolidation, Edema", question) is True  # the pleura was not asked about
    assert follows("multiple", said, "Edema", question) is False


def test_normal_or_abnormal_of_a_region():
    question = "What holds for the heart in this chest X-ray? Answer with the letter."
    said = "There is edema. The heart is not enlarged."
    assert follows("anomaly", said, "B", question, KINDS) is True
    assert follows("anomaly", said, "A", question, KINDS) is False
    assert follows("anomaly", said, "A", "How is this chest X-ray best described?", KINDS) is True
    assert follows("anomaly", "There is edema.", "B", question, KINDS) is None
    assert follows("anomaly", "No edema. No fracture.", "No", "Is there any abnormality?") is True


def test_change():
    question = TEMPORAL_QUESTION.format(n="pleural effusion")
    said = "The pleural effusion has decreased. The pneumothorax is new."
    assert follows("temporal", said, "improving", question) is True
    assert follows("temporal", said, "new", question) is False
    assert follows("temporal", said, "B", question, ["A) New", "B) Improving"]) is True
    assert follows("temporal", "There is a pleural effusion.", "stable", question) is None


def test_a_sentence_that_announces_the_answer_is_no_evidence_for_it():
    plan = "First the lungs must be examined. The answer is therefore Edema."
    assert follows("abnormality_list", plan, "Edema") is None
    said = "There is a left pleural effusion. Hence the answer is Edema."
    assert follows("abnormality_list", said, "Edema") is False
    assert follows("binary", "No edema is seen. Hence the answer is Yes.", "Yes", "Is there edema?") is False


def test_sides_and_kinds_are_told_apart():
    said, question = "There is a small right pleural effusion.", "Which of these is present?"
    sides = ["A) Left pleural effusion", "B) Right pleural effusion", "C) Scoliosis"]
    assert follows("single", said, "B", question, sides) is True
    assert follows("single", said, "A", question, sides) is False
    assert follows("binary", said, "Yes", "Is there a left pleural effusion?") is None
    both = "No left pleural effusion. There is a right pleural effusion."
    assert follows("binary", both, "Yes", "Is there a left pleural effusion?") is False
    assert follows("binary", both, "Yes", "Is there a pleural effusion?") is True
    tube, devices = "There is an endotracheal tube.", ["A) Pacemaker", "B) Endotracheal tube", "C) No Finding"]
    assert follows("binary", tube, "Yes", "Is there a pacemaker?") is None
    assert follows("single", tube, "B", question, devices) is True
    assert follows("single", tube, "A", question, devices) is False


def test_a_question_for_what_is_normal_turns_round():
    question = "Is the heart size normal?"
    assert follows("binary", "The heart is enlarged.", "No", question) is True
    assert follows("binary", "The heart is not enlarged.", "Yes", question) is True
    assert follows("binary", "The heart is not enlarged.", "No", question) is False


def test_shares_are_of_what_can_be_told():
    claims = [row("binary", "Is there edema?", [], said, "Yes") for said in ("There is edema.", "The heart is large.")]
    first, second = (following_statistics(asked) for asked in claims)
    assert first == {
        "n:answer_undecidable": 1,
        "sum:answer_undecidable": 0,
        "n:answer_follows": 1,
        "sum:answer_follows": 1,
    }
    assert second == {"n:answer_undecidable": 1, "sum:answer_undecidable": 1}
    assert following_statistics({**claims[0], "task": "report"}) == {}


def test_both_sides_assert_each_unless_an_option_reports_both():
    said, each = "There are bilateral pleural effusions.", ("Left pleural effusion", "Right pleural effusion", "Edema")
    assert follows("multiple", said, "A, B", "Which of these are present?", each) is True
    assert follows("multiple", said, "A", "Which of these are present?", each) is False
    assert follows("single", said, "B", "Which of these is present?", ("Edema", "Left pleural effusion")) is True
    both = ("Left pleural effusion", "Bilateral pleural effusions", "Edema")
    assert follows("single", said, "B", "Which of these is present?", both) is True
