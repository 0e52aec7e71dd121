"""CXRTrek: how studies become tables, and what each kind of answer is worth."""

import json
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eval.benchmarks.base import Item, Malformed
from eval.benchmarks.cxrtrek import Cxrtrek
from eval.benchmarks.given import Given
from eval.benchmarks.run import Wanted, run
from eval.benchmarks.store import Faults, Store, read_items
from eval.benchmarks.trek_scores import DETECTION, MULTI, SINGLE, TEXT, YES_NO, kind_of, reference, score
from reasoner.errors import UserError
from reasoner.profiles import PROFILES
from reasoner.prompts import conversation

BENCH = Cxrtrek()
READER = PROFILES["cxrtrek"].read_answer
VIEWS = ["A. Frontal.", "B. Lateral."]
SEEN = ["Edema", "Fracture", "Pneumothorax"]
PLACES = ["1. Left lung.", "2. Right lung.", "3. Mediastinum."]
CHANGES = ["A. Now small, was moderate", "B. It has shrunk", "C. None of all"]
WORDED = ["The opacity is described as round.", "Opacities at both bases."]


def ask(stage, kind, question, answer, count=1, **more):
    row = {"stage": stage, "task_type": "T", "qtype": kind, "image_input_count": count}
    return {**row, "question": question, "answer": answer, **more}


def grounding(target, box, count=1):
    x1, y1, x2, y2 = box
    answer = f"Detected {target} at: <|ref|> {target} <|/ref|> <|box|>({x1}, {y1}), ({x2}, {y2})<|/box|>."
    return ask(3, "detection", f"[detection] Locate the {target}.", answer, count, target=target, bbox_list=[box])


# Two studies as the authors write them: current pictures first; options spelled out in the question, with other stops.
STUDY = {
    "pat_id": "cheXpert_patient1", "study_id": "study2", "ref_study_id": "study1", "sex": "F",
    "image": ["now.png", "before.png"],
    "content": [
        ask(1, "single-choice", "View: [ A. Frontal. or B. Lateral. ]. Current X-ray: <image> .", "A. Frontal.",
            option_list=VIEWS, answer_list=["A. Frontal."]),
        ask(2, "multi-choice-3", "Which are seen?", "Edema and a fracture.", option_list=SEEN, answer_list=SEEN[:2]),
        grounding("left lung", [52.23, 12.5, 85.71, 93.75]),
        ask(3, "single-choice", "Where? [ 1. Left lung; 2. Right lung. or 3. Mediastinum. ].", "2. Right lung.",
            option_list=PLACES, answer_list=["2. Right lung."]),
        ask(2, "yes_no", "Is there an effusion?", "Yes. There is a small left effusion."),
        ask(4, "captioning", "How do the findings relate?", "The effusion may be due to the fracture."),
        ask(5, "multi-choice-3", "What changed? A. Now small, was moderate; B. It has shrunk or C. None of all. "
            "Reference X-ray: <image> .", "A. Now small, was moderate and B. It has shrunk.", 2,
            option_list=CHANGES, answer_list=CHANGES[:2]),
        ask(6, "captioning", "What is the outlook?", "The effusion will resolve.", 2),
        ask(7, "captioning", "What do you advise?", "Another radiograph.", 2),
        ask(8, "captioning", "Write the report.", "There is a small left effusion.", 2, completion="An effusion."),
    ],
}  # fmt: skip
OTHER = {
    "pat_id": "mimic_1", "study_id": "s12345", "ref_study_id": "", "image": ["pa.png", "lateral.png"],
    "content": [
        ask(3, "single-choice", "Pick: [ The opacity is described as round. or Opacities at both bases. ]",
            "The opacity is seen to be round.", 2, option_list=WORDED, answer_list=WORDED[:1]),
        ask(8, "captioning", "Sum up.", "Normal.", 2),
    ],
}  # fmt: skip


def write(tmp_path, *rows, pictures=False):
    for name in (*STUDY["image"], *OTHER["image"]) if pictures else ():
        Image.new("L", (32, 32), 90).save(tmp_path / name)
    path = tmp_path / "studies.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def read(tmp_path, *rows, pictures=False):
    return list(BENCH.read(write(tmp_path, *rows, pictures=pictures), None))


