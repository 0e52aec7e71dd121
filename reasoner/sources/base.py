"""What a data source is: a cheap list of partitions, and a reader that turns one partition into studies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from reasoner.layout import UNFINISHED
from reasoner.schema import Rejected, Study

#: A JSON-able description of one part of the work (a file and its row range, a split and its seeds).
Partition = dict[str, Any]

#: What a mining run writes into its output folder; never read as input.
MADE = (
    "README.md",
    "studies.parquet",
    "quarantine.jsonl",
    "examples",
    "summary.json",
    UNFINISHED,
    "llm_cache.sqlite",
)


class Source(Protocol):
    """A collection of reports. Instances are pickled to Ray workers, so they hold paths and settings, never data."""

    name: str
    #: Whether it makes its own pictures.
    draws: bool

    def partitions(self) -> Sequence[Partition]:
        """The parts of the work, in order. Raises `UserError` when the input is missing or of another layout."""

    def read(self, partition: Partition) -> Iterator[Study | Rejected]:
        """The studies of one part; a row that cannot be used is yielded as `Rejected`, never raised."""

    def fingerprint(self) -> dict[str, Any]:
        """All that decides what is read, as JSON: the options, and size and date of the files."""

    def drawing_into(self, folder: Path) -> Source:
        """The same source with its pictures below `folder`; only asked of a source that `draws`."""
