import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.errors import UserError
from reasoner.prompts import format_completion
from reasoner.schema import CLASSES, NO_FINDING, verified_labels
from rewards.answers import answer_reward, gold_list, iou, parse_class_list

OPTIONS = ("A) Edema", "B) No Finding", "C) Pneumonia", "D) Lung Opacity")


def grade(given_answer, gold=None, **columns):
    return answer_reward(format_completion("Because.", given_answer), answer=gold, **columns)


def grade_list(given_answer, gold, **columns):
    return grade(given_answer, gold, task="abnormality_list", **columns).value


@pytest.mark.parametrize(
    ("text", "classes", "unknown"),
    [
        ("Pleural effusions and cardiomegaly", ("Cardiomegaly", "Pleural Effusion"), ()),
        ("EDEMA,edema , Edema.", ("Edema",), ()),
        ("1. Pacemaker\n2. small left pleural effusion", ("Pleural Effusion", "Support Devices"), ()),
        ("- Enlarged heart\n- lung nodule", ("Cardiomegaly", "Lung Lesion"), ()),
        ("Enlarged Cardiomediastinum; Pleural Other", ("Enlarged Cardiomediastinum", "Pleural Other"), ()),
        ("no pneumothorax", (), ()),
        ("no evidence of edema, Fracture", ("Fracture",), ()),
        ("Edema, gout, Gout", ("Edema",), ("gout",)),
        ("Pnеumonia", (), ("pnеumonia",)),  # with a Cyrillic letter
        ("possible edema or pneumonia", (), ("edema", "pneumonia")),
        ("None", (NO_FINDING,), ()),
        ("", (), ()),
    ],
)
def test_lists_are_read_tolerantly_but_whole(text, classes, unknown):
    assert parse_class_list(text) == (classes, unknown)


@pytest.mark.parametrize(
    ("given_answer", "gold", "wrong", "ignored"),
    [
        ("Edema, Surgical clips", "Edema", 1 / 2, 1.0),
        ("Edema, Surgical clips, Scoliosis", "Edema, Fracture", 1 / 4, 1 / 2),
        ("Surgical clips", "Edema", 0.0, 0.0),
        ("No Finding, Surgical clips", "No Finding", 0.0, 1.0),
        ("No Finding, Edema", "Edema", 0.0, 0.0),
        ("Edema, possible pneumonia or fracture", "Edema", 1 / 3, 1 / 3),
        ("Edema", "Edema", 1.0, 1.0),
    ],
)
def test_names_outside_the_list_cost_or_are_ignored(given_answer, gold, wrong, ignored):
    assert grade_list(given_answer, gold) == pytest.approx(wrong)
    assert grade_list(given_answer, gold, unknown="ignore") == pytest.approx(ignored)


@pytest.mark.parametrize(
    ("given_answer", "gold", "value"),
    [
        ("Edema, Fracture", "Fracture, Edema", 1.0),
        ("Edema", "Edema, Fracture", 0.5),
        ("Edema, Pneumonia", "Edema, Fracture", 1 / 3),
        ("Edema, gout", "Edema", 0.5),
        ("Edema, Edema", "Edema", 1.0),
        ("No Finding", "No Finding", 1.0),
        ("No Finding, Edema", "No Finding", 0.0),
        ("No Finding, Edema", "Edema", 0.0),
        ("No Finding, gout", "No Finding", 0.0),
        ("Normal, no acute findings", "No Finding", 1.0),
        (".", "No Finding", 0.0),
        ("The lungs are clear", "No Finding", 0.0),
        (", ".join(CLASSES), "Edema", 0.0),
        (", ".join(name for name in CLASSES if name != NO_FINDING), "Edema", 1 / 13),
    ],
)
def test_jaccard_over_classes(given_answer, gold, value):
    assert grade_list(given_answer, gold) == pytest.approx(value)