def test_a_study_is_a_conversation_in_its_order(tmp_path):
    items = read(tmp_path, STUDY, OTHER)
    assert [item.table for item in items] == [
        "stage1-single-choice", "stage2-multi-choice", "stage3-detection", "stage3-single-choice", "stage2-yes_no",
        "stage4-captioning", "stage5-multi-choice", "stage6-captioning", "stage7-captioning", "stage8-captioning",
        "stage3-single-choice", "stage8-captioning",
    ]  # fmt: skip
    assert [item.conversation for item in items] == ["cheXpert_patient1/study2"] * 10 + ["s12345"] * 2
    assert [len(item.example.context) for item in items] == [*range(10), 0, 1]
    assert items[1].example.context[0].answer == "A. Frontal."
    assert items[0].example.question == "View: [ A. Frontal. or B. Lateral. ]."
    assert [item.index for item in items] == list(range(12))
    assert (items[9].completion, items[0].completion) == ("An effusion.", None)
    assert items[0].about == {"sex": "F"}


def test_what_is_compared_is_the_choice_and_not_its_explanation(tmp_path):
    items = read(tmp_path, STUDY, OTHER)
    compared = {item.index: item.gold["answer"] for item in items}
    assert [compared[index] for index in (0, 1, 3, 4, 6, 10)] == ["A", "A, B", "2", "Yes", "A, B", "A"]
    assert compared[2] == "[52.23, 12.5, 85.71, 93.75]"


def test_options_are_given_once(tmp_path):
    items = read(tmp_path, STUDY, OTHER)
    beside = {item.index: item.example.options for item in items if item.example.options}
    assert beside == {1: tuple(SEEN)}


@pytest.mark.parametrize("index", range(12))
def test_the_reference_is_right_by_every_rule(tmp_path, index):
    item = read(tmp_path, STUDY, OTHER)[index]
    grade = BENCH.grade(item, item.example.answer if index not in (1, 10) else item.gold["answer"], READER)
    assert grade.official is (None if item.gold["kind"] in (DETECTION, TEXT) else True)
    assert grade.strict is (None if item.gold["kind"] == TEXT else True)


def test_the_pictures_of_a_question_are_those_it_counts(tmp_path):
    items = read(tmp_path, STUDY, OTHER, pictures=True)
    assert [len(item.example.images) for item in items] == [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    assert items[0].example.images[0].endswith("now.png")
    (tmp_path / "before.png").unlink()
    found = read(tmp_path, STUDY)
    assert [isinstance(one, Item) for one in found] == [True] * 6 + [False] * 4
    assert found[6].problem == "content[6]: no picture before.png"


def test_wild_rows_are_named_and_kill_nothing(tmp_path):
    content = [ask(9, "x", "Q?", "A"), "text", ask(1, "yes_no", "", "A"), ask(1, "yes_no", "Q?", "No.", 3)]
    broken = {"study_id": "s2", "image": ["now.png"], "content": content}
    found = read(tmp_path, STUDY, {"study_id": "s3", "content": []}, broken, STUDY)
    bad = [one for one in found if isinstance(one, Malformed)]
    assert [one.line for one in bad] == [2, 3, 3, 3, 3, 4]
    assert "content[0]: 'stage' must be 1 to 8" in bad[1].problem
    assert "content[3]: 'image_input_count' must be 1 to 1, the study's pictures, found 3" in bad[4].problem
    assert "the dialogue of row 1 again" in bad[5].problem
    assert sum(isinstance(one, Item) for one in found) == 10


def test_two_dialogues_about_a_study_are_two_conversations(tmp_path):
    items = read(tmp_path, OTHER, {**OTHER, "content": OTHER["content"][1:]})
    assert [item.conversation for item in items] == ["s12345", "s12345", "s12345 (2)"]
    assert {item.example.study_id for item in items} == {"s12345"}


def test_several_files_of_a_folder_are_counted_on(tmp_path):
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps([STUDY, OTHER]), encoding="utf-8")
    with closing(Store()) as store:
        for _, item in read_items(BENCH, tmp_path, None, Faults()):
            assert store.add(item) is not None
        assert len(store) == 24 and store.tables["stage8-captioning"] == [9, 11, 21, 23]
        assert len({store.conversation(position) for position in range(24)}) == 4
        assert [store[position].index for position in range(24)] == list(range(24))
        predictions = Given(tmp_path, BENCH, None, False, None)
        answered = [dict(row, completion="Yes.") for row in STUDY["content"]]
        for name in ("a.json", "b.json"):
            (tmp_path / name).write_text(json.dumps([{**STUDY, "content": answered}, OTHER]), encoding="utf-8")
        found = [position for position, *_ in predictions._found(store, Faults())]
        assert found == [*range(10), *range(12, 22)]


