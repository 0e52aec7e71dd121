"""Predictions that somebody else made, as answers of a label: files of the benchmark's rows with their completions, or
plain rows (`index` or `id`, `completion`, and `table` where the file is not named like it) of given items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.benchmarks.answers import Answer, Answers
from eval.benchmarks.base import Benchmark, Item, Malformed
from eval.benchmarks.store import Faults, Store, data_hash, input_files, json_lines, read_items, with_rows
from reasoner.errors import UserError

_BLOCK = 500
#: A plain row's completion: one, or the samples.
_COMPLETION, _SAMPLES = "completion", "completions"


@dataclass(frozen=True)
class Given:
    """One `--predictions LABEL=PATH`. `grow`: there is no `--input`, so its rows are the items, too."""

    path: Path
    benchmark: Benchmark
    images: Path | None
    grow: bool
    limit: int | None

    def fingerprint(self) -> str:
        return data_hash(self.path)

    def read(self, store: Store, answers: Answers, faults: Faults) -> int:
        """Puts the file's completions into the journal of `answers`; returns their number.

        Raises:
            UserError: no row has a completion of an item.
        """
        waiting: dict[int, Answer] = {}
        total = 0
        for position, answer, file, line in self._found(store, faults):
            if position in waiting or answers.held(position):
                faults.add(Malformed(str(file), line, "a second prediction of the same item; the first is used"))
                continue
            waiting[position] = answer
            total += 1
            if len(waiting) >= _BLOCK:
                answers.append(waiting)
                waiting = {}
        answers.append(waiting)
        if not total:
            first = f" ({faults.rows[0].problem})" if faults.rows else ""
            raise UserError(f"{self.path}: no row is a prediction of an item{first}; mend --predictions or --input")
        return total

    def _found(self, store: Store, faults: Faults) -> Iterator[tuple[int, Answer, Path, int]]:
        files = list(with_rows(input_files(self.path), faults))
        if self.benchmark.gathers and (self.grow or not any(map(_is_plain, files))):
            yield from self._rows(self.path, store, faults)  # counted on from file to file, as in --input
            return
        for file in files:
            if not self.grow and _is_plain(file):
                yield from self._plain(file, store, faults)
            else:
                yield from self._rows(file, store, faults)

    def _rows(self, path: Path, store: Store, faults: Faults) -> Iterator[tuple[int, Answer, Path, int]]:
        for file, item in read_items(self.benchmark, path, self.images, faults, self.limit):
            if item.completion is None:
                faults.add(Malformed(str(file), item.line, "no completion"))
                continue
            position = self._position(item, store)
            if isinstance(position, str):
                faults.add(Malformed(str(file), item.line, position))
            else:
                yield position, Answer((item.completion,), (None,)), file, item.line

    def _position(self, item: Item, store: Store) -> int | str:
        """Where the item is in the store, put there if it may be; else what is wrong."""
        for index, name in ((item.index, None), (None, item.example.id)):
            position = store.find(item.table, index, name)
            if position is not None:
                known = store[position].example
                if known.question == item.example.question and known.answer == item.example.answer:
                    return position
        if not self.grow:
            return f"table {item.table!r} of --input has no such question"
        position = store.add(item)
        return "another question than in the other predictions" if position is None else position

    def _plain(self, file: Path, store: Store, faults: Faults) -> Iterator[tuple[int, Answer, Path, int]]:
        for line, row in json_lines(file):
            try:
                if isinstance(row, str):
                    raise ValueError(row)
                answer = _answer(row)
                position = self._named(file, row, store)
            except ValueError as error:
                faults.add(Malformed(str(file), line, str(error)))
                continue
            if position is not None:
                yield position, answer, file, line

    def _named(self, file: Path, row: Mapping[str, Any], store: Store) -> int | None:
        """The item that a plain row names; None where a limit may have left it out. ValueError: there is none."""
        index, name = row.get("index"), row.get("id")
        if not isinstance(index, int) or isinstance(index, bool):
            index = None
        name = str(name) if isinstance(name, str | int) else None
        if index is None and name is None:
            raise ValueError("neither 'index' nor 'id'")
        table = row.get("table")
        if not isinstance(table, str):
            table = next(iter(store.tables)) if len(store.tables) == 1 else file.name.split(".")[0]
        if table not in store.tables:
            raise ValueError(f"no table {table[:60]!r} in --input")
        position = store.find(table, index, name)
        if position is None and self.limit is None:
            raise ValueError(f"table {table!r} has no item {index if index is not None else name!r}")
        if position is not None and name is not None and index is not None:
            known = store[position].example.id
            if known and known != name:
                raise ValueError(f"item {index} of table {table!r} has the id {known!r}, not {name[:60]!r}")
        return position


def _answer(row: Mapping[str, Any]) -> Answer:
    if _SAMPLES in row:
        texts = row[_SAMPLES]
    elif _COMPLETION in row:
        texts = [] if row[_COMPLETION] is None else [row[_COMPLETION]]
    else:
        texts = None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"'{_COMPLETION}' must be text, or '{_SAMPLES}' a list of texts")
    tokens = row.get("tokens")
    counts = tokens if isinstance(tokens, list) else [tokens]
    if len(counts) != len(texts) or not all(isinstance(count, int) for count in counts):
        counts = [None] * len(texts)
    known = [count for count in counts if count is not None]
    cost = sum(known) if texts and len(known) == len(texts) else None
    failure = row.get("failure")
    missing = "" if texts else failure if isinstance(failure, str) and failure else "no completion"
    return Answer(tuple(texts), tuple(counts), cost, missing)


def _is_plain(file: Path) -> bool:
    """Whether the first row is a plain one."""
    if file.suffix == ".parquet":
        return False
    for _, row in json_lines(file):
        named = isinstance(row, dict) and ("index" in row or "id" in row)
        return named and isinstance(row, dict) and (_COMPLETION in row or _SAMPLES in row)
    return False
