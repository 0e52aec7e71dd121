"""The layouts of label files: rows in, cases out. A file is told by its columns (`LAYOUTS`):

    NV-Reason-CXR   id, image, conversations, solution
    findings        image_id, class_name[, rad_id]: one row per finding, as in VinDr-CXR; a picture's rows make one case
    MIMIC-CXR-JPG   subject_id, study_id and classes; `-metadata.csv` and `-split.csv` beside it are read
    CheXpert        Path and classes[, Sex, Age, Frontal/Lateral, AP/PA]

Any of them may have a column with what a model wrote (`cases.COMPLETION`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from eval.benchmarks.base import Malformed
from eval.benchmarks.cases import (
    COLUMNS,
    Case,
    about_of,
    class_of,
    completion_of,
    labels_of,
    present,
    required,
    vote,
    word,
)
from reasoner.errors import UserError, one_line
from reasoner.prompts import parse_completion
from reasoner.schema import CLASSES, NO_FINDING
from reasoner.sources.chexpert_plus import STUDY
from reasoner.sources.io.cells import texts
from reasoner.sources.io.checks import official_split
from reasoner.sources.io.csv_rows import read_csv
from reasoner.sources.io.files import canonical, find_file
from reasoner.sources.mimic_cxr import VIEWS, digits, picture_name
from rewards.answers import parse_class_list

_HUMAN, _MODEL = ("human", "user"), ("gpt", "assistant", "model")

Fields = Mapping[str, Any]


class Line(NamedTuple):
    """A row by canonical names, its position from 0 and its line, or what is wrong with it."""

    position: int
    line: int
    value: Fields = {}
    problem: str = ""


class Numbered(NamedTuple):
    position: int
    line: int
    case: Case


Outcome = Numbered | Malformed


Layout = Callable[[Path, Iterable[Line]], Iterator[Outcome]]


def _each(build: Callable[[Fields], Case], file: Path, lines: Iterable[Line]) -> Iterator[Outcome]:
    """A case a row."""
    for line in lines:
        if line.problem:
            yield Malformed(str(file), line.line, one_line(line.problem))
            continue
        try:
            case = build(line.value)
            yield Numbered(line.position, line.line, replace(case, completion=completion_of(line.value)))
        except ValueError as error:
            yield Malformed(str(file), line.line, one_line(error))


def _chexpert(file: Path, lines: Iterable[Line]) -> Iterator[Outcome]:
    return _each(_chexpert_case, file, lines)


def _chexpert_case(row: Fields) -> Case:
    path = required(row, "Path")
    match, labels = STUDY.search(path), labels_of(row)
    return Case(
        id=path,
        study=f"{match[1]}/{match[2]}" if match else path,
        picture=path,
        labels=labels,
        solution=present(labels),
        about=about_of(row, path),
        split=official_split(path) or "",
    )


def _mimic(file: Path, lines: Iterable[Line]) -> Iterator[Outcome]:
    frontal, splits = _metadata(file), _splits(file)
    return _each(partial(_mimic_case, frontal=frontal, splits=splits), file, lines)


def _mimic_case(row: Fields, frontal: Mapping[str, tuple[str, str]], splits: Mapping[str, str]) -> Case:
    patient, study = digits(required(row, "subject_id")), digits(required(row, "study_id"))
    dicom, view = frontal.get(study, ("", ""))
    dicom = word(row.get("dicomid"), "dicom_id") or dicom
    labels = labels_of(row)
    return Case(
        id=study,
        study=study,
        picture=picture_name(patient, study, dicom) if dicom else "",
        labels=labels,
        solution=present(labels),
        about=({"view": view} if view else {}) | about_of(row),
        split=splits.get(study, ""),
    )


def _metadata(file: Path) -> dict[str, tuple[str, str]]:
    """Study -> its first frontal picture, else its first one, and the view of that."""
    found: dict[str, tuple[str, str]] = {}
    for row in _beside(file, "metadata"):
        study, position = digits(row.get("studyid", "")), row.get("viewposition", "").upper()
        view = VIEWS.get(position, position.lower())
        before = found.get(study)
        if before is None or ("frontal" in view and "frontal" not in before[1]):
            found[study] = row.get("dicomid", ""), view
    return found


def _splits(file: Path) -> dict[str, str]:
    return {digits(row.get("studyid", "")): official_split(row.get("split")) or "" for row in _beside(file, "split")}


def _beside(file: Path, table: str) -> Iterator[dict[str, str]]:
    path = find_file([file.parent], f"mimic-cxr-*-{table}.csv")
    return (row.value for row in (read_csv(path) if path else ()) if row.value)


def _nv(file: Path, lines: Iterable[Line]) -> Iterator[Outcome]:
    return _each(_nv_case, file, lines)


def _nv_case(row: Fields) -> Case:
    id_, picture = required(row, "id"), word(next(iter(texts(row.get("image"))), ""), "image")
    turns = row.get("conversations") or ()
    if not isinstance(turns, list | tuple) or not all(isinstance(turn, dict) for turn in turns):
        raise ValueError("'conversations' must be a list of {from, value}")
    written = parse_completion(_said(turns, _MODEL))
    solution = row["solution"] if row.get("solution") is not None else written.answer
    if not isinstance(solution, str | list):
        raise ValueError("'solution' must be a list of names with commas")
    solution = word(", ".join(texts(solution)), "solution")
    classes, unknown = parse_class_list(solution)
    if solution and not classes:
        unknown = unknown or (solution,)
    labels: dict[str, str | None] = {name: "present" if name in classes else "absent" for name in CLASSES}
    if not solution:
        labels[NO_FINDING] = "present"
    match = STUDY.search(id_) or STUDY.search(picture)
    return Case(
        id=id_,
        study=f"{match[1]}/{match[2]}" if match else id_,
        picture=picture,
        labels=labels,
        solution=solution,
        outside=unknown,
        about=about_of(row, f"{id_} {picture}"),
        question=_said(turns, _HUMAN).replace("<image>", "").strip(),
        reasoning=written.reasoning,
        split=official_split(id_) or "",
    )


def _said(turns: Sequence[Mapping[str, Any]], speakers: Sequence[str]) -> str:
    """What one of the speakers says first."""
    said = (turn.get("value") for turn in turns if str(turn.get("from")).lower() in speakers)
    return word(next(said, ""), "value")


@dataclass
class _Film:
    """What is read of a picture in a one-row-per-finding file."""

    position: int
    line: int
    about: Mapping[str, str]
    readers: dict[str, set[str]] = field(default_factory=dict)
    completion: str | None = None


def _findings(file: Path, lines: Iterable[Line]) -> Iterator[Outcome]:
    """A case a picture, in the order in which they first occur, after the bad rows. A class that no row of the file
    names was not looked for."""
    films: dict[str, _Film] = {}
    for line in lines:
        try:
            if line.problem:
                raise ValueError(line.problem)
            row = line.value
            image, name = required(row, "image_id"), required(row, "class_name")
            completion = completion_of(row)
            film = films.setdefault(image, _Film(line.position, line.line, about_of(row)))
            film.readers.setdefault(word(row.get("radid"), "rad_id"), set()).add(name)
            if not film.completion and completion is not None:
                film.completion = completion
        except ValueError as error:
            yield Malformed(str(file), line.line, one_line(error))
    looked = frozenset(
        known for film in films.values() for found in film.readers.values() for known in map(class_of, found) if known
    )
    for image, film in films.items():
        labels, outside = vote([frozenset(found) for found in film.readers.values()], looked)
        case = Case(image, image, image, labels, present(labels), outside, film.about, film.completion)
        yield Numbered(film.position, film.line, case)


#: The columns by which a layout is told, and its reader; the first that fits is taken.
LAYOUTS: tuple[tuple[tuple[str, ...], Layout], ...] = (
    (("solution",), _nv),
    (("image_id", "class_name"), _findings),
    (("subject_id", "study_id", "classes"), _mimic),
    (("Path", "classes"), _chexpert),
    (("conversations",), _nv),
)


def layout_of(file: Path, columns: Sequence[str]) -> Layout:
    """The layout of a file with these columns.

    Raises:
        UserError: it has none, or a column looks like that of a class and is none.
    """
    known = {canonical(name) for name in columns}
    if not known.isdisjoint(COLUMNS.values()):
        known.add("classes")
        for name in columns:
            near = difflib.get_close_matches(canonical(name), COLUMNS.values(), n=1, cutoff=0.85)
            if near and near[0] not in known:
                meant = next(label for label, column in COLUMNS.items() if column == near[0])
                raise UserError(f"{file}: column '{name}' looks like '{meant}' and would not be read; rename it")
    for wanted, layout in LAYOUTS:
        if known.issuperset(map(canonical, wanted)):
            return layout
    raise UserError(
        f"{file}: no labels of abnormality_list; looked for columns Path, or subject_id and study_id, with CheXpert's "
        f"classes, image_id and class_name, or solution; found {', '.join(columns)[:200] or 'none'}"
    )
