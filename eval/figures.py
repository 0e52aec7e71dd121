"""The report's plots. Okabe-Ito colours (safe for colour-blind readers), Agg backend, every axis labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.bootstrap import Estimate, SeedEstimate
from reasoner.layout import MODELS
from reasoner.schema import CLASSES
from reasoner.scores import HEADLINE

#: Okabe and Ito (2008): grey, blue, vermilion; then the rest for reward components.
COLOURS = dict(zip(MODELS, ("#8a8a8a", "#0072B2", "#D55E00"), strict=True))
_CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
#: split -> mode -> metric -> estimate, for one model.
Scores = Mapping[str, Mapping[str, Mapping[str, Estimate]]]


def save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


def headline(
    scores: Mapping[str, Scores], labels: Mapping[str, str], trivial: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Each of `labels` (metric -> title) by split and mode, with intervals; `trivial` (metric -> split -> value of the
    best policy that sees no image) is drawn as a line."""
    cells = _cells(scores)
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(1, len(labels), figsize=(4.6 * len(labels), 3.2), squeeze=False)
        for axis, (metric, title) in zip(axes[0], labels.items(), strict=True):
            _dots(axis, scores, cells, metric)
            _trivial_lines(axis, cells, trivial[metric])
            axis.set(title=title, ylabel=f"{title} (95% interval)", ylim=(0, 1.02))
            axis.set_xticks(range(len(cells)), [f"{split}\n{mode}" for split, mode in cells])
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    return figure


def per_class(scores: Mapping[str, Scores], split: str) -> Figure:
    """Greedy F1 of each class that occurs in the split's references."""
    greedy = {model: splits[split]["greedy"] for model, splits in scores.items() if "greedy" in splits.get(split, {})}
    names = [name for name in CLASSES if any(f"f1/{name}" in metrics for metrics in greedy.values())]
    width = 0.8 / max(len(greedy), 1)
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(9.2, 3.2))
        for index, (model, metrics) in enumerate(greedy.items()):
            found = [metrics.get(f"f1/{name}") for name in names]
            at = np.arange(len(names)) + (index - (len(greedy) - 1) / 2) * width
            heights = [estimate.value if estimate else 0.0 for estimate in found]
            errors = [[e.value - e.low if e else 0.0 for e in found], [e.high - e.value if e else 0.0 for e in found]]
            axis.bar(
                at,
                heights,
                width * 0.92,
                yerr=np.maximum(errors, 0),
                label=model,
                color=_colour(model, index),
                error_kw={"elinewidth": 0.8, "capsize": 2, "ecolor": "#333333"},
            )
        axis.set_xticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names])
        axis.set(ylabel="F1, greedy (95% interval)", xlabel="CheXpert class", ylim=(0, 1.02), title=f"Split: {split}")
        axis.grid(axis="x", visible=False)
        figure.legend(loc="outside upper right", ncols=3, fontsize=8)
    return figure


def by_table(
    scores: Mapping[str, Mapping[str, Mapping[str, Estimate]]],
    tables: Sequence[str],
    metrics: Sequence[str],
    published: Sequence[Mapping[str, Any]] = (),
) -> Figure:
    """Label -> table -> metric -> estimate. A panel for each metric and a row for each table, with a dot and its
    interval for each label, and a diamond for each published number (`table`, `metric`, `value`)."""
    with plt.rc_context(_STYLE):
        size = (3.2 * len(metrics) + 1.6, 0.6 + len(tables) * max(0.34, 0.16 * len(scores)))
        figure, axes = plt.subplots(1, len(metrics), figsize=size, squeeze=False, sharey=True)
        for axis, metric in zip(axes[0], metrics, strict=True):
            for number, (label, cells) in enumerate(scores.items()):
                offset = ((len(scores) - 1) / 2 - number) * 0.7 / len(scores)
                found = [
                    (row, cells[table][metric]) for row, table in enumerate(tables) if metric in cells.get(table, {})
                ]
                xs, rows = [e.value for _, e in found], [len(tables) - 1 - row + offset for row, _ in found]
                errors = np.maximum([[e.value - e.low for _, e in found], [e.high - e.value for _, e in found]], 0)
                colour = _colour(label, number)
                axis.errorbar(xs, rows, xerr=errors, fmt="o", color=colour, capsize=2, markersize=4, label=label)
            known = [one for one in published if one["metric"] == metric and one["table"] in tables]
            rows = [len(tables) - 1 - tables.index(one["table"]) for one in known]
            axis.plot([one["value"] for one in known], rows, "D", mfc="none", mec="#333333", ms=6, label="published")
            axis.set_yticks(range(len(tables)), tables[::-1])
            axis.grid(axis="y", visible=False)
            axis.set(xlabel=f"{HEADLINE.get(metric, metric)} (95% interval)", ylim=(-0.6, len(tables) - 0.4))
        handles, names = axes[0][0].get_legend_handles_labels()
        named = {name: handle for handle, name in zip(handles, names, strict=True) if published or name != "published"}
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=4, fontsize=8)
    return figure