def test_verified_labels_outweigh_the_mined_answer():
    labels = {"Edema": "present", "Fracture": "present", "Pneumonia": "uncertain", "Cardiomegaly": None}
    score = grade("Edema", "Edema", task="abnormality_list", labels=labels)
    assert score.value == 0.5
    assert score.evidence[0]["missed"] == ["Fracture"]
    assert grade_list("No Finding", "Edema", labels={"Edema": "absent"}) == 1.0


PARTIAL = [
    # labels, named, reward; the reference answer is Cardiomegaly
    ({"Cardiomegaly": None}, "Cardiomegaly", 1.0),
    ({"Cardiomegaly": None}, "No Finding", 0.0),
    ({}, "Cardiomegaly", 1.0),
    ({"Edema": "absent"}, "Cardiomegaly", 1.0),
    ({"Edema": "absent"}, "No Finding", 0.0),
    ({"Edema": "present"}, "Cardiomegaly, Edema", 1.0),
    ({"Edema": "present"}, "Cardiomegaly", 0.5),
    ({"Cardiomegaly": "absent"}, "No Finding", 1.0),
    ({"Cardiomegaly": "absent"}, "Cardiomegaly", 0.0),
    ({"Cardiomegaly": "uncertain"}, "Cardiomegaly", 1.0),
    ({"Cardiomegaly": "uncertain"}, "No Finding", 1.0),
    ({"Cardiomegaly": "uncertain"}, "Edema", 0.0),
    ({"Cardiomegaly": "uncertain"}, "", 0.0),
    ({"Cardiomegaly": "uncertain"}, "Cardiomegaly, No Finding", 0.0),
    ({"Edema": "uncertain"}, "Cardiomegaly, Edema", 1.0),
    ({"Edema": "uncertain"}, "Edema", 0.0),
    ({"No Finding": "present"}, "No Finding", 1.0),
    ({"No Finding": "present"}, "Cardiomegaly", 0.0),
    ({"No Finding": "present", "Edema": "present"}, "Cardiomegaly, Edema", 1.0),
]


@pytest.mark.parametrize(("labels", "named", "reward"), PARTIAL)
def test_partial_labels_decide_their_own_classes_alone(labels, named, reward):
    assert grade_list(named, "Cardiomegaly", labels=labels) == reward


def test_labels_that_say_only_that_something_is_there_tell_no_list():
    assert grade_list("Edema", "No Finding", labels={"No Finding": "absent"}) is None
    assert grade_list("Edema", "Edema", labels={"No Finding": "absent"}) == 1.0
    assert grade_list("Edema", "No Finding", labels={"No Finding": "absent", "Edema": "present"}) == 1.0


def test_mined_labels_grade_only_where_there_is_no_reference_answer():
    mined = {"labels": {"Edema": "present"}, "label_source": "mined"}
    assert (grade_list("Cardiomegaly", "Cardiomegaly", **mined), grade_list("Edema", "Cardiomegaly", **mined)) == (1, 0)
    assert (grade_list("Edema", None, **mined), grade_list("No Finding", None, **mined)) == (1, 0)
    assert grade_list("Edema", "Cardiomegaly", labels=mined["labels"], label_source="verified") == 0.5


def test_without_reference_answer_unverified_classes_are_free():
    assert grade_list("Edema, Fracture", None, labels={"Edema": "present"}) == 1.0
    assert grade_list("Fracture", None, labels={"Edema": "present"}) == 0.0
    assert grade_list("No Finding", None, labels={"Edema": "absent"}) is None, "the others may be there"
    assert grade_list("No Finding", None, labels=dict.fromkeys(CLASSES, "absent")) == 1.0


@pytest.mark.parametrize("source", ["Mined", "", 5, ["mined"]])
def test_an_unknown_owner_of_labels_is_refused(source):
    with pytest.raises(UserError, match="'label_source' must be verified or mined"):
        grade_list("Edema", "Edema", labels={"Edema": "present"}, label_source=source)


