"""What the command line says to people: stage banners and the table at the end. All of it goes to standard error."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from reasoner import terminal
from recipes.config import Recipe
from recipes.stages import STAGES, is_done, read_records

#: Metric in `eval/scores.json` -> its heading in the final table.
_METRICS = {"micro_f1": "micro-F1", "exact_match": "exact list", "radrscore": "RadRScore", "format": "well-formed"}


def _console() -> Console:
    return Console(file=terminal.stream(), highlight=False)


def started(recipe: Recipe, stage: str, resumes: bool) -> None:
    """The banner of a stage: what happens now, about how long, where it goes."""
    console = _console()
    number = list(STAGES).index(stage) + 1
    console.print()
    console.rule(f"[bold cyan]{number}/{len(STAGES)} {stage}[/]: {STAGES[stage].title}", align="left", style="cyan")
    last = read_records(recipe.output).get(stage)
    minutes = last.seconds / 60 if last else recipe.minutes.get(stage)
    about = f"about {_minutes(minutes * 60)}" if minutes else "time unknown on this machine"
    console.print(f"  recipe {recipe.name} -> {recipe.output / STAGES[stage].proof.partition('/')[0]}, {about}")
    for earlier in STAGES[stage].needs:
        if is_done(recipe, earlier):
            console.print(f"  from   {recipe.output / STAGES[earlier].proof.partition('/')[0]}")
    if not terminal.debugging():
        console.print(f"  log    {terminal.log_path(recipe.output, stage)}")
    if resumes:
        console.print("  an interrupted run with the same settings is there: going on from its last checkpoint")


def reused(recipe: Recipe, stage: str, reason: str) -> None:
    """One line: the stage's result is there and serves."""
    folder = recipe.output / STAGES[stage].proof.partition("/")[0]
    _console().print(
        f"[green]reusing[/] {stage}: {folder} ({reason}; `reasoner {stage} --force` redoes it)", soft_wrap=True
    )


def finished(recipe: Recipe, stage: str) -> None:
    record = read_records(recipe.output)[stage]
    _console().print(f"[green]done[/] {stage} in {_minutes(record.seconds)}, peak memory {record.peak_gib:.1f} GiB")


def summary(recipe: Recipe) -> None:
    """The stages with their time, memory and place, and the headline scores."""
    console, records = _console(), read_records(recipe.output)
    table = Table(title=f"{recipe.name}: what was done", title_justify="left", title_style="bold")
    for heading, justify in (("stage", "left"), ("time", "right"), ("peak memory", "right"), ("where", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for stage, described in STAGES.items():
        if record := records.get(stage):
            place = recipe.output / described.proof.partition("/")[0]
            table.add_row(stage, _minutes(record.seconds), f"{record.peak_gib:.1f} GiB", str(place))
    table.add_section()
    total = sum(record.seconds for record in records.values())
    peak = max((record.peak_gib for record in records.values()), default=0.0)
    table.add_row("all", _minutes(total), f"{peak:.1f} GiB", str(recipe.output))
    console.print()
    console.print(table)
    scores = recipe.output / "eval" / "scores.json"
    if scores.is_file():
        console.print(_score_table(json.loads(scores.read_text(encoding="utf-8"))))
        console.print(f"report: {recipe.output / 'eval' / 'report.html'}")


def _score_table(scores: dict[str, Any]) -> Table:
    """Greedy scores with their 95% intervals: one row per model and split."""
    table = Table(title="held-out scores, greedy, with 95% intervals", title_justify="left", title_style="bold")
    table.add_column("model")
    table.add_column("split")
    for heading in _METRICS.values():
        table.add_column(heading, justify="right")
    for model in ("base", "sft", "grpo"):
        for split, modes in scores.get(model, {}).items():
            cells = [modes["greedy"].get(metric) for metric in _METRICS]
            table.add_row(model, split, *(_interval(cell) for cell in cells))
    return table


def _interval(cell: dict[str, float] | None) -> str:
    return f"{cell['value']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]" if cell else "-"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
