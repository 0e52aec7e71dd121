"""Scored predictions to metrics. Pure functions; definitions in docs/evaluation.md.

Of the abnormality list (`eval.lists`) an answer that cannot be read names nothing, so it misses every class. What the
reasoning claims is counted in `rewards.claims`, whether the answer follows from it in `eval.following`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.bootstrap import Array, Statistics
from eval.boxes import box_metrics, box_statistics
from eval.following import following_statistics
from eval.lists import f1, list_counts, list_metrics, ratio
from eval.specificity import specificity_statistics
from reasoner.mining.grounding import DETECTION
from reasoner.prompts import parse_completion
from rewards.answers import LIST_TASK, GoldList, gold_list, parse_class_list
from rewards.claims import CONFIDENT, DENIED, DETAILED, HEDGED, NAMED, claim_statistics, claims_of
from rewards.radrscore import PARTS
from rewards.registry import Score


def gold_classes(row: Mapping[str, Any]) -> GoldList:
    """What the row's list is scored by, as in the answer reward; nothing where the row does not tell."""
    gold = gold_list(row["answer"], row.get("labels"), row.get("label_source"))
    return gold or GoldList((), frozenset(), "")


def statistics(rows: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, Score]]) -> Statistics:
    """Additive statistics by sample and study.

    `rows` are prediction rows (Example fields, `completion`, `sample`), `scores` their rewards `format`, `answer`,
    `skill` and `process`; every sample must hold the same rows. A reward that abstains (None) leaves its row out of its
    mean.

    Raises:
        ValueError: when there are no rows, or the samples hold different rows.
    """
    if not rows:
        raise ValueError("no prediction rows to score")
    samples = 1 + max(row["sample"] for row in rows)
    if len(rows) % samples or len({(row["id"], row["sample"]) for row in rows}) != len(rows):
        raise ValueError(f"{len(rows)} rows do not make {samples} complete samples")
    studies = tuple(sorted({row["study_id"] for row in rows}))
    position = {study: index for index, study in enumerate(studies)}
    columns: dict[str, Array] = defaultdict(lambda: np.zeros((samples, len(studies))))
    for row, score in zip(rows, scores, strict=True):
        cell = row["sample"], position[row["study_id"]]
        for name, amount in _row_statistics(row, score).items():
            columns[name][cell] += amount
    return Statistics(studies, dict(columns))


def metrics(totals: Mapping[str, Array]) -> dict[str, Array]:
    """Totals of `statistics`, each [...], to metrics of the same shape; NaN where nothing of the kind was asked."""
    means = {
        name.removeprefix("n:"): ratio(totals[name.replace("n:", "sum:", 1)], count)
        for name, count in totals.items()
        if name.startswith("n:")
    }
    return (
        means
        | _claim_metrics(totals)
        | box_metrics(totals)
        | (list_metrics(totals) if "n:exact_match" in totals else {})
    )


def _row_statistics(row: Mapping[str, Any], score: Mapping[str, Score]) -> dict[str, float]:
    found: dict[str, float] = {}

    def add(name: str, value: float | None) -> None:
        if value is not None:
            found[f"n:{name}"] = 1.0
            found[f"sum:{name}"] = float(value)

    add("format", score["format"].value)
    add("skill", score["skill"].value)
    add("radrscore", score["process"].value)
    for part in PARTS:
        add(part, score["process"].parts.get(part))
    add("tokens", row.get("tokens"))
    answer, task = score["answer"].value, row["task"]
    add("answer", answer)
    if task == LIST_TASK:
        found |= _list_statistics(row)
    elif answer is not None and task != DETECTION:  # no box is the same to the last pixel
        add(f"accuracy/{task}", answer == 1.0)
    found |= box_statistics(row) | specificity_statistics(row, score["process"].value)
    return found | claim_statistics(row, claims_of(row)) | following_statistics(row)


def _list_statistics(row: Mapping[str, Any]) -> dict[str, float]:
    answer = parse_completion(row["completion"]).answer
    given, unknown = parse_class_list(answer or "")
    gold = gold_classes(row)
    named = gold.counted(given)
    exact = named == set(gold.classes) and not unknown
    return {"n:exact_match": 1.0, "sum:exact_match": float(exact)} | list_counts(named, gold.classes, len(unknown))


def _claim_metrics(totals: Mapping[str, Array]) -> dict[str, Array]:
    kinds = {"claim_f1": DETAILED, "claim_f1_names": NAMED}
    counts = {"confident_claims": CONFIDENT, "hedged_claims": HEDGED, "denied_claims": DENIED}
    return {name: f1(totals, [kind]) for name, kind in kinds.items() if f"tp:{kind}" in totals} | {
        name: totals[f"n:{kind}"] for name, kind in counts.items() if f"n:{kind}" in totals
    }
