"""Reports in our own `Study` fields, one JSON object per line; image paths are relative to the file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reasoner.errors import UserError
from reasoner.schema import CLASSES, SPLITS, STATUSES, Rejected, Study
from reasoner.sources.base import Partition
from reasoner.sources.checks import check_images, split_of

LINES = 1000  # per partition
REQUIRED = ("study_id", "report")
_LISTS = ("images", "views", "prior_images")


class JsonlSource:
    """Args: input: the `.jsonl` file. `patient_id` defaults to the study's, `split` to a share by patient."""

    name = "jsonl"

    def __init__(self, input: str | Path | None, output: str | Path, *, require_images: bool = True) -> None:
        if input is None:
            raise UserError("source 'jsonl' needs an input file: --input FILE.jsonl")
        self.path, self.require_images = Path(input), require_images

    def partitions(self) -> Sequence[Partition]:
        """Ranges of lines with their byte offsets: `{offset, line, count}`."""
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such file; give a JSON-lines file as the input of source 'jsonl'")
        parts: list[Partition] = []
        with self.path.open("rb") as file:
            offset = 0
            for number, line in enumerate(file):
                if number % LINES == 0:
                    parts.append({"offset": offset, "line": number + 1, "count": 0})
                parts[-1]["count"] += 1
                offset += len(line)
        return parts

    def read(self, partition: Partition) -> Iterator[Study | Rejected]:
        with self.path.open("rb") as file:
            file.seek(partition["offset"])
            for number in range(partition["line"], partition["line"] + partition["count"]):
                line = file.readline()
                if line.strip():
                    yield self._row(line, f"{self.path}:{number}")

    def _row(self, line: bytes, where: str) -> Study | Rejected:
        try:
            row = json.loads(line)
        except ValueError as error:  # also undecodable bytes
            return Rejected(self.name, where, "not JSON", str(error))
        problem = _problem(row)
        if problem:
            study_id = row.get("study_id") if isinstance(row, dict) else None
            return Rejected(self.name, where, "bad row", problem, study_id if isinstance(study_id, str) else None)
        images = tuple(str(self.path.parent / image) for image in row.get("images") or ())
        prior = tuple(str(self.path.parent / image) for image in row.get("prior_images") or ())
        fault = check_images((*images, *prior), required=self.require_images)
        if fault:
            return Rejected(self.name, where, *fault, study_id=row["study_id"])
        patient = row.get("patient_id") or row["study_id"]
        split = row.get("split") or split_of(patient)
        study = Study.from_dict({k: v for k, v in row.items() if v is not None} | {"patient_id": patient})
        return replace(study, images=images, prior_images=prior, split=split, source=study.source or self.name)


def _problem(row: Any) -> str:
    """What is wrong with the row's fields; empty when nothing is."""
    if not isinstance(row, dict):
        return f"a row must be an object, found {type(row).__name__}"
    for name in REQUIRED:
        if not isinstance(row.get(name), str) or not row[name].strip():
            return f"'{name}' must be text"
    for name in ("patient_id", "prior_study_id", "source", "split"):
        if not isinstance(row.get(name, ""), str | None):
            return f"'{name}' must be text"
    for name in _LISTS:
        value = row.get(name)
        if value is not None and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            return f"'{name}' must be a list of texts"
    if row.get("split") and row["split"] not in SPLITS:
        return f"'split' must be one of {', '.join(SPLITS)}, found '{row['split']}'"
    sections = row.get("sections")
    if sections is not None and not (isinstance(sections, dict) and all(isinstance(v, str) for v in sections.values())):
        return "'sections' must map names to texts"
    labels = row.get("labels")
    if labels is not None:
        if not isinstance(labels, dict):
            return "'labels' must map classes to statuses"
        for name, status in labels.items():
            if name not in CLASSES or status not in (*STATUSES, None):
                return f"'labels' holds {name!r}: {status!r}; classes are CheXpert's, statuses {', '.join(STATUSES)}"
    return ""