def learning_curves(history: Sequence[Mapping[str, Any]], panels: Sequence[tuple[str, Mapping[str, str]]]) -> Figure:
    """A trainer's `log_history` over optimizer steps. Panels: (axis label, {logged key: legend}); a panel of which
    nothing was logged is left out. Pale: as logged; dark: running mean over a tenth of the run.

    Raises:
        ValueError: when none of the panels was logged.
    """
    shown = [
        (label, logged) for label, keys in panels if (logged := {k: n for k, n in keys.items() if _series(history, k)})
    ]
    if not shown:
        raise ValueError("the history holds none of the asked curves")
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=(3.4 * columns, 2.4 * rows), squeeze=False)
        for axis, (label, keys) in zip(axes.flat, shown, strict=False):
            for colour, (key, name) in zip(_CYCLE * 2, keys.items(), strict=False):
                steps, values = (np.asarray(part, float) for part in zip(*_series(history, key), strict=True))
                axis.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
                axis.plot(steps, _running_mean(values), color=colour, linewidth=1.6, label=name)
            axis.set(xlabel="Optimizer step", ylabel=label)
            if len(keys) > 1:
                axis.legend(fontsize=7)
        for axis in axes.flat[len(shown) :]:
            axis.set_axis_off()
    return figure


def arms(levels: Mapping[tuple[str, str], Mapping[str, Mapping[str, SeedEstimate]]], metrics: Sequence[str]) -> Figure:
    """(split, mode) -> arm -> metric -> estimate over seeds. A panel for each metric and cell: a dot for each seed, a
    bar at their mean, and its interval."""
    shown = [name for name in metrics if any(name in found for cell in levels.values() for found in cell.values())]
    names = list(dict.fromkeys(arm for cell in levels.values() for arm in cell))
    with plt.rc_context(_STYLE):
        size = (2.6 * len(levels) + 1.5, (0.25 * len(names) + 0.8) * len(shown) + 0.4)
        figure, axes = plt.subplots(len(shown), len(levels), figsize=size, squeeze=False, sharey=True, sharex="row")
        for row, metric in zip(axes, shown, strict=True):
            for axis, ((split, mode), cell) in zip(row, levels.items(), strict=True):
                for at, arm in enumerate(names):
                    if (found := cell.get(arm, {}).get(metric)) is not None:
                        _seeds(axis, found, len(names) - 1 - at, _CYCLE[at % len(_CYCLE)])
                axis.set_yticks(range(len(names)), names[::-1])
                axis.grid(axis="y", visible=False)
                axis.set(xlabel=HEADLINE.get(metric, metric), ylim=(-0.6, len(names) - 0.4))
                if metric == shown[0]:
                    axis.set_title(f"{split}, {mode}")
    return figure


def _seeds(axis: Axes, found: SeedEstimate, y: float, colour: str) -> None:
    if len(found.seeds) > 1:
        axis.plot([found.low, found.high], [y, y], color=colour, linewidth=1.2)
    axis.plot([found.value] * 2, [y - 0.3, y + 0.3], color=colour, linewidth=2)
    axis.plot(found.seeds, [y] * len(found.seeds), "o", color=colour, markersize=4, alpha=0.6)


def _dots(axis: Axes, scores: Mapping[str, Scores], cells: Sequence[tuple[str, str]], metric: str) -> None:
    for index, (model, splits) in enumerate(scores.items()):
        found = [(x, splits.get(split, {}).get(mode, {}).get(metric)) for x, (split, mode) in enumerate(cells)]
        drawn = [(x + (index - (len(scores) - 1) / 2) * 0.2, e) for x, e in found if e is not None]
        if not drawn:
            continue
        xs, values = [x for x, _ in drawn], [e.value for _, e in drawn]
        errors = np.maximum([[e.value - e.low for _, e in drawn], [e.high - e.value for _, e in drawn]], 0)
        colour = _colour(model, index)
        axis.errorbar(xs, values, yerr=errors, fmt="o", color=colour, capsize=3, markersize=5, label=model)
    axis.set_xlim(-0.6, len(cells) - 0.4)
    axis.grid(axis="x", visible=False)


def _trivial_lines(axis: Axes, cells: Sequence[tuple[str, str]], trivial: Mapping[str, float]) -> None:
    label = "best without the image"
    for x, (split, _) in enumerate(cells):
        if split in trivial:
            axis.hlines(trivial[split], x - 0.42, x + 0.42, colors="#333333", linestyles="dotted", label=label)
            label = "_"  # one legend entry is enough


def _cells(scores: Mapping[str, Scores]) -> list[tuple[str, str]]:
    """(split, mode), by split."""
    pairs = dict.fromkeys((split, mode) for splits in scores.values() for split in splits for mode in splits[split])
    order = list(dict.fromkeys(split for split, _ in pairs))
    return sorted(pairs, key=lambda pair: order.index(pair[0]))


def _colour(model: str, index: int) -> str:
    return COLOURS.get(model, _CYCLE[index % len(_CYCLE)])


def _series(history: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    return [(row["step"], row[key]) for row in history if row.get(key) is not None]


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Centred, over a tenth of the run; the window shrinks at the ends instead of padding them."""
    half = max(1, len(values) // 20)
    totals = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    start, end = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    return (totals[end] - totals[start]) / (end - start)
