"""One shape for all cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.reading_grammar.split import held_back


def table(name: str, columns: int) -> Iterator[list[str]]:
    """The rows of a table of this folder: `a | b | text`, the last column being free to hold bars; `\\n` breaks its
    lines."""
    for line in Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            *cells, text = f"{line} ".split(" | ", columns - 1)
            yield [*cells, text[:-1].replace("\\n", "\n")]


class Case(NamedTuple):
    """A text of known meaning. `check` returns how it is misread, in words, or None if it is read right."""

    kind: str
    construction: str
    text: str
    check: Callable[[], str | None]

    @property
    def group(self) -> str:
        return self.construction.split("/")[0]

    @property
    def held_back(self) -> bool:
        return held_back(self.construction)
