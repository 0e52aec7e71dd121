"""RadRBench-CXR and other question files in the layout of ChestX-Reasoner, used as they are.

JSON (a list, or JSON lines) of objects with `question` and `answer`, and, where they are given, the reference reasoning
(`reasoning` or `process`), the report (`report` or `original_report`), pictures (`image_path`), `item_id`,
`dataset_name`, `options`. The task is read from `task`, `dataset_name` or the file's name (`mimic_binary.json`), else
from the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from reasoner.prompts import TAGS
from reasoner.schema import Example, Rejected, Study
from reasoner.sources.base import Partition
from reasoner.sources.io.cells import get, text, texts
from reasoner.sources.io.checks import check_images, check_report, official_split, split_of
from reasoner.sources.io.collection import Collection, Outcome, Pictures
from reasoner.sources.io.files import require
from reasoner.sources.io.json_rows import json_keys, json_parts, read_json

BYTES = 8 * 2**20  # per partition
REASONING = ("reasoning", "process", "reason", "rationale", "cot")
REPORT = ("report", "original_report", "gt_report")
IMAGES = ("image_path", "images", "image", "image_paths")
ID = ("id", "item_id", "question_id", "_key")
FIELDS = ("question", "answer", *REASONING, *REPORT, *IMAGES, *ID, "options", "dataset_name", "task", "split")
#: What names of tasks contain -> our task, in the order of trying.
TASKS = (("temporal", "temporal"), ("binary", "binary"), ("single", "single"), ("anomal", "anomaly"),
         ("multi", "multiple"), ("report", "report"))  # fmt: skip
_PATIENT = re.compile(r"(patient\d+|(?<![A-Za-z0-9])p\d{8}|CXR\d+)(?!\d)")


class RadrbenchSource(Collection):
    """Args: input: a JSON file or the folder of such files. images: the folder that the pictures' paths are relative
    to; by default the input's, if any picture is there."""

    name = "radrbench"
    what = "a JSON file of questions, or the folder with such files"

    def partitions(self) -> Sequence[Partition]:
        """Byte ranges of the files: `{file, start, stop, number}`."""
        files = self.json_files()
        for path in files:
            require(path, json_keys(path, FIELDS), ("question", "answer"))
        rows = (row.value for path in files for row in read_json(path, FIELDS) if isinstance(row.value, dict))
        pictures = self._pictures().present(self.images, (name for row in rows for name in _images(row)))
        return [
            {
                "file": str(path),
                "start": start,
                "stop": stop,
                "number": number,
                "pictures": pictures,
                "alone": len(files) == 1,
            }
            for path in files
            for start, stop, number in json_parts(path, BYTES, FIELDS)
        ]

    def read(self, partition: Partition) -> Iterator[Outcome]:
        path = Path(partition["file"])

        def build(row: Any, where: str) -> Iterator[Outcome]:
            yield self._study(row, where, path, partition["pictures"], partition["alone"])

        place = {name: partition[name] for name in ("start", "stop", "number")}
        yield from self.each(read_json(path, FIELDS, **place), build)

    def files(self) -> list[Path]:
        return self.json_files()

    def _pictures(self) -> Pictures:
        base = self.input.parent if self.input.is_file() else self.input
        return Pictures.of(self.images, base, base / "images", base.parent)

    def _study(self, row: Any, where: str, path: Path, pictures: bool, alone: bool) -> Study | Rejected:
        if not isinstance(row, dict):
            return Rejected(self.name, where, "bad row", f"a row must be an object, found {type(row).__name__}")
        stem, line = path.name.split(".")[0], where.rsplit(":", 1)[-1]
        own = text(get(row, *ID))
        # Rows of several files are often counted from 0 in each.
        study_id = own if own and alone else f"{stem}/{own or line}"
        question, answer = text(row.get("question")), _bare(row.get("answer"))
        for name, words in (("question", question), ("answer", answer)):
            if not words:
                return Rejected(self.name, where, "bad row", f"'{name}' is missing or empty", study_id)
        reasoning, report = _bare(get(row, *REASONING)), text(get(row, *REPORT))
        images = tuple(self._pictures().find(name) for name in _images(row)) if pictures else ()
        fault = check_report(" ".join((report, reasoning, question))) or (
            check_images(images, self.verified, required=True) if pictures else None
        )
        if fault:
            return Rejected(self.name, where, *fault, study_id=study_id)
        patient = _patient(row, report, study_id)
        split = official_split(text(row.get("split"))) or official_split(stem) or split_of(patient)
        options = _options(row.get("options"))
        example = Example(
            id=study_id,
            study_id=study_id,
            task=_task(row, stem, options, answer),
            question=question,
            answer=answer,
            reasoning=reasoning,
            options=options,
            images=images,
            report=report,
            split=split,
            source=self.name,
        )
        return Study(study_id, patient, report, images=images, given=(example,), split=split, source=self.name)


def _images(row: dict[str, Any]) -> list[str]:
    return texts(get(row, *IMAGES))


def _patient(row: dict[str, Any], report: str, study_id: str) -> str:
    """The patient as named, or as read from a picture's path; else each report (or picture) is a patient."""
    named = text(get(row, "patient_id", "subject_id", "pat_id"))
    images = _images(row)
    match = next(filter(None, map(_PATIENT.search, images)), None)
    if named or match:
        return named or match.group(1)  # type: ignore[union-attr]
    if report:
        return blake2b(" ".join(report.split()).encode(), digest_size=8).hexdigest()
    return images[0] if images else study_id


def _bare(value: Any) -> str:
    """A text without tags, which the chat template sets; a list as one text."""
    words = ", ".join(map(text, value)) if isinstance(value, list) else text(value)
    for tag in TAGS:
        words = words.replace(tag, " ")
    return words.strip()


def _options(value: Any) -> tuple[str, ...]:
    """Lettered options from a list or a mapping."""
    if isinstance(value, dict):
        return tuple(f"{letter}) {text(words)}" for letter, words in value.items())
    return tuple(map(text, value)) if isinstance(value, list) else ()


def _task(row: dict[str, Any], stem: str, options: tuple[str, ...], answer: str) -> str:
    for name in (text(get(row, "task", "task_type", "qtype")), text(row.get("dataset_name")), stem):
        for part, task in TASKS:
            if part in name.lower():
                return task
    if answer.lower().rstrip(".") in ("yes", "no"):
        return "binary"
    return "single" if options or re.fullmatch(r"[A-H][).]?", answer) else "multiple"
