"""What the command line says to people: stage banners and the table at the end. All of it goes to standard error."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reasoner.layout import MODELS, SCORES
from reasoner.runtime import terminal
from reasoner.scores import HEADLINE, read_greedy
from recipes.config import Recipe
from recipes.stages import STAGES, is_done, read_records, result

#: The metrics of the final table.
_SHOWN = ("micro_f1", "exact_match", "radrscore", "format")


def _console() -> Console:
    return Console(file=terminal.stream(), highlight=False)


def started(recipe: Recipe, stage: str, resumes: bool) -> None:
    """The banner of a stage: what happens now, about how long, where it goes."""
    console = _console()
    number = list(STAGES).index(stage) + 1
    console.print()
    console.rule(f"[bold cyan]{number}/{len(STAGES)} {stage}[/]: {STAGES[stage].title}", align="left", style="cyan")
    last = read_records(recipe.output).get(stage)
    minutes = last.seconds / 60 if last else recipe.minutes.get(stage)  # type: ignore[call-overload]
    about = f"about {_minutes(minutes * 60)}" if minutes else "time unknown on this machine"
    console.print(f"  recipe {escape(f'{recipe.name} -> {result(recipe, stage)}')}, {about}")
    for earlier in STAGES[stage].needs:
        if is_done(recipe, earlier):
            console.print(f"  from   {escape(str(result(recipe, earlier)))}")
    if not terminal.debugging():
        console.print(f"  log    {escape(str(terminal.log_path(recipe.output, stage)))}")
    if resumes:
        console.print("  an interrupted run with the same settings is there: going on where it stopped")


def reused(recipe: Recipe, stage: str, reason: str) -> None:
    """One line: the stage's result is there and serves."""
    told = f"{result(recipe, stage)} ({reason}; `reasoner {stage} --force` redoes it)"
    _console().print(f"[green]reusing[/] {stage}: {escape(told)}", soft_wrap=True)


def finished(recipe: Recipe, stage: str) -> None:
    record = read_records(recipe.output)[stage]
    _console().print(f"[green]done[/] {stage} in {_minutes(record.seconds)}, peak memory {record.peak_gib:.1f} GiB")


def summary(recipe: Recipe) -> None:
    """The stages with their time, memory and place, and the headline scores."""
    console, records = _console(), read_records(recipe.output)
    table = Table(title=f"{escape(recipe.name)}: what was done", title_justify="left", title_style="bold")
    for heading, justify in (("stage", "left"), ("time", "right"), ("peak memory", "right"), ("where", "left")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for stage in STAGES:
        if record := records.get(stage):
            table.add_row(
                stage, _minutes(record.seconds), f"{record.peak_gib:.1f} GiB", escape(str(result(recipe, stage)))
            )
    table.add_section()
    total = sum(record.seconds for record in records.values())
    peak = max((record.peak_gib for record in records.values()), default=0.0)
    table.add_row("all", _minutes(total), f"{peak:.1f} GiB", escape(str(recipe.output)))
    console.print()
    console.print(table)
    folder = result(recipe, "eval")
    if (folder / SCORES).exists():
        console.print(_score_table(folder / SCORES))
        console.print(f"report: {escape(str(folder / 'report.html'))}")


def _score_table(scores: Path) -> Table:
    """Greedy scores with their 95% intervals: one row per model and split."""
    table = Table(title="held-out scores, greedy, with 95% intervals", title_justify="left", title_style="bold")
    table.add_column("model")
    table.add_column("split")
    for metric in _SHOWN:
        table.add_column(HEADLINE[metric], justify="right")
    for model in MODELS:
        for split, found in read_greedy(scores, model).items():
            table.add_row(model, escape(split), *(str(found.get(metric, "-")) for metric in _SHOWN))
    return table


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
