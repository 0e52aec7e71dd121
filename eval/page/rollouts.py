"""GRPO's rollouts as cases: one for each prompt and step, with the completions of its group side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eval.page.cases import Case, Reading, classes_of
from eval.page.rows import Row
from reasoner.errors import UserError
from rewards.credit import PROCESS_REWARDS

ROLLOUTS = "rollouts"
#: A completion is right by this rule where the answer reward is full.
ANSWER = "answer"
RULES = (ANSWER,)
_REWARD = "_reward"


class Rollouts:
    """The cases of `GRPO/rollouts/*.parquet` in the order of the steps. Their table is `step N`.

    Raises:
        UserError: there are none, or a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._files = sorted((folder / ROLLOUTS).glob("step-*.parquet"))
        if not self._files:
            raise UserError(
                f"{folder}: neither a run of `eval --benchmark` nor rollouts of GRPO ({ROLLOUTS}/step-*.parquet); "
                "give the folder of either"
            )
        self._images: set[str] = set()
        self._samples = 0
        self._measured: dict[str, None] = {}
        #: A row for each step: `step`, and means by metric.
        self.history: list[dict[str, Any]] = []
        for step, groups in self._steps():
            rows = [row for group in groups for row in group]
            self._samples = max(self._samples, *map(len, groups))
            self._images.update(path for row in rows for path in row["images"] or ())
            self.history.append({"step": step, **_means([_scores(row) for row in rows])})
            self._measured.update(dict.fromkeys(self.history[-1]))
        self._measured.pop("step")

    def __enter__(self) -> Rollouts:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    @property
    def labels(self) -> list[str]:
        return [str(number) for number in range(1, self._samples + 1)]

    @property
    def metrics(self) -> list[str]:
        """Rewards before parts, each in the order of its first step."""
        return sorted(self._measured, key=lambda name: not name.endswith(_REWARD))

    def pictures(self) -> Iterator[str]:
        yield from self._images

    def __iter__(self) -> Iterator[Case]:
        for step, groups in self._steps():
            for index, rows in enumerate(groups):
                row = rows[0]
                yield Case(
                    table=f"step {step}",
                    index=index,
                    id=row["id"] or "",
                    question=row["question"] or "",
                    answer=row["answer"] or "",
                    readings={str(number): _reading(one) for number, one in enumerate(rows, 1)},
                    reasoning=row["reasoning"] or "",
                    report=row["report"] or "",
                    images=row["images"] or (),
                    classes=classes_of(row["answer"] or "", None),
                    about={"task": row["task"]} if row["task"] else {},
                    stage=step,
                )

    def _steps(self) -> Iterator[tuple[int, list[list[Row]]]]:
        """Each step with its groups: rows of one prompt that stand together. Files of a step are its batches and
        processes."""
        for step, files in groupby(self._files, lambda file: file.name.split("-")[1].removesuffix(".parquet")):
            groups = [
                list(rows)
                for file in files
                for _, rows in groupby(_rows(file), lambda row: (row["id"], row["question"]))
            ]
            if groups:
                yield int(step), groups


def _rows(file: Path) -> list[Row]:
    needed = ("id", "task", "question", "completion", "reasoning", "answer", "report", "images", "parts", "evidence")
    try:
        rows: list[Row] = pq.read_table(file).to_pylist()
        for row in rows:
            row |= {name: json.loads(row[name]) for name in ("parts", "evidence")}
            if any(name not in row for name in needed):
                raise ValueError("a column is missing")
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise UserError(f"{file}: cannot be read as rollouts ({error!r}); move it away and try again") from error
    return rows


def _scores(row: Row) -> dict[str, float | None]:
    return {name: value for name, value in row.items() if name.endswith(_REWARD)} | row["parts"]


def _means(rows: list[dict[str, float | None]]) -> dict[str, float]:
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [value for row in rows if (value := row.get(name)) is not None]
        if values:
            found[name] = sum(values) / len(values)
    return found


def _reading(row: Row) -> Reading:
    evidence = row["evidence"]
    answer = row.get(f"{ANSWER}{_REWARD}")
    given = next((entry["given"] for entry in evidence.get(ANSWER, ()) if "given" in entry), None)
    notes = []
    if row.get("edited_from"):
        notes.append("corrected, no sample; see what it was")
    if row.get("refilled"):
        notes.append("of a prompt that filled up the batch")
    return Reading(
        completion=row["completion"] or "",
        read=given,
        note="; ".join(notes),
        right={ANSWER: None if answer is None else answer == 1.0},
        scores=_scores(row),
        evidence=next((evidence[name] for name in PROCESS_REWARDS if evidence.get(name)), ()),
        more=[("Corrected from", row["edited_from"])] if row.get("edited_from") else (),
    )
