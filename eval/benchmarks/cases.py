"""Cells of label files as one reference: labels, the list of the authors' rule, subgroups. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from eval.benchmarks.base import writable
from reasoner.findings.data import read_data
from reasoner.schema import CLASSES, NO_FINDING
from reasoner.sources.chexpert_plus import view_of
from reasoner.sources.io.cells import get, number, text
from reasoner.sources.io.checks import is_utf8
from reasoner.sources.io.files import canonical
from reasoner.sources.mimic_cxr import STATUS, VIEWS
from rewards.answers import gold_list

NAMES = Path(__file__).with_name("class_names.yaml")
#: Where a row may hold what a model wrote, in the order of looking; canonical.
COMPLETION = ("completion", "pred", "prediction", "response", "output", "generatedtext", "modeloutput")
#: Class -> its column, canonical.
COLUMNS = {name: canonical(name) for name in CLASSES}
#: The youngest of each band of ages, in years.
_BANDS = (0, 18, 40, 60, 80)
_AGE = re.compile(r"0*(\d{1,3})(?:\.\d*)?\s*Y?", re.IGNORECASE)
_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female"}
_FILE_VIEW = re.compile(r"view\d+_(frontal|lateral)", re.IGNORECASE)

Labels = dict[str, str | None]


@dataclass(frozen=True)
class Case:
    """What a row (or the rows of one picture) tells. A class without a label was not looked at."""

    id: str
    study: str
    #: The picture's name, as the file has it; empty where it names none.
    picture: str
    labels: Labels
    #: The names of the reference by the rule of the benchmark's authors, with commas.
    solution: str
    #: Findings of the reference that are no class.
    outside: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    completion: str | None = None
    question: str = ""
    reasoning: str = ""
    split: str = ""

    def gold(self) -> dict[str, Any]:
        """`Item.gold`: `solution`; `classes` to be named and `free` ones, which count neither way; and `outside`.

        No class is to be named where there is something, and the reference does not tell which class: our rule cannot
        grade that.
        """
        something = self.labels.get(NO_FINDING) == "absent" and "present" not in self.labels.values()
        unknown = self.outside or not self.labels.keys() >= set(CLASSES)
        gold = gold_list(None, {name: self.labels.get(name) or "uncertain" for name in CLASSES}, "verified")
        known = None if something and unknown else gold
        return {
            "solution": self.solution,
            "classes": list(known.classes) if known else [],
            "free": sorted(known.free) if known else [],
            "outside": list(self.outside),
        }


def word(value: Any, name: str) -> str:
    """A cell as text.

    Raises:
        ValueError: it cannot be written down.
    """
    found = text(value) if not isinstance(value, dict | list) else None
    if found is None or not is_utf8(found):
        raise ValueError(f"'{name}' must be text, found {ascii(value)[:60]}")
    return found


def required(row: Mapping[str, Any], name: str) -> str:
    """The text of a cell that must hold some; ValueError else."""
    found = word(row.get(canonical(name)), name)
    if not found:
        raise ValueError(f"'{name}' is empty")
    return found


def labels_of(row: Mapping[str, Any]) -> Labels:
    """CheXpert's cells: 1 present, 0 absent, -1 uncertain, and blank, not mentioned, absent. Columns that the row does
    not have were not looked at; `No Finding` without a column holds where no other class may.

    Raises:
        ValueError: another cell, or all are blank.
    """
    labels: Labels = {}
    said = False
    for name, column in COLUMNS.items():
        if column not in row:
            continue
        cell = row[column]
        blank = cell is None or (isinstance(cell, str | float) and not text(cell))
        status = "absent" if blank else STATUS.get(number(cell))
        if status is None:
            raise ValueError(f"'{name}' holds {ascii(cell)[:40]}; a label is 1, 0, -1 or empty")
        said = said or not blank
        labels[name] = status
    if not said:
        raise ValueError("all labels are empty")
    if NO_FINDING not in labels:
        found = any(status in ("present", "uncertain") for status in labels.values())
        labels[NO_FINDING] = "absent" if found else "present"
    return labels


def present(labels: Labels) -> str:
    """The classes that hold as NV-Reason-CXR's lists have them: `No Finding` as it is labelled, uncertain ones left
    out."""
    return ", ".join(name for name in CLASSES if labels.get(name) == "present")


def vote(readers: Sequence[frozenset[str]], looked: frozenset[str]) -> tuple[Labels, tuple[str, ...]]:
    """The labels of a picture by the findings that each of its readers names, and what most find that is no class.

    A class is present where more than half of the readers name it, uncertain where just half do, absent where fewer do.
    `looked`: the classes that were looked for; of the others nothing is known.
    """
    counts: dict[str, int] = {}
    beyond: dict[str, int] = {}
    for named in readers:
        for name in {class_of(found) or "" for found in named} - {""}:
            counts[name] = counts.get(name, 0) + 1
        for found in named:
            if class_of(found) is None:
                beyond[found] = beyond.get(found, 0) + 1
    labels: Labels = {}
    for name in CLASSES:
        twice = 2 * counts.get(name, 0)
        if name in looked:
            labels[name] = "present" if twice > len(readers) else "uncertain" if twice == len(readers) else "absent"
    normal = 2 * counts.get(NO_FINDING, 0) > len(readers)
    labels[NO_FINDING] = "present" if normal else "absent"
    return labels, tuple(sorted(name for name, count in beyond.items() if 2 * count > len(readers)))


def class_of(name: str) -> str | None:
    """The class that a finding of a one-row-per-finding file belongs to; None for none."""
    return _class_names().get(canonical(name))


@cache
def _class_names() -> dict[str, str]:
    table = {column: name for name, column in COLUMNS.items()}
    return table | {canonical(name): known for name, known in read_data(NAMES).items() if known}


def about_of(row: Mapping[str, Any], path: str = "") -> dict[str, str]:
    """Subgroups: `view`, `sex`, `age` (in bands), where the row gives them; the view also by the picture's name."""
    position = text(row.get("viewposition")) or text(row.get("view"))
    by_name = _FILE_VIEW.search(path)
    view = view_of(row) or VIEWS.get(position.upper(), position.lower()) or (by_name[1].lower() if by_name else "")
    found = {
        "view": view,
        "sex": _SEXES.get(text(get(row, "sex", "patientsex", "gender")).lower(), ""),
        "age": _band(text(get(row, "age", "patientage"))),
    }
    return {name: value for name, value in found.items() if value and is_utf8(value)}


def _band(age: str) -> str:
    match = _AGE.fullmatch(age)
    if match is None:
        return ""
    years = int(match[1])
    low = max(start for start in _BANDS if start <= years)
    after = [start for start in _BANDS if start > years]
    return f"{low}-{after[0] - 1}" if after else f"{low}+"


def completion_of(row: Mapping[str, Any]) -> str | None:
    """What a model wrote, where the row has a field for it; of an empty cell an empty text.

    Raises:
        ValueError: the field holds something else.
    """
    column = next((name for name in COMPLETION if name in row), None)
    if column is None:
        return None
    words = "" if row[column] is None else row[column]
    if not isinstance(words, str):
        raise ValueError(f"'{column}' must be the text that a model wrote, found {ascii(words)[:60]}")
    return writable(words)
