"""CXRTrek: how studies become tables, and what each kind of answer is worth."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.benchmarks.base import Item, Malformed
from eval.benchmarks.cxrtrek import Cxrtrek
from eval.benchmarks.trek_scores import DETECTION, MULTI, SINGLE, TEXT, YES_NO, kind_of, score
from reasoner.errors import UserError
from reasoner.profiles import PROFILES

BENCH = Cxrtrek()
READER = PROFILES["cxrtrek"].read_answer
VIEWS = ["A. Frontal", "B. Lateral"]


def ask(stage, kind, question, answer, **more):
    return {"stage": stage, "task_type": "T", "qtype": kind, "question": question, "answer": answer, **more}


STUDY = {
    "study_id": "s1",
    "sex": "F",
    "image": ["now.png", "before.png"],
    "content": [
        ask(1, "single-choice", "Which view? <image> .", "A. Frontal", option_list=VIEWS, image_input_count=1),
        ask(2, "multi-choice-2", "Which are seen?", "Edema", answer_list=["Edema", "Fracture"],
            option_list=["Edema", "Fracture", "Pneumothorax"], image_input_count=1),
        ask(3, "detection", "Where?", "[10, 60, 40, 95]", image_input_count=1),
        ask(5, "yes_no", "Has it grown? <image>", "Yes", image_input_count=2),
        ask(8, "captioning", "Write the report.", "There is a small left effusion.", completion="An effusion."),
    ],
}  # fmt: skip


def read(tmp_path, *rows, **more):
    path = tmp_path / "studies.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return list(BENCH.read(path, more.get("images")))


def test_a_study_is_a_conversation_in_its_order(tmp_path):
    items = read(tmp_path, STUDY)
    assert [item.table for item in items] == [
        "stage1-single-choice", "stage2-multi-choice", "stage3-detection", "stage5-yes_no", "stage8-captioning",
    ]  # fmt: skip
    assert {item.conversation for item in items} == {"s1"}
    assert [len(item.example.context) for item in items] == [0, 1, 2, 3, 4]
    assert items[1].example.context[0].answer == "A. Frontal"
    assert items[0].example.question == "Which view?"
    assert [item.index for item in items] == [0, 1, 2, 3, 4]
    assert items[1].gold["answer"] == "Edema, Fracture"
    assert (items[4].completion, items[0].completion) == ("An effusion.", None)
    assert items[0].about == {"sex": "F"}


def test_the_reference_picture_is_shown_where_a_question_counts_two(tmp_path):
    for name in STUDY["image"]:
        (tmp_path / name).write_bytes(b"x")
    shown = {item.table: len(item.example.images) for item in read(tmp_path, STUDY)}
    assert shown["stage1-single-choice"] == shown["stage3-detection"] == 1
    assert shown["stage5-yes_no"] == 2


def test_wild_rows_are_named_and_kill_nothing(tmp_path):
    broken = {"study_id": "s2", "content": [ask(9, "x", "Q?", "A"), "text", ask(1, "yes_no", "", "A")]}
    found = read(tmp_path, STUDY, {"study_id": "s3", "content": []}, broken)
    bad = [one for one in found if isinstance(one, Malformed)]
    assert [one.line for one in bad] == [2, 3, 3, 3]
    assert "content[0]: 'stage' must be 1 to 8" in bad[1].problem
    assert sum(isinstance(one, Item) for one in found) == 5


def test_another_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="each needs a list 'content'"):
        read(tmp_path, {"question": "Q?", "answer": "A"})
    with pytest.raises(UserError, match="no such file"):
        BENCH.read(tmp_path / "none.json", None)


@pytest.mark.parametrize(
    ("names", "options", "answer", "kind"),
    [
        (["yes_no"], [], "Yes", YES_NO),
        (["single-choice"], VIEWS, "A", SINGLE),
        (["multi-choice-3"], VIEWS, "A, B", MULTI),
        (["", "Detection"], [], "[1, 2, 3, 4]", DETECTION),
        (["captioning"], [], "The lungs are clear.", TEXT),
        (["T"], VIEWS, "A. Frontal", SINGLE),
        (["T"], [], "[1, 2, 3, 4]", DETECTION),
        (["T"], [], "No.", YES_NO),
        (["T"], [], "No acute abnormality is seen in this chest radiograph.", TEXT),
    ],
)
def test_kinds(names, options, answer, kind):
    assert kind_of(names, options, answer) == kind


@pytest.mark.parametrize(
    ("kind", "given", "gold", "options", "exact", "right"),
    [
        (SINGLE, "A", "A. Frontal", VIEWS, True, True),
        (SINGLE, "a. frontal.", "A. Frontal", VIEWS, True, True),
        (SINGLE, "Frontal", "A. Frontal", VIEWS, True, True),
        (SINGLE, "It is a frontal view.", "A. Frontal", VIEWS, False, True),
        (SINGLE, "B", "A. Frontal", VIEWS, False, False),
        (SINGLE, "A or B", "A. Frontal", VIEWS, False, False),
        (YES_NO, "Yes, it has grown.", "Yes", [], True, True),
        (YES_NO, "It has not.", "No", [], False, True),
        (YES_NO, "No", "Yes", [], False, False),
        (MULTI, "Fracture, edema", "Edema, Fracture", ["Edema", "Fracture", "Mass"], False, True),
        (MULTI, "Edema", "Edema, Fracture", ["Edema", "Fracture", "Mass"], False, False),
        (MULTI, "A, C", "C; A", ["A. Edema", "B. Fracture", "C. Mass"], True, True),
        (SINGLE, None, "A. Frontal", VIEWS, False, False),
    ],
)
def test_choices(kind, given, gold, options, exact, right):
    found = score(kind, given, gold, options, "Has it grown?" if kind == YES_NO else "Which?")
    assert (found.exact, found.right) == (exact, right)


def test_boxes_are_found_from_half_their_union_on():
    gold = "[0, 0, 10, 10] and [50, 50, 60, 60]"
    found = score(DETECTION, "[0, 0, 10, 9], [80, 80, 90, 90]", gold, [], "")
    assert found.counts == {"tp:boxes": 1, "fp:boxes": 1, "fn:boxes": 1}
    assert found.values["iou"] == pytest.approx(0.45)
    assert score(DETECTION, gold, gold, [], "").right
    assert score(DETECTION, None, gold, [], "").counts["fn:boxes"] == 2
    # One box does not find two.
    twice = score(DETECTION, "[0, 0, 10, 10]", "[0, 0, 10, 10], [0, 0, 10, 9]", [], "")
    assert twice.counts == {"tp:boxes": 1, "fp:boxes": 0, "fn:boxes": 1}


def test_texts_by_words_and_by_findings():
    pytest.importorskip("rouge_score")
    pytest.importorskip("sacrebleu")
    same = score(TEXT, "There is a small left effusion.", "There is a small left effusion.", [], "")
    assert same.values["rouge_l"] == pytest.approx(1.0)
    assert same.values["bleu"] == pytest.approx(1.0)
    other = score(TEXT, "The heart is enlarged.", "There is a small left effusion.", [], "")
    assert other.values["rouge_l"] < 0.5
    assert other.counts["fp:claims"] == other.counts["fn:claims"] == 1
    assert same.right is same.exact is None


@given(
    st.sampled_from([YES_NO, SINGLE, MULTI, DETECTION, TEXT]),
    st.none() | st.text(max_size=80),
    st.text(min_size=1, max_size=40),
    st.lists(st.text(min_size=1, max_size=10), max_size=4),
)
def test_whatever_a_model_writes_is_scored(kind, words, gold, options):
    found = score(kind, words, gold, options, "Which?")
    assert all(value is None or 0 <= value <= 1.0001 for value in found.values.values())
    assert all(count >= 0 for count in found.counts.values())


def test_a_grade_says_why_the_rules_differ(tmp_path):
    item = read(tmp_path, STUDY)[0]
    grade = BENCH.grade(item, "It is a frontal view.", READER)
    assert (grade.official, grade.strict, grade.note) == (False, True, "official: other words; strict: as it is read")
    assert BENCH.grade(item, "A. Frontal", READER).note == ""
