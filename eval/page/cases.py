"""Cases as the page's scripts read them: `data/index.js`, columns over all cases to filter and sort by, and
`data/NUMBER.js`, some cases each with all their texts, loaded when they are looked at.

Scripts instead of JSON, since a page opened from a disk may load nothing else. What a model wrote stands in them as
JSON strings and reaches the page as text alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from eval.verdicts import Segment, missed, segments
from reasoner.profiles import own_words
from reasoner.prompts import parse_completion
from reasoner.runtime.disk import replacing
from reasoner.schema import CLASSES

#: Cases of one file.
CHUNK = 50
#: Characters of a question in the list.
_SHORT = 160
Kind = Literal["run", "rollouts"]


@dataclass(frozen=True)
class Reading:
    """What one model wrote on a case."""

    completion: str
    #: The answer as it was read.
    read: str | None = None
    note: str = ""
    #: Rule -> right, wrong, or None where the rule does not judge it.
    right: Mapping[str, bool | None] = field(default_factory=dict)
    #: Metric -> value; those of the index can be filtered by.
    scores: Mapping[str, float | None] = field(default_factory=dict)
    #: The process reward's.
    evidence: Sequence[Mapping[str, Any]] = ()
    #: Further lines, name and text.
    more: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Case:
    """A question with its reference, and the reading of each label that answered it."""

    table: str
    index: int
    id: str
    question: str
    answer: str
    readings: Mapping[str, Reading]
    options: Sequence[str] = ()
    reasoning: str = ""
    report: str = ""
    images: Sequence[str] = ()
    classes: Sequence[str] = ()
    #: Subgroups: `view`, `sex`, `age`, `split`.
    about: Mapping[str, str] = field(default_factory=dict)
    conversation: str = ""
    stage: int | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)


def classes_of(answer: str, labels: Mapping[str, Any] | None) -> list[str]:
    """The CheXpert classes of a case: those that its labels have as present, and those that its answer names."""
    named = {part.strip() for part in answer.split(",")}
    return [name for name in CLASSES if name in named or (labels or {}).get(name) == "present"]


def write_cases(
    folder: Path,
    cases: Iterable[Case],
    *,
    kind: Kind,
    labels: Sequence[str],
    rules: Sequence[str],
    metrics: Sequence[str],
    picture: Callable[[str], str | None],
) -> int:
    """Writes the files into `folder`; returns the number of cases.

    Args:
        labels, rules, metrics: what the readings have.
        picture: the path of a case's picture to its name beside the page; None where it cannot be shown.
    """
    index = _Index(labels, rules, metrics)
    chunk: list[dict[str, Any]] = []
    number = 0
    for case in cases:
        images = [picture(path) for path in case.images]
        index.add(case, images)
        chunk.append(_whole(case, images, labels))
        if len(chunk) == CHUNK:
            _script(folder / f"{number}.js", f"PAGE.chunk({number}, ", chunk, ")")
            number, chunk = number + 1, []
    if chunk:
        _script(folder / f"{number}.js", f"PAGE.chunk({number}, ", chunk, ")")
    _script(folder / "index.js", "PAGE.index(", {"kind": kind, "chunk": CHUNK, **index.to_dict()}, ")")
    return len(index)


class _Index:
    """What the list knows of all cases, column by column."""

    def __init__(self, labels: Sequence[str], rules: Sequence[str], metrics: Sequence[str]) -> None:
        self.labels, self.rules, self.metrics = labels, rules, metrics
        self._columns: dict[str, list[Any]] = {
            name: [] for name in ("table", "index", "id", "question", "answer", "classes", "talk", "stage", "image")
        }
        self._about: dict[str, list[int]] = {}
        #: Values -> their number, by column.
        self._known: dict[str, dict[str, int]] = {}
        self._right: dict[str, dict[str, list[str]]] = {rule: {label: [] for label in labels} for rule in rules}
        self._scores: dict[str, dict[str, list[float | None]]] = {
            name: {label: [] for label in labels} for name in metrics
        }

    def __len__(self) -> int:
        return len(self._columns["index"])

    def _number(self, column: str, value: str) -> int:
        known = self._known.setdefault(column, {})
        return known.setdefault(value, len(known))

    def add(self, case: Case, images: Sequence[str | None]) -> None:
        at = len(self)
        row = {
            "table": self._number("table", case.table),
            "index": case.index,
            "id": case.id,
            "question": " ".join(case.question.split())[:_SHORT],
            "answer": " ".join(case.answer.split())[:_SHORT],
            "classes": [self._number("class", name) for name in case.classes],
            "talk": self._number("talk", case.conversation) if case.conversation else -1,
            "stage": case.stage,
            "image": next((name for name in images if name), None),
        }
        for name, value in row.items():
            self._columns[name].append(value)
        for name in case.about.keys() - self._about.keys():
            self._about[name] = [-1] * at
        for name, column in self._about.items():
            column.append(self._number(f"about {name}", str(case.about[name])) if case.about.get(name) else -1)
        for label in self.labels:
            reading = case.readings.get(label)
            for rule, by_label in self._right.items():
                by_label[label].append(_sign(reading.right.get(rule)) if reading else " ")
            for metric, values in self._scores.items():
                values[label].append(_finite(reading.scores.get(metric)) if reading else None)

    def to_dict(self) -> dict[str, Any]:
        return {
            "labels": self.labels,
            "rules": self.rules,
            "metrics": self.metrics,
            "tables": list(self._known.get("table", {})),
            "classes": list(self._known.get("class", {})),
            "columns": self._columns,
            "about": {
                name: {"values": list(self._known.get(f"about {name}", {})), "of": column}
                for name, column in sorted(self._about.items())
            },
            "right": {
                rule: {label: "".join(signs) for label, signs in by_label.items()}
                for rule, by_label in self._right.items()
            },
            "scores": self._scores,
        }


def _sign(right: bool | None) -> str:
    return "-" if right is None else "1" if right else "0"


def _finite(value: float | None) -> float | None:
    return round(value, 4) if isinstance(value, int | float) and math.isfinite(value) else None


def _whole(case: Case, images: Sequence[str | None], labels: Sequence[str]) -> dict[str, Any]:
    """The case with all its texts; a picture that cannot be shown is its path's name."""
    return {
        "question": case.question,
        "options": list(case.options),
        "answer": case.answer,
        "reasoning": case.reasoning,
        "report": case.report,
        "images": [name for name in images if name],
        "unseen": [Path(path).name for path, name in zip(case.images, images, strict=True) if not name],
        "about": dict(case.about),
        "labels": {name: status for name, status in case.labels.items() if status},
        "readings": [_reading(case.readings[label]) if label in case.readings else None for label in labels],
    }


