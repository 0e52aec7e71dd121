"""What the page states above its cases: tables of numbers out of `scores.json`, `comparisons.json` and `run.json`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from eval.benchmarks.subgroups import Subgroup
from eval.bootstrap import Estimate
from reasoner.scores import CALIBRATION, CHOICES, HEADLINE, MODES

Cells = Mapping[str, Mapping[str, Mapping[str, Any]]]
#: Metrics of the headline, where the run has them, in this order; before them those that are published.
_MAIN = (
    "official",
    "strict",
    "micro_f1",
    "macro_f1",
    "jaccard",
    "detection_f1",
    "claim_f1",
    "answer_claim_f1",
    "rouge_l",
    "radrscore",
    "skill",
)
_NAMES = {"official": "Official", "strict": "Strict", "tokens": "Tokens"}
_NOT_METRICS = ("n", "official_n", "strict_n", "intervals")
_OF_SAMPLES = re.compile(rf"(pass|tokens)@\d+|({'|'.join(CHOICES)})(/.*)?")
_BY_CLASS = re.compile(r"[a-z0-9_]+/.+")
#: Malformed rows that are listed on the page; the rest are in `run.json`.
LISTED = 500


class Table(NamedTuple):
    """Rows of a first cell and then one of text, an `Estimate`, a number, or None a column."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def name_of(metric: str) -> str:
    """What people read."""
    if metric in MODES:
        return MODES[metric]
    return HEADLINE.get(metric) or _NAMES.get(metric) or metric.replace("_", " ")


def estimate(cell: Mapping[str, Any], metric: str) -> Estimate | None:
    """A metric of a cell of `scores.json`; without an interval it is its own."""
    value = cell.get(metric)
    if not isinstance(value, int | float):
        return None
    low, high = (cell.get("intervals") or {}).get(metric) or (value, value)
    return Estimate(value, low, high)


def main_metrics(scores: Cells, published: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those of the headline: what is published first."""
    there = {name for tables in scores.values() for cell in tables.values() for name in cell if estimate(cell, name)}
    wanted = dict.fromkeys([*(one["metric"] for one in published), *_MAIN])
    return [name for name in wanted if name in there]


def headline(scores: Cells, metrics: Sequence[str], published: Sequence[Mapping[str, Any]]) -> list[Table]:
    """A table for each metric: a row a table, a column a label, and one for each model that is published."""
    found = []
    for metric in metrics:
        known = {(one["model"], one["table"]): one["value"] for one in published if one["metric"] == metric}
        models = list(dict.fromkeys(model for model, _ in known))
        rows = []
        for table in _tables(scores):
            ours = [estimate(tables.get(table, {}), metric) for tables in scores.values()]
            theirs = [known.get((model, table)) for model in models]
            if any(ours):
                rows.append([table, *ours, *theirs])
        columns = ["Table", *scores, *(f"{model} (published)" for model in models)]
        found.append(Table(name_of(metric), columns, rows))
    return found


def by_table(scores: Cells) -> list[Table]:
    """For each table all that is measured of all items, with the numbers of items."""
    return [
        Table(
            table,
            ["Metric", *cells],
            [
                ["Items", *(cell.get("n") for cell in cells.values())],
                ["Items that count, official", *(cell.get("official_n") for cell in cells.values())],
                ["Items that count, strict", *(cell.get("strict_n") for cell in cells.values())],
                *_rows(cells, lambda name: not (_BY_CLASS.fullmatch(name) or _OF_SAMPLES.fullmatch(name))),
            ],
        )
        for table, cells in _by_table(scores)
    ]


def by_class(scores: Cells) -> list[Table]:
    """For each table what is measured class by class."""
    tables = [
        Table(
            table,
            ["Class", *cells],
            _rows(cells, lambda name: bool(_BY_CLASS.fullmatch(name)) and not _OF_SAMPLES.fullmatch(name)),
        )
        for table, cells in _by_table(scores)
    ]
    return [table for table in tables if table.rows]


def best_of(scores: Cells) -> list[Table]:
    """For each table what several samples are worth, and what they cost."""
    tables = [
        Table(table, ["Metric", *cells], _rows(cells, lambda name: bool(_OF_SAMPLES.fullmatch(name))))
        for table, cells in _by_table(scores)
    ]
    return [table for table in tables if table.rows]


def calibration(scores: Cells) -> list[Table]:
    """For each table the share of asserted, hedged and denied findings that is there."""
    found = []
    for table, cells in _by_table(scores):
        rows = [
            [said, *(estimate(cell, share) for cell in cells.values()), *(cell.get(count) for cell in cells.values())]
            for said, (count, share) in CALIBRATION.items()
        ]
        if any(isinstance(cell, Estimate) for row in rows for cell in row):
            columns = ["Findings", *(f"{label}: there" for label in cells), *(f"{label}: number" for label in cells)]
            found.append(Table(table, columns, rows))
    return found


def comparisons(rows: Iterable[Mapping[str, Any]], metrics: Sequence[str]) -> list[Table]:
    """A table for each pair of labels: the main metrics, in all tables."""
    pairs: dict[tuple[str, str], list[list[Any]]] = {}
    for row in rows:
        if row["metric"] in metrics:
            difference = Estimate(row["difference"], row["low"], row["high"])
            told = [row["table"], name_of(row["metric"]), difference, _p(row["p"]), _p(row["p_holm"])]
            pairs.setdefault((row["a"], row["b"]), []).append([*told, "yes" if row["p_holm"] < 0.05 else ""])
    columns = ["Table", "Metric", "Difference", "p", "p, Holm", "p, Holm < 0.05"]
    return [Table(f"{a} − {b}", columns, found) for (a, b), found in pairs.items()]


def subgroup_tables(groups: Sequence[Subgroup], metrics: Sequence[str]) -> list[Table]:
    """A table for each property and table of the run."""
    found: dict[tuple[str, str], list[list[Any]]] = {}
    shown = [name for name in metrics if any(name in group.metrics for group in groups)]
    for one in groups:
        values = [one.metrics.get(name) for name in shown]
        found.setdefault((one.property, one.table), []).append([one.value, one.label, one.n, *values])
    return [
        Table(f"{name}, {table}", [name, "Model", "Items", *map(name_of, shown)], rows)
        for (name, table), rows in found.items()
    ]


def cell_text(value: Any) -> str:
    """A number as people read it: three digits after the point, none from ten on."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _tables(scores: Cells) -> list[str]:
    return list(dict.fromkeys(table for tables in scores.values() for table in tables))


def _by_table(scores: Cells) -> list[tuple[str, dict[str, Mapping[str, Any]]]]:
    return [
        (table, {label: tables[table] for label, tables in scores.items() if table in tables})
        for table in _tables(scores)
    ]


def _rows(cells: Mapping[str, Mapping[str, Any]], wanted: Any) -> list[list[Any]]:
    """A row a metric of those wanted that any label has."""
    names = dict.fromkeys(name for cell in cells.values() for name in cell if name not in _NOT_METRICS)
    rows = [[name_of(name), *(estimate(cell, name) for cell in cells.values())] for name in names if wanted(name)]
    return [row for row in rows if any(row[1:])]
