"""A run's scores by subgroup: view, sex, age, where the questions give them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval.benchmarks.base import Benchmark
from eval.benchmarks.tables import ITEMS, QUESTIONS, Columns, metrics_of, rows_of
from eval.bootstrap import Estimate, estimates

#: More values of one property than this are no groups (ages in years).
_MOST = 12


class Subgroup(NamedTuple):
    """The items of a table whose `property` (`sex`) is `value`, as one label answered them."""

    property: str
    value: str
    table: str
    label: str
    n: int
    metrics: dict[str, Estimate]


def subgroups(run: Path, benchmark: Benchmark, *, resamples: int = 500, seed: int = 0) -> list[Subgroup]:
    """All subgroups of two values or more, ordered by property, table, value and label. Intervals as in `scores.json`:
    over studies.

    Raises:
        UserError: a file of the run is damaged.
    """
    about = {(row["table"], row["index"]): row["about"] for row in rows_of(run / QUESTIONS) if row.get("about")}
    if not about:
        return []
    columns: dict[tuple[str, str], Columns] = defaultdict(Columns)
    members: dict[tuple[str, str, str, str], list[int]] = defaultdict(list)
    for row in rows_of(run / ITEMS):
        label, table = row["label"], row["table"]
        for name, value in about.get((table, row["index"]), {}).items():
            members[name, table, str(value), label].append(len(columns[label, table]))
        columns[label, table].add(row)
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name, table, value, _ in members:
        values[name, table].add(value)
    return [
        Subgroup(
            name,
            value,
            table,
            label,
            len(positions),
            estimates(
                columns[label, table].statistics(np.array(positions)),
                lambda totals: metrics_of(totals, benchmark),
                resamples=resamples,
                seed=seed,
            ),
        )
        for (name, table, value, label), positions in sorted(members.items())
        if 1 < len(values[name, table]) <= _MOST
    ]
