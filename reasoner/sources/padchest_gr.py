"""PadChest-GR: `grounded_reports_*.json` (sentences with boxes) and `master_table.csv` (patients, official split).

The report is made of the English sentences. Boxes are kept in relative units with the labels of their sentence; those
of `extra_boxes` are a second reader's. Without the master table, which may be plain, gzipped or zipped, no patient is
known, and each study counts as its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reasoner.errors import UserError
from reasoner.schema import Box, Rejected, Study
from reasoner.sources.base import Partition
from reasoner.sources.io.cells import get, text
from reasoner.sources.io.checks import official_split, split_of
from reasoner.sources.io.collection import Collection, Outcome, Pictures
from reasoner.sources.io.csv_rows import csv_header, read_csv
from reasoner.sources.io.files import find_file, require
from reasoner.sources.io.json_rows import json_keys, json_parts, read_json
from reasoner.sources.io.sections import compose

BYTES = 4 * 2**20  # per partition
FIELDS = ("StudyID", "ImageID", "PreviousStudyID", "PreviousImageID", "findings")


class PadchestGrSource(Collection):
    """Args: input: the JSON file or its folder. images: the folder of the pictures; by default those that the release
    unpacks to, if any picture is there."""

    name = "padchest_gr"
    what = "grounded_reports_*.json or the folder with it and master_table.csv"

    def partitions(self) -> Sequence[Partition]:
        """Byte ranges of the JSON file: `{start, stop, number}`."""
        path = self._file()
        require(path, json_keys(path, FIELDS), ("StudyID", "ImageID", "findings"))
        table = self._master()
        if table is not None:
            require(table, csv_header(table), ("StudyID", "split"))
        names = (text(row.value.get("ImageID")) for row in read_json(path, FIELDS) if isinstance(row.value, dict))
        pictures = self._pictures().present(self.images, names)
        return [
            {"start": start, "stop": stop, "number": number, "pictures": pictures}
            for start, stop, number in json_parts(path, BYTES, FIELDS)
        ]

    def read(self, partition: Partition) -> Iterator[Outcome]:
        master = {}
        if (table := self._master()) is not None:
            master = {row.value["studyid"]: row.value for row in read_csv(table) if row.value}

        def build(entry: dict[str, Any], where: str) -> Iterator[Outcome]:
            yield self._study(entry, where, master, partition["pictures"])

        place = {name: partition[name] for name in ("start", "stop", "number")}
        yield from self.each(read_json(self._file(), FIELDS, **place), build)

    def files(self) -> list[Path]:
        return [self._file(), *filter(None, [self._master()])]

    def _file(self) -> Path:
        path = self.path()
        found = path if path.is_file() else find_file([path], "grounded_reports*.json", "*.json", "*.jsonl")
        if found is None or self.made(found):
            raise UserError(f"{path}: no grounded_reports_*.json in it; source 'padchest_gr' needs {self.what}")
        return found

    def _master(self) -> Path | None:
        return find_file([self._file().parent], "master_table.csv", "master_table*.csv")

    def _pictures(self) -> Pictures:
        base = self._file().parent
        usual = ("Padchest_GR_files/PadChest_GR", "Padchest_GR_files", "PadChest_GR", "images", "images_grounding",
                 "PadChest_GR_progression_prior_studies")  # fmt: skip
        return Pictures.of(self.images, *(base / name for name in usual), base)

    def _study(
        self, entry: dict[str, Any], where: str, master: Mapping[str, dict[str, str]], pictures: bool
    ) -> Study | Rejected:
        study_id, image = text(entry.get("StudyID")), text(entry.get("ImageID"))
        if not study_id:
            return Rejected(self.name, where, "bad row", "'StudyID' is empty")
        known = master.get(study_id, {})
        sentences = [finding for finding in entry["findings"] or () if isinstance(finding, dict)]
        english = [words for finding in sentences if (words := text(finding.get("sentence_en")))]
        if not english and any(text(finding.get("sentence_es")) for finding in sentences):
            return Rejected(self.name, where, "wrong language", "only Spanish sentences", study_id)
        sections, report = compose({"findings": " ".join(s if s[-1] in ".!?" else f"{s}." for s in english)})
        if not report:
            return Rejected(self.name, where, "empty report", "no sentence", study_id)
        patient = text(get(known, "patientid")) or text(get(entry, "PatientID")) or study_id
        find, prior = self._pictures().find, text(entry.get("PreviousImageID"))
        study = Study(
            study_id=study_id,
            patient_id=patient,
            report=report,
            images=(find(image),) if image and pictures else (),
            views=(text(get(known, "projection", "viewpositiondicom")).lower() or "frontal",),
            prior_study_id=text(entry.get("PreviousStudyID")) or None,
            prior_images=(find(prior),) if prior and pictures else (),
            sections=sections,
            boxes=tuple(box for finding in sentences for box in _boxes(finding)),
            split=official_split(known.get("split")) or split_of(patient),
            source=self.name,
        )
        return self.admit(study, where, required=pictures)


def _boxes(finding: dict[str, Any]) -> Iterator[Box]:
    """The boxes of a sentence, both readers', corners in order. One that barely leaves the image is cut to it."""
    labels = [text(label) for label in finding.get("labels") or ()]
    label = ", ".join(filter(None, labels)) or text(finding.get("sentence_en"))
    for reader, name in enumerate(("boxes", "extra_boxes"), 1):
        for corners in finding.get(name) or ():
            if not all(-0.5 <= float(value) <= 1.5 for value in corners):
                raise ValueError(f"'{name}' holds {corners}, which are no shares of width and height")
            x0, y0, x1, y1 = (min(max(float(value), 0.0), 1.0) for value in corners)
            yield Box(label, min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1), reader)
