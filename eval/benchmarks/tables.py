"""`items.jsonl` to `scores.json` and `comparisons.json`: means and ratios by table with paired bootstrap intervals.

The unit of resampling is the study, so that questions about one film count as the one film that they are.
"""

from __future__ import annotations

import json
import math
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eval.benchmarks.base import Benchmark
from eval.bootstrap import Array, Estimate, Statistics, holm, paired, replicates, summarise
from reasoner.errors import UserError
from reasoner.runtime.disk import write_whole
from rewards.radrscore import PARTS

ITEMS, QUESTIONS, EVIDENCE, SAMPLES = "items.jsonl", "questions.jsonl", "evidence.jsonl", "samples.jsonl"
SCORES, COMPARISONS, RUN = "scores.json", "comparisons.json", "run.json"
#: Columns of `items.jsonl` whose means are stated.
MEANS = ("official", "strict", "radrscore", *PARTS, "skill", "tokens")
_COUNT = "count:"


class Columns:
    """Numbers of the items of one label and table; a value that a row lacks is NaN."""

    def __init__(self) -> None:
        self.indices = array("q")
        self.studies: list[str] = []
        self._values: dict[str, array[float]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        numbers = {name: row[name] for name in MEANS} | row["values"]
        numbers |= {f"{_COUNT}{name}": count for name, count in row["counts"].items()}
        for name, value in numbers.items():
            if value is not None:
                column = self._values.setdefault(name, array("d"))
                column.extend([math.nan] * (len(self.indices) - len(column)))
                column.append(float(value))
        self.indices.append(row["index"])
        self.studies.append(row["study"] or f"#{row['index']}")

    def __len__(self) -> int:
        return len(self.indices)

    def valid(self, name: str) -> int:
        return int((~np.isnan(np.frombuffer(self._values[name]))).sum()) if name in self._values else 0

    def statistics(self, only: NDArray[np.integer[Any]] | None = None) -> Statistics:
        """Sums by study, of the rows `only` (positions) where given."""
        rows: NDArray[np.integer[Any]] = np.arange(len(self)) if only is None else only
        studies, unit = np.unique(np.array(self.studies, dtype=object)[rows].astype(str), return_inverse=True)
        columns: dict[str, Array] = {}

        def add(name: str, values: Array) -> None:
            columns[name] = np.bincount(unit, values, len(studies)).astype(np.float64)[None, :]

        for name, held in self._values.items():
            full = np.full(len(self), np.nan)
            full[: len(held)] = held
            values = full[rows]
            there = ~np.isnan(values)
            known = np.where(there, values, 0.0)
            if name.startswith(_COUNT):
                add(name, known)
            elif there.any():
                add(f"sum:{name}", known)
                add(f"n:{name}", there.astype(np.float64))
        return Statistics(tuple(studies.tolist()), columns)


class _Compared(NamedTuple):
    table: str
    metric: str
    a: str
    b: str
    estimate: Estimate
    p: float


def summarise_run(run: Path, benchmark: Benchmark, *, resamples: int, seed: int) -> dict[str, Any]:
    """Writes both files from the run's `items.jsonl`; returns what `scores.json` holds.

    Raises:
        UserError: `items.jsonl` is damaged.
    """
    tables: dict[str, dict[str, Columns]] = defaultdict(dict)
    labels: list[str] = []
    for row in rows_of(run / ITEMS):
        try:
            if row["label"] not in labels:
                labels.append(row["label"])
            tables[row["table"]].setdefault(row["label"], Columns()).add(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{run / ITEMS}: damaged ({error!r}); evaluate again") from error

    def metrics(totals: Mapping[str, Array]) -> dict[str, Array]:
        return metrics_of(totals, benchmark)

    how = {"resamples": resamples, "seed": seed}
    scores: dict[str, dict[str, Any]] = {label: {} for label in labels}
    compared: list[_Compared] = []
    for table, by_label in tables.items():
        drawn = {label: replicates(one.statistics(), metrics, **how) for label, one in by_label.items()}
        for label, one in by_label.items():
            scores[label][table] = _cell(one, summarise(drawn[label]))
        for a, b in combinations((label for label in labels if label in by_label), 2):
            ours, theirs = drawn[a], drawn[b]
            if by_label[a].indices != by_label[b].indices:
                _, left, right = np.intersect1d(by_label[a].indices, by_label[b].indices, return_indices=True)
                if not len(left):
                    continue
                ours = replicates(by_label[a].statistics(left), metrics, **how)
                theirs = replicates(by_label[b].statistics(right), metrics, **how)
            found = paired(ours, theirs)
            compared += [_Compared(table, name, a, b, *difference) for name, difference in found.items()]
    write_whole(run / SCORES, _json(scores))
    write_whole(run / COMPARISONS, _json(_corrected(compared)))
    return scores


def metrics_of(totals: Mapping[str, Array], benchmark: Benchmark) -> dict[str, Array]:
    """Totals to means of what has `sum:` and `n:`, and the benchmark's ratios of its counts."""
    found = {}
    for name, count in totals.items():
        if name.startswith("n:"):
            total = totals[name.replace("n:", "sum:", 1)]
            found[name.removeprefix("n:")] = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    counts = {name.removeprefix(_COUNT): total for name, total in totals.items() if name.startswith(_COUNT)}
    return found | (benchmark.metrics(counts) if counts else {})


def _cell(columns: Columns, found: Mapping[str, Estimate]) -> dict[str, Any]:
    """What `scores.json` holds of one label and table."""
    absent = dict.fromkeys(name for name in MEANS if name not in found)
    return {
        "n": len(columns),
        "official_n": columns.valid("official"),
        "strict_n": columns.valid("strict"),
        **absent,
        **{name: one.value for name, one in found.items()},
        "intervals": {name: [one.low, one.high] for name, one in found.items()},
    }


def _corrected(compared: list[_Compared]) -> list[dict[str, Any]]:
    """Rows with Holm's correction over the tables of each pair and metric."""
    families: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for one in compared:
        families[one.a, one.b, one.metric][one.table] = one.p
    adjusted = {family: holm(p) for family, p in families.items()}
    return [
        {
            "table": one.table,
            "metric": one.metric,
            "a": one.a,
            "b": one.b,
            "difference": one.estimate.value,
            "low": one.estimate.low,
            "high": one.estimate.high,
            "p": one.p,
            "p_holm": adjusted[one.a, one.b, one.metric][one.table],
        }
        for one in compared
    ]


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of one of a run's files.

    Raises:
        UserError: it is missing or damaged.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):  # noqa: B007 the error names it
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("a row must be an object")
                yield row
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}:{number}: cannot be read ({error}); evaluate again") from error


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
