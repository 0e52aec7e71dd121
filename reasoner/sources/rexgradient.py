"""ReXGradient-160K: `{train,valid,test}_metadata.csv` or `.json`, one study each, with lists of pictures.

A folder may hold a split in several forms: `*_metadata_view_position.json`, which also has the views, goes before
`*_metadata.json`, and that before `*_metadata.csv`. The split is the file's. The prior is the patient's last
earlier study by `StudyDate`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reasoner.errors import UserError
from reasoner.schema import Rejected, Study
from reasoner.sources.base import Partition
from reasoner.sources.io.cells import get, text
from reasoner.sources.io.checks import bucket, official_split, split_of
from reasoner.sources.io.collection import Collection, Outcome, Pictures
from reasoner.sources.io.csv_rows import csv_header, read_csv
from reasoner.sources.io.files import PACKED, Row, canonical, regular, require
from reasoner.sources.io.json_rows import json_keys, read_json
from reasoner.sources.io.sections import compose

#: Each partition reads the file once and keeps its own patients' studies.
BYTES = 64 * 2**20
REQUIRED = ("Findings", "Impression")
IDS = ("id", "studyid", "studyinstanceuid", "accessionnumber", "key")
FORMS = ("_view_position.json", "_metadata.json", ".jsonl", ".json", "_metadata.csv", ".csv")
_VIEWS = {"PA": "frontal pa", "POSTERO_ANTERIOR": "frontal pa", "AP": "frontal ap", "ANTERO_POSTERIOR": "frontal ap",
          "AP AXIAL": "frontal ap", "LATERAL": "lateral", "LL": "lateral", "RL": "lateral"}  # fmt: skip


class RexgradientSource(Collection):
    """Args: input: a metadata file or the folder of them. images: the folder that `ImagePath` is relative to; by
    default the metadata's or the one above, if any picture is there."""

    name = "rexgradient"
    what = "train_metadata.csv (or .json) or the folder with it"

    def partitions(self) -> Sequence[Partition]:
        """Shares of the patients of each file: `{file, part, of}`."""
        parts: list[Partition] = []
        files = self.files()
        for path in files:
            names = csv_header(path) if _is_csv(path) else json_keys(path, ("id",))
            require(path, names, REQUIRED)
            if not {canonical(name) for name in names} & set(IDS) and _is_csv(path):
                require(path, names, ("id",))
        names_ = (
            name for path in files for row in _rows(path) if row.value for name in _list(row.value.get("imagepath"))
        )
        pictures = self._pictures().present(self.images, map(_below, names_))
        for path in files:
            count = max(1, path.stat().st_size // BYTES)
            parts += [{"file": str(path), "part": n, "of": count, "pictures": pictures} for n in range(count)]
        return parts

    def read(self, partition: Partition) -> Iterator[Outcome]:
        path = Path(partition["file"])
        studies: dict[str, Row] = {}
        patients: dict[str, list[tuple[str, str]]] = {}
        for number, row in enumerate(_rows(path)):
            mine = number % partition["of"] == partition["part"]
            if row.reason or not row.value or not _id(row.value):
                if mine:
                    reason = row.reason or "bad row"
                    yield Rejected(self.name, row.where, reason, row.detail or "no identifier")
                continue
            study, patient = _id(row.value), _patient(row.value)
            if bucket(patient, partition["of"]) != partition["part"]:
                continue
            if study in studies:
                yield Rejected(self.name, row.where, "duplicate", f"as {studies[study].where}", study)
                continue
            studies[study] = row
            if date := re.sub(r"\D", "", text(get(row.value, "studydate"))):
                patients.setdefault(patient, []).append((date, study))
        before = {
            later: earlier
            for known in patients.values()
            for (d0, earlier), (d1, later) in zip(sorted(known), sorted(known)[1:], strict=False)
            if d0 < d1
        }

        def build(row: dict[str, Any], where: str) -> Iterator[Outcome]:
            prior = before.get(_id(row))
            yield self._study(row, where, path, studies[prior].value if prior else None, partition["pictures"])

        yield from self.each(studies.values(), build)

    def files(self) -> list[Path]:
        path = self.path()
        if path.is_file():
            return [path]
        best: dict[str, tuple[int, Path]] = {}
        for folder in (path, path / "metadata"):
            for file in regular(folder.iterdir()) if folder.is_dir() else ():
                name = file.name
                for packed in PACKED[1:]:
                    name = name.removesuffix(packed)
                form = next((n for n, ending in enumerate(FORMS) if name.endswith(ending)), None)
                split = official_split(name) or name
                if form is None or "bbox" in name or self.made(file):
                    continue
                if form < best.get(split, (len(FORMS), path))[0]:
                    best[split] = (form, file)
        if not best:
            raise UserError(f"{path}: no train_metadata.csv or .json in it; source 'rexgradient' needs {self.what}")
        return [file for _, file in sorted(best.values(), key=lambda found: found[1].name)]

    def _pictures(self) -> Pictures:
        base = self.files()[0].parent
        return Pictures.of(self.images, base, base.parent, base / "deid_png", base.parent / "deid_png", base / "images")

    def _study(
        self, row: dict[str, Any], where: str, path: Path, prior: Mapping[str, Any] | None, pictures: bool
    ) -> Study | Rejected:
        study_id, patient = _id(row), _patient(row)
        sections, report = _report(row)
        if not sections.keys() & {"findings", "impression"}:
            return Rejected(self.name, where, "empty report", "neither findings nor impression", study_id)
        views = [_VIEWS.get(v.upper(), v.lower()) for v in _list(row.get("imageviewposition"))]
        study = Study(
            study_id=study_id,
            patient_id=patient,
            report=report,
            images=self._images(row) if pictures else (),
            views=tuple(views),
            prior_study_id=_id(prior) if prior else None,
            prior_images=self._images(prior)[:1] if prior and pictures else (),
            prior_report=_report(prior)[1] if prior else "",
            sections=sections,
            split=official_split(path.name) or official_split(text(row.get("split"))) or split_of(patient),
            source=self.name,
        )
        return self.admit(study, where, required=pictures)

    def _images(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(self._pictures().find(_below(name)) for name in _list(row.get("imagepath")))


def _report(row: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    """The sections of a row, and its report."""
    return compose({name: text(row.get(name)) for name in ("indication", "comparison", "findings", "impression")})


def _is_csv(path: Path) -> bool:
    return ".csv" in path.suffixes


def _rows(path: Path) -> Iterator[Row]:
    """Rows with canonical keys, of either form."""
    if _is_csv(path):
        yield from read_csv(path)
        return
    for row in read_json(path, ("id",)):
        if row.reason or isinstance(row.value, dict):
            value = {canonical(key): cell for key, cell in row.value.items()} if row.value else None
            yield row._replace(value=value)
        else:
            yield Row(row.where, None, "bad row", f"a record must be an object, found {type(row.value).__name__}")


def _id(row: Mapping[str, Any]) -> str:
    return next((found for name in IDS if (found := text(_first(row.get(name))))), "")


def _first(cell: Any) -> Any:
    return cell[0] if isinstance(cell, list) and cell else cell


def _patient(row: Mapping[str, Any]) -> str:
    return text(get(row, "patientid", "subjectid")) or _id(row)


def _list(cell: Any) -> list[str]:
    """A list of texts; in a CSV it is written as Python or JSON writes it, or with separators."""
    if isinstance(cell, list | tuple):
        return [found for item in cell if (found := text(item))]
    words = text(cell)
    if words.startswith("["):
        for parse in (json.loads, ast.literal_eval):
            try:
                return _list(parse(words))
            except (ValueError, SyntaxError):
                continue
    return [part.strip(" []'\"") for part in re.split(r"[;|,]", words) if part.strip(" []'\"")]


def _below(name: str) -> str:
    """ "../deid_png/..." is relative to the folder of the metadata, which the user may have moved."""
    return re.sub(r"^(?:\.{1,2}/)+", "", name)
