"""The page's plots, as files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval import figures
from eval.bootstrap import Estimate

#: label -> table -> metric -> estimate
Scores = Mapping[str, Mapping[str, Mapping[str, Estimate]]]
_PLOTTED_METRICS = 3
_MOST_TABLES, _MOST_CLASS_PLOTS = 24, 4


def draw_run(
    folder: Path, scores: Scores, metrics: Sequence[str], published: Sequence[Mapping[str, Any]]
) -> dict[str, Path]:
    """Title -> file: the first metrics by table, and F1 by class of tables that have it."""
    drawn = {}
    tables = list(dict.fromkeys(table for by_table in scores.values() for table in by_table))
    shown = [name for name in metrics if any(name in cell for by in scores.values() for cell in by.values())]
    if shown and len(tables) <= _MOST_TABLES:
        figure = figures.by_table(scores, tables, shown[:_PLOTTED_METRICS], published)
        drawn["By table. Points: value; bars: 95% interval; diamonds: published"] = figures.save(
            figure, folder / "tables.png"
        )
    by_class = [
        table
        for table in tables
        if any(name.startswith("f1/") for by_table in scores.values() for name in by_table.get(table, {}))
    ]
    for number, table in enumerate(by_class[:_MOST_CLASS_PLOTS]):
        split = {label: {table: {"greedy": by_table.get(table, {})}} for label, by_table in scores.items()}
        drawn[f"{table}: F1 by class"] = figures.save(figures.per_class(split, table), folder / f"classes-{number}.png")
    return drawn


def draw_rollouts(folder: Path, history: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> dict[str, Path]:
    """Title -> file: the means of rewards and of their parts by step."""
    panels = [(name.replace("_", " "), {name: name}) for name in metrics]
    figure = figures.learning_curves(history, panels)
    return {
        "Means by step, of the rollouts that were written. Pale: each step; dark: running mean": figures.save(
            figure, folder / "steps.png"
        )
    }