def _reading(reading: Reading) -> dict[str, Any]:
    shown, rest = marked(reading.completion, reading.evidence)
    return {
        "text": [[one.text] if one.verdict is None else [one.text, one.verdict, one.against] for one in shown],
        "raw": rest,
        "read": reading.read,
        "note": reading.note,
        "missed": missed(reading.evidence),
        "scores": {name: _finite(value) for name, value in reading.scores.items() if value is not None},
        "more": [list(pair) for pair in reading.more],
    }


def marked(completion: str, evidence: Sequence[Mapping[str, Any]]) -> tuple[list[Segment], str | None]:
    """The completion cut at its verdicts, and None; or, where the reasoning that was judged is not one piece of it, the
    reasoning cut at its verdicts, and the completion as it is."""
    own = own_words(completion)
    reasoning = parse_completion(own).reasoning
    cut = list(segments(reasoning, evidence))
    at = completion.rfind(reasoning, len(completion) - len(own)) if reasoning else -1
    if at < 0:
        return (cut, completion) if cut else ([Segment(completion)], None)
    around = Segment(completion[:at]), *cut, Segment(completion[at + len(reasoning) :])
    return [one for one in around if one.text], None


def _script(path: Path, before: str, value: Any, after: str) -> None:
    with replacing(path) as file:
        file.writelines(_json_script(before, value, after))


def _json_script(before: str, value: Any, after: str) -> Iterator[str]:
    """In ASCII: a script has no say in how a browser reads it from a disk."""
    yield before
    yield json.dumps(value, separators=(",", ":"), allow_nan=False)
    yield after + "\n"
