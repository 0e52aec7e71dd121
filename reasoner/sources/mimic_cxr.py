"""MIMIC-CXR: the tree of reports `files/pNN/pNNNNNNNN/sNNNNNNNN.txt` with the official CSV files and JPG pictures.

`input` is the folder that holds `files`, or any folder or report below it. Beside the tree, or above it, each plain or
gzipped and each optional: `mimic-cxr-2.0.0-metadata.csv` (views, dates, picture names), `-chexpert.csv` and
`-negbio.csv` (labels of programs), `-split.csv`. Pictures are `files/pNN/pNNNNNNNN/sNNNNNNNN/DICOM_ID.jpg` of
MIMIC-CXR-JPG or `.dcm` of MIMIC-CXR. The prior is the patient's last earlier study by StudyDate and StudyTime.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reasoner.errors import UserError
from reasoner.pictures import SUFFIXES
from reasoner.schema import CLASSES, Rejected, Study
from reasoner.sources.base import Partition
from reasoner.sources.io.cells import number
from reasoner.sources.io.checks import official_split, split_of
from reasoner.sources.io.collection import Collection, Outcome, Pictures
from reasoner.sources.io.csv_rows import csv_header, read_csv
from reasoner.sources.io.files import Row, canonical, find_file, read_text, regular, require
from reasoner.sources.io.sections import compose, split_headings

PATIENTS = 2000  # per partition; each reads the official files once and keeps its own patients' rows
#: Official file -> the columns that are needed of it.
TABLES: dict[str, tuple[str, ...]] = {
    "metadata": ("dicom_id", "subject_id", "study_id"),
    "split": ("study_id", "subject_id", "split"),
    "chexpert": ("subject_id", "study_id"),
    "negbio": ("subject_id", "study_id"),
}
_GROUP, _PATIENT, _STUDY = re.compile(r"p\d\d$"), re.compile(r"p\d{3,}$"), re.compile(r"s(\d+)\.txt(?:\.gz)?$")
#: The cells of CheXpert's labeller.
STATUS = {1.0: "present", 0.0: "absent", -1.0: "uncertain"}
#: MIMIC-CXR's ViewPosition -> the view, as CheXpert's columns tell it.
VIEWS = {"AP": "frontal ap", "PA": "frontal pa", "LATERAL": "lateral", "LL": "lateral"}


@dataclass
class _Official:
    """What the official files say of one study."""

    when: tuple[float, float] = (float("inf"), 0.0)
    images: list[tuple[str, str]] = field(default_factory=list)
    split: str | None = None
    labels: dict[str, str | None] | None = None


class MimicCxrSource(Collection):
    """Args: input: see above. images: the folder that holds the pictures' `files`, by default the input's, if any is
    there. labels: whose labels to keep for comparison, chexpert or negbio."""

    name = "mimic_cxr"
    options = ("images", "labels")
    what = "the folder with files/pNN/pNNNNNNNN/sNNNNNNNN.txt"

    def __init__(
        self, input: str | Path | None, output: str | Path, *, images: str | None = None, labels: str = "chexpert"
    ) -> None:
        super().__init__(input, output, images=images)
        if labels not in ("chexpert", "negbio"):
            raise UserError(f"source 'mimic_cxr': option 'labels' is '{labels}'; choose chexpert or negbio")
        self.labels = labels

    def partitions(self) -> Sequence[Partition]:
        """Lists of patients' folders: `{patients}`; a single report: `{report}`."""
        path = self.path()
        for table, columns in TABLES.items():
            if (file := self._table(table)) is not None:
                require(file, csv_header(file), columns)
        if path.is_file():
            if not _STUDY.search(path.name):
                raise UserError(f"{path}: not a report of MIMIC-CXR; give {self.what}")
            return [{"report": str(path), "patients": [str(path.parent)], "pictures": self.images is not None}]
        patients = sorted(_patients(path))
        if not patients:
            raise UserError(f"{path}: no files/pNN/pNNNNNNNN/sNNNNNNNN.txt there; give {self.what}, reports unpacked")
        official = self._official({folder.name[1:] for folder in patients[:50]})
        names = (picture_name(s[0], s[1], d) for s, known in official.items() for d, _ in known.images)
        pictures = self._pictures().present(self.images, names)
        lists = [patients[i : i + PATIENTS] for i in range(0, len(patients), PATIENTS)]
        return [{"patients": [str(folder) for folder in part], "pictures": pictures} for part in lists]

    def read(self, partition: Partition) -> Iterator[Outcome]:
        folders = [Path(folder) for folder in partition["patients"]]
        official = self._official({folder.name[1:] for folder in folders})
        order: dict[str, list[tuple[tuple[float, float], str]]] = {}
        for (patient, study), known in official.items():
            order.setdefault(patient, []).append((known.when, study))
        before = {
            (patient, later): earlier
            for patient, studies in order.items()
            for (t0, earlier), (t1, later) in zip(sorted(studies), sorted(studies)[1:], strict=False)
            if t0 < t1 and t1[0] < float("inf")
        }

        def build(path: Path, where: str) -> Iterator[Outcome]:
            yield self._study(path, official, before, partition["pictures"])

        if "report" in partition:
            paths = [Path(partition["report"])]
        else:
            reports = (regular(p for p in folder.iterdir() if _STUDY.fullmatch(p.name)) for folder in folders)
            paths = [path for found in reports for path in found]
        yield from self.each((Row(str(path), path) for path in paths), build)

    def files(self) -> list[Path]:
        path = self.path()
        tables = [self._table(table) for table in TABLES]
        return [*filter(None, tables), *([path] if path.is_file() else sorted(_patients(path)))]

    def _study(
        self,
        path: Path,
        official: dict[tuple[str, str], _Official],
        before: dict[tuple[str, str], str],
        pictures: bool,
    ) -> Study | Rejected:
        match = _STUDY.fullmatch(path.name)
        assert match is not None
        study_id, patient = match.group(1), path.parent.name.removeprefix("p")
        text = read_text(path)
        if text is None:
            return Rejected(self.name, str(path), "undecodable", "neither UTF-8 nor Windows-1252", study_id)
        sections, report = compose(split_headings(text))
        if not sections.keys() & {"findings", "impression"}:
            return Rejected(self.name, str(path), "empty report", "neither findings nor impression", study_id)
        known = official.get((patient, study_id), _Official())
        prior = before.get((patient, study_id))
        images: tuple[str, ...] = ()
        prior_images: tuple[str, ...] = ()
        if pictures:
            images = self._images(patient, study_id, known)
            prior_images = self._images(patient, prior, official[patient, prior])[:1] if prior else ()
        study = Study(
            study_id=study_id,
            patient_id=patient,
            report=report,
            images=images,
            views=tuple(view for _, view in known.images),
            prior_study_id=prior,
            prior_images=prior_images,
            prior_report=_report(path.with_name(path.name.replace(study_id, prior))) if prior else "",
            sections=sections,
            official_labels=known.labels,
            split=known.split or split_of(patient),
            source=self.name,
        )
        return self.admit(study, str(path), required=pictures)

    def _official(self, patients: set[str]) -> dict[tuple[str, str], _Official]:
        """(patient, study) -> what the official files say of it."""
        known: dict[tuple[str, str], _Official] = {}

        def rows(table: str) -> Iterator[tuple[dict[str, str], _Official]]:
            path = self._table(table)
            for row in read_csv(path) if path is not None else ():
                if row.value and (patient := digits(row.value["subjectid"])) in patients:
                    yield row.value, known.setdefault((patient, digits(row.value["studyid"])), _Official())

        for row, study in rows("metadata"):
            study.when = (number(row.get("studydate")), number(row.get("studytime")))
            if row["dicomid"]:
                view = row.get("viewposition", "").upper()
                study.images.append((row["dicomid"], VIEWS.get(view, view.lower())))
        for row, study in rows("split"):
            study.split = official_split(row["split"])
        for row, study in rows(self.labels):
            study.labels = {name: STATUS.get(number(row.get(canonical(name)))) for name in CLASSES}
        for study in known.values():
            study.images.sort(key=lambda image: "lateral" in image[1])
        return known

    def _table(self, table: str) -> Path | None:
        base = self.input.parent if self.input.is_file() else self.input
        folders = [base, *list(base.parents)[:4], *_folders(base)]
        return find_file(folders, f"mimic-cxr-2.*-{table}.csv", f"mimic-cxr-*-{table}.csv")

    def _pictures(self) -> Pictures:
        base = self.input.parent if self.input.is_file() else self.input
        given = str(Path(self.images).parent) if self.images and Path(self.images).name == "files" else self.images
        return Pictures.of(given, base, *list(base.parents)[:3], *_folders(base))

    def _images(self, patient: str, study: str, known: _Official) -> tuple[str, ...]:
        """The pictures that the metadata name, else those that are there."""
        find = self._pictures().find
        if known.images:
            return tuple(find(picture_name(patient, study, dicom)) for dicom, _ in known.images)
        folder = Path(find(picture_name(patient, study, "any"))).parent
        # Of a picture that is there as DICOM and as JPEG, the JPEG, which is smaller.
        there = {path.stem: str(path) for path in sorted(folder.glob("*")) if path.suffix.lower() in SUFFIXES}
        return tuple(there.values())


