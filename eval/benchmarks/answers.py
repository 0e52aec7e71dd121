"""What a model answered: a journal while it is asked, so that a killed run goes on, then one file a table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eval.benchmarks.store import Store
from eval.predictions import read_description
from reasoner.errors import UserError
from reasoner.runtime.disk import replacing


class Answer(NamedTuple):
    """The samples of one item."""

    #: What the model wrote; nothing where it failed.
    texts: tuple[str, ...]
    #: Tokens of each sample; None where nobody knows.
    tokens: tuple[int | None, ...] = ()
    #: Tokens of all samples.
    cost: int | None = None
    #: Why there is no answer, in one line.
    failure: str = ""

    def to_row(self) -> dict[str, Any]:
        return {
            "completions": list(self.texts),
            "tokens": list(self.tokens),
            "cost": self.cost,
            "failure": self.failure,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Answer:
        return cls(tuple(row["completions"]), tuple(row["tokens"]), row["cost"], row["failure"])


class Answers:
    """The answers of one label, in `folder`.

    While they are made they are appended to `journal.jsonl`, whose first line says what of; `finish` puts them into
    one file a table, in the order of the items, with its description, and drops the journal.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store = folder, store
        self._journal = folder / "journal.jsonl"
        self._offsets: dict[int, int] = {}
        #: Those that have a file.
        self.tables: list[str] = []

    def file(self, table: str) -> Path:
        return self.folder / f"{file_name(table)}.jsonl"

    def complete(self, described: Mapping[str, Any]) -> bool:
        """Whether all files are there, of what is `described` (table -> description)."""
        self.tables = list(described)
        return all(self._is_current(table, what) for table, what in described.items())

    def _is_current(self, table: str, what: Any) -> bool:
        try:
            return self.file(table).is_file() and read_description(self.file(table)) == what
        except (FileNotFoundError, UserError):
            return False

    def resume(self, described: Mapping[str, Any]) -> set[int]:
        """Opens the journal; positions that it holds answers of, none if it is of something else."""
        self.folder.mkdir(parents=True, exist_ok=True)
        head = json.dumps(described, sort_keys=True)
        self._offsets.clear()
        end = 0
        if self._journal.exists():
            with self._journal.open("rb") as file:
                if file.readline().decode("utf-8", "replace").rstrip("\n") == head:
                    end = file.tell()
                    while (line := file.readline()).endswith(b"\n"):  # a line that was cut off is made again
                        try:
                            self._offsets[json.loads(line)["position"]] = end
                        except (ValueError, KeyError, TypeError):
                            break
                        end = file.tell()
        if end:
            os.truncate(self._journal, end)
        else:
            self._journal.write_text(head + "\n", "utf-8")
        return set(self._offsets)

    def restart(self) -> None:
        """Opens an empty journal."""
        self._journal.unlink(missing_ok=True)
        self.resume({})

    def begun(self) -> list[str]:
        """The tables that the journal has an answer of."""
        return [table for table, places in self.store.tables.items() if not self._offsets.keys().isdisjoint(places)]

    def append(self, answers: Mapping[int, Answer]) -> None:
        """Adds a block of answers by position."""
        with self._journal.open("ab") as file:
            for position, answer in answers.items():
                self._offsets[position] = file.tell()
                file.write(json.dumps({"position": position, **answer.to_row()}).encode() + b"\n")
            file.flush()

    def held(self, position: int) -> bool:
        return position in self._offsets

    def finish(self, described: Mapping[str, Any]) -> None:
        """Writes the files; an item of a table without an answer has none there."""
        self.tables = list(described)
        with self._journal.open("rb") as journal:
            for table, what in described.items():
                path = self.file(table)
                description = path.with_suffix(".meta.json")
                description.unlink(missing_ok=True)
                with replacing(path) as file:
                    for position in self.store.tables[table]:
                        if position in self._offsets:
                            journal.seek(self._offsets[position])
                            item, row = self.store[position], json.loads(journal.readline())
                            row = {"table": table, "index": item.index, "id": item.example.id, **row}
                            del row["position"]
                            file.write(json.dumps(row, ensure_ascii=False) + "\n")
                with replacing(description) as file:
                    file.write(json.dumps(what, indent=1, sort_keys=True))
        self._journal.unlink()

    def read(self, table: str) -> Iterator[tuple[int, Answer]]:
        """(position, answer) of a table's items, in their order; "no prediction" is the failure of those without."""
        waiting = iter(self.store.tables[table])
        for row in _lines(self.file(table)):
            found = self.store.find(table, row["index"], None)
            for position in waiting:
                if position == found:
                    yield position, Answer.from_row(row)
                    break
                yield position, Answer((), failure="no prediction")
        for position in waiting:
            yield position, Answer((), failure="no prediction")


def file_name(table: str) -> str:
    """A table's name as that of a file."""
    return "".join(sign if sign.isalnum() or sign in "-_.,+ " else "_" for sign in table).strip(". ") or "_"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):  # noqa: B007 the error names it
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}:{number}: damaged ({error}); delete the file and evaluate again") from error


def check_file_names(tables: Sequence[str]) -> None:
    """Raises `UserError` where two tables would share a file."""
    names: dict[str, str] = {}
    for table in tables:
        other = names.setdefault(file_name(table), table)
        if other != table:
            raise UserError(f"tables {other!r} and {table!r} would share a file; rename one of their files")
