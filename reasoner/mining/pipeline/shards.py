"""What a mining run has finished, so that a killed one goes on: one folder per partition, there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from reasoner.runtime.disk import replacing
from reasoner.sources.base import Partition, Source

#: Finished shards are only good for the code that made them.
_FILES = ("schema.py", "dialogues.py", "pictures.py", "verified.py")
_CODE = ("findings", "mining", "phantom", "sources")


class Shards:
    """`folder/NNNNN/`: the tables of one partition (`NAME.arrow`), its counts (`counts.json`) and checksums (`sums`).

    A shard is written beside its place and renamed, so a kill at any moment leaves whole shards only; one that was
    damaged since is made again. Shards of another fingerprint are thrown away.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def draft(self) -> Path:
        """Where the data set is put together."""
        return self.folder / "draft"

    def open(self, fingerprint: str, count: int) -> list[int]:
        """The partitions of `count` that have no good shard yet."""
        try:
            same = json.loads(self.manifest.read_text("utf-8"))["fingerprint"] == fingerprint
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            same = False
        if not same:
            self.remove()
            with replacing(self.manifest) as file:
                file.write(json.dumps({"fingerprint": fingerprint}) + "\n")
        for left in self.folder.glob("*.part-*"):
            shutil.rmtree(left)
        missing = [number for number in range(count) if not self._whole(number)]
        for number in missing:
            shutil.rmtree(self._place(number), ignore_errors=True)
        return missing

    def write(self, number: int, tables: Mapping[str, pa.Table], counts: Mapping[str, Any]) -> None:
        place = self._place(number)
        part = place.with_name(f"{place.name}.part-{os.getpid()}")
        part.mkdir(parents=True)
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        for name, table in tables.items():
            with pa.ipc.new_file(part / f"{name}.arrow", table.schema, options=options) as writer:
                writer.write_table(table)
        (part / "counts.json").write_text(json.dumps(counts), "utf-8")
        (part / "sums").write_text(json.dumps(_sums(part)), "utf-8")
        try:
            os.rename(part, place)
        except OSError:  # Ray ran the partition twice: the other copy is the same
            shutil.rmtree(part)
            if not place.is_dir():
                raise

    def tables(self, number: int) -> dict[str, pa.Table]:
        """`studies` and the examples of each split."""
        return {path.stem: _read(path) for path in sorted(self._place(number).glob("*.arrow"))}

    def studies(self, number: int, *columns: str) -> Iterator[tuple[Any, ...]]:
        """Some columns of the studies, row by row, without reading the others."""
        path = self._place(number) / "studies.arrow"
        if path.is_file():
            table = _read(path, columns)
            yield from zip(*(table[name].to_pylist() for name in columns), strict=True)

    def counts(self, number: int) -> dict[str, Any]:
        return json.loads((self._place(number) / "counts.json").read_text("utf-8"))

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _whole(self, number: int) -> bool:
        place = self._place(number)
        try:
            return json.loads((place / "sums").read_text("utf-8")) == _sums(place)
        except (OSError, ValueError):
            return False

    def _place(self, number: int) -> Path:
        return self.folder / f"{number:05d}"


def _read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    with pa.OSFile(str(path)) as file:
        names = pa.ipc.open_file(file).schema.names
        options = pa.ipc.IpcReadOptions(included_fields=[names.index(name) for name in columns or names])
        return pa.ipc.open_file(file, options=options).read_all()


def _sums(folder: Path) -> dict[str, str]:
    """The checksum of each file of a shard."""
    files = sorted(path for path in folder.iterdir() if path.name != "sums")
    return {path.name: hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() for path in files}


def fingerprint(source: Source, partitions: Sequence[Partition], settings: dict[str, Any]) -> str:
    """A hash of all that decides what a run writes: the source and its files, the settings, the code."""
    parts = [source.fingerprint(), list(partitions), settings, _code()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def _code() -> str:
    root = Path(__file__).parents[2]
    files = [root / name for name in _FILES] + [path for name in _CODE for path in sorted((root / name).rglob("*"))]
    digest = hashlib.sha256()
    for path in files:
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.read_bytes())
    return digest.hexdigest()
