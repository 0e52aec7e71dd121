"""The stage reward, each kind against a value that was worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.prompts import format_completion
from reasoner.schema import Target
from rewards.registry import RewardSet, gated_total
from rewards.stage import grade_turn, stage_reward, text_worth

VIEWS = ("A. Frontal.", "B. Lateral.")
SEEN = ("Edema", "Fracture", "Pneumothorax")
EFFUSION = "There is a small left pleural effusion."


@pytest.mark.parametrize(
    ("target", "answer", "given_", "value"),
    [
        # Letters and the words of options: all or nothing.
        (Target("single-choice", VIEWS, VIEWS[:1]), "A. Frontal.", "A", 1.0),
        (Target("single-choice", VIEWS, VIEWS[:1]), "A. Frontal.", "Frontal", 1.0),
        (Target("single-choice", VIEWS, VIEWS[:1]), "A. Frontal.", "B. Lateral.", 0.0),
        (Target("single-choice", VIEWS, VIEWS[:1]), "A. Frontal.", "A or B", 0.0),
        # Several: hits {Edema} of two wanted, and one that is wrong: 2 x 1 / (2 + 2).
        (Target("multi-choice", SEEN, SEEN[:2]), "Edema and a fracture.", "Edema, Fracture", 1.0),
        (Target("multi-choice", SEEN, SEEN[:2]), "Edema and a fracture.", "Edema", 2 / 3),
        (Target("multi-choice", SEEN, SEEN[:2]), "Edema and a fracture.", "Edema, Pneumothorax", 0.5),
        (Target("yes_no"), "Yes. There is a small effusion.", "Yes", 1.0),
        (Target("yes_no"), "Yes. There is a small effusion.", "No.", 0.0),
        # Boxes: 5 x 10 of 10 x 10 shared, union 10 x 10; the same beside a box too many.
        (Target("detection", boxes=(0, 0, 10, 10)), "Somewhere.", "[0, 0, 5, 10]", 0.5),
        (Target("detection", boxes=(0, 0, 10, 10)), "Somewhere.", "[0, 0, 5, 10], [50, 50, 60, 60]", 0.25),
        (Target("detection", boxes=(0, 0, 10, 10)), "Somewhere.", "Nowhere.", 0.0),
        # Two boxes wanted, one found whole: 1 / 2.
        (Target("detection", boxes=(0, 0, 10, 10, 20, 20, 30, 30)), "Two.", "[20, 20, 30, 30]", 0.5),
        # Findings: one of two right, nothing wrong: 2 / (2 + 1); one right and one wrong: 2 / (2 + 1).
        (Target("captioning"), f"{EFFUSION} The heart is enlarged.", EFFUSION, 2 / 3),
        (Target("captioning"), EFFUSION, f"{EFFUSION} The heart is enlarged.", 2 / 3),
        # By name right, by side wrong: (1 + 0) / 2; the same without the degree.
        (Target("captioning"), EFFUSION, "There is a small right pleural effusion.", 0.5),
        (Target("captioning"), EFFUSION, "There is a left pleural effusion.", 0.5),
        (Target("captioning"), EFFUSION, "The lungs are clear.", 0.0),
        # Words, where no finding is named: "the image is adequate" shares 3 of 4 and 4 words; another finding is wrong.
        (Target("captioning"), "The image is sharp.", "The image is adequate.", 0.75),
        (Target("captioning"), "The image is sharp.", "There is edema.", 0.0),
        (Target("captioning", chosen=("It is sharp.",)), "The image is sharp.", "it is sharp", 1.0),
        # Where nothing says the kind, options and answer do.
        (Target(), "B. Lateral.", "B", 1.0),
        (Target(), "Yes", "no", 0.0),
        (Target(), "[0, 0, 10, 10]", "[0, 0, 5, 10]", 0.5),
    ],
)
def test_each_kind_has_its_measure(target, answer, given_, value):
    options = VIEWS if answer.startswith("B.") else ()
    row = {"question": "Which?", "answer": answer, "options": options, "task": "stage", "target": target.to_dict()}
    assert stage_reward(format_completion("-", given_), **row).value == pytest.approx(value)
    assert stage_reward(given_, **row, form="plain").value == pytest.approx(value)


def test_changes_count_beside_the_findings():
    grown = "The left pleural effusion has increased."
    assert text_worth(grown, grown) == 1.0
    assert text_worth("The left pleural effusion has decreased.", grown) == 0.5
    assert text_worth("There is a left pleural effusion.", grown) == 0.5
    assert text_worth("The heart is enlarged.", grown) == 0.0


def test_an_answer_that_cannot_be_read_is_worth_nothing():
    row = {"question": "Sharp?", "answer": "Yes", "task": "stage"}
    assert stage_reward("Yes", **row).value == 0.0, "our form has an answer block"
    assert stage_reward("<answer>Yes</answer><answer>No</answer>", **row).value == 0.0
    assert stage_reward("Yes " * 5000, **row, form="plain").value == 0.0
    assert stage_reward("", **row, form="plain").value == 0.0


def test_it_is_for_dialogues_and_their_stages_weigh_what_they_are_given():
    row = {"question": "Sharp?", "answer": "Yes", "stage": 8, "completion": format_completion("-", "Yes")}
    rewards = RewardSet.build({"stage": 1.0, "format": 0.2}, options={"stage": {"weights": {8: 0.5, 3: 0.0}}})
    scores = rewards.score({**row, "task": "stage"})
    assert scores["stage"].value == 0.5 and scores["stage"].parts == {"stage_8": 1.0}
    assert gated_total(scores, rewards.weights) == pytest.approx(0.7)
    for other in ({"task": "binary"}, {"task": "stage", "stage": 3}, {"task": "stage", "answer": ""}):
        assert rewards.score({**row, **other})["stage"].outcome == "abstained"


@given(
    st.none() | st.text(max_size=60),
    st.text(min_size=1, max_size=40),
    st.sampled_from(["", "yes_no", "single-choice", "multi-choice", "detection", "captioning", "new"]),
    st.lists(st.text(min_size=1, max_size=10), max_size=3),
    st.lists(st.floats(-1e6, 1e6), max_size=9),
)
def test_whatever_stands_there_is_worth_something_from_0_to_1(given_, answer, kind, options, boxes):
    target = Target(kind, tuple(options), tuple(options[:1]), tuple(boxes))
    assert 0 <= grade_turn(given_, "Which?", answer, options, target).value <= 1.0001
