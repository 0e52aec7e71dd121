"""Arms of an ablation, each trained from several seeds: from statistics by study to estimates, tables and plots.

Writes `results.json` and `results.md`; `publish` puts the tables into docs/results.md, the plots into docs/img and the
headline into the README.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eval.bootstrap import SeedEstimate, Statistics, holm, over_seeds, read_statistics, replicates
from eval.metrics import metrics
from reasoner.errors import UserError
from reasoner.layout import SFT
from reasoner.runtime.disk import write_whole
from reasoner.runtime.terminal import say
from reasoner.scores import HEADLINE

OUTCOME, DEFAULT = "outcome", "default"
#: What the README shows.
HEADLINE_METRICS = ("micro_f1", "skill", "radrscore")
#: Arms that the others are compared with.
BASES = (SFT, OUTCOME)
#: Resamples of studies; the smallest p is 2 / (this + 1).
RESAMPLES = 4000
BEGIN, END = "<!-- ablation: begin -->", "<!-- ablation: end -->"


class Place(NamedTuple):
    """One run: where it belongs, and the folder of its statistics, if it was evaluated."""

    recipe: str
    kernels: str
    arm: str
    seed: int
    statistics: Path | None


class Cell(NamedTuple):
    """What one table is about."""

    recipe: str
    kernels: str
    split: str
    mode: str


class Table(NamedTuple):
    """The arms of one cell: `seeds` by arm; metrics by arm; and by (arm, base), on the seeds that both have."""

    studies: int
    seeds: dict[str, tuple[int, ...]]
    levels: dict[str, dict[str, SeedEstimate]]
    differences: dict[tuple[str, str], dict[str, SeedEstimate]]


class Results(NamedTuple):
    meta: dict[str, Any]
    tables: dict[Cell, Table]
    #: (recipe, kernels, arm, base, metric) -> (split, mode) -> p, corrected over these.
    corrected: dict[tuple[str, ...], dict[tuple[str, str], float]]


def report(
    places: Sequence[Place],
    folder: Path,
    *,
    splits: Sequence[str],
    modes: Sequence[str],
    shown: Sequence[str],
    meta: Mapping[str, Any],
) -> Results:
    """Compares all arms that were evaluated, and writes `results.json` and `results.md` into the folder.

    Raises:
        UserError: nothing was evaluated, or the seeds of a split not on the same studies.
    """
    missing: dict[str, set[int]] = defaultdict(set)
    groups: dict[Cell, dict[str, dict[int, Statistics]]] = defaultdict(dict)
    for place in places:
        for split in splits:
            for mode in modes:
                arms = groups[Cell(place.recipe, place.kernels, split, mode)]
                path = place.statistics / f"{split}-{mode}.npz" if place.statistics else None
                if path and path.exists():
                    arms.setdefault(place.arm, {})[place.seed] = read_statistics(path)
                else:
                    missing[f"{place.recipe}, {place.kernels} kernels, {place.arm}"].add(place.seed)
    for what, seeds in missing.items():
        say(f"not there yet, on {' or '.join(splits)}: {what}, seeds {', '.join(map(str, sorted(seeds)))}")
    if not any(groups.values()):
        raise UserError(f"{folder}: no run was evaluated on {', '.join(splits)} yet")
    tables = {cell: compare(arms, cell) for cell, arms in groups.items() if arms}
    results = Results(dict(meta), tables, correct(tables))
    write_whole(folder / "results.json", json.dumps(to_json(results), indent=1) + "\n")
    write_whole(folder / "results.md", markdown(results, shown))
    say(f"wrote {folder / 'results.json'} and {folder / 'results.md'}")
    return results


def compare(arms: Mapping[str, Mapping[int, Statistics]], cell: Cell) -> Table:
    """Every arm over its seeds, and paired with each of `BASES` over the seeds of both.

    Raises:
        UserError: the seeds were evaluated on other studies.
    """
    if len({one.studies for seeds in arms.values() for one in seeds.values()}) > 1:
        raise UserError(
            f"{cell.split} of {cell.recipe}: runs were evaluated on other studies; give all the same --limit"
        )
    drawn = {
        arm: {seed: replicates(seeds[seed], metrics, resamples=RESAMPLES) for seed in sorted(seeds)}
        for arm, seeds in arms.items()
    }
    differences = {}
    for base in BASES:
        for arm in arms:
            both = [seed for seed in drawn[arm] if seed in drawn.get(base, {})]
            if both and arm not in (SFT, base):
                ours, theirs = ([drawn[name][seed] for seed in both] for name in (arm, base))
                differences[arm, base] = over_seeds(ours, theirs)
    studies = next(iter(next(iter(drawn.values())).values())).studies
    return Table(
        studies=len(studies),
        seeds={arm: tuple(seeds) for arm, seeds in drawn.items()},
        levels={arm: over_seeds(list(seeds.values())) for arm, seeds in drawn.items()},
        differences=differences,
    )


def correct(tables: Mapping[Cell, Table]) -> dict[tuple[str, ...], dict[tuple[str, str], float]]:
    """Holm's correction over the cells (split and mode) of each comparison and metric."""
    families: dict[tuple[str, ...], dict[tuple[str, str], float]] = defaultdict(dict)
    for cell, table in tables.items():
        for (arm, base), found in table.differences.items():
            for metric, estimate in found.items():
                families[cell.recipe, cell.kernels, arm, base, metric][cell.split, cell.mode] = estimate.p
    return {family: holm(p) for family, p in families.items()}


