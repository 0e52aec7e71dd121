"""One shape for all cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.reading_grammar.split import held_back


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
