"""Files of other people's making: packed or not, in any plausible encoding. Rows are read in `csv_rows`, `json_rows`.

Nothing here raises for what is in a row: a row that cannot be read is a `Row` with a `reason`. Memory is one row (CSV),
one element (JSON), or one file (text), whatever the size of the file.
"""

from __future__ import annotations

import difflib
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from reasoner.errors import UserError

PACKED = ("", ".gz", ".zip")
#: What Windows-1252 text in Western languages is made of beyond ASCII; other high bytes mean another encoding.
_WESTERN = frozenset(
    "°±µ²³½¼¾×÷–—‘’“”…•®©™§«»¿¡·ºª´€\xa0áéíóúàèìòùâêîôûäëïöüñçãõåøæßœÁÉÍÓÚÀÈÌÒÙÂÊÎÔÛÄËÏÖÜÑÇÃÕÅØÆŒ".encode("cp1252")
)
#: What files in UTF-16 begin with.
_MARKS = (b"\xff\xfe", b"\xfe\xff")
#: The first line ends with a carriage return alone, as old spreadsheets for the Macintosh write it.
_RETURN_ALONE = re.compile(rb"[^\r\n]*\r[^\n]")
#: What the encoding and the line ends of a file are told from.
_HEAD = 2**16
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
#: Damaged archives and files.
BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile)


class Row(NamedTuple):
    """One row: where it stands (`file:line`), and its value, or the reason why there is none."""

    where: str
    value: Any = None
    reason: str = ""
    detail: str = ""


def decode(data: bytes) -> str | None:
    """The text of bytes in UTF-8, UTF-16 with its mark, or plausible Windows-1252; None when they are none of these."""
    if data.startswith(_MARKS):
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
    """The file's content; of a `.gz` or `.zip` (its first member), what is packed in it. Raises one of `BROKEN`."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(path)
        names = [name for name in archive.namelist() if not name.endswith("/")]
        try:
            return archive.open(names[0])
        except (IndexError, RuntimeError) as error:  # nothing in it, or encrypted, or packed in an unknown way
            raise zipfile.BadZipFile(f"no file can be read from it: {error}") from error
    return path.open("rb")


def open_lines(path: Path) -> IO[bytes]:
    """`open_bytes` for files with rows: lines end with a line feed, and what was UTF-16 is UTF-8.

    A file for which that takes a change is held whole. Raises one of `BROKEN`.
    """
    file = open_bytes(path)
    head = file.read(_HEAD)
    file.seek(0)
    if not _is_foreign(head):
        return file
    with file:
        data = file.read()
    if data.startswith(_MARKS):  # what is no text of it is left for the rows to tell; so is half a character at the end
        text = data[: len(data) // 2 * 2].decode("utf-16", "surrogatepass")
        data = text.encode("utf-8", "surrogatepass")
    return io.BytesIO(re.sub(rb"\r(?!\n)", b"\n", data) if _RETURN_ALONE.match(data) else data)


def is_whole(path: Path) -> bool:
    """Whether rows cannot be found by their place in the file, as it is packed or changed by `open_lines`."""
    if path.suffix in PACKED[1:]:
        return True
    with path.open("rb") as file:
        return _is_foreign(file.read(_HEAD))


def _is_foreign(head: bytes) -> bool:
    return head.startswith(_MARKS) or _RETURN_ALONE.match(head) is not None


def regular(paths: Iterable[Path]) -> list[Path]:
    """The regular files among `paths`, in order: no folders, pipes, devices, or links that lead nowhere."""
    return sorted(path for path in paths if path.is_file())


def find_file(folders: Sequence[Path], *names: str) -> Path | None:
    """The first of `names` (patterns), packed or not, in the first folder that has one."""
    for folder in folders:
        for name in names:
            for ending in PACKED:
                if found := regular(folder.glob(name + ending)):
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


def read_text(path: Path) -> str | None:
    """The text of a file; None when it cannot be read or decoded."""
    try:
        with open_bytes(path) as file:
            return decode(file.read())
    except BROKEN:
        return None
