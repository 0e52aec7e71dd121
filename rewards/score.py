"""`reasoner score`: existing completions in, one row of scores per completion out; no model is loaded.

In: JSON lines with `completion`, `reasoning` (the reference chain) and `report`, and if at hand `id`, `question`,
`answer`, `task`, `options`, `labels` (verified, unless `label_source` is `mined`). Out: as many JSON lines in the same
order with `id`, `factuality`, `completeness`, `effectiveness`, `radrscore`, `answer`, `format` (numbers, or null where
not applicable) and `evidence` by reward. A row that cannot be read gets nulls and an `error`, and is counted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from reasoner.errors import UserError
from reasoner.prompts import parse_completion
from reasoner.schema import LABEL_SOURCES
from rewards.process import PARTS
from rewards.registry import RewardSet, Score

#: Unweighted: each is reported on its own.
REWARDS = {"format": 1.0, "answer": 1.0, "process": 1.0}
COLUMNS = (*PARTS, "radrscore", "answer", "format")
_TEXT = ("completion", "reasoning", "report", "question", "answer", "task")
_CHUNK = 2000

Row = dict[str, Any]
Scorer = Callable[[Sequence[Row]], Sequence[Mapping[str, Score]]]


def score_file(input: Path, output: Path, workers: int = 1) -> dict[str, Any]:
    """Scores the rows of `input` into `output` and returns the summary: n, means, nulls and bad rows.

    Args:
        workers: 1 scores in this process; more use as many Ray actors.

    Raises:
        UserError: `input` cannot be read or has no usable row.
    """
    summary = _Summary()
    scorer, close = _scorer(workers)
    part = output.with_name(output.name + ".part")
    try:
        with _open(input) as lines:
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("w", encoding="utf-8") as sink:
                for number, row in _score_lines(lines, scorer):
                    summary.add(number, row)
                    sink.write(json.dumps(row, ensure_ascii=False) + "\n")
        if summary.n == summary.bad_rows:
            first = f": line {summary.errors[0]['line']}: {summary.errors[0]['error']}" if summary.errors else ""
            raise UserError(f"{input}: no usable row among {summary.n}{first}; each line must be a JSON object")
        os.replace(part, output)
    finally:
        part.unlink(missing_ok=True)
        close()
    return summary.to_dict()


def _open(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give a JSON-lines file as --input") from error


def _scorer(workers: int) -> tuple[Scorer, Callable[[], None]]:
    if workers > 1:
        from rewards.workers import RewardPool

        pool = RewardPool(REWARDS, workers=workers, name="reward-pool-score")
        return lambda rows: pool.score(list(rows)), pool.close
    rewards = RewardSet.build(REWARDS)
    return lambda rows: [rewards.score(row) for row in rows], lambda: None


def _score_lines(lines: Iterator[bytes], scorer: Scorer) -> Iterator[tuple[int, Row]]:
    """(line number, output row) of each line that is not blank."""
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    while chunk := list(islice(numbered, _CHUNK)):
        read = [read_row(line) for _, line in chunk]
        scores = iter(scorer([row for row, error in read if error is None]))
        for (number, _), (row, error) in zip(chunk, read, strict=True):
            yield number, _output(row, next(scores)) if error is None else _failed(row, error)


def read_row(line: bytes) -> tuple[Row, str | None]:
    """The row with every column the rewards may ask for, and what is wrong with it, if anything."""
    try:
        data = json.loads(line)
    except ValueError as error:  # broken JSON and broken UTF-8 alike
        return {}, f"not JSON: {error}"
    if not isinstance(data, dict):
        return {}, f"a JSON object is needed, found {type(data).__name__}"
    row: Row = {**dict.fromkeys((*_TEXT, "labels")), "options": (), **data}
    row["options"] = row["options"] or ()
    if isinstance(row["answer"], str):  # some collections keep the gold answer in its tags
        row["answer"] = parse_completion(row["answer"]).answer or row["answer"]
    for name in _TEXT:
        if not isinstance(row[name], (str, type(None))):
            return row, f"column '{name}' must be text, found {type(row[name]).__name__}"
    if row["completion"] is None:
        return row, "column 'completion' is missing"
    if isinstance(row["labels"], str):  # as in mined Parquet files
        try:
            row["labels"] = json.loads(row["labels"])
        except ValueError:
            return row, "column 'labels' is text but not JSON"
    if not isinstance(row["labels"], (dict, type(None))):
        return row, f"column 'labels' must be an object of class to status, found {type(row['labels']).__name__}"
    if row.get("label_source") not in (None, *LABEL_SOURCES):
        return row, f"column 'label_source' must be {' or '.join(LABEL_SOURCES)}, found {row['label_source']!r}"
    if not isinstance(row["options"], (list, tuple)):
        return row, f"column 'options' must be a list, found {type(row['options']).__name__}"
    return row, None


def _output(row: Row, scores: Mapping[str, Score]) -> Row:
    process = scores["process"]
    return {
        "id": row.get("id"),
        **{name: process.parts.get(name) for name in PARTS},
        "radrscore": process.value,
        "answer": scores["answer"].value,
        "format": scores["format"].value,
        "evidence": {name: list(score.evidence) for name, score in scores.items()},
    }


def _failed(row: Row, error: str) -> Row:
    return {"id": row.get("id"), **dict.fromkeys(COLUMNS), "evidence": {}, "error": error}


class _Summary:
    """Counts while rows pass by."""

    def __init__(self) -> None:
        self.n = self.bad_rows = 0
        self.sums = dict.fromkeys(COLUMNS, 0.0)
        self.counts = dict.fromkeys(COLUMNS, 0)
        self.errors: list[dict[str, Any]] = []

    def add(self, number: int, row: Row) -> None:
        self.n += 1
        if "error" in row:
            self.bad_rows += 1
            if len(self.errors) < 10:
                self.errors.append({"line": number, "error": row["error"]})
        for name in COLUMNS:
            if row[name] is not None:
                self.sums[name] += row[name]
                self.counts[name] += 1

    def to_dict(self) -> dict[str, Any]:
        means = {name: self.sums[name] / self.counts[name] if self.counts[name] else None for name in COLUMNS}
        nulls = {name: self.n - self.counts[name] for name in COLUMNS}
        return {"n": self.n, "mean": means, "null": nulls, "bad_rows": self.bad_rows, "errors": self.errors}
