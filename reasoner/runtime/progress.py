"""A progress bar for people, where they look at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from reasoner.runtime.terminal import stream


@contextmanager
def progress(
    title: str, total: int | None, done: int = 0, count: ProgressColumn | None = None
) -> Iterator[Callable[[int], None]]:
    """Yields what advances the bar by so many of `total` (None: nobody knows); `count` shows how many are done."""
    console = Console(file=stream())
    columns = (TextColumn("{task.description}"), BarColumn(), count or MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, completed=done)
        yield lambda steps: bar.advance(task, steps)