@given(
    st.lists(st.sampled_from(CLASSES), unique=True),
    st.lists(st.sampled_from(CLASSES), unique=True),
    st.dictionaries(st.sampled_from(CLASSES), st.sampled_from(["present", "absent", "uncertain", None])),
)
def test_a_class_that_labels_do_not_name_counts_as_if_they_were_not_there(named, answer, labels):
    gold = gold_list(", ".join(answer), labels, "verified")
    for name in set(CLASSES) - {NO_FINDING} if gold else ():
        status = verified_labels(labels, None).get(name)
        assert (name in gold.classes) == (status == "present" or (status is None and name in answer))
        assert (name in gold.free) == (status == "uncertain" or (status is None and not answer))
    if gold and answer:
        assert grade_list(", ".join(gold.classes), ", ".join(answer), labels=labels) in (0.0, 1.0)


def test_f1_and_class_weights_are_settings():
    assert grade_list("Edema", "Edema, Fracture", metric="f1") == pytest.approx(2 / 3)
    weights = {"Fracture": 3.0}
    assert grade_list("Edema", "Edema, Fracture", class_weights=weights) == pytest.approx(1 / 4)
    assert grade_list("Fracture", "Edema, Fracture", class_weights=weights) == pytest.approx(3 / 4)
    with pytest.raises(UserError, match="'jaccard' or 'f1'"):
        grade_list("Edema", "Edema", metric="dice")


class_sets = st.sets(st.sampled_from([name for name in CLASSES if name != NO_FINDING]), min_size=1)


@given(class_sets, class_sets, st.randoms(use_true_random=False))
def test_order_is_irrelevant_and_only_the_gold_list_earns_one(named, gold, shuffler: random.Random):
    names, wanted = sorted(named), sorted(gold)
    value = grade_list(", ".join(names), ", ".join(wanted))
    shuffler.shuffle(names)
    shuffler.shuffle(wanted)
    assert grade_list(" and ".join(names), "; ".join(wanted)) == value
    assert value == pytest.approx(len(named & gold) / len(named | gold))


@pytest.mark.parametrize(
    "text",
    [
        "B",
        "b",
        "B)",
        "(B)",
        "B.",
        "B. No Finding",
        "B) no finding",
        "No Finding",
        "**B**",
        "Option B",
        "Answer: B",
        "The answer is B",
    ],
)
def test_a_letter_may_be_written_in_many_ways(text):
    assert grade(text, "B", task="single", options=OPTIONS).value == 1.0


@pytest.mark.parametrize(
    "text",
    ["A", "B or C", "A, B", "B and C", "B. Edema", "B) No Finding, C) Pneumonia", "ABCD", "all of them", "E", "?"],
)
def test_one_wrong_or_two_letters_earn_nothing(text):
    assert grade(text, "B", task="single", options=OPTIONS).value == 0.0


@pytest.mark.parametrize(
    ("text", "gold", "value"),
    [
        ("Yes", "Yes", 1.0),
        ("yes.", "Yes", 1.0),
        ("No, there is no effusion", "No", 1.0),
        ("No", "Yes", 0.0),
        ("Yes and no", "Yes", 0.0),
        ("Probably yes", "Yes", 1.0),
        ("Unknown", "No", 0.0),
    ],
)
def test_yes_or_no(text, gold, value):
    assert grade(text, gold, task="binary").value == value


@pytest.mark.parametrize(
    ("text", "gold", "value"),
    [
        ("stable", "stable", 1.0),
        ("Unchanged.", "stable", 1.0),
        ("improved", "improving", 1.0),
        ("The effusion has increased", "worsening", 1.0),
        ("stable or worsening", "stable", 0.0),
        ("resolved", "improving", 0.0),
        ("hard to say", "new", 0.0),
    ],
)
def test_change_over_time(text, gold, value):
    assert grade(text, gold, task="temporal").value == value


