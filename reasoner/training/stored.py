"""The rows of a split as memory-mapped Arrow files, made once of the mined Parquet: any row is there at once, and all
processes of a machine share what they read.

Parquet is packed: one row of it costs as much as the two thousand of its group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b, file_digest
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from reasoner.dialogues import questions
from reasoner.runtime.once import made_once
from reasoner.schema import Example
from reasoner.training.dataset import read_batches, shards_of, to_example

#: What no trainer reads; of the questions of a dialogue `steps`, too.
_UNREAD = ("gold_findings", "steps", "boxes", "split", "source")


class Stored:
    """The rows of some Parquet files, by number.

    Args:
        shards: the Parquet files.
        files: their Arrow files.
    """

    def __init__(self, data_dir: Path, shards: Sequence[Path], files: Sequence[Path]) -> None:
        import pyarrow as pa

        self.data_dir, self.shards, self.files = data_dir, tuple(shards), tuple(files)
        self._readers = [pa.ipc.open_file(pa.memory_map(str(file))) for file in files]
        self._batches = [(shard, n) for shard, r in enumerate(self._readers) for n in range(r.num_record_batches)]
        sizes = [self._readers[shard].get_batch(n).num_rows for shard, n in self._batches]
        self._starts = np.cumsum([0, *sizes])  # of the batches
        before = np.cumsum([0, *(reader.num_record_batches for reader in self._readers)])
        self._firsts = self._starts[before]  # of the shards

    def __reduce__(self) -> tuple[Any, ...]:
        return Stored, (self.data_dir, self.shards, self.files)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def key(self) -> str:
        """Changes with the content of the Parquet files."""
        return "-".join(file.stem for file in self.files)

    def row(self, number: int) -> Example:
        """One row, a dialogue whole."""
        place = int(np.searchsorted(self._starts, number, "right")) - 1
        shard, batch = self._batches[place]
        found = self._readers[shard].get_batch(batch).slice(number - int(self._starts[place]), 1)
        return self._example(found.to_pylist()[0], number, shard)

    def question(self, number: int, turn: int) -> Example:
        """One question of a dialogue; below 0 the row itself."""
        row = self.row(number)
        return row if turn < 0 else list(questions(row))[turn]

    def rows(self, first: int, end: int, tasks: Sequence[str] | None = None) -> Iterator[tuple[int, Example]]:
        """The rows of the tasks from `first` to before `end`, with their numbers."""
        for place in range(int(np.searchsorted(self._starts, first, "right")) - 1, len(self._batches)):
            start = int(self._starts[place])
            if start >= end:
                return
            shard, batch = self._batches[place]
            skipped = max(0, first - start)
            found = self._readers[shard].get_batch(batch).slice(skipped, end - start - skipped)
            for number, row in enumerate(found.to_pylist(), start + skipped):
                if tasks is None or row["task"] in tasks:
                    yield number, self._example(row, number, shard)

    def _example(self, row: dict[str, Any], number: int, shard: int) -> Example:
        return to_example(row, self.data_dir, f"{self.shards[shard]}:{number - int(self._firsts[shard])}")


def open_stored(data_dir: Path, split: str, cache: Path) -> Stored:
    """The rows of a split, from Arrow files in `cache` that are made where they are missing or the data has changed.

    Raises:
        UserError: no such split, a file that is damaged, or `cache` cannot be written.
    """
    shards = shards_of(data_dir, split)
    files = [made_once(cache / f"{shard.stem}-{_digest(shard)}.arrow", _Copy(shard)) for shard in shards]
    return Stored(data_dir, shards, files)


def _digest(shard: Path) -> str:
    """Of the file's content."""
    with shard.open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=8)).hexdigest()


class _Copy:
    """Writes a Parquet file's rows as Arrow."""

    def __init__(self, shard: Path) -> None:
        self.shard = shard

    def __call__(self, place: Path) -> None:
        import pyarrow as pa

        batches = read_batches(self.shard, _read)
        first = next(batches, pa.record_batch({}))
        with pa.OSFile(str(place), "wb") as file, pa.ipc.new_file(file, first.schema) as out:
            for batch in chain([first], batches):
                out.write_batch(batch)


def _read(column: str) -> bool:
    """Whether a trainer reads a column of the Parquet file, by its path."""
    name, *inside = column.split(".")
    return name not in _UNREAD and not (name == "turns" and "steps" in inside)