def test_what_was_shown_stays_in_the_conversation(tmp_path):
    again = {**STUDY, "content": [*STUDY["content"], ask(8, "captioning", "Again.", "Normal.", 1)]}
    *_, last = read(tmp_path, again, pictures=True)
    assert len(last.example.images) == 2
    prompt = conversation(last.example.context, "Again.", (), 2, PROFILES["cxrtrek"])
    shown = [sum(b["type"] == "image" for b in m["content"]) for m in prompt if m["role"] == "user"]
    assert shown == [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], "where it is asked about, and once"


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
        (["", "Findings_Detection"], [], "[1, 2, 3, 4]", DETECTION),
        (["captioning"], [], "The lungs are clear.", TEXT),
        (["", "Report_Generation[Impression]"], [], "No.", TEXT),
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
        (SINGLE, "A", "A. Frontal.", VIEWS, True, True),
        (SINGLE, "(a) frontal", "A. Frontal.", VIEWS, True, True),
        (SINGLE, "Frontal", "A. Frontal.", VIEWS, True, True),
        (SINGLE, "A. Lateral.", "A. Frontal.", VIEWS, False, False),
        (SINGLE, "It is a frontal view.", "A. Frontal.", VIEWS, False, True),
        (SINGLE, "B", "A. Frontal.", VIEWS, False, False),
        (SINGLE, "A or B", "A. Frontal.", VIEWS, False, False),
        (SINGLE, None, "A. Frontal.", VIEWS, False, False),
        (SINGLE, "A. Yes.", "A. Yes. There is, and it has grown, a nodule.", ["A. Yes.", "B. No."], True, True),
        (SINGLE, "2", "2. Right lung.", PLACES, True, True),
        (SINGLE, "Right lung", "2. Right lung.", PLACES, True, True),
        (SINGLE, "1. Left lung.", "2. Right lung.", PLACES, False, False),
        (YES_NO, "Yes, it has grown.", "Yes", [], True, True),
        (YES_NO, "It has not.", "No", [], False, True),
        (YES_NO, "No", "Yes", [], False, False),
        (YES_NO, "Yes. The opacity was 2 cm. No effusion is seen.", "Yes. It is larger.", [], True, True),
        (MULTI, "Fracture, edema", "Edema, Fracture", SEEN, True, True),
        (MULTI, "Edema", "Edema, Fracture", SEEN, False, False),
        (MULTI, "There are an edema and a fracture.", "Edema, Fracture", SEEN, False, True),
        (MULTI, "A, C", "C; A", ["A. Edema", "B. Fracture", "C. Mass"], True, True),
        (MULTI, "B and A", "A. Now small, was moderate and B. It has shrunk.", CHANGES, True, True),
        (MULTI, "A. Now small, was moderate", "A. Now small, was moderate and B.", CHANGES, False, False),
        (SINGLE, "Frontal.", "frontal", [], True, True),
    ],
)  # fmt: skip
def test_choices(kind, given, gold, options, exact, right):
    question = "Has it grown?" if kind == YES_NO else "Which?"
    found = score(kind, given, reference(kind, gold, [], None, options, question), options, question)
    assert (found.exact, found.right) == (exact, right)


