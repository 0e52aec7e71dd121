"""The Indiana University chest X-ray collection (OpenI) as its CSV pair, with or without the pictures.

Layout of `input`: `indiana_reports.csv` (uid, indication, comparison, findings, impression, ...),
`indiana_projections.csv` (uid, filename, projection), and the PNG files in `images`, if they are there.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from reasoner.errors import UserError
from reasoner.schema import Rejected, Study
from reasoner.sources.base import Partition
from reasoner.sources.checks import check_images, split_of

ROWS = 500  # per partition
REPORTS, PROJECTIONS = "indiana_reports.csv", "indiana_projections.csv"
SECTIONS = ("indication", "comparison", "findings", "impression")


class IuXraySource:
    """Args: input: the folder. images: the folder of the pictures, or None to mine text alone."""

    name = "iu_xray"

    def __init__(self, input: str | Path | None, output: str | Path, *, images: str | None = None) -> None:
        if input is None:
            raise UserError("source 'iu_xray' needs an input folder: --input FOLDER with indiana_reports.csv")
        self.input, self.images = Path(input), Path(images) if images else None

    def partitions(self) -> Sequence[Partition]:
        """Ranges of rows of the reports: `{start, stop}`."""
        for name, columns in ((REPORTS, ("uid", *SECTIONS)), (PROJECTIONS, ("uid", "filename", "projection"))):
            path = self.input / name
            if not path.is_file():
                raise UserError(f"{path}: no such file; source 'iu_xray' needs {REPORTS} and {PROJECTIONS}")
            with path.open(newline="", encoding="utf-8", errors="replace") as file:
                header = csv.DictReader(file).fieldnames or ()
                rows = sum(1 for _ in csv.reader(file)) if name == REPORTS else 0
            if missing := [column for column in columns if column not in header]:
                raise UserError(f"{path}: column '{missing[0]}' is missing; found {', '.join(header)}")
            if name == REPORTS:
                count = rows
        return [{"start": start, "stop": min(start + ROWS, count)} for start in range(0, count, ROWS)]

    def read(self, partition: Partition) -> Iterator[Study | Rejected]:
        views = self._projections()
        with (self.input / REPORTS).open(newline="", encoding="utf-8", errors="replace") as file:
            for number, row in enumerate(csv.DictReader(file)):
                if partition["start"] <= number < partition["stop"]:
                    yield self._row(row, f"{self.input / REPORTS}:{number + 2}", views)

    def _projections(self) -> dict[str, list[tuple[str, str]]]:
        views: dict[str, list[tuple[str, str]]] = {}
        with (self.input / PROJECTIONS).open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file):
                views.setdefault(row["uid"] or "", []).append(
                    (row["filename"] or "", (row["projection"] or "").lower())
                )
        return views

    def _row(self, row: dict[str, str | None], where: str, views: dict[str, list[tuple[str, str]]]) -> Study | Rejected:
        uid = (row.get("uid") or "").strip()
        sections = {name: text for name in SECTIONS if (text := (row.get(name) or "").strip())}
        if not uid:
            return Rejected(self.name, where, "bad row", "'uid' is empty")
        if not sections.keys() & {"findings", "impression"}:
            return Rejected(self.name, where, "empty report", "neither findings nor impression", uid)
        pictures = views.get(uid, [])
        paths: tuple[str, ...] = ()
        if self.images is not None:
            paths = tuple(str(self.images / name) for name, _ in pictures)
            fault = check_images(paths, required=True)
            if fault:
                return Rejected(self.name, where, *fault, study_id=uid)
        return Study(
            study_id=uid,
            patient_id=uid,
            report="\n\n".join(f"{name.upper()}: {text}" for name, text in sections.items()),
            images=paths,
            views=tuple(view for _, view in pictures),
            sections=sections,
            split=split_of(uid),
            source=self.name,
        )
