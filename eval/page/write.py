"""Writes the page: `index.html`, its style and scripts, and the files of cases, pictures and plots beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from eval.benchmarks.registry import open_benchmark
from eval.benchmarks.subgroups import subgroups
from eval.benchmarks.tables import COMPARISONS, ITEMS, RUN, SCORES
from eval.bootstrap import Estimate
from eval.page import plots, rollouts, run_cases, summary
from eval.page.cases import Kind, write_cases
from eval.page.pictures import Pictures
from eval.page.rollouts import Rollouts
from eval.page.run_cases import RunCases
from reasoner.errors import UserError
from reasoner.runtime.disk import read_object, replacing, write_whole
from reasoner.runtime.terminal import say

PAGE, DATA, PICTURES, FIGURES = "page", "data", "pictures", "figures"
_ASSETS = ("page.css", "page.js", "case.js")
_FIX = "evaluate it again with `reasoner eval --benchmark`"


def write_page(run: Path) -> Path:
    """Writes `RUN/page` from the files of a finished run, and returns the path of its `index.html`.

    Raises:
        UserError: a file of the run is missing or damaged.
    """
    described, scores = read_object(run / RUN, _FIX), read_object(run / SCORES, _FIX)
    published = described.get("published") or []
    metrics = summary.main_metrics(scores, published)
    estimates = {
        label: {
            table: {name: found for name in cell if (found := summary.estimate(cell, name))}
            for table, cell in tables.items()
        }
        for label, tables in scores.items()
    }
    benchmark = open_benchmark(described["benchmark"])
    page = run / PAGE
    with RunCases(run) as cases:
        context = {
            "title": f"{described['benchmark']}: {', '.join(scores)}",
            "described": described,
            "headline": summary.headline(scores, metrics, published),
            "sources": sorted({(one["model"], one["source"]) for one in published}),
            "tables": summary.by_table(scores),
            "classes": summary.by_class(scores),
            "subgroups": summary.subgroup_tables(subgroups(run, benchmark), metrics),
            "calibration": summary.calibration(scores),
            "comparisons": summary.comparisons(_comparisons(run), metrics),
            "best_of": summary.best_of(scores),
            "malformed": described.get("malformed") or {"counts": {}, "rows": []},
            "listed": summary.LISTED,
        }
        shutil.rmtree(page / FIGURES, ignore_errors=True)
        drawn = plots.draw_run(page / FIGURES, estimates, metrics, published)
        return _write(page, cases, "run", run_cases.RULES, context, drawn)


def write_rollouts_page(folder: Path) -> Path:
    """Writes `GRPO/page` from `GRPO/rollouts/*.parquet`, and returns the path of its `index.html`.

    Raises:
        UserError: there are no rollouts, or they are damaged.
    """
    page = folder / PAGE
    with Rollouts(folder) as cases:
        drawn = plots.draw_rollouts(page / FIGURES, cases.history, cases.metrics)
        columns = ["Step", *map(summary.name_of, cases.metrics)]
        rows = [[row["step"], *(row.get(name) for name in cases.metrics)] for row in cases.history]
        context = {
            "title": f"Rollouts of {folder.resolve().parent.name}",
            "steps": summary.Table("Means by step", columns, rows),
        }
        return _write(page, cases, "rollouts", rollouts.RULES, context, drawn)


def report(folder: Path) -> Path:
    """The page of a folder, whichever it is: a run of `eval --benchmark`, or GRPO's with rollouts.

    Raises:
        UserError: it is neither, or a file is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give that of a run of `eval --benchmark`, or of GRPO")
    return write_page(folder) if (folder / ITEMS).is_file() else write_rollouts_page(folder)


def _write(
    page: Path,
    cases: RunCases | Rollouts,
    kind: Kind,
    rules: Sequence[str],
    context: Mapping[str, Any],
    drawn: Mapping[str, Path],
) -> Path:
    """Data first, `index.html` last: what it links to is there."""
    pictures = Pictures(page / PICTURES, cases.pictures())
    shutil.rmtree(page / DATA, ignore_errors=True)
    number = write_cases(
        page / DATA,
        cases,
        kind=kind,
        labels=cases.labels,
        rules=rules,
        metrics=cases.metrics,
        picture=pictures.name,
    )
    if pictures.problems:
        say(f"page: {len(pictures.problems):,} pictures cannot be shown, first {pictures.problems[0]}")
    for name in _ASSETS:
        write_whole(page / name, (resources.files("eval.page") / "static" / name).read_text(encoding="utf-8"))
    environment = Environment(
        loader=PackageLoader("eval.page"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": summary.cell_text, "pretty": _pretty}
    environment.tests["estimate"] = lambda value: isinstance(value, Estimate)
    template = environment.get_template("page.html.j2")
    with replacing(page / "index.html") as file:
        file.write(
            template.render(
                **context,
                kind=kind,
                number=number,
                labels=cases.labels,
                figures={title: path.relative_to(page).as_posix() for title, path in drawn.items()},
                unseen=pictures.problems,
            )
        )
    return page / "index.html"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _comparisons(run: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads((run / COMPARISONS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{run / COMPARISONS}: cannot be read ({error}); {_FIX}") from error
    if not isinstance(found, list):
        raise UserError(f"{run / COMPARISONS}: damaged, a list is needed; {_FIX}")
    return found