def test_an_option_that_the_answer_words_anew_is_known_by_the_list_of_answers():
    asked = "Pick: [ The opacity is described as round. or Opacities at both bases. ]"
    gold = reference(SINGLE, "The opacity is seen to be round.", WORDED[:1], None, WORDED, asked)
    for words, right in zip(WORDED, (True, False), strict=True):
        found = score(SINGLE, words, gold, WORDED, asked)
        assert (found.exact, found.right) == (right, right)


def test_an_explanation_that_says_the_other_is_no_answer():
    asked = "Is there an effusion?"
    for words, right in (("Yes. A small one is seen.", True), ("Yes. There is no effusion.", False)):
        assert score(YES_NO, words, "Yes", [], asked).right is right


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


def test_a_list_of_boxes_that_is_none_leaves_those_of_the_answer():
    answer = "<|ref|> trachea <|/ref|> <|box|>(41.07, 1.79), (55.8, 50.0)<|/box|>."
    for boxes in (None, [], [[1, 2, 3]], ["x"], [[1, 2, 3, True]]):
        assert reference(DETECTION, answer, [], boxes, [], "") == answer
    assert score(DETECTION, "[41.07, 1.79, 55.8, 50]", answer, [], "").right


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


_WILD = st.one_of(st.none(), st.text(max_size=12), st.integers(-2, 9), st.floats(), st.lists(st.text(max_size=4)))


@given(
    st.sampled_from([YES_NO, SINGLE, MULTI, DETECTION, TEXT]),
    st.none() | st.text(max_size=80),
    st.text(min_size=1, max_size=40),
    st.lists(st.text(min_size=1, max_size=10), max_size=4),
    st.lists(st.text(max_size=10), max_size=3),
    _WILD | st.lists(st.lists(st.floats(), max_size=5), max_size=3),
)
def test_whatever_a_model_writes_is_scored(kind, words, gold, options, listed, boxes):
    try:
        compared = reference(kind, gold, listed, boxes, options, "Which?")
    except ValueError:
        assert kind == DETECTION and boxes, "boxes that are none"
        return
    found = score(kind, words, compared, options, "Which?")
    assert all(value is None or 0 <= value <= 1.0001 for value in found.values.values())
    assert all(count >= 0 for count in found.counts.values())


_FIELDS = ("stage", "qtype", "task_type", "image_input_count", "question", "answer", "option_list", "answer_list",
           "bbox_list", "completion")  # fmt: skip


@given(st.sampled_from(range(len(STUDY["content"]))), st.dictionaries(st.sampled_from(_FIELDS), _WILD, max_size=4))
def test_a_wild_question_spoils_only_itself(tmp_path_factory, index, wild):
    content = [row | (wild if number == index else {}) for number, row in enumerate(STUDY["content"])]
    found = read(tmp_path_factory.mktemp("wild"), {**STUDY, "content": content}, OTHER)
    bad = [one for one in found if isinstance(one, Malformed)]
    assert len(found) == 12 and all(one.line == 1 and f"content[{index}]" in one.problem for one in bad)
    for item in found:
        if isinstance(item, Item):
            BENCH.grade(item, item.example.answer, READER)


def test_a_grade_says_why_the_rules_differ(tmp_path):
    item = read(tmp_path, STUDY)[0]
    grade = BENCH.grade(item, "It is a frontal view.", READER)
    assert (grade.official, grade.strict, grade.note) == (False, True, "official: other words; strict: as it is read")
    assert BENCH.grade(item, "A. Frontal", READER).note == ""


def test_dialogues_are_scored_end_to_end_with_own_and_reference_context(tmp_path, openai_server):
    server = openai_server(lambda content, number: (200, "Yes."))
    path = write(tmp_path, STUDY, OTHER, pictures=True)
    scores = run(Wanted("cxrtrek", tmp_path / "run", path, models={"m": server.url}, context="both", resamples=20))
    assert list(scores) == ["m-own", "m-reference"]
    assert scores["m-own"]["stage2-yes_no"]["official"] == 1.0
    assert scores["m-own"]["stage3-detection"]["detection_f1"] == scores["m-own"]["stage3-detection"]["iou"] == 0.0
    assert scores["m-own"]["stage8-captioning"]["official"] is None
    assert server.asked == 24