def test_several_letters_or_open_names_are_graded_as_sets():
    assert grade("A, C", "A, C", task="multiple", options=OPTIONS).value == 1.0
    assert grade("A", "A, C", task="multiple", options=OPTIONS).value == pytest.approx(2 / 3)
    assert grade("granuloma, edema", "Edema, granuloma", task="multiple").value == 1.0
    assert grade("gout", "Edema", task="multiple").value == 0.0


@pytest.mark.parametrize(
    ("columns", "text", "value"),
    [
        ({"gold": "B", "question": "Which? A) Yes B) No C) Maybe"}, "B) No", 1.0),
        (
            {"gold": "B", "question": "Which? Options:\nA) edema.\nB) nodule in the right lung"},
            "nodule in the right lung",
            1.0,
        ),
        ({"gold": "B", "question": "Which?"}, "C", 0.0),
        ({"gold": "Yes"}, "yes", 1.0),
        ({"gold": "Edema, Fracture"}, "Edema", 0.5),
        ({"gold": "A report in prose, with many words."}, "Edema", None),
        ({"gold": None}, "Edema", None),
        ({"gold": "x", "task": "report"}, "Edema", None),
    ],
)
def test_the_task_is_told_from_the_row_or_the_reward_abstains(columns, text, value):
    assert grade(text, **columns).value == value


def test_without_exactly_one_answer_block_nothing_is_earned():
    for text in ("Edema", "<think>x</think> Edema", "<answer>Edema</answer><answer>Edema</answer>"):
        score = answer_reward(text, answer="Edema", task="abnormality_list")
        assert score.value == 0.0 and score.evidence[0]["verdict"] == "unreadable"


@given(
    st.text(max_size=200),
    st.sampled_from(["abnormality_list", "single", "binary", "temporal", "multiple", "anomaly", None]),
    st.sampled_from(["B", "Yes", "stable", "Edema, Fracture", "No Finding"]),
    st.sampled_from([(), OPTIONS]),
)
def test_any_text_has_a_score_from_0_to_1_and_evidence(text, task, gold, options):
    score = answer_reward(f"<think>x</think><answer>{text}</answer>", answer=gold, task=task, options=options)
    assert score.value is None or 0.0 <= score.value <= 1.0
    assert score.evidence


@pytest.mark.parametrize(
    ("text", "gold", "value"),
    [
        ("[0, 0, 10, 10]", "[0, 0, 10, 10]", 1.0),
        ("effusion at (0, 0, 10, 5)", "[0, 0, 10, 10]", 0.5),
        ("[20, 20, 30, 30]", "[0, 0, 10, 10]", 0.0),
        ("[0, 0, 10, 10] [0, 0, 10, 10]", "[0, 0, 10, 10]", 0.5),  # one box said twice is one too many
        ("[0, 0, 1, 1], [5, 5, 9, 9]", "[5, 5, 9, 9], [0, 0, 1, 1]", 1.0),
        ("[10, 10, 0, 0]", "[0, 0, 10, 10]", 0.0),
        ("upper left", "[0, 0, 10, 10]", 0.0),
        ("[0, 0, 1, 1]", "upper left", None),
    ],
)
def test_boxes_by_intersection_over_union(text, gold, value):
    assert grade(text, gold, task="detection").value == (None if value is None else pytest.approx(value))


edges = st.tuples(*[st.integers(-50, 50)] * 4).map(
    lambda b: (min(b[::2]), min(b[1::2]), max(b[::2]) + 1, max(b[1::2]) + 1)
)


@given(edges, edges, st.integers(-9, 9))
def test_iou_is_symmetric_bounded_and_blind_to_shifts(a, b, by):
    assert iou(a, b) == pytest.approx(iou(b, a))
    assert 0.0 <= iou(a, b) <= 1.0 and iou(a, a) == 1.0
    assert iou(*(tuple(x + by for x in box) for box in (a, b))) == pytest.approx(iou(a, b))
