"""Scored predictions to metrics. Pure functions; definitions in docs/evaluation.md.

The abnormality list is scored over the 14 CheXpert classes as answered: `micro_f1` counts `No Finding` like any class
and counts a name that is no class as one false positive; `micro_f1_13` leaves `No Finding` out. `macro_f1` averages
the classes that occur in the references. An answer that cannot be read names nothing, so it misses every class.
What the reasoning claims is counted in `eval.claims`, whether the answer follows from it in `eval.following`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.bootstrap import Array, Statistics
from eval.claims import CONFIDENT, DETAILED, HEDGED, NAMED, claim_statistics, claims_of
from eval.following import following_statistics
from eval.specificity import specificity_statistics
from reasoner.prompts import parse_completion
from reasoner.schema import CLASSES, NO_FINDING
from rewards.answers import LIST_TASK, GoldList, gold_list, parse_class_list
from rewards.radrscore import PARTS
from rewards.registry import Score

_UNKNOWN = "unknown"


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
        name.removeprefix("n:"): _ratio(totals[name.replace("n:", "sum:", 1)], count)
        for name, count in totals.items()
        if name.startswith("n:")
    }
    return means | _claim_metrics(totals) | (_list_metrics(totals) if "n:exact_match" in totals else {})


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
    elif answer is not None:
        add(f"accuracy/{task}", answer == 1.0)
    claims = claims_of(row)
    found |= specificity_statistics(row, score["process"].value)
    return found | claim_statistics(row, claims) | following_statistics(row, claims)


def _list_statistics(row: Mapping[str, Any]) -> dict[str, float]:
    answer = parse_completion(row["completion"]).answer
    given, unknown = parse_class_list(answer or "")
    gold = gold_classes(row)
    named = gold.counted(given)
    exact = named == set(gold.classes) and not unknown
    found = {"n:exact_match": 1.0, "sum:exact_match": float(exact), f"fp:{_UNKNOWN}": float(len(unknown))}
    for name in CLASSES:
        # Stored even where 0, so that every class has its column.
        found[f"tp:{name}"] = float(name in named and name in gold.classes)
        found[f"fp:{name}"] = float(name in named and name not in gold.classes)
        found[f"fn:{name}"] = float(name not in named and name in gold.classes)
    return found


def _claim_metrics(totals: Mapping[str, Array]) -> dict[str, Array]:
    f1 = {"claim_f1": DETAILED, "claim_f1_names": NAMED}
    counts = {"hedged_claims": HEDGED, "confident_claims": CONFIDENT}
    return {name: _f1(totals, [kind]) for name, kind in f1.items() if f"tp:{kind}" in totals} | {
        name: totals[f"n:{kind}"] for name, kind in counts.items() if f"n:{kind}" in totals
    }


def _list_metrics(totals: Mapping[str, Array]) -> dict[str, Array]:
    positives = [name for name in CLASSES if name != NO_FINDING]
    found = {
        "micro_f1": _f1(totals, CLASSES, unknown=True),
        "micro_f1_13": _f1(totals, positives, unknown=True),
        "micro_precision": _precision(totals, CLASSES),
        "micro_recall": _ratio(_sum(totals, "tp", CLASSES), _sum(totals, "tp", CLASSES) + _sum(totals, "fn", CLASSES)),
    }
    per_class = {}
    for name in CLASSES:
        support = totals[f"tp:{name}"] + totals[f"fn:{name}"]
        per_class[name] = np.where(support > 0, _f1(totals, [name]), np.nan)
    found["macro_f1"] = _mean_defined(list(per_class.values()))
    return found | {f"f1/{name}": value for name, value in per_class.items()}


def _sum(totals: Mapping[str, Array], kind: str, names: Sequence[str]) -> Array:
    return np.sum([totals[f"{kind}:{name}"] for name in names], axis=0)


def _f1(totals: Mapping[str, Array], names: Sequence[str], unknown: bool = False) -> Array:
    twice = 2 * _sum(totals, "tp", names)
    wrong = _sum(totals, "fp", names) + _sum(totals, "fn", names) + (totals[f"fp:{_UNKNOWN}"] if unknown else 0)
    return _ratio(twice, twice + wrong)


def _precision(totals: Mapping[str, Array], names: Sequence[str]) -> Array:
    right = _sum(totals, "tp", names)
    return _ratio(right, right + _sum(totals, "fp", names) + totals[f"fp:{_UNKNOWN}"])


def _ratio(numerator: Array, denominator: Array) -> Array:
    """NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def _mean_defined(values: Sequence[Array]) -> Array:
    stacked = np.stack(values)
    defined = ~np.isnan(stacked)
    return _ratio(np.where(defined, stacked, 0.0).sum(axis=0), defined.sum(axis=0).astype(float))
