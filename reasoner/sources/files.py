"""Reads CSV, JSON and text files of other people's making: packed or not, in any plausible encoding, row by row.

Nothing here raises for what is in a row: a row that cannot be read is a `Row` with a `reason`. Memory is one row (CSV),
one element (JSON), or one file (text), whatever the size of the file.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import json
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from reasoner.errors import UserError

PACKED = ("", ".gz", ".zip")
#: A record that spans more lines than this has lost its closing quotation mark.
MAX_LINES = 500
#: A JSON element longer than this is taken for broken.
MAX_ELEMENT = 64 * 2**20
_CHUNK = 2**20
#: What the form of a JSON file is told from.
_HEAD = 2**20
#: What Windows-1252 text in Western languages is made of beyond ASCII; other high bytes mean another encoding.
_WESTERN = frozenset(
    "°±µ²³½¼¾×÷–—‘’“”…•®©™§«»¿¡·ºª´€\xa0áéíóúàèìòùâêîôûäëïöüñçãõåøæßœÁÉÍÓÚÀÈÌÒÙÂÊÎÔÛÄËÏÖÜÑÇÃÕÅØÆŒ".encode("cp1252")
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
#: Damaged archives and files.
BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile)

csv.field_size_limit(2**31 - 1)


class Row(NamedTuple):
    """One row: where it stands (`file:line`), and its value, or the reason why there is none."""

    where: str
    value: Any = None
    reason: str = ""
    detail: str = ""


def decode(data: bytes) -> str | None:
    """The text of bytes in UTF-8, UTF-16 with its mark, or plausible Windows-1252; None when they are none of these."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError:
            return None
    if _CONTROL.search(data):
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        high = [byte for byte in data if byte >= 0x80]
        return data.decode("cp1252") if len(high) * 5 <= len(data) and _WESTERN.issuperset(high) else None


