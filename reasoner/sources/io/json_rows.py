"""JSON files element by element, whatever their size: a list, an object of records, or JSON lines."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from reasoner.errors import UserError
from reasoner.sources.io.files import BROKEN, Row, decode, is_whole, open_lines

#: A JSON element longer than this is taken for broken.
MAX_ELEMENT = 64 * 2**20
_CHUNK = 2**20
#: What the form of a JSON file is told from.
_HEAD = 2**20

_SPACE = re.compile(r"[\s,\ufeff]*")
_NEXT_OBJECT = re.compile(r"\}\s*,?\s*(?=\{)")
_NEXT_LINE = re.compile(r"\n\s*(?=\{)")


def read_json(
    path: Path, fields: Collection[str] = (), *, start: int = 0, stop: int = -1, number: int = 1
) -> Iterator[Row]:
    """The elements of a list, the values of an object of records (or of lists of them), or the lines of JSON lines.

    `fields` are those of a record, so that a file with a single one is known as such. `start`, `stop` (bytes) and
    `number` are those of `json_parts`. A value of an object of records has its key as `_key`.
    """
    try:
        with open_lines(path) as file:
            for element in _elements(file, path, fields, start, stop):
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


def read_numbered(path: Path, fields: Collection[str] = ()) -> Iterator[tuple[int, Row]]:
    """`read_json` with the number by which a row is looked up, from 1: of JSON lines that of the line, else the row's
    own. A broken line of JSON lines costs itself alone."""
    try:
        with open_lines(path) as file:
            head = _begin(file).lstrip(b"\xef\xbb\xbf \t\r\n")
            if not _is_lines(path, head.decode("latin-1"), fields):
                yield from enumerate(read_json(path, fields), 1)
                return
            file.seek(0)
            for number, line in enumerate(file, 1):
                if line.strip(b"\xef\xbb\xbf \t\r\n\v\f"):
                    yield number, _line(line, f"{path}:{number}")
    except BROKEN as error:
        yield 0, Row(str(path), None, "undecodable", f"the rest of the file cannot be read: {error}")


def _begin(file: IO[bytes]) -> bytes:
    """The first `_HEAD` bytes or a little more; of an archive that breaks off before, the lines that can be read."""
    lines, size = list[bytes](), 0
    try:
        while size < _HEAD and (line := file.readline(_HEAD)):
            lines.append(line)
            size += len(line)
    except BROKEN:  # whoever reads on meets it again
        pass
    return b"".join(lines)


def _is_lines(path: Path, head: str, fields: Collection[str]) -> bool:
    """Whether a file is JSON lines; where its first line is broken, by its name, unless a value may go on after it."""
    first, _, rest = head.partition("\n")
    if _is_keyed(head, fields):
        return False
    named = ".jsonl" in path.name and bool(rest.strip())
    try:
        return isinstance(json.loads(first, strict=False), dict) or named
    except (ValueError, RecursionError):
        begun = first.strip()
        return named and not begun.startswith("[") and (begun != "{" or rest.lstrip().startswith("{"))


def _line(line: bytes, where: str) -> Row:
    text = decode(line.rstrip(b"\r\n"))
    if text is None:
        return Row(where, None, "undecodable", "neither UTF-8 nor Windows-1252")
    try:
        return Row(where, json.loads(text, strict=False))
    except (ValueError, RecursionError) as error:
        return Row(where, None, "not JSON", str(error))


def json_parts(path: Path, size: int, fields: Collection[str] = ()) -> Iterator[tuple[int, int, int]]:
    """(start, stop, number of the first element) of parts of about `size` bytes; a file that `is_whole` is one part."""
    length = path.stat().st_size
    if length <= size or is_whole(path):
        yield 0, -1, 1
        return
    begin, first = 0, 1
    with path.open("rb") as file:
        for number, element in enumerate(_elements(file, path, fields), 1):
            if element.start - begin > size:
                yield begin, element.start, first
                begin, first = element.start, number
    yield begin, -1, first


class _Element(NamedTuple):
    start: int
    data: str = ""
    key: str | None = None
    problem: str = ""


def _elements(
    file: IO[bytes], path: Path, fields: Collection[str], start: int = 0, stop: int = -1
) -> Iterator[_Element]:
    """Top-level elements with the byte at which they begin, without holding more than one. After a broken one it goes
    on with the next line of JSON lines, else behind the next brace that closes and opens.

    Bytes are read as Latin-1, so that a character is a byte; the structure of JSON is ASCII in any case.
    """
    decoder = json.JSONDecoder(strict=False)
    head = file.read(_HEAD).decode("latin-1").lstrip("\ufeffï»¿ \t\r\n")
    keyed = _is_keyed(head, fields)
    after = _NEXT_LINE if _is_lines(path, head, fields) else _NEXT_OBJECT
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
        if after is _NEXT_OBJECT and at < len(text) and text[at] in "]}" and (keyed or text[at] == "]"):
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
        except (ValueError, RecursionError) as error:  # a ValueError: a number of too many digits
            if more and len(text) - begin < MAX_ELEMENT and not (after is _NEXT_LINE and after.search(text, begin)):
                data = file.read(size)
                more, size = bool(data), min(size * 2, MAX_ELEMENT)
                text, base, at = text[begin:] + data.decode("latin-1"), base + begin, 0
                continue
            if begin >= len(text):
                return
            yield _Element(base + begin, problem=str(error))
            skip = after.search(text, begin if after is _NEXT_LINE else getattr(error, "pos", begin))
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
    except (ValueError, RecursionError):
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
