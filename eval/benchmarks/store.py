"""The items of a run, on disk: a benchmark may be larger than memory. In memory is what finds one."""

from __future__ import annotations

import hashlib
import json
import pickle
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from eval.benchmarks.base import Benchmark, Item, Malformed
from reasoner.errors import UserError
from reasoner.sources.io.files import BROKEN, open_bytes

_ENDINGS = (".json", ".jsonl", ".csv", ".parquet")
_PACKED = (".gz", ".zip")
#: Bytes in which a file that is not empty shows it.
_FIRST = 4096
#: So many malformed rows are listed, of all files together; all are counted.
_LISTED = 10_000


class Faults:
    """Malformed rows: all counted by file, the first of them listed."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.rows: list[Malformed] = []

    def add(self, fault: Malformed) -> None:
        self.counts[fault.file] += 1
        if len(self.rows) < _LISTED:
            self.rows.append(fault)

    def to_dict(self) -> dict[str, Any]:
        return {"counts": dict(self.counts), "rows": [row._asdict() for row in self.rows]}


class Store:
    """Items by position, from 0, in the order in which they were added; without what a model wrote."""

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115 closed by `close`
        self._offsets = array("Q")
        #: Table -> positions.
        self.tables: dict[str, list[int]] = defaultdict(list)
        self._talks: dict[str, list[int]] = defaultdict(list)
        self._talk_of: dict[int, str] = {}
        self._by_key: dict[tuple[str, int], int] = {}
        self._by_id: dict[tuple[str, str], int | None] = {}
        self.max_images = 0

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, position: int) -> Item:
        self._file.seek(self._offsets[position])
        item: Item = pickle.load(self._file)
        return item

    def add(self, item: Item) -> int | None:
        """The item's position; None where its table has one of this index already."""
        if item.key in self._by_key:
            return None
        position = len(self._offsets)
        self._offsets.append(self._file.seek(0, 2))
        pickle.dump(replace(item, completion=None, gold=dict(item.gold), about=dict(item.about)), self._file)
        self._by_key[item.key] = position
        self.tables[item.table].append(position)
        if item.example.id:
            name = item.table, item.example.id
            self._by_id[name] = None if name in self._by_id else position
        if item.conversation:
            self._talks[item.conversation].append(position)
            self._talk_of[position] = item.conversation
        self.max_images = max(self.max_images, len(item.example.images))
        return position

    def find(self, table: str, index: int | None, name: str | None) -> int | None:
        """The position of an item of a table by its index, else by its id, where that names one alone."""
        if index is not None:
            return self._by_key.get((table, index))
        return self._by_id.get((table, name)) if name is not None else None

    def blocks(self, size: int) -> Iterator[list[int]]:
        """All positions, some `size` at a time; a conversation is never cut."""
        block: list[int] = []
        for position in range(len(self)):
            talk = self._talk_of.get(position)
            whole = self._talks[talk] if talk else [position]
            if whole[0] == position:
                block += whole
            if len(block) >= size:
                yield block
                block = []
        if block:
            yield block

    def waves(self, block: Sequence[int]) -> Iterator[list[int]]:
        """The block's positions in rounds: of each conversation one item a round, in their order."""
        rounds: list[list[int]] = []
        seen: Counter[str] = Counter()
        for position in block:
            talk = self._talk_of.get(position, "")
            number = seen[talk] if talk else 0
            seen[talk] += 1
            if number == len(rounds):
                rounds.append([])
            rounds[number].append(position)
        return iter(rounds)

    def conversation(self, position: int) -> str:
        return self._talk_of.get(position, "")


def input_files(path: Path) -> list[Path]:
    """The files that an input names: itself; of a mined data set its examples, but for training; else all of a
    folder's that may hold rows.

    Raises:
        UserError: there are none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    for folder in (path / "examples", path / "data" / "examples"):
        if folder.is_dir():
            files = sorted(file for file in folder.glob("*.parquet") if not file.name.startswith("train-"))
            break
    else:
        files = sorted(file for file in path.iterdir() if file.is_file() and _holds_rows(file))
    if not files:
        raise UserError(f"{path}: no file of rows in this folder ({', '.join(_ENDINGS)}, plain or packed)")
    return files


def _holds_rows(file: Path) -> bool:
    name = file.name.lower()
    for ending in _PACKED:
        name = name.removesuffix(ending)
    return name.endswith(_ENDINGS) and not name.startswith(".") and not name.endswith(".meta.json")


def read_items(
    benchmark: Benchmark, path: Path, images: Path | None, faults: Faults, limit: int | None = None
) -> Iterator[tuple[Path, Item]]:
    """The items of all files of an input with their file, at most `limit` a table; malformed rows go to `faults`.

    Where a table takes the rows of all files, its items are counted on from file to file, in the order of their names,
    and a conversation stays in its file.
    """
    counts: Counter[str] = Counter()
    before = following = 0
    for number, file in enumerate(with_rows(input_files(path), faults)):
        if benchmark.gathers:
            before = following
        for row in benchmark.read(file, images):
            if isinstance(row, Malformed):
                faults.add(row)
                continue
            if before:
                talk = f"{row.conversation} [{number}]" if row.conversation else ""
                row = replace(row, index=before + row.index, conversation=talk)
            following = max(following, row.index + 1)
            counts[row.table] += 1
            if limit is None or counts[row.table] <= limit:
                yield file, row


def with_rows(files: Sequence[Path], faults: Faults) -> Iterator[Path]:
    """The files but for those that are empty beside others, as a run that died leaves them: these are faults. A single
    file is left to its reader."""
    for file in files:
        if len(files) > 1 and _is_empty(file):
            faults.add(Malformed(str(file), 1, "the file has no rows"))
        else:
            yield file


def _is_empty(file: Path) -> bool:
    try:
        with open_bytes(file) as stream:
            return b"".join(stream.read(_FIRST).split()).removeprefix(b"\xef\xbb\xbf") in (b"", b"[]", b"{}")
    except BROKEN:  # its reader says so
        return False


def data_hash(path: Path) -> str:
    """SHA-256 of the names and bytes of an input's files."""
    digest = hashlib.sha256()
    for file in input_files(path):
        digest.update(f"{file.name}\0".encode("utf-8", "surrogateescape"))
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def json_lines(file: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line, row) of each line that is not blank; in a row's place what is wrong with it."""
    try:
        with open_bytes(file) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _row(line)
    except BROKEN as error:
        raise UserError(f"{file}: cannot be read ({error}); give another") from error


def _row(line: bytes) -> dict[str, Any] | str:
    try:
        row = json.loads(line.decode("utf-8-sig"))
        json.dumps(row, ensure_ascii=False).encode()  # a lone surrogate is no text
    except (ValueError, RecursionError) as error:
        return f"not JSON in UTF-8: {str(error)[:200]}"
    return row if isinstance(row, dict) else f"a JSON object is needed, found {type(row).__name__}"
