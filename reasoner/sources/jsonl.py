"""Reports in our own `Study` fields, one JSON object per line; image paths are relative to the file.

If no row of the file names an image, reports are mined without images. If some rows do, each row must, and each one of
its `images` must exist; `prior_images` of which one cannot be used are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from reasoner.errors import UserError
from reasoner.schema import CLASSES, SPLITS, STATUSES, Rejected, Study
from reasoner.sources.base import Partition
from reasoner.sources.io.checks import check_images, check_report, our_split, split_of
from reasoner.sources.io.collection import Collection, Outcome
from reasoner.sources.io.files import BROKEN, Row, decode, open_lines, regular, require
from reasoner.sources.io.json_rows import json_keys
from reasoner.sources.io.sections import split_headings

LINES = 1000  # per partition
REQUIRED = ("study_id", "report")
_IDS = ("study_id", "patient_id", "prior_study_id")
_LISTS = ("images", "views", "prior_images")
#: Not for users to set: made by the miner, or by sources that bring their own questions.
_OURS = ("given", "where")


class JsonlSource(Collection):
    """Args: input: the `.jsonl` file (or `.jsonl.gz`), or a folder of them. require_images: whether each row must name
    images; by default when any does. `patient_id` defaults to the study's, `split` to a share by patient."""

    name = "jsonl"
    options = ("require_images",)
    what = "a JSON-lines file, or the folder with such files"

    def __init__(self, input: str | Path | None, output: str | Path, *, require_images: bool | None = None) -> None:
        super().__init__(input, output)
        self.require_images = require_images

    def partitions(self) -> Sequence[Partition]:
        """Ranges of lines with their byte offsets: `{file, offset, line, count, images}`."""
        parts: list[Partition] = []
        with_images = False
        for file in self.files():
            offset = 0
            for number, line in enumerate(_raw_lines(file)):
                if number % LINES == 0:
                    parts.append({"file": str(file), "offset": offset, "line": number + 1, "count": 0})
                parts[-1]["count"] += 1
                if isinstance(line, bytes):
                    offset += len(line)
                    with_images = with_images or _names_images(line)
            if offset:
                _check_keys(file)
        required = with_images if self.require_images is None else self.require_images
        return [{**part, "images": required} for part in parts]

    def files(self) -> list[Path]:
        path = self.path()
        found = [path] if path.is_file() else regular([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")])
        files = [file for file in found if not self.made(file)]
        if not files:
            raise UserError(f"{path}: no .jsonl file in it; source 'jsonl' needs {self.what}")
        return files

    def read(self, partition: Partition) -> Iterator[Outcome]:
        path = Path(partition["file"])

        def build(row: Any, where: str) -> Iterator[Outcome]:
            yield self._study(row, where, path.parent, partition["images"])

        yield from self.each(_lines(path, partition), build)

    def _study(self, row: Any, where: str, folder: Path, required: bool) -> Study | Rejected:
        if isinstance(row, dict):  # identifiers are often numbers
            row = {k: str(v) if k in _IDS and type(v) is int else v for k, v in row.items()}
        problem = _problem(row)
        if problem:
            study_id = row.get("study_id") if isinstance(row, dict) else None
            return Rejected(self.name, where, "bad row", problem, study_id if isinstance(study_id, str) else None)
        images = tuple(str(folder / image) for image in row.get("images") or ())
        prior = tuple(str(folder / image) for image in row.get("prior_images") or ())
        read = split_headings(row["report"])
        body = f"{read.get('findings', '')} {read.get('impression', '')}".strip()
        fault = check_report(body or row["report"]) or check_images(images, self.verified, required=required)
        if fault:
            return Rejected(self.name, where, *fault, study_id=row["study_id"])
        if check_images(prior, self.verified, required=False) is not None:  # a prior is never required
            prior = ()
        patient = row.get("patient_id") or row["study_id"]
        split = our_split(row["split"]) if row.get("split") else split_of(patient)
        fields = {k: v for k, v in row.items() if v is not None and k not in _OURS}
        study = Study.from_dict(fields | {"patient_id": patient})
        return replace(study, images=images, prior_images=prior, split=split, source=study.source or self.name)


def _lines(path: Path, partition: Partition) -> Iterator[Row]:
    lines = islice(_raw_lines(path, partition["offset"]), partition["count"])
    for number, line in enumerate(lines, partition["line"]):
        where = f"{path}:{number}"
        words = decode(line) if isinstance(line, bytes) else None
        if not isinstance(line, bytes):
            yield Row(where, None, "undecodable", f"the rest of the file cannot be read: {line}")
        elif words is None:
            yield Row(where, None, "undecodable", "neither UTF-8 nor Windows-1252")
        elif words.strip():
            try:
                yield Row(where, json.loads(words))
            except (ValueError, RecursionError) as error:
                yield Row(where, None, "not JSON", str(error))


def _raw_lines(path: Path, offset: int = 0) -> Iterator[bytes | BaseException]:
    """The lines from a byte on; where a damaged file breaks off, the error, as the last one."""
    try:
        with open_lines(path) as file:
            file.seek(offset)
            yield from file
    except BROKEN as error:
        yield error


def _names_images(line: bytes) -> bool:
    """Whether a row names an image, without reading its JSON: the miner needs to know before it starts."""
    _, key, rest = line.partition(b'"images"')
    return bool(key) and rest.lstrip(b" :").startswith(b'["')


def _check_keys(path: Path) -> None:
    """Raises `UserError` when none of the first rows has a required field: it has another name here."""
    try:
        keys = json_keys(path, REQUIRED)
    except UserError:  # no object among them: each row is told of
        return
    require(path, keys, REQUIRED)


def _problem(row: Any) -> str:
    """What is wrong with the row's fields; empty when nothing is."""
    if not isinstance(row, dict):
        return f"a row must be an object, found {type(row).__name__}"
    if not isinstance(row.get("study_id"), str) or not row["study_id"].strip():
        return "'study_id' must be text"
    if not isinstance(row.get("report"), str):
        return "'report' must be text"
    for name in ("patient_id", "prior_study_id", "prior_report", "source", "split"):
        if not isinstance(row.get(name, ""), str | None):
            return f"'{name}' must be text"
    for name in _LISTS:
        value = row.get(name)
        if value is not None and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            return f"'{name}' must be a list of texts"
    if row.get("split") and our_split(row["split"]) not in SPLITS:
        return f"'split' must be one of {', '.join(SPLITS)}, found '{row['split']}'"
    sections = row.get("sections")
    if sections is not None and not (isinstance(sections, dict) and all(isinstance(v, str) for v in sections.values())):
        return "'sections' must map names to texts"
    return _labels_problem(row, "labels") or _labels_problem(row, "official_labels") or _boxes_problem(row.get("boxes"))


def _labels_problem(row: dict[str, Any], column: str) -> str:
    labels = row.get(column)
    if not isinstance(labels, dict | None):
        return f"'{column}' must map classes to statuses"
    for name, status in (labels or {}).items():
        if name not in CLASSES or status not in (*STATUSES, None):
            return f"'{column}' holds {name!r}: {status!r}; classes are CheXpert's, statuses {', '.join(STATUSES)}"
    return ""


def _boxes_problem(boxes: Any) -> str:
    if boxes is None:
        return ""
    numbers = ("x0", "y0", "x1", "y1")
    if not isinstance(boxes, list) or not all(isinstance(box, dict) for box in boxes):
        return "'boxes' must be a list of objects"
    for box in boxes:
        fine = isinstance(box.get("label"), str) and type(box.get("reader", 1)) is int
        if not fine or not all(type(box.get(name)) in (int, float) and abs(box[name]) < 2**31 for name in numbers):
            return "'boxes' must hold a label, the numbers x0, y0, x1, y1 and, where there are several, a reader"
    return ""
