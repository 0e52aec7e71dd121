"""The Indiana University chest X-ray collection (OpenI): the CSV pair, or the original ecgen XML.

`input` is a folder with `indiana_reports.csv` (uid, indication, comparison, findings, impression, ...) and, for views,
`indiana_projections.csv` (uid, filename, projection); or that CSV; or a folder with `*.xml`, or one such file. In a
folder with both, the CSV is read. Both give the same studies; the XML does not name the views.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from reasoner.errors import UserError
from reasoner.schema import Rejected, Study
from reasoner.sources.base import Partition
from reasoner.sources.io.checks import split_of
from reasoner.sources.io.collection import Collection, Outcome, Pictures
from reasoner.sources.io.csv_rows import csv_header, csv_parts, read_csv
from reasoner.sources.io.files import Row, decode, find_file, open_bytes, regular, require
from reasoner.sources.io.sections import compose

ROWS = 500  # per partition
REPORTS, PROJECTIONS = "indiana_reports.csv", "indiana_projections.csv"
SECTIONS = ("indication", "comparison", "findings", "impression")


class IuXraySource(Collection):
    """Args: input: see above. images: the folder of the pictures; by default `images` below the input, if there."""

    name = "iu_xray"
    what = f"a folder with {REPORTS} (and {PROJECTIONS}), or with the ecgen *.xml files"

    def partitions(self) -> Sequence[Partition]:
        """Ranges of rows of the CSV, `{offset, line, count}`, or lists of XML files, `{files}`."""
        path = self.path()
        reports = self._reports()
        if reports is not None:
            require(reports, csv_header(reports), ("uid", *SECTIONS))
            projections = self._projections_file()
            if projections is not None:
                require(projections, csv_header(projections), ("uid", "filename", "projection"))
            elif self.images is not None:
                raise UserError(
                    f"{path}: no {PROJECTIONS}; it names the pictures, without it leave out the option 'images'"
                )
            names = (name for pictures in self._views().values() for name, _ in pictures)
            cuts = csv_parts(reports, ROWS)
            parts: list[Partition] = [{"offset": offset, "line": line, "count": n} for offset, line, n in cuts]
        else:
            files = (
                [path] if path.is_file() else sorted(regular(path.rglob("*.xml")), key=lambda p: (len(p.name), p.name))
            )
            if not files:
                raise UserError(f"{path}: neither {REPORTS} nor *.xml; source 'iu_xray' needs {self.what}")
            names = (name for file in files for name in _xml_images(file))
            parts = [{"files": [str(file) for file in files[i : i + ROWS]]} for i in range(0, len(files), ROWS)]
        pictures = self._pictures().present(self.images, names)
        return [{**part, "pictures": pictures} for part in parts]

    def read(self, partition: Partition) -> Iterator[Outcome]:
        views = self._views()

        def build(row: dict[str, Any], where: str) -> Iterator[Outcome]:
            yield self._study(row, where, views, partition["pictures"])

        if "files" in partition:
            yield from self.each(map(_xml_row, map(Path, partition["files"])), build)
        else:
            reports = self._reports()
            assert reports is not None
            rows = read_csv(reports, offset=partition["offset"], line=partition["line"])
            yield from self.each(islice(rows, partition["count"]), build)

    def files(self) -> list[Path]:
        if (reports := self._reports()) is not None:
            return [reports, *filter(None, [self._projections_file()])]
        path = self.path()
        return [path] if path.is_file() else regular(path.rglob("*.xml"))

    def _reports(self) -> Path | None:
        if self.input.is_file():
            return None if self.input.suffix == ".xml" else self.input
        return find_file([self.input], REPORTS)

    def _folder(self) -> Path:
        return self.input.parent if self.input.is_file() else self.input

    def _projections_file(self) -> Path | None:
        return find_file([self._folder(), self._folder().parent], PROJECTIONS)

    def _pictures(self) -> Pictures:
        base = self._folder()
        below = [
            base / "images",
            base / "images" / "images_normalized",
            base / "images_normalized",
            base / "NLMCXR_png",
        ]
        return Pictures.of(self.images, *below, base)

    def _views(self) -> dict[str, list[tuple[str, str]]]:
        """uid -> (file name, view) of its pictures."""
        path = self._projections_file()
        return _read_views(path, path.stat().st_mtime_ns) if path is not None else {}

    def _study(
        self, row: dict[str, Any], where: str, views: dict[str, list[tuple[str, str]]], pictures: bool
    ) -> Study | Rejected:
        uid = row["uid"]
        if not uid:
            return Rejected(self.name, where, "bad row", "'uid' is empty")
        sections, report = compose({name: row[name] for name in SECTIONS})
        if not sections.keys() & {"findings", "impression"}:
            return Rejected(self.name, where, "empty report", "neither findings nor impression", uid)
        named = views.get(uid, [])
        files = [name for name, _ in named] or row.get("images", [])
        study = Study(
            study_id=uid,
            patient_id=uid,
            report=report,
            images=tuple(self._pictures().find(name) for name in files) if pictures else (),
            views=tuple(view for _, view in named),
            sections=sections,
            split=split_of(uid),
            source=self.name,
        )
        return self.admit(study, where, required=pictures)


@lru_cache(maxsize=1)  # a worker reads many partitions
def _read_views(path: Path, changed: int) -> dict[str, list[tuple[str, str]]]:
    views: dict[str, list[tuple[str, str]]] = {}
    for row in read_csv(path):
        if row.value and (uid := row.value["uid"]):
            views.setdefault(uid, []).append((row.value.get("filename", ""), row.value.get("projection", "").lower()))
    return views


def _xml_row(path: Path) -> Row:
    """The CSV's row of an ecgen file; its identifier is that of the CSV, without the prefix CXR."""
    data = b""
    try:
        with open_bytes(path) as file:
            data = file.read()
        root = ElementTree.fromstring(data)
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        reason = "undecodable" if decode(data) is None else "bad row"
        return Row(str(path), None, reason, f"not XML: {error}")
    identifier = root.find(".//uId")
    row: dict[str, Any] = {name: "" for name in ("uid", *SECTIONS)}
    if identifier is not None:
        row["uid"] = re.sub(r"^CXR(?=\d)", "", identifier.get("id", "").strip())
    for part in root.iter("AbstractText"):
        name = (part.get("Label") or "").strip().lower()
        if name in SECTIONS:
            row[name] = f"{row[name]} {''.join(part.itertext()).strip()}".strip()
    row["images"] = _image_names(root)
    return Row(str(path), row)


def _image_names(root: ElementTree.Element) -> list[str]:
    return [f"{image.get('id')}.png" for image in root.iter("parentImage") if image.get("id")]


def _xml_images(path: Path) -> list[str]:
    row = _xml_row(path)
    return row.value["images"] if row.value else []
