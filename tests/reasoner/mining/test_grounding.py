"""Questions for places: whose box is whose, what is asked, and that nothing wild in the boxes stops a run."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.mining.grounding import DETECTION_QUESTIONS, MOST_BOXES, boxes_of, sought
from reasoner.mining.pipeline.balance import answer_key, level_key
from reasoner.mining.pipeline.partition import mine_study
from reasoner.mining.pipeline.run import mine
from reasoner.phantom.source import PhantomSource
from reasoner.schema import NO_FINDING, Box, Example, Finding, Study
from reasoner.sources import open_source
from reasoner.training.dataset import load_examples
from rewards.answers.boxes import boxes_of as read_boxes
from tests.reasoner.sources.conftest import LAYOUTS, picture

TASKS = {"detection": 1.0, "grounding": 1.0}
LEFT, RIGHT = (0.62, 0.7, 0.88, 0.92), (0.1, 0.71, 0.4, 0.93)


def rows(report: str, *boxes: Box, style: str = "concise", tasks=TASKS, **fields) -> list[Example]:
    study = Study("s1", "p1", report, boxes=boxes, **fields)
    made = mine_study(study, tasks, style, 0)
    return [Example.from_dict(Example(**row).to_dict()) for kind, row in made if kind == "example"]


def one(task: str, examples: list[Example]) -> Example:
    (found,) = (example for example in examples if example.task == task)
    return found


EFFUSIONS = (Box("pleural effusion", *LEFT), Box("pleural effusion", *RIGHT))


def test_each_side_has_its_own_box_and_both_sides_have_both():
    left = one("detection", rows("FINDINGS: Small left pleural effusion.", *EFFUSIONS))
    assert left.answer == "[62, 70, 88, 92]" and left.question == DETECTION_QUESTIONS[0].format(n="pleural effusion")
    assert left.reasoning.endswith(" [62, 70, 88, 92].") and "small left pleural effusion" in left.reasoning.lower()
    both = one("detection", rows("FINDINGS: Bilateral pleural effusions.", *EFFUSIONS))
    assert both.answer == "[10, 71, 40, 93], [62, 70, 88, 92]" and both.answer in both.reasoning


def test_a_reading_points_at_what_has_a_box_and_at_nothing_else():
    report = "FINDINGS: Small left pleural effusion. The heart is enlarged. No pneumothorax."
    read = one("grounding", rows(report, EFFUSIONS[0]))
    boxed = [step.text for step in read.steps if "[" in step.text]
    assert len(boxed) == 1 and "effusion" in boxed[0] and read.answer == "Cardiomegaly, Pleural Effusion"
    assert read.reasoning == " ".join(step.text for step in read.steps)


@pytest.mark.parametrize(
    ("report", "boxes", "wanted"),
    [
        ("FINDINGS: The lungs are clear.", (), {"grounding": NO_FINDING}),  # nothing to point at
        ("FINDINGS: The heart is enlarged.", (), {}),  # a collection without boxes
        ("FINDINGS: The heart is enlarged.", EFFUSIONS, {}),  # boxes of something else
        ("FINDINGS: Possible left pleural effusion.", EFFUSIONS, {"grounding": NO_FINDING}),  # nobody knows if it is
        ("FINDINGS: No pleural effusion.", EFFUSIONS, {"grounding": NO_FINDING}),
    ],
)
def test_where_a_place_is_not_asked_for(report, boxes, wanted):
    assert {row.task: row.answer for row in rows(report, *boxes)} == wanted


def test_labels_are_read_by_name_or_kind_and_one_reader_is_asked():
    nodule = Finding("lung_nodule", "present")
    lesion, other = Box("lung lesion", *LEFT), Box("fracture", *RIGHT)
    assert boxes_of([lesion, other], nodule) == ((62, 70, 88, 92),)
    assert boxes_of([lesion, Box("nodule", *RIGHT)], nodule) == ((10, 71, 40, 93),), "the same name goes first"
    second = Box("nodule", 0.0, 0.0, 0.5, 0.5, reader=2)
    assert boxes_of([second, lesion, Box("nodule", *RIGHT)], nodule) == ((10, 71, 40, 93),)
    assert boxes_of([second], nodule) == ((0, 0, 50, 50),)
    assert boxes_of([Box("nodule", n / 20, 0.1, n / 20 + 0.1, 0.2) for n in range(MOST_BOXES + 1)], nodule) == ()


@pytest.mark.parametrize("style", ["concise", "brief", "question", "systematic"])
def test_every_style_points_and_answers_alike(style):
    report = "FINDINGS: Small left pleural effusion. Right rib fracture. No pneumothorax."
    made = rows(
        report, *EFFUSIONS, Box("rib fracture", *RIGHT), style=style, tasks={"detection": 2.0, "grounding": 1.0}
    )
    places = {sought(row.question): row.answer for row in made if row.task == "detection"}
    assert places == {"pleural effusion": "[62, 70, 88, 92]", "fracture": "[10, 71, 40, 93]"}
    assert one("grounding", made).reasoning.count("[") == 2
    assert all(row.answer in row.reasoning for row in made if row.task == "detection")


@cache
def phantoms() -> list[Example]:
    source = PhantomSource(None, Path("."), findings="all", boxes=True, image_size=56)
    found = []
    for index in range(60):
        case, written, _ = source.case("train", index)
        study = Study(f"s{index}", "p", written.report, labels=case.labels, boxes=source.locate("train", index))
        found += [row for kind, row in mine_study(study, TASKS, "brief", 0)]
    assert not [row for row in found if "reason" in row], "no chain is lost"
    return [Example(**row) for row in found if "question" in row]


def test_phantoms_are_asked_for_all_they_show():
    asked = Counter(sought(row.question) for row in phantoms() if row.task == "detection")
    assert len(asked) >= 10 and all("Where" not in name for name in asked)
    for row in phantoms():
        if row.task == "detection":
            boxes, count = read_boxes(row.answer)
            assert len(boxes) == count > 0 and row.boxes


def test_a_place_is_balanced_by_what_is_sought_however_it_is_asked():
    asked = [frame.format(n="nodule") for frame in DETECTION_QUESTIONS]
    for key in (answer_key, level_key):
        assert {key("train", "detection", question, (), "[1, 2, 3, 4]") for question in asked} == {
            key("train", "detection", asked[0], (), "[5, 6, 7, 8]")
        }
        assert key("train", "detection", DETECTION_QUESTIONS[0].format(n="mass"), (), "[1, 2, 3, 4]").answer == "mass"


def test_padchest_gr_is_asked_for_places(tmp_path):
    source = open_source("padchest_gr", str(LAYOUTS["padchest_gr"](tmp_path, True)), tmp_path / "out", {})
    mine(source, tmp_path / "out", tasks=TASKS, workers=0)
    made = load_examples(tmp_path / "out", "val")
    assert one("detection", made).answer == "[60, 70, 90, 95]", "the first reader's"
    assert one("grounding", made).reasoning.count("[60, 70, 90, 95]") == 1


def cxrtrek(folder: Path, *boxes: object) -> Path:
    ask = {"task_type": "T", "image_input_count": 1}
    content = [
        {**ask, "stage": 4, "qtype": "detection", "question": "Where is the pleural effusion?", "answer": "At [62, 70, "
         "88, 92].", "bbox_list": list(boxes)},
        {**ask, "stage": 8, "qtype": "captioning", "question": "Impression?", "answer": "Small left pleural effusion."},
    ]  # fmt: skip
    study = {"pat_id": "p1", "study_id": "s1", "image": ["a.png"], "split": "train", "content": content}
    folder.mkdir(exist_ok=True)
    picture(folder / "a.png")
    (folder / "demo.json").write_text(json.dumps([study]), encoding="utf-8")
    return folder / "demo.json"


def test_cxrtreks_detection_turns_give_places_beside_the_dialogue(tmp_path):
    path = cxrtrek(tmp_path / "in", [62, 70, 88, 92], [62, 70, 880, 92])
    summary = mine(open_source("cxrtrek", str(path), tmp_path / "out", {}), tmp_path / "out", tasks=TASKS, workers=0)
    assert summary["quarantined"] == {"box off the grid": 1} and summary["studies"]["mined"] == 1
    split = next(iter(summary["examples"]["detection"]))
    made = load_examples(tmp_path / "out", split)
    assert Counter(row.task for row in made) == {"stage": 2, "detection": 1, "grounding": 1}
    assert one("detection", made).answer == "[62, 70, 88, 92]"
    assert "effusion is present [62, 70, 88, 92]" in one("grounding", made).reasoning
    alone = mine(
        open_source("cxrtrek", str(path), tmp_path / "as before", {}),
        tmp_path / "as before",
        tasks={"abnormality_list": 1.0},
        workers=0,
    )
    assert alone["examples"].keys() == {"stage"}
    assert [q.question for q in load_examples(tmp_path / "as before", split)] == [
        row.question for row in made if row.task == "stage"
    ]


EDGE = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-1, 2)
WILD = st.builds(
    Box, st.sampled_from(["pleural effusion", "no effusion", "", "[1, 2, 3, 4]", "x" * 500]), EDGE, EDGE, EDGE, EDGE,
    st.integers(-1, 3),
)  # fmt: skip


@given(st.lists(WILD, max_size=12))
def test_wild_boxes_cost_at_most_their_question(boxes):
    for row in rows("FINDINGS: Small left pleural effusion.", *boxes):
        named, count = read_boxes(row.answer)
        assert row.task == "grounding" or len(named) == count > 0
        assert all(0 <= value <= 100 for box in named for value in box)
