"""A row of ChestX-Reasoner's layout, taken apart: for training (`radrbench.py`) and for the benchmark that it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from reasoner.sources.io.cells import get, text, verbatim
from reasoner.sources.spellings import (
    FieldError,
    answer_of,
    completion_of,
    dataset_of,
    id_of,
    images_of,
    question_of,
    reasoning_of,
    report_of,
    unread,
)

#: What names of tasks contain -> our task, in the order of trying.
_TASKS = (("temporal", "temporal"), ("binary", "binary"), ("single", "single"), ("anomal", "anomaly"),
          ("multi", "multiple"), ("report", "report"))  # fmt: skip
_PATIENT = re.compile(r"(patient\d+|(?<![A-Za-z0-9])p\d{8}|CXR\d+)(?!\d)")
_PLACEHOLDER = re.compile(r"\s*<image>\s*")
#: What ChestX-Reasoner adds to a question that is to be reasoned about; a prompt profile adds it anew.
_SUFFIX = re.compile(r"\s*Let's think step by step\.(?:\s*Enclose the reasoning within <think>.*)?\s*\Z", re.DOTALL)


@dataclass(frozen=True)
class Fields:
    """What a row holds, as text; what it does not hold is empty. `completion` is None in a row of questions."""

    question: str
    answer: str
    reasoning: str
    report: str
    images: tuple[str, ...]
    id: str
    dataset: str
    options: tuple[str, ...]
    completion: str | None
    #: `<image>` in the question, which are cut out of it.
    placeholders: int


def read_fields(row: Any) -> Fields:
    """A row by any of its spellings.

    Raises:
        FieldError: it is no object, has no question or answer, a column is of the wrong kind, or one looks like one of
            these and is not read.
    """
    if not isinstance(row, dict):
        raise FieldError(f"a row must be an object, found {type(row).__name__}")
    if problem := unread(row):
        raise FieldError(problem)
    asked, answer = question_of(row), answer_of(row)
    question = _SUFFIX.sub("", _PLACEHOLDER.sub("\n", asked)).strip()
    for name, words in (("question", question), ("answer", answer)):
        if not words:
            raise FieldError(f"'{name}' is missing or empty")
    return Fields(
        question=question,
        answer=answer,
        reasoning=reasoning_of(row),
        report=report_of(row),
        images=images_of(row),
        id=id_of(row),
        dataset=dataset_of(row),
        options=_options(row.get("options")),
        completion=completion_of(row),
        placeholders=len(_PLACEHOLDER.findall(asked)),
    )


def patient_of(row: Mapping[str, Any], fields: Fields, otherwise: str) -> str:
    """The patient as named, or as read from a picture's path; else each report (or picture) is a patient."""
    named = text(get(row, "patient_id", "subject_id", "pat_id"))
    match = next(filter(None, map(_PATIENT.search, fields.images)), None)
    if named or match:
        return named or match.group(1)  # type: ignore[union-attr]
    if fields.report:
        return blake2b(" ".join(fields.report.split()).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return fields.images[0] if fields.images else otherwise


def task_of(fields: Fields, *names: str) -> str:
    """The task by the first of `names` that tells it, else by the answer."""
    for name in names:
        for part, task in _TASKS:
            if part in name.lower():
                return task
    if fields.answer.lower().rstrip(".") in ("yes", "no"):
        return "binary"
    return "single" if fields.options or re.fullmatch(r"[A-H][).]?", fields.answer) else "multiple"


def _options(value: Any) -> tuple[str, ...]:
    """Options from a list, a mapping of their letters, or lines."""
    if value is None or value != value:
        return ()
    if isinstance(value, dict):
        return tuple(f"{letter}) {verbatim(words)}" for letter, words in value.items())
    lines = value.splitlines() if isinstance(value, str) else value
    if not isinstance(lines, list):
        raise FieldError(f"'options' must be a list, found {type(value).__name__}")
    return tuple(words for words in map(verbatim, lines) if words)