def to_json(results: Results) -> dict[str, Any]:
    """All that was found, with every metric; an interval of one seed has no ends (null)."""

    def plain(found: SeedEstimate) -> dict[str, Any]:
        ends = {"low": found.low, "high": found.high} if len(found.seeds) > 1 else {"low": None, "high": None}
        return {"value": found.value, **ends, "sd": found.sd, "seeds": list(found.seeds)}

    cells = []
    for cell, table in results.tables.items():
        arms = {
            arm: {"seeds": table.seeds[arm], "metrics": {name: plain(one) for name, one in found.items()}}
            for arm, found in table.levels.items()
        }
        compared: dict[str, dict[str, Any]] = {base: {} for base in BASES}
        for (arm, base), found in table.differences.items():
            compared[base][arm] = {
                name: {**plain(one), "p": one.p, "p_holm": corrected(results, cell, arm, base, name)}
                for name, one in found.items()
            }
        cells.append({**cell._asdict(), "studies": table.studies, "arms": arms, "minus": compared})
    return {"meta": results.meta, "cells": cells}


def corrected(results: Results, cell: Cell, arm: str, base: str, metric: str) -> float:
    return results.corrected[cell.recipe, cell.kernels, arm, base, metric][cell.split, cell.mode]


def markdown(results: Results, shown: Sequence[str]) -> str:
    """One table a cell: a row for each of `shown` and each arm."""
    parts = [_provenance(results.meta)]
    for cell, table in results.tables.items():
        compared = [base for base in BASES if any(key[1] == base for key in table.differences)]
        head = ["metric", "arm", "mean", "sd", "min to max", "seeds", *(f"- {base}" for base in compared)]
        title = f"{cell.recipe}, {cell.kernels} kernels: {cell.split}, {cell.mode}, {table.studies:,} studies"
        lines = [f"### {title}", "", _row(head), "|---" * len(head) + "|"]
        for metric in shown:
            for arm, found in table.levels.items():
                if metric not in found:
                    continue
                one = found[metric]
                row = [HEADLINE.get(metric, metric), arm, f"{one.value:.3f}", f"{one.sd:.3f}"]
                row += [f"{min(one.seeds):.3f} to {max(one.seeds):.3f}", ", ".join(f"{v:.3f}" for v in one.seeds)]
                for base in compared:
                    gain = table.differences.get((arm, base), {}).get(metric)
                    row.append(_signed(gain, corrected(results, cell, arm, base, metric)) if gain else "")
                lines.append(_row(row))
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _provenance(meta: Mapping[str, Any]) -> str:
    runs = ", ".join(meta["runs_commits"]) or "unknown"
    extra = f"; settings: {', '.join(f'`{text}`' for text in meta['set'])}" if meta["set"] else ""
    steps = f"{meta['steps']} GRPO steps" if meta["steps"] else "the recipe's GRPO steps"
    return f"Trained and evaluated at commit {runs}, compared at {meta['commit']}; {steps} in every arm{extra}."


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _signed(found: SeedEstimate, p: float) -> str:
    """The difference with its interval and its range over seeds; marked where Holm's p is below 0.05."""
    if len(found.seeds) == 1:
        return f"{found.value:+.3f} (one seed)"
    mark = " \\*" if p < 0.05 else ""
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}], min {min(found.seeds):+.3f}{mark}"


def headline(results: Results, recipe: str, kernels: str) -> str:
    """The README's table: SFT and the arm `default`, means over seeds (worst to best), and their difference; "" where
    they were not both trained."""
    lines = [_row(["Split", "Score", "SFT", "GRPO", "GRPO − SFT"]), "|---" * 5 + "|"]
    for cell, table in results.tables.items():
        gains = table.differences.get((DEFAULT, SFT), {})
        if (cell.recipe, cell.kernels) != (recipe, kernels):
            continue
        for metric in filter(gains.__contains__, HEADLINE_METRICS):
            gain = gains[metric]
            spread = [
                f"{one.value:.3f} ({min(one.seeds):.3f} to {max(one.seeds):.3f})"
                for one in (table.levels[SFT][metric], table.levels[DEFAULT][metric])
            ]
            told = f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}], {min(gain.seeds):+.3f}"
            lines.append(_row([f"{cell.split}, {cell.mode}", HEADLINE[metric], *spread, told]))
    return "\n".join(lines) if len(lines) > 2 else ""


def publish(results: Results, shown: Sequence[str], docs: Path) -> None:
    """Puts the tables between the markers of `results.md` in `docs`, a plot a recipe and kernels into `img`, and the
    headline of the first recipe and kernels between the markers of the README beside `docs`.

    Raises:
        UserError: a document or its markers are missing.
    """
    from eval import figures

    links = []
    shown_in = list(dict.fromkeys((cell.recipe, cell.kernels) for cell in results.tables))
    for recipe, kernels in shown_in:
        levels = {
            (cell.split, cell.mode): table.levels
            for cell, table in results.tables.items()
            if (cell.recipe, cell.kernels) == (recipe, kernels)
        }
        image = figures.save(figures.arms(levels, shown), docs / "img" / f"ablation_{recipe}_{kernels}.png")
        links.append(f"![{recipe}, {kernels} kernels: each seed by arm](img/{image.name})")
    _put(docs / "results.md", "\n\n".join([*links, markdown(results, shown).rstrip()]))
    if table := headline(results, *shown_in[0]):
        _put(docs.parent / "README.md", f"{table}\n\n{_provenance(results.meta)}")


def _put(path: Path, inside: str) -> None:
    """Replaces what stands between the markers of a document."""
    try:
        before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run from the checkout") from error
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError(f"{path}: needs the lines {BEGIN} and {END}, between which the tables go")
    write_whole(path, f"{before}{BEGIN}\n\n{inside}\n\n{END}{after}")
    say(f"wrote {path}")