def _report(path: Path) -> str:
    """The report in a file; empty where it is not there or cannot be read."""
    words = read_text(path) if path.is_file() else None
    return compose(split_headings(words))[1] if words else ""


def _folders(base: Path) -> list[Path]:
    """The folders in `base` that are not part of the tree."""
    found = (p for p in base.iterdir() if p.is_dir() and not _GROUP.match(p.name) and not _PATIENT.match(p.name))
    return sorted(found)[:20]


def picture_name(patient: str, study: str, dicom: str) -> str:
    """Where a picture lies in the tree of MIMIC-CXR-JPG."""
    return f"files/p{patient[:2]}/p{patient}/s{study}/{dicom}.jpg"


def digits(identifier: str) -> str:
    """ "s50414267" and "50414267.0" name the study 50414267."""
    return identifier.lstrip("ps").removesuffix(".0")


def _patients(folder: Path) -> Iterator[Path]:
    """The patients' folders below `folder`, which may be one itself."""
    if _PATIENT.match(folder.name) and not _GROUP.match(folder.name):
        yield folder
        return
    with os.scandir(folder) as entries:
        below = sorted(entry.name for entry in entries if os.path.isdir(entry))
    for name in below:
        if _PATIENT.match(name):
            yield folder / name
        elif _GROUP.match(name) or name == "files":
            yield from _patients(folder / name)
        elif (folder / name / "files").is_dir() and "jpg" not in name.lower():  # reports and pictures side by side
            yield from _patients(folder / name / "files")
