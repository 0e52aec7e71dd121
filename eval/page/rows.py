"""Rows of a run's files by their key, read where they lie: the files are larger than memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from pathlib import Path
from types import TracebackType
from typing import Any

from reasoner.errors import UserError

Row = dict[str, Any]


class Rows:
    """The rows of a file of JSON lines by what `key` makes of them; of equal keys the last. A file that is not there
    has none.

    Raises:
        UserError: naming file and line of what is damaged.
    """

    def __init__(self, path: Path, key: Callable[[Row], Hashable], see: Callable[[Row], None] | None = None) -> None:
        self._path = path
        self._places: dict[Hashable, int] = {}
        self._file = path.open("rb") if path.exists() else None
        place = 0
        for number, line in enumerate(self._file or (), 1):
            try:
                row = json.loads(line)
                self._places[key(row)] = place
                if see:
                    see(row)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                self.close()
                raise UserError(f"{path}:{number}: cannot be read ({error!r}); evaluate again") from error
            place += len(line)

    def get(self, key: Hashable) -> Row | None:
        place = self._places.get(key)
        if place is None or self._file is None:
            return None
        self._file.seek(place)
        row: Row = json.loads(self._file.readline())
        return row

    def close(self) -> None:
        if self._file:
            self._file.close()

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
