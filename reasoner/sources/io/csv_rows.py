"""CSV files row by row: unmatched quotation marks spoil one row, and reading can start at any part of the file."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from reasoner.errors import UserError
from reasoner.sources.io.files import BROKEN, Row, canonical, decode, is_whole, open_lines

#: A record that spans more lines than this has lost its closing quotation mark.
MAX_LINES = 500
_SURROGATE = re.compile("[\ud800-\udfff]")

csv.field_size_limit(2**31 - 1)


def csv_header(path: Path) -> list[str]:
    """The column names.

    Raises:
        UserError: the file cannot be opened, its first line is not text, or two columns have one name.
    """
    try:
        with open_lines(path) as file:
            line = decode(file.readline())
        names = next(csv.reader([line], delimiter=_delimiter(line)), []) if line is not None else None
    except (*BROKEN, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a CSV file, plain or gzipped") from error
    if names is None:
        raise UserError(f"{path}: the first line is not text; give a CSV file in UTF-8")
    for name, count in Counter(filter(None, map(canonical, names))).items():
        if count > 1:
            raise UserError(f"{path}: {count} columns are called '{name}'; rename or remove all but one")
    return [name.strip() for name in names]


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def read_csv(path: Path, *, offset: int = 0, line: int = 0) -> Iterator[Row]:
    """The rows as mappings from `canonical` column names to stripped texts, with the number of their first line.

    A row whose quotation marks do not match spoils only itself: reading goes on at the next line. `offset` (bytes) and
    `line` are those of `csv_parts`.
    """
    try:
        with open_lines(path) as file:
            lines = _Lines(file)
            names, delimiter = _csv_names(lines)
            if offset:
                lines.jump(offset, line)
            yield from _csv_rows(lines, str(path), names, delimiter)
    except (*BROKEN, csv.Error) as error:
        yield Row(str(path), None, "undecodable", f"the rest of the file cannot be read: {error}")


def csv_parts(path: Path, size: int) -> Iterator[tuple[int, int, int]]:
    """(byte offset, lines before it, rows) of parts of `size` rows, for `read_csv`; one that `is_whole` is one part."""
    place, count = (0, 0), 0
    try:
        whole = is_whole(path)
        with open_lines(path) as file:
            lines = _Lines(file)
            for _ in _csv_rows(lines, str(path), *_csv_names(lines)):
                count += 1
                if count == size and not whole:
                    yield *place, count
                    place, count = (lines.offset, lines.number), 0
    except (*BROKEN, csv.Error):  # a last row will tell of it
        count += 1
    if count:
        yield *place, count


class _Lines:
    """Lines with their numbers, which can be given back."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.number, self.offset = file, 0, 0
        self.waiting: list[tuple[str, int]] = []
        self.taken: list[tuple[str, int]] = []

    def jump(self, offset: int, number: int) -> None:
        self.file.seek(offset)
        self.number, self.offset = number, offset

    def record(self) -> Iterator[str]:
        """The lines of one record as the CSV reader asks for them."""
        self.taken = []
        while len(self.taken) < MAX_LINES:
            if self.waiting:
                line, size = self.waiting.pop()
            else:
                data = self.file.readline()
                if not data:
                    return
                text, size = decode(data), len(data)
                line = data.decode("utf-8", "surrogateescape") if text is None else text
            self.number += 1
            self.offset += size
            self.taken.append((line, size))
            yield line

    def give_back(self) -> None:
        """All but the first line of the last record."""
        self.waiting += reversed(self.taken[1:])
        self.number -= len(self.taken) - 1
        self.offset -= sum(size for _, size in self.taken[1:])


def _csv_names(lines: _Lines) -> tuple[list[str], str]:
    """The canonical column names and the delimiter."""
    first = next(lines.record(), "")
    delimiter = _delimiter(first)
    return [canonical(name) for name in next(csv.reader([first], delimiter=delimiter), [])], delimiter


def _csv_rows(lines: _Lines, path: str, names: list[str], delimiter: str) -> Iterator[Row]:
    while True:
        start = lines.number + 1
        try:
            cells = next(csv.reader(lines.record(), delimiter=delimiter, strict=True), None)
        except csv.Error as error:
            lines.give_back()
            yield Row(f"{path}:{start}", None, "bad row", f"not CSV: {error}")
            continue
        if cells is None:
            if not lines.taken:
                return
            continue
        where = f"{path}:{start}"
        if not any(cell.strip() for cell in cells):
            continue
        if any(_SURROGATE.search(line) for line, _ in lines.taken):
            yield Row(where, None, "undecodable", "neither UTF-8 nor Windows-1252")
        elif len(cells) != len(names):
            yield Row(where, None, "bad row", f"{len(cells)} cells, the header has {len(names)}")
        else:
            yield Row(where, {name: cell.strip() for name, cell in zip(names, cells, strict=True)})
