"""CheXpert Plus: `df_chexpert_plus_240401.csv`, one row per image.

Rows of one study (its folder in `path_to_image`) become one study. The report is put together from its section columns;
where these are empty, the column `report` is split at its headings. The prior is the patient's last earlier
study by `patient_report_date_order`. The collection's own split is kept (`valid` is our val; it has no test set).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reasoner.errors import UserError
from reasoner.schema import Rejected, Study
from reasoner.sources.base import Partition
from reasoner.sources.io.cells import number, text
from reasoner.sources.io.checks import bucket, official_split, split_of
from reasoner.sources.io.collection import Collection, Outcome, Pictures
from reasoner.sources.io.csv_rows import csv_header, read_csv
from reasoner.sources.io.files import Row, find_file, require
from reasoner.sources.io.sections import compose, split_headings

#: Each partition reads the file once and keeps the rows of its patients, wherever they stand.
BYTES = 64 * 2**20
REQUIRED = ("path_to_image", "report", "section_findings", "section_impression")
#: Section -> columns, canonical, the first that holds text.
SECTIONS = {
    "indication": ("sectionclinicalhistory", "sectionhistory"),
    "comparison": ("sectioncomparison",),
    "technique": ("sectiontechnique", "sectionprocedurecomments"),
    "findings": ("sectionfindings",),
    "impression": ("sectionimpression",),
}
#: The patient and the study in the path of one of CheXpert's pictures.
STUDY = re.compile(r"(patient\w+)[/\\](study\w+)", re.IGNORECASE)


class ChexpertPlusSource(Collection):
    """Args: input: the CSV or its folder. images: the folder that `path_to_image` is relative to; by default the CSV's,
    or its `PNG`, if any picture is there."""

    name = "chexpert_plus"
    what = "df_chexpert_plus_240401.csv or its folder"

    def partitions(self) -> Sequence[Partition]:
        """Shares of the patients: `{part, of}`."""
        path = self._file()
        require(path, csv_header(path), REQUIRED)
        count = max(1, path.stat().st_size // BYTES)
        names = (row.value["pathtoimage"] for row in read_csv(path) if row.value)
        pictures = self._pictures().present(self.images, names)
        return [{"part": part, "of": count, "pictures": pictures} for part in range(count)]

    def read(self, partition: Partition) -> Iterator[Outcome]:
        studies: dict[tuple[str, str], list[Row]] = {}
        patients: dict[str, list[tuple[float, str]]] = {}
        for number_, row in enumerate(read_csv(self._file())):
            if row.reason:
                if number_ % partition["of"] == partition["part"]:
                    yield Rejected(self.name, row.where, row.reason, row.detail)
                continue
            patient, study = _ids(row.value)
            if bucket(patient, partition["of"]) != partition["part"]:
                continue
            if not study:
                yield Rejected(self.name, row.where, "bad row", "no column names the study")
                continue
            if (patient, study) not in studies:
                order = number(row.value.get("patientreportdateorder"))
                patients.setdefault(patient, []).append((order, study))
            studies.setdefault((patient, study), []).append(row)
        before = {
            (patient, later[1]): earlier[1]
            for patient, known in patients.items()
            for earlier, later in zip(sorted(known), sorted(known)[1:], strict=False)
            if earlier[0] < later[0] < float("inf")
        }

        def build(key: tuple[str, str], where: str) -> Iterator[Outcome]:
            prior = before.get(key)
            yield self._study(key, (key[0], prior) if prior else None, studies, where, partition["pictures"])

        yield from self.each((Row(rows[0].where, key) for key, rows in studies.items()), build)

    def files(self) -> list[Path]:
        return [self._file()]

    def _file(self) -> Path:
        path = self.path()
        found = path if path.is_file() else find_file([path], "df_chexpert_plus*.csv", "*chexpert_plus*.csv", "*.csv")
        if found is None:
            raise UserError(f"{path}: no df_chexpert_plus_240401.csv in it; give the CSV as the input")
        return found

    def _pictures(self) -> Pictures:
        base = self._file().parent
        return Pictures.of(self.images, base, base / "PNG", base / "images", base.parent)

    def _study(
        self,
        key: tuple[str, str],
        prior: tuple[str, str] | None,
        studies: dict[tuple[str, str], list[Row]],
        where: str,
        pictures: bool,
    ) -> Study | Rejected:
        patient, study_id = key
        rows = _frontal_first(studies[key])
        first = rows[0].value
        sections, report = compose(_sections(first))
        if not sections.keys() & {"findings", "impression"}:
            return Rejected(self.name, where, "empty report", "neither findings nor impression", study_id)
        study = Study(
            study_id=study_id,
            patient_id=patient,
            report=report,
            images=self._images(rows) if pictures else (),
            views=tuple(view_of(row.value) for row in rows),
            prior_study_id=prior[1] if prior else None,
            prior_images=self._images(_frontal_first(studies[prior]))[:1] if prior and pictures else (),
            prior_report=compose(_sections(studies[prior][0].value))[1] if prior else "",
            sections=sections,
            split=official_split(first.get("split")) or split_of(patient),
            source=self.name,
        )
        return self.admit(study, where, required=pictures)

    def _images(self, rows: list[Row]) -> tuple[str, ...]:
        return tuple(self._pictures().find(row.value["pathtoimage"]) for row in rows if row.value["pathtoimage"])


def _frontal_first(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: "lateral" in view_of(row.value))


def _ids(row: dict[str, Any]) -> tuple[str, str]:
    """(patient, study); the study is "patient1/study1" as in the path, else the patient's n-th report."""
    match = STUDY.search(row["pathtoimage"])
    patient = text(row.get("deidpatientid")) or (match.group(1) if match else "")
    if match:
        return patient, f"{match.group(1)}/{match.group(2)}"
    order = text(row.get("patientreportdateorder"))
    return patient, f"{patient}/report{order}" if patient and order else ""


def _sections(row: dict[str, Any]) -> dict[str, str]:
    sections = {name: next(filter(None, (text(row.get(c)) for c in columns)), "") for name, columns in SECTIONS.items()}
    if sections["findings"] or sections["impression"]:
        return sections
    return split_headings(text(row["report"]) or text(row.get("sectionnarrative")))


def view_of(row: Mapping[str, Any]) -> str:
    """The view by CheXpert's columns, canonical: `frontal ap`, `lateral`; empty where they do not tell."""
    side, beam = text(row.get("frontallateral")).lower(), text(row.get("appa")).lower()
    return f"{side} {beam}".strip() if side != "lateral" else side
