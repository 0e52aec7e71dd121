"""RadRBench-CXR and other question files in the layout of ChestX-Reasoner, used as they are.

JSON (a list, or JSON lines) of objects with a question and an answer, and, where they are given, the reference
reasoning, the report and pictures, under any of the names in `spellings.py`; and `options`. The task is read from
`task`, `dataset_name` or the file's name (`mimic_binary.json`), else from the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reasoner.schema import Example, Rejected, Study
from reasoner.sources.base import Partition
from reasoner.sources.io.cells import get, text
from reasoner.sources.io.checks import check_images, check_report, official_split, split_of
from reasoner.sources.io.collection import Collection, Outcome, Pictures
from reasoner.sources.io.files import require
from reasoner.sources.io.json_rows import json_keys, json_parts, read_json
from reasoner.sources.radrbench_rows import patient_of, read_fields, task_of
from reasoner.sources.spellings import ALIASES, SPELLINGS, FieldError, id_of, images_of

BYTES = 8 * 2**20  # per partition
#: By which a file with a single record is known as such.
FIELDS = (*(name for table in (SPELLINGS, ALIASES) for names in table.values() for name in names), "options", "task")


class RadrbenchSource(Collection):
    """Args: input: a JSON file or the folder of such files. images: the folder that the pictures' paths are relative
    to; by default the input's, if any picture is there."""

    name = "radrbench"
    what = "a JSON file of questions, or the folder with such files"

    def partitions(self) -> Sequence[Partition]:
        """Byte ranges of the files: `{file, start, stop, number}`."""
        files = self.json_files()
        for path in files:
            require_spelled(path, json_keys(path, FIELDS))
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
        study_id = f"{stem}/{line}"
        try:
            own = id_of(row)
            # Rows of several files are often counted from 0 in each.
            study_id = own if own and alone else f"{stem}/{own or line}"
            fields = read_fields(row)
        except FieldError as error:
            return Rejected(self.name, where, "bad row", str(error), study_id)
        report = fields.report
        images = tuple(self._pictures().find(name) for name in fields.images) if pictures else ()
        fault = check_report(" ".join((report, fields.reasoning, fields.question))) or (
            check_images(images, self.verified, required=True) if pictures else None
        )
        if fault:
            return Rejected(self.name, where, *fault, study_id=study_id)
        patient = patient_of(row, fields, study_id)
        split = official_split(text(row.get("split"))) or official_split(stem) or split_of(patient)
        named = text(get(row, "task", "task_type", "qtype"))
        example = Example(
            id=study_id,
            study_id=study_id,
            task=task_of(fields, named, fields.dataset, stem),
            question=fields.question,
            answer=fields.answer,
            reasoning=fields.reasoning,
            options=fields.options,
            images=images,
            report=report,
            split=split,
            source=self.name,
        )
        return Study(study_id, patient, report, images=images, given=(example,), split=split, source=self.name)


def require_spelled(path: Path, keys: Sequence[str]) -> None:
    """Raises `UserError` when the keys of a file hold no spelling of the question, or none of the answer."""
    for field in ("question", "answer"):
        require(path, keys, (next((name for name in SPELLINGS[field] if name in keys), field),))


def _images(row: dict[str, Any]) -> tuple[str, ...]:
    try:
        return images_of(row)
    except FieldError:  # the row's own fault, told when it is read
        return ()
