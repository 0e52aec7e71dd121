"""Boxes against the reference's: of an answer, and those that a reasoning text gives its findings. Pure functions.

Of each question the mean intersection over union of the boxes, paired one to one and best first, over the larger number
of boxes; and `tp`, `fp`, `fn` of boxes with at least half. In a reasoning text only boxes of one finding are paired. An
answer that cannot be read names no box.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.bootstrap import Array
from eval.lists import f1
from reasoner.mining.grounding import DETECTION, GROUNDING
from reasoner.prompts import parse_completion
from rewards.answers.kinds import BOXES, FOUND, grade_kind
from rewards.radrscore.places import place_counts, places_in
from rewards.radrscore.reading import read_reasoning
from rewards.radrscore.recall import read_reference

#: The mean, the F1 at `FOUND`, and what its counts are of: of answers, and of steps.
ANSWERS = ("box_iou", "box_f1", BOXES)
STEPS = ("step_box_iou", "step_box_f1", "step boxes")


def box_statistics(row: Mapping[str, Any]) -> dict[str, float]:
    """Counts of a prediction row of a task that asks for boxes; none where the reference has no box."""
    said = parse_completion(row["completion"])
    if row["task"] == DETECTION:
        scored = grade_kind("detection", said.answer, row["answer"], (), row["question"])
        return _mean(ANSWERS[0], scored.values["iou"] or 0.0) | dict(scored.counts)
    wanted = read_reference(row["reasoning"]).places if row["task"] == GROUNDING else ()
    given = places_in(said.reasoning, read_reasoning(said.reasoning)) if row["task"] == GROUNDING else ()
    if not wanted and not given:
        return {}
    mean, counts = place_counts(given, wanted, FOUND)
    return _mean(STEPS[0], mean) | {f"{kind}:{STEPS[2]}": count for kind, count in counts.items()}


def box_metrics(totals: Mapping[str, Array]) -> dict[str, Array]:
    """F1 of the boxes of answers and of steps, as far as there are any; NaN where there is none."""
    found = {}
    for _, name, boxes in (ANSWERS, STEPS):
        if f"tp:{boxes}" in totals:
            found[name] = f1(totals, [boxes])
    return found


def _mean(name: str, value: float) -> dict[str, float]:
    return {f"n:{name}": 1.0, f"sum:{name}": value}
