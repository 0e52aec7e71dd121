"""Metrics of boxes, by hand."""

from __future__ import annotations

import pytest

from eval.bootstrap import estimates
from eval.metrics import metrics, statistics
from reasoner.prompts import format_completion
from reasoner.scores import HEADLINE
from rewards.registry import Score

CHAIN = "There is a left pleural effusion [0, 0, 10, 10]. There is a right rib fracture [20, 20, 30, 30]."


def row(study: str, task: str, reasoning: str, answer: str, gold: str = "[0, 0, 10, 10]") -> dict:
    return {
        "id": f"{study}-{task}", "study_id": study, "task": task, "question": "Where?", "options": [], "sample": 0,
        "reasoning": CHAIN if task == "grounding" else "", "answer": gold, "labels": None, "label_source": None,
        "completion": format_completion(reasoning, answer), "report": "",
    }  # fmt: skip


def measured(*rows: dict) -> dict[str, float]:
    none = Score(None)
    scores = {"format": Score(1.0), "answer": Score(0.5), "process": none, "skill": none}
    return {
        name: found.value
        for name, found in estimates(statistics(rows, [scores] * len(rows)), metrics, resamples=20).items()
    }


def test_boxes_of_answers():
    found = measured(
        row("a", "detection", "x", "[0, 0, 10, 8]"),  # 0.8, found
        row("b", "detection", "x", "[0, 0, 10, 10], [50, 50, 60, 60]"),  # 1 of 2: found, and one too many
        row("c", "detection", "x", "[0, 0, 10, 4]"),  # 0.4: neither found
        {**row("d", "detection", "x", ""), "completion": "Somewhere."},  # missed
    )
    assert found["box_iou"] == pytest.approx((0.8 + 0.5 + 0.4 + 0) / 4)
    assert found["box_f1"] == pytest.approx(2 * 2 / (2 * 2 + 2 + 2))
    assert not {"step_box_iou", "accuracy/detection"} & found.keys()
    assert {"box_iou", "box_f1", "step_box_iou", "step_box_f1"} <= HEADLINE.keys()


def test_boxes_of_steps_are_paired_within_a_finding():
    found = measured(
        row("a", "grounding", CHAIN, "x"),  # 1
        row("b", "grounding", CHAIN.replace("[20, 20, 30, 30]", "[0, 0, 10, 10]"), "x"),  # 1/2: a place of another
        row("c", "grounding", "There is a left pleural effusion [0, 0, 10, 10].", "x"),  # 1/2
        row("d", "grounding", "Nothing.", "x"),
        row("e", "grounding", f"{CHAIN} The heart is enlarged [1, 1, 2, 2].", "x"),  # 2/3
    )
    assert found["step_box_iou"] == pytest.approx((1 + 0.5 + 0.5 + 0 + 2 / 3) / 5)
    tp, fp, fn = 2 + 1 + 1 + 0 + 2, 0 + 1 + 0 + 0 + 1, 0 + 1 + 1 + 2 + 0
    assert found["step_box_f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert "box_iou" not in found


def test_readings_without_boxes_have_no_score_of_boxes():
    assert not {name for name in measured(row("a", "binary", CHAIN, "Yes", "Yes")) if "box" in name}
