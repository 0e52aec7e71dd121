"""Answers as models, students and radiologists write them, each with what a careful reader takes from it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.prompts import format_completion
from reasoner.schema import CLASSES, NO_FINDING
from rewards.answers import answer_reward, parse_class_list
from rewards.answers.choices import chosen

OPTIONS = ("A) Atelectasis", "B) Pleural effusion", "C) Pneumothorax", "D) No pneumothorax")
LETTERS = "ABCD"
AS_WRITTEN = "answers_as_written.txt"


def value(text, gold, task, **columns):
    return answer_reward(format_completion("Because.", text), answer=gold, task=task, **columns).value


def cases(section, file="answer_cases.txt"):
    """The rows `text -> meaning` of a section of a file of cases."""
    text = Path(__file__).with_name(file).read_text(encoding="utf-8")
    table = text.partition(f"[{section}]\n")[2].partition("\n\n")[0]
    rows = [line.rpartition(" ->")[::2] for line in table.splitlines()]
    return [(text.replace("\\n", "\n"), meaning.strip()) for text, meaning in rows]


@pytest.mark.parametrize(("text", "meaning"), cases("single"))
def test_one_option(text, meaning):
    found = [letter for letter in LETTERS if value(text, letter, "single", options=OPTIONS)]
    assert found == ([] if meaning == "none" else [meaning])


@pytest.mark.parametrize(("text", "meaning"), cases("several"))
def test_several_options(text, meaning):
    options = ("A) Atelectasis", "B) Pleural effusion", "C) Pneumothorax", "D) Fracture")
    expected = {letter for letter in meaning}
    for gold in (["A", "C"], ["B"], ["D"], ["A", "B", "C", "D"]):
        hits = len(expected & set(gold))
        vague = 2 if " or C" in text else 0
        wanted = 2 * hits / (len(expected) + vague + len(gold)) if hits else 0.0
        assert value(text, ", ".join(gold), "multiple", options=options) == pytest.approx(wanted), gold


@pytest.mark.parametrize(("text", "meaning"), cases("binary"))
def test_yes_or_no(text, meaning):
    question = "Is there a pleural effusion?"
    found = [gold for gold in ("yes", "no") if value(text, gold, "binary", question=question)]
    assert found == ([] if meaning == "none" else [meaning])


@pytest.mark.parametrize(
    ("question", "text", "gold", "right"),
    [
        ("Is the heart size normal?", "Yes, the heart is normal.", "Yes", 1),
        ("Is the heart size normal?", "Yes, there is no cardiomegaly.", "Yes", 1),
        ("Is the heart size normal?", "No, the heart is enlarged.", "No", 1),
        ("Is the heart size normal?", "The heart is enlarged.", "No", 1),
        ("Is the heart size normal?", "There is cardiomegaly.", "No", 1),
        ("Is the heart size normal?", "Yes, the heart is enlarged.", "Yes", 0),
        ("Is the heart enlarged?", "The heart is enlarged.", "Yes", 1),
        ("Is the heart enlarged?", "The heart is normal in size.", "No", 1),
        ("Is the heart enlarged?", "The heart is not enlarged.", "No", 1),
        ("Is there pneumonia?", "There is an opacity.", "Yes", 0),
        ("Is there a lung opacity?", "There is consolidation.", "Yes", 1),
        ("Is there pneumonia?", "The lungs are clear.", "No", 1),
        ("Is there a left pleural effusion?", "There is a right pleural effusion.", "Yes", 0),
        ("Is there any abnormality?", "No abnormality.", "No", 1),
        ("Is there any abnormality?", "Yes, cardiomegaly.", "Yes", 1),
        ("Is there any abnormality?", "Normal study", "No", 1),
        ("Is there any abnormality?", "There is cardiomegaly.", "Yes", 1),
        ("Is this chest X-ray normal?", "No, it's not normal.", "No", 1),
        ("Is this chest X-ray normal?", "Yes, it is normal.", "Yes", 1),
        ("Is this chest X-ray normal?", "It is normal.", "Yes", 1),
        ("Is this chest X-ray normal?", "There is a pleural effusion.", "No", 1),
        ("Is this chest X-ray normal?", "Abnormal", "No", 1),
        ("Is this chest X-ray normal?", "Not normal.", "No", 1),
        ("Is this chest X-ray normal?", "Normal", "Yes", 1),
        ("Does the patient have a widget?", "There is no widget.", "No", 1),
        ("Does the patient have a widget?", "Yes, there is a widget.", "Yes", 1),
        ("Can a fracture be seen?", "A rib fracture can be seen.", "Yes", 1),
        ("Is there no pleural effusion?", "Yes, there is no effusion.", "Yes", 1),
        (None, "Yes, there is a small effusion.", "Yes", 1),
        (None, "There is no effusion.", "No", 1),
        (None, "Yes, there is no effusion.", "Yes", 0),
    ],
)
def test_the_question_tells_what_is_asked(question, text, gold, right):
    other = {"Yes": "No", "No": "Yes"}[gold]
    assert value(text, gold, "binary", question=question) == right
    assert not right or value(text, other, "binary", question=question) == 0


@pytest.mark.parametrize(("text", "meaning"), cases("temporal"))
def test_changes(text, meaning):
    question = "How has the effusion changed?"
    changes = ("new", "worsening", "stable", "improving", "resolved")
    found = [gold for gold in changes if value(text, gold, "temporal", question=question)]
    assert found == ([] if meaning == "none" else [meaning])


@pytest.mark.parametrize(("text", "meaning"), cases("list") + cases("list", AS_WRITTEN))
def test_lists(text, meaning):
    classes, unknown = parse_class_list(text)
    names = [name.strip() for name in meaning.split(",") if name.strip()]
    assert set(classes) == {name for name in names if "?" not in name}
    assert len(unknown) == sum(name.count("?") for name in names)


CHOICES = {
    "choice": ("A) Cardiomegaly", "B) Pleural Effusion", "C) Pneumothorax", "D) No Finding"),
    "described": (
        "A) Left lower lobe consolidation",
        "B) Right pleural effusion",
        "C) Left pneumothorax",
        "D) Normal chest X-ray",
    ),
    "place": ("A) Left upper lobe", "B) Left lower lobe", "C) Right upper lobe", "D) Right lower lobe"),
    "degree": ("A) Mild", "B) Moderate", "C) Severe", "D) None"),
}
#: Section -> the task, the possible answers and the columns of its rows.
DECIDED = {
    "binary": ("binary", ("yes", "no"), {"question": "Is there a pleural effusion?"}),
    "anything": ("anomaly", ("yes", "no"), {"question": "Is there any abnormality in this chest X-ray?"}),
    "temporal": (
        "temporal",
        ("new", "worsening", "stable", "improving", "resolved"),
        {"question": "How has the effusion changed?"},
    ),
    "change among options": (
        "temporal",
        ("improved", "stable", "worsened"),
        {
            "question": "Has the effusion improved, stayed stable or worsened?",
            "options": ("improved", "stable", "worsened"),
        },
    ),
}


@pytest.mark.parametrize(("section", "text", "meaning"), [(s, *case) for s in CHOICES for case in cases(s, AS_WRITTEN)])
def test_one_option_as_written(section, text, meaning):
    found = [letter for letter in LETTERS if value(text, letter, "single", options=CHOICES[section])]
    assert found == ([] if meaning == "none" else [meaning])


@pytest.mark.parametrize(("text", "meaning"), cases("several", AS_WRITTEN))
def test_several_options_as_written(text, meaning):
    options = ("A) Atelectasis", "B) Pleural effusion", "C) Pneumothorax", "D) Fracture")
    for gold in (["A", "C"], ["B"], ["D"], ["A", "B", "C", "D"]):
        hits = len(set(meaning) & set(gold))
        assert value(text, ", ".join(gold), "multiple", options=options) == pytest.approx(
            2 * hits / (len(meaning) + len(gold))
        ), gold


@pytest.mark.parametrize(("section", "text", "meaning"), [(s, *case) for s in DECIDED for case in cases(s, AS_WRITTEN)])
def test_one_of_a_few_as_written(section, text, meaning):
    task, golds, columns = DECIDED[section]
    assert [gold for gold in golds if value(text, gold, task, **columns)] == ([] if meaning == "none" else [meaning])


@pytest.mark.parametrize(("text", "meaning"), cases("asked", AS_WRITTEN))
def test_yes_or_no_as_asked(text, meaning):
    question, text = text.split(" || ")
    found = [gold for gold in ("yes", "no") if value(text, gold, "binary", question=question)]
    assert found == ([] if meaning == "none" else [meaning])


@pytest.mark.parametrize(
    ("text", "gold", "share"),
    [
        ("<box>(10,20),(30,40)</box>", "[10, 20, 30, 40]", 1),
        ("<|box_start|>(10,20),(30,40)<|box_end|>", "[10, 20, 30, 40]", 1),
        ('```json\n[{"bbox_2d": [10, 20, 30, 40], "label": "effusion"}]\n```', "[10, 20, 30, 40]", 1),
        ('{"x1": 10, "y1": 20, "x2": 30, "y2": 40}', "[10, 20, 30, 40]", 1),
        ("x_min: 10, y_min: 20, x_max: 30, y_max: 40", "[10, 20, 30, 40]", 1),
        ("[10 20 30 40]", "[10, 20, 30, 40]", 1),
        ("10, 20, 30, 40", "[10, 20, 30, 40]", 1),
        ("top left (10, 20), bottom right (30, 40)", "[10, 20, 30, 40]", 1),
        ("[10, 20, 30, 40], not [50, 60, 70, 80]", "[10, 20, 30, 40]", 1),
        ("not [10, 20, 30, 40]", "[10, 20, 30, 40]", 0),
        ("[10, 20, 30, 40] or [50, 60, 70, 80]", "[10, 20, 30, 40]", 0),
        ("[10, 20, 30, 40] and [50, 60, 70, 80]", "[10, 20, 30, 40]", 0.5),
    ],
)
def test_boxes_in_the_notations_of_models(text, gold, share):
    assert value(text, gold, "detection") == share


FINDINGS = ("A) Small left pleural effusion", "B) Large left pleural effusion", "C) The heart is normal in size")


@pytest.mark.parametrize(
    ("options", "text", "meaning"),
    [
        (FINDINGS, "There is a small pleural effusion on the left.", "A"),
        (FINDINGS, "a large left effusion, not a small one", "B"),
        (FINDINGS, "normal heart size", "C"),
        (FINDINGS, "pleural effusion", None),
        (("A) Yes", "B) No"), "There is no effusion.", "B"),
        (("A) Yes", "B) No"), "Yes, there is an effusion.", "A"),
        (("A) Yes", "B) No"), "A) No", None),
        (("A) Normal", "B) Abnormal"), "Not normal.", "B"),
        (("A) Normal", "B) Abnormal"), "No acute disease", "A"),
        (("A) new", "B) worsening", "C) stable"), "It has increased.", "B"),
        (("1) Edema", "2) Fracture", "3) Pneumonia"), "2", "2"),
        (("1) Edema", "2) Fracture", "3) Pneumonia"), "(2)", "2"),
        (("Edema", "Fracture", "Pneumonia"), "B", "B"),
        (("A) Lung nodule", "B) Nodule", "C) None of the above"), "lung nodule", "A"),
        (("A) Lung nodule", "B) Nodule", "C) None of the above"), "None of the above", "C"),
    ],
)
def test_options_by_what_they_mean(options, text, meaning):
    question = "Is there a pleural effusion?"
    for label in ("1", "2", "3") if options[0][0] == "1" else "ABC"[: len(options)]:
        assert value(text, label, "single", options=options, question=question) == (label == meaning)


letters = st.sampled_from(LETTERS)
FRAMES = [
    "{}",
    "**{}**",
    "({})",
    "Option {}",
    "The answer is {}.",
    "\\boxed{{{}}}",
    "  {}\n",
    "Answer: {}",
    "{} is correct.",
]
DENIALS = [
    "not {}",
    "Not {}.",
    "It is not {}.",
    "It's not {}",
    "Neither {} nor E",
    "Anything but {}",
    "All but {}",
    "{} is wrong.",
    "{}: no",
    "Except {}",
    "I don't think it is {}.",
    "The answer is not {}.",
    "{} can be ruled out.",
    "{} is not correct.",
    "{}... no.",
    "{}. Actually not {}.",
    "{} ✗",
    "{}: 0. Thanks.",
    "I almost chose {}.",
    "At first I thought {}.",
    "History of {}.",
    "{} would be right if it were larger.",
    "scratch {}",
    "{} is less likely.",
    "{} hardly",
    "I would not choose {}.",
]
PAIRS = [
    "{} or {}",
    "{}, {}",
    "{} and {}",
    "{}/{}",
    "{}? {}?",
    "Either {} or {}",
    "{}; {}",
    "{}\n{}",
    "{} vs. {}",
    "{} & {}",
    "{} unless {}",
    "{} with {}",
    "{}, wait, or {}",
    "{} (50%), {} (50%)",
    "{}, also {}",
    "{} and then {}",
    "possibly {}, possibly {}",
    "{} is as likely as {}",
    "1. {}\n2. {}",
]
MARKS = (", ", "; ", " and ", "\n- ", "\n2. ", " | ", " + ")


@given(letters, letters, st.sampled_from(FRAMES))
def test_a_frame_changes_nothing(letter, gold, frame):
    for text in (frame.format(letter), frame.format(letter).upper(), f"_{frame.format(letter)}_"):
        assert value(text, gold, "single", options=OPTIONS) == (letter == gold)


@given(letters, st.sampled_from(DENIALS), st.booleans())
def test_denying_the_right_option_never_earns(letter, negation, spelled):
    named = OPTIONS[LETTERS.index(letter)][3:].lower() if spelled and letter != "D" else letter
    assert value(negation.replace("{}", named), letter, "single", options=OPTIONS) == 0


@given(st.lists(letters, min_size=2, max_size=2, unique=True), st.sampled_from(PAIRS), letters)
def test_two_options_never_earn(pair, frame, gold):
    assert value(frame.format(*pair), gold, "single", options=OPTIONS) == 0


names = st.lists(st.sampled_from([name for name in CLASSES if name != NO_FINDING]), min_size=1, unique=True)


@given(names, st.sampled_from(MARKS), st.sampled_from((str.upper, str.lower, str)))
def test_lists_are_read_alike_in_any_layout(named, mark, case):
    text = case(mark.join(named))
    for given_list in (text, f"**{text}**", f"- {text}", f"There is {text}.", f"The findings are: {text}", f"[{text}]"):
        assert set(parse_class_list(given_list).classes) == set(named), given_list


@given(names, names)
def test_denials_beside_a_list_change_nothing_and_denials_of_it_take_it_back(named, denied):
    text = f"{', '.join(named)}. No {' or '.join(denied)}."
    classes, unknown = parse_class_list(text)
    assert set(classes) == set(named) - set(denied)
    assert len(unknown) == len(set(named) & set(denied))


@given(st.text("AB or, not.()[]{}\\*-:;?!\n•~|/=and is noBUTexceptl'", max_size=300))
def test_any_marks_can_be_read(text):
    for task in ("single", "multiple", "abnormality_list", "binary", "temporal", "detection"):
        score = value(text, "[1, 2, 3, 4]" if task == "detection" else "B", task, options=OPTIONS)
        assert score is None or 0.0 <= score <= 1.0


def test_a_very_long_answer_is_none():
    assert value("B " * 50_000, "B", "single", options=OPTIONS) == 0
    assert value("Edema, " * 50_000, "Edema", "abnormality_list") == 0


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("Lung Opacity, Pleural Other", "D"),
        ("lung opacity, pleural other.", "D"),
        ("D) Lung Opacity, Pleural Other", "D"),
        ("B. Lung Opacity, Pleural Effusion", "B"),
        ("C", "C"),
    ],
)
def test_an_option_that_is_a_set_may_be_repeated(said: str, label: str) -> None:
    """ "Pleural Other" means all the others only where it is no option's name."""
    options = ("A) Pleural Effusion, Pneumothorax", "B) Lung Opacity, Pleural Effusion",
               "C) Pleural Other, Pneumothorax", "D) Lung Opacity, Pleural Other")  # fmt: skip
    assert chosen(said, options).clear == {label}
    assert chosen("A) Lung Opacity, Pleural Other", options).clear != {"A"}
