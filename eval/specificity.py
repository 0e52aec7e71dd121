"""Chains held to the wrong study: whether a reading is of its own study rather than of any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reasoner.schema import verified_labels
from rewards.claims import read_reference
from rewards.radrscore.skill import WHOLE_FILM

Row = Mapping[str, Any]
#: Where a prediction row keeps its RadRScore against the other study.
OTHER = "radrscore_other"
#: What RadRScore holds a completion to.
_GOLD = ("reasoning", "report", "labels", "label_source")


def partners(rows: Sequence[Row]) -> dict[str, Row]:
    """For each question, by id, that of another study with other findings, of the same task and if possible in the same
    words: the next in the order of ids, and from the last the first. Questions that have none, or no reference chain,
    are left out.
    """
    usable = sorted((row for row in rows if row["reasoning"].strip()), key=lambda row: row["id"])
    found: dict[str, Row] = {}
    for alike in (("task",), ("task", "question")):  # what is found among the same words replaces the rest
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in usable:
            groups.setdefault(tuple(row[name] for name in alike), []).append(row)
        for group in groups.values():
            found |= _next_of_each(group)
    return found


def held_to(row: Row, other: Row) -> dict[str, Any]:
    """The prediction row with the reference of another question."""
    return {**row, "id": f"{row['id']} held to {other['id']}", **{name: other[name] for name in _GOLD}}


def specificity_statistics(row: Row, own: float | None) -> dict[str, float]:
    """Counts of a prediction row whose RadRScore is `own`: by how much that is above the one against another study, and
    whether it is not."""
    other = row.get(OTHER)
    if own is None or other is None:
        return {}
    found = {"specificity": own - other, "wrong_study": float(other >= own)}
    return {f"n:{name}": 1.0 for name in found} | {f"sum:{name}": value for name, value in found.items()}


def _next_of_each(group: Sequence[Row]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    truths = [_truth(row) for row in group]
    for n, row in enumerate(group if len(set(truths)) > 1 else ()):
        after = (at % len(group) for at in range(n + 1, n + len(group)))
        fits = (at for at in after if truths[at] != truths[n] and group[at]["study_id"] != row["study_id"])
        if (first := next(fits, None)) is not None:
            found[row["id"]] = group[first]
    return found


def _truth(row: Row) -> frozenset[str]:
    """The findings of a row, without their details."""
    labels = tuple(verified_labels(row["labels"], row["label_source"]).items())
    return frozenset(one.concept for one in read_reference(row["reasoning"], labels, row["task"] in WHOLE_FILM).wanted)
