"""Runs `reasoner` in this process, as a user would, and reads back what it leaves."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from recipes.cli import main

Row = dict[str, Any]


class Outcome(NamedTuple):
    """How a command ended: its exit code and what it said."""

    code: int
    out: str
    err: str


class Run(NamedTuple):
    """What a benchmark run left in its folder."""

    folder: Path
    items: list[Row]
    questions: list[Row]
    scores: Row
    meta: Row

    def item(self, table: str, index: int = 0, label: str | None = None) -> Row:
        """The item of a table at a position of its source file."""
        found = [
            item
            for item in self.items
            if (item["table"], item["index"]) == (table, index) and label in (None, item["label"])
        ]
        assert len(found) == 1, f"{len(found)} items at {table}[{index}]"
        return found[0]

    def question(self, table: str, index: int = 0) -> Row:
        found = [row for row in self.questions if (row["table"], row["index"]) == (table, index)]
        assert len(found) == 1, f"{len(found)} questions at {table}[{index}]"
        return found[0]

    def malformed(self, file: str) -> list[Row]:
        """The rows of a file that were set aside."""
        return [row for row in self.meta["malformed"]["rows"] if Path(row["file"]).name == file]


def reasoner(*arguments: object, page: bool = False) -> Outcome:
    """Runs one command; what it prints is caught. The page, which takes longer than all else, is made if wanted."""
    with pytest.MonkeyPatch.context() as patch:
        out, err = io.StringIO(), io.StringIO()
        if not page:
            patch.setattr("eval.page.write_page", lambda run: None)
        patch.setattr("sys.stdout", out)
        patch.setattr("sys.stderr", err)
        code = main([str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def evaluate(benchmark: str, output: Path, *arguments: object, page: bool = False) -> Run:
    """`reasoner eval --benchmark`, which must succeed; few resamples and, unless wanted, no `page`, for speed."""
    outcome = reasoner(
        "eval",
        "--benchmark",
        benchmark,
        "--output",
        output,
        "--bootstrap",
        "50",
        "--workers",
        "1",
        *arguments,
        page=page,
    )
    assert outcome.code == 0, outcome.err
    return read_run(output)


def read_run(folder: Path) -> Run:
    return Run(
        folder,
        json_lines(folder / "items.jsonl"),
        json_lines(folder / "questions.jsonl"),
        json.loads((folder / "scores.json").read_text("utf-8")),
        json.loads((folder / "run.json").read_text("utf-8")),
    )


def json_lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write_json(path: Path, rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1), "utf-8")
    return path


def write_lines(path: Path, rows: Iterable[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path
