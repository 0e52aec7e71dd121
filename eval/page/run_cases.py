"""A run of `reasoner eval --benchmark` as cases, from the files that it left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eval.benchmarks.tables import EVIDENCE, ITEMS, MEANS, QUESTIONS, SAMPLES, rows_of
from eval.page.cases import Case, Reading, classes_of
from eval.page.rows import Row, Rows

#: Metrics that cases can be filtered and sorted by: these of the row, then what is in its `values`.
_FIRST = tuple(name for name in MEANS if name not in ("official", "strict"))
RULES = ("strict", "official")


class RunCases:
    """The cases in the order of `questions.jsonl`; a context, since the other files stay open while it is read.

    `labels` and `metrics` are in the order of `items.jsonl`. A row lacks what a file lacks: the page of a run that
    an older version made is poorer, and still a page.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._labels: dict[str, None] = {}
        self._measured: dict[str, None] = {}
        self._items = Rows(run / ITEMS, _key, self._see)
        self._evidence = Rows(run / EVIDENCE, _key)
        self._samples = Rows(run / SAMPLES, _key)

    def __enter__(self) -> RunCases:
        return self

    def __exit__(self, *error: object) -> None:
        for rows in (self._items, self._evidence, self._samples):
            rows.close()

    @property
    def labels(self) -> list[str]:
        return list(self._labels)

    @property
    def metrics(self) -> list[str]:
        return sorted(self._measured, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))

    def pictures(self) -> Iterator[str]:
        for row in rows_of(self._run / QUESTIONS):
            yield from _images(row)

    def __iter__(self) -> Iterator[Case]:
        for row in rows_of(self._run / QUESTIONS):
            found = {label: self._reading(label, row) for label in self._labels}
            labels = row.get("labels")
            labels = labels if isinstance(labels, dict) else {}
            answer = _text(row.get("answer"))
            yield Case(
                table=_text(row["table"]),
                index=row["index"],
                id=_text(row.get("id")),
                question=_text(row.get("question")),
                answer=answer,
                readings={label: reading for label, reading in found.items() if reading},
                options=[_text(option) for option in row.get("options") or ()],
                reasoning=_text(row.get("reasoning")),
                report=_text(row.get("report")),
                images=_images(row),
                classes=classes_of(answer, labels),
                about=row.get("about") or {},
                conversation=_text(row.get("conversation")),
                stage=row.get("stage"),
                labels=labels,
            )

    def _see(self, row: Row) -> None:
        self._labels[row["label"]] = None
        for name, value in _scores(row).items():
            if value is not None:
                self._measured[name] = None

    def _reading(self, label: str, question: Row) -> Reading | None:
        key = label, question["table"], question["index"]
        row = self._items.get(key)
        if row is None:
            return None
        sampled = self._samples.get(key)
        return Reading(
            completion=_text(row.get("completion")),
            read=row.get("read"),
            note=_text(row.get("note")),
            right={rule: row.get(rule) for rule in RULES},
            scores=_scores(row),
            evidence=(self._evidence.get(key) or {}).get("evidence") or (),
            more=_sampled(sampled) if sampled else (),
        )


def _key(row: Row) -> tuple[Any, ...]:
    return row["label"], row["table"], row["index"]


def _scores(row: Row) -> dict[str, float | None]:
    return {name: row.get(name) for name in _FIRST} | (row.get("values") or {})


def _images(row: Row) -> list[str]:
    return [_text(path) for path in row.get("images") or ()]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _sampled(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The answers of several samples, each with its sign, and which of them each rule chose."""
    signs = {True: "✓", False: "✗", None: "–"}
    answers = [
        f"{number}. {signs[right]} {read if read is not None else 'none that can be read'}"
        for number, (right, read) in enumerate(zip(row.get("strict", ()), row.get("read", ()), strict=False), 1)
    ]
    chosen = [f"{rule.replace('_', ' ')}: sample {at + 1}" for rule, at in (row.get("chosen") or {}).items()]
    return [("Samples", "\n".join(answers)), ("Chosen", ", ".join(chosen))]
