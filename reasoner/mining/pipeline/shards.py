"""What a mining run has finished, so that a killed one goes on: one folder per partition, there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

#: Finished shards are only good for the code that made them.
_FILES = ("schema.py", "pictures.py", "verified.py")
_CODE = ("findings", "mining", "phantom", "sources")


class Shards:
    """`folder/NNNNN/`: the tables of one partition (`NAME.arrow`) and its counts (`counts.json`).

    A shard is written beside its place and renamed, so a kill at any moment leaves whole shards only. Shards of another
    fingerprint are thrown away.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, fingerprint: str) -> None:
        manifest = self.folder / "manifest.json"
        try:
            same = json.loads(manifest.read_text("utf-8"))["fingerprint"] == fingerprint
        except (OSError, ValueError, KeyError, TypeError):
            same = False
        if not same:
            self.remove()
            self.folder.mkdir(parents=True)
            part = manifest.with_suffix(".part")
            part.write_text(json.dumps({"fingerprint": fingerprint}) + "\n", "utf-8")
            os.replace(part, manifest)
        for left in self.folder.glob("*.part-*"):
            shutil.rmtree(left)

    def done(self, number: int) -> bool:
        return self._place(number).is_dir()

    def write(self, number: int, tables: Mapping[str, pa.Table], counts: Mapping[str, Any]) -> None:
        place = self._place(number)
        part = place.with_name(f"{place.name}.part-{os.getpid()}")
        part.mkdir()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        for name, table in tables.items():
            with pa.ipc.new_file(part / f"{name}.arrow", table.schema, options=options) as writer:
                writer.write_table(table)
        (part / "counts.json").write_text(json.dumps(counts), "utf-8")
        try:
            os.rename(part, place)
        except OSError:  # Ray ran the partition twice: the other copy is the same
            shutil.rmtree(part)
            if not self.done(number):
                raise

    def read(self, number: int) -> tuple[dict[str, pa.Table], dict[str, Any]]:
        place = self._place(number)
        tables = {}
        for path in sorted(place.glob("*.arrow")):
            with pa.OSFile(str(path)) as file:
                tables[path.stem] = pa.ipc.open_file(file).read_all()
        return tables, json.loads((place / "counts.json").read_text("utf-8"))

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, number: int) -> Path:
        return self.folder / f"{number:05d}"


def fingerprint(source: Any, partitions: Any, settings: Any, output: Path) -> str:
    """A hash of all that decides what a run writes: the source and its files, the settings, the code."""
    parts = [source.name, _state(getattr(source, "__dict__", {}), output), partitions, repr(settings), _code()]
    return hashlib.sha256(json.dumps(parts, default=repr).encode()).hexdigest()


def _state(values: Mapping[str, Any], output: Path) -> list[Any]:
    """The source's own settings; of files their size and date, of folders those of the files in them."""
    found: list[Any] = []
    for name, value in sorted(values.items()):
        found.append([name, repr(value)])
        if isinstance(value, Path) and value.exists() and value.resolve() != output:
            files = sorted(path for path in value.iterdir() if path.is_file()) if value.is_dir() else [value]
            found += [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    return found


@cache
def _code() -> str:
    root = Path(__file__).parents[2]
    files = [root / name for name in _FILES] + [path for name in _CODE for path in sorted((root / name).rglob("*"))]
    digest = hashlib.sha256()
    for path in files:
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.read_bytes())
    return digest.hexdigest()