def open_bytes(path: Path) -> IO[bytes]:
    """The file's content; of a `.gz` or `.zip` (its first member), what is packed in it."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(path)
        return archive.open(next(name for name in archive.namelist() if not name.endswith("/")))
    return path.open("rb")


def find_file(folders: Sequence[Path], *names: str) -> Path | None:
    """The first of `names` (patterns), packed or not, in the first folder that has one."""
    for folder in folders:
        for name in names:
            for ending in PACKED:
                found = sorted(folder.glob(name + ending)) if folder.is_dir() else []
                if found:
                    return found[0]
    return None


def canonical(column: str) -> str:
    """Column names are compared without case, spaces and underscores."""
    return "".join(character for character in column.lower() if character.isalnum())


def require(path: Path, names: Collection[str], wanted: Sequence[str]) -> None:
    """Raises `UserError` for the first of `wanted` that is not among the columns (or keys) `names` of a file."""
    known = {canonical(name) for name in names}
    for name in wanted:
        if canonical(name) not in known:
            near = difflib.get_close_matches(canonical(name), known, n=1, cutoff=0.4)
            found = next((n for n in names if near and canonical(n) == near[0]), None)
            hint = f"the nearest is '{found}'; rename it" if found else f"found {', '.join(names) or 'no column'}"
            raise UserError(f"{path}: column '{name}' is missing; {hint}")


# CSV


def csv_header(path: Path) -> list[str]:
    """The column names. Raises `UserError` when the file cannot be opened or its first line is not text."""
    try:
        with open_bytes(path) as file:
            line = decode(file.readline())
    except (*BROKEN, StopIteration) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a CSV file, plain or gzipped") from error
    if line is None:
        raise UserError(f"{path}: the first line is not text; give a CSV file in UTF-8")
    names = next(csv.reader([line], delimiter=_delimiter(line)), [])
    return [name.strip() for name in names]


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def read_csv(path: Path, *, offset: int = 0, line: int = 0) -> Iterator[Row]:
    """The rows as mappings from `canonical` column names to stripped texts, with the number of their first line.

    A row whose quotation marks do not match spoils only itself: reading goes on at the next line. `offset` (bytes) and
    `line` are those of `csv_parts`.
    """
    try:
        with open_bytes(path) as file:
            lines = _Lines(file)
            names, delimiter = _csv_names(lines)
            if offset:
                lines.jump(offset, line)
            yield from _csv_rows(lines, str(path), names, delimiter)
    except BROKEN as error:
        yield Row(str(path), None, "undecodable", f"the rest of the file cannot be read: {error}")


def csv_parts(path: Path, size: int) -> Iterator[tuple[int, int, int]]:
    """(byte offset, lines before it, rows) of parts of `size` rows, for `read_csv`; a packed file is one part."""
    place, count = (0, 0), 0
    try:
        with open_bytes(path) as file:
            lines = _Lines(file)
            for _ in _csv_rows(lines, str(path), *_csv_names(lines)):
                count += 1
                if count == size and path.suffix not in PACKED[1:]:
                    yield *place, count
                    place, count = (lines.offset, lines.number), 0
    except BROKEN:  # a last row will tell of it
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


# JSON

_SPACE = re.compile(r"[\s,\ufeff]*")
_NEXT_OBJECT = re.compile(r"\}\s*,?\s*(?=\{)")


def read_json(
    path: Path, fields: Collection[str] = (), *, start: int = 0, stop: int = -1, number: int = 1
) -> Iterator[Row]:
    """The elements of a list, the values of an object of records (or of lists of them), or the lines of JSON lines.

    `fields` are those of a record, so that a file with a single one is known as such. `start`, `stop` (bytes) and
    `number` are those of `json_parts`. A value of an object of records has its key as `_key`.
    """
    try:
        with open_bytes(path) as file:
            for element in _elements(file, fields, start, stop):
                yield from _json_rows(element, f"{path}:{number}")
                number += 1
    except BROKEN as error:
        yield Row(str(path), None, "undecodable", f"the rest of the file cannot be read: {error}")


def _json_rows(element: _Element, where: str) -> Iterator[Row]:
    if element.problem:
        yield Row(where, None, "not JSON", element.problem)
        return
    text = decode(element.data.encode("latin-1"))
    if text is None:
        yield Row(where, None, "undecodable", "neither UTF-8 nor Windows-1252")
        return
    value = json.loads(text, strict=False)
    if isinstance(value, list):
        yield from (Row(f"{where}[{i}]", item) for i, item in enumerate(value))
    elif isinstance(value, dict) and element.key is not None:
        yield Row(where, {"_key": element.key, **value})
    else:
        yield Row(where, value)


def json_parts(path: Path, size: int, fields: Collection[str] = ()) -> Iterator[tuple[int, int, int]]:
    """(start, stop, number of the first element) of parts of about `size` bytes; a packed file is one part."""
    length = path.stat().st_size
    if length <= size or path.suffix in PACKED[1:]:
        yield 0, -1, 1
        return
    begin, first = 0, 1
    with path.open("rb") as file:
        for number, element in enumerate(_elements(file, fields), 1):
            if element.start - begin > size:
                yield begin, element.start, first
                begin, first = element.start, number
    yield begin, -1, first


class _Element(NamedTuple):
    start: int
    data: str = ""
    key: str | None = None
    problem: str = ""


def _elements(file: IO[bytes], fields: Collection[str], start: int = 0, stop: int = -1) -> Iterator[_Element]:
    """Top-level elements with the byte at which they begin, without holding more than one.

    Bytes are read as Latin-1, so that a character is a byte; the structure of JSON is ASCII in any case.
    """
    decoder = json.JSONDecoder(strict=False)
    head = file.read(_HEAD).decode("latin-1").lstrip("\ufeffï»¿ \t\r\n")
    keyed = _is_keyed(head, fields)
    file.seek(start)
    text, base, at, size = "", start, 0, _CHUNK
    if start == 0:
        text = file.read(_CHUNK).decode("latin-1")
        at = len(text) - len(text.lstrip("ï»¿ \t\r\n"))
        if at == len(text):
            return
        at += text[at] == "[" or keyed
    more = True
    while True:
        space = _SPACE.match(text, at)
        at = space.end() if space else at
        if at < len(text) and text[at] in "]}" and (keyed or text[at] == "]"):
            return
        if 0 <= stop <= base + at:
            return
        try:
            begin, key = at, None
            if at >= len(text):
                raise json.JSONDecodeError("end", text, at)
            if keyed:
                key, at = decoder.raw_decode(text, at)
                colon = re.compile(r"\s*:\s*").match(text, at)
                if colon is None or not isinstance(key, str):
                    raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
                at = colon.end()
            _, end = decoder.raw_decode(text, at)
            if end == len(text) and more:  # a number may go on
                raise json.JSONDecodeError("end", text, at)
            yield _Element(base + begin, text[at:end], key)
            at, size = end, _CHUNK
        except (json.JSONDecodeError, RecursionError) as error:
            if more and len(text) - begin < MAX_ELEMENT:
                data = file.read(size)
                more, size = bool(data), min(size * 2, MAX_ELEMENT)
                text, base, at = text[begin:] + data.decode("latin-1"), base + begin, 0
                continue
            if begin >= len(text):
                return
            yield _Element(base + begin, problem=str(error))
            skip = _NEXT_OBJECT.search(text, getattr(error, "pos", begin))
            if skip is None:
                return
            at = skip.end()


_FIRST_VALUE = re.compile(r'\{\s*"((?:[^"\\]|\\.)*)"\s*:\s*(?:\{|\[\s*\{)')


def _is_keyed(head: str, fields: Collection[str]) -> bool:
    """Whether a file is one object of records, rather than a list, JSON lines, or a single record."""
    first = _FIRST_VALUE.match(head)
    if first is None or first.group(1) in fields:
        return False
    try:
        line, _, rest = head.partition("\n")
        _, end = json.JSONDecoder(strict=False).raw_decode(line)
        return not (line[end:].strip() or rest.strip())
    except (json.JSONDecodeError, RecursionError):
        return True


def json_keys(path: Path, fields: Collection[str] = (), sample: int = 50) -> list[str]:
    """The keys that the first records have. Raises `UserError` when none of them is an object."""
    keys: dict[str, None] = {}
    for number, row in enumerate(read_json(path, fields)):
        if isinstance(row.value, dict):
            keys |= dict.fromkeys(row.value)
        if number >= sample:
            break
    if not keys:
        raise UserError(f"{path}: no record found; give a JSON list of objects, an object of objects, or JSON lines")
    return [key for key in keys if key != "_key"]


# Text


def read_text(path: Path) -> str | None:
    """The text of a file; None when it cannot be read or decoded."""
    try:
        with open_bytes(path) as file:
            return decode(file.read())
    except BROKEN:
        return None
