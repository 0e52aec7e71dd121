"""Boxes in answers and in steps: what they earn, and that flooding, wild and blind ones earn little."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.boxes import write
from reasoner.findings import extract_report, labels_of
from reasoner.mining.chains import merge
from reasoner.mining.drafts import Read
from reasoner.mining.grounding import sought
from reasoner.mining.questions import build_examples
from reasoner.phantom.source import PhantomSource
from reasoner.prompts import format_completion
from reasoner.schema import Example, Study, Target
from rewards.answers import answer_reward
from rewards.answers.boxes import LEAST, boxes_of, iou
from rewards.edits import corrections
from rewards.process import process
from rewards.radrscore.places import ELSEWHERE
from rewards.registry import RewardSet
from rewards.skill import skill_reward
from rewards.stage import stage_reward

GOLD = "[62, 70, 88, 92]"
WHOLE = "[0, 0, 100, 100]"
REPORT = "FINDINGS: Small left pleural effusion. The heart is enlarged. No pneumothorax."
CHAIN = (
    "There is a small left pleural effusion [62, 70, 88, 92]. The heart is enlarged [30, 40, 70, 80]. No pneumothorax."
)


def answer(text: str, gold: str = GOLD) -> float:
    value = answer_reward(format_completion("x", text), answer=gold, task="detection").value
    assert value is not None
    return value


def stage(text: str, gold: str = GOLD) -> float:
    corners = tuple(value for box in boxes_of(gold)[0] for value in box)
    target = Target("detection", boxes=corners)
    return stage_reward(format_completion("x", text), question="?", answer="There.", target=target).value or 0.0


@pytest.mark.parametrize("value", [answer, stage])
@pytest.mark.parametrize(
    ("text", "worth"),
    [
        (GOLD, 1.0),
        ("[62, 70, 88, 81]", 0.5),
        ("[62%, 70%, 88%, 81%]", 0.5),
        (f"{GOLD}, [1, 1, 9, 9]", 0.5),
        (f"{GOLD}, {GOLD}, {GOLD}, {GOLD}", 0.25),
        (", ".join([GOLD, *(f"[{n}, 0, {n + 9}, 9]" for n in range(60))]), 1 / 61),
        (WHOLE, 0.0),
        ("[88, 92, 62, 70]", 0.0),
        ("[62, 70, 62, 92]", 0.0),
        ("[62, 70, 101, 92]", 0.0),
        ("[-1, 70, 88, 92]", 0.0),
        ("[62, 70, 88]", 0.0),
        ("[nan, inf, 1e9, x]", 0.0),
        ("[9999999999, 70, 88, 92]", 0.0),
        ("on the left, at the base", 0.0),
        ("", 0.0),
    ],
)
def test_an_answer_earns_what_its_boxes_meet(value, text, worth):
    assert value(text) == pytest.approx(worth)


def test_boxes_are_paired_one_to_one():
    two = "[10, 71, 40, 93], [62, 70, 88, 92]"
    assert answer(two, two) == 1.0 and answer(GOLD, two) == 0.5
    assert answer(f"{GOLD}, {GOLD}", two) == 0.5, "one box is not two"


@given(st.text(alphabet="[](),.- 0123456789xenot", max_size=80))
def test_any_answer_earns_from_0_to_1(text):
    assert 0.0 <= answer(text) <= 1.0 and 0.0 <= stage(text) <= 1.0


def steps(text: str) -> tuple[float, float, list[dict]]:
    """The process reward, the skill and what the evidence says of boxes."""
    completion = format_completion(text, "x")
    rated = process(completion, reasoning=CHAIN, report=REPORT)
    skilled = skill_reward(completion, reasoning=CHAIN, report=REPORT, task="grounding")
    entries = [entry["box"] for entry in rated.evidence if entry["part"] == "factuality" and "box" in entry]
    assert [entry["box"] for entry in skilled.evidence if "box" in entry] == entries
    assert rated.value is not None and skilled.value is not None
    return rated.value, skilled.value, entries


def with_box(box: str) -> str:
    return CHAIN.replace(f" {GOLD}", box and f" {box}")


def test_a_step_with_a_right_finding_and_a_wrong_box_is_less_true():
    right, near, wrong, none = (steps(with_box(box)) for box in (GOLD, "[60, 66, 88, 92]", "[10, 70, 36, 92]", ""))
    for reward in (0, 1):
        assert right[reward] > near[reward] > wrong[reward] == none[reward]
    rated = process(format_completion(with_box(WHOLE), "x"), reasoning=CHAIN, report=REPORT)
    assert rated.parts["factuality"] == pytest.approx((1 + 1 + ELSEWHERE) / 3)
    assert right[2][0] == {"given": GOLD, "wanted": GOLD, "worth": 1.0}
    assert near[2][0]["worth"] == pytest.approx(iou((60, 66, 88, 92), (62, 70, 88, 92)), abs=1e-3)
    assert wrong[2][0]["worth"] == none[2][0]["worth"] == 0.0 and none[2][0]["given"] == ""


@pytest.mark.parametrize(
    ("text", "like"),
    [
        (with_box(f"{GOLD}, [1, 1, 9, 9]"), 0.5),
        (with_box(" ".join([GOLD, *(f"[{n}, 0, {n + 9}, 9]" for n in range(40))])), 1 / 41),
        (with_box("[62, 70, 101, 92]"), 0.0),
        (with_box("[88, 92, 62, 70]"), 0.0),
        (f"{CHAIN} The left pleural effusion is small {GOLD}.", 1.0),  # said again, in the same place
        (f"{CHAIN} The left pleural effusion is small [1, 1, 9, 9].", 0.5),  # and in another
        (f"{CHAIN} [1, 1, 9, 9] [2, 2, 8, 8]", 1.0),  # boxes of nothing are none
        (with_box("(62, 70), (88, 92)"), 1.0),
    ],
)
def test_boxes_of_one_finding_count_together_wherever_they_stand(text, like):
    assert steps(text)[2][0]["worth"] == pytest.approx(like, abs=1e-3)


def test_sides_and_names_belong_together():
    chain = "Bilateral pleural effusions are seen [10, 71, 40, 93], [62, 70, 88, 92]. There is a left rib fracture."
    report = "FINDINGS: Bilateral pleural effusions. Left rib fracture."

    def worth(text):
        found = process(format_completion(text, "x"), reasoning=chain, report=report).evidence
        return [e["box"]["worth"] for e in found if e["part"] == "factuality" and "box" in e]

    assert worth(chain) == [1.0]
    assert worth("There is a left effusion [62, 70, 88, 92].") == [1.0], "that on the right is none of its own"
    assert worth("There is a left effusion [62, 70, 88, 92] and a right effusion [10, 71, 40, 93].") == [1.0, 1.0]
    assert worth("There is a left effusion [10, 71, 40, 93] and a right effusion [62, 70, 88, 92].") == [0.0, 0.0]
    assert worth("There is a left rib fracture [1, 1, 9, 9].") == [], "the chain has no box for it: not known"
    assert worth("There is a left rib fracture [62, 70, 88, 92] and bilateral pleural effusions.") == [0.0]


def test_a_chain_without_boxes_asks_for_none():
    bare = "There is a small left pleural effusion. The heart is enlarged. No pneumothorax."
    plain, boxed = (process(format_completion(text, "x"), reasoning=bare, report=REPORT) for text in (bare, CHAIN))
    assert plain.value == boxed.value == 1.0 and not any("box" in entry for entry in boxed.evidence)


def test_a_corrected_completion_keeps_its_boxes_and_takes_those_of_the_reference():
    text = format_completion(f"No pleural effusion. The heart is enlarged [29, 40, 70, 80]. {'No pneumothorax.'}", "x")
    better = corrections(text, CHAIN, "x", process(text, reasoning=CHAIN, report=REPORT).evidence)
    assert GOLD in better[0] and "[29, 40, 70, 80]" in better[0]


def test_where_the_question_says_what_is_there_finding_it_is_no_skill():
    row = {"completion": format_completion(CHAIN, GOLD), "reasoning": CHAIN, "report": REPORT, "answer": GOLD}
    scores = RewardSet.build({"answer": 1.0, "skill": 1.0, "process": 1.0}).score({**row, "task": "detection"})
    assert scores["skill"].value is None and scores["answer"].value == scores["process"].value == 1.0
    assert corrections(row["completion"], CHAIN, GOLD, scores["skill"].evidence) == [], "nothing is known to be wrong"


@cache
def asked() -> list[Example]:
    """Detection on phantoms, all findings."""
    source, found = PhantomSource(None, Path("."), findings="all", boxes=True, image_size=56), []
    for n in range(100):
        case, written, _ = source.case("test", n)
        study = Study(f"s{n}", "p", written.report, labels=case.labels, boxes=source.locate("test", n))
        findings = extract_report(written.report)
        read = Read(study, tuple(merge(findings)), labels_of(findings), "concise", 0)
        found += [row for row in build_examples(read, {"detection": 2.0}) if isinstance(row, Example)]
    return found


def test_a_box_around_everything_earns_little():
    rows = asked()
    blind = {
        "all": WHOLE,
        "the chest": "[15, 10, 85, 80]",
        "each half": "[0, 0, 50, 100], [50, 0, 100, 100]",
        "each lung": "[15, 12, 47, 76], [53, 12, 85, 76]",
        "a raster": write((x, y, x + 20, y + 20) for x in range(0, 100, 20) for y in range(0, 100, 20)),
    }
    means = {name: fmean(answer(text, row.answer) for row in rows) for name, text in blind.items()}
    assert len(rows) > 100 and means["all"] < 0.02 and max(means.values()) < 0.12, means
    assert all(answer(row.answer, row.answer) == 1.0 for row in rows)
    kinds = {sought(row.question) for row in rows}
    assert len(kinds) > 8 and LEAST < 0.5 and math.isclose(answer(GOLD), 1.0)
