"""The files of a mined data set, written as rows arrive."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from reasoner.schema import CLASSES

_TEXT, _TEXTS = pa.string(), pa.list_(pa.string())
_LABELS = pa.struct([(name, _TEXT) for name in CLASSES])
_EVIDENCE = pa.struct([("section", _TEXT), ("start", pa.int32()), ("end", pa.int32())])
_FINDING = pa.struct(
    [
        *((name, _TEXT) for name in ("concept", "status", "laterality", "location", "severity", "change")),
        ("evidence", _EVIDENCE),
        *((name, _TEXT) for name in ("size", "acuity", "tip")),
    ]
)
_STEP = pa.struct([("text", _TEXT), ("stage", _TEXT), ("findings", pa.list_(_FINDING)), ("evidence", _EVIDENCE)])
_BOX = pa.struct(
    [("label", _TEXT), *((name, pa.float64()) for name in ("x0", "y0", "x1", "y1")), ("reader", pa.int32())]
)
_SECTIONS = pa.map_(_TEXT, _TEXT)

EXAMPLE = pa.schema(
    [
        *((name, _TEXT) for name in ("id", "study_id", "task", "question", "answer", "reasoning", "report")),
        *((name, _TEXTS) for name in ("options", "images")),
        ("gold_findings", pa.list_(_FINDING)),
        ("labels", _LABELS),
        ("steps", pa.list_(_STEP)),
        ("stage", pa.int32()),
        ("boxes", pa.list_(_BOX)),
        ("split", _TEXT),
        ("source", _TEXT),
        ("context", pa.list_(pa.struct([("question", _TEXT), ("answer", _TEXT), ("options", _TEXTS)]))),
    ]
)
STUDY = pa.schema(
    [
        *((name, _TEXT) for name in ("study_id", "patient_id", "report", "prior_study_id")),
        *((name, _TEXTS) for name in ("images", "views", "prior_images")),
        ("sections", _SECTIONS),
        ("labels", _LABELS),
        ("verified_labels", _LABELS),
        ("official_labels", _LABELS),
        ("findings", pa.list_(_FINDING)),
        ("boxes", pa.list_(_BOX)),
        ("split", _TEXT),
        ("source", _TEXT),
    ]
)
ROW_GROUP = 2000


class Tables:
    """`studies.parquet`, `examples/{split}-00000.parquet`, `quarantine.jsonl`; tables appear, whole, at the end."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self._writers: dict[str, tuple[pq.ParquetWriter, pa.Schema, list[dict[str, Any]]]] = {}
        self._quarantine: IO[str] | None = None

    def __enter__(self) -> Tables:
        for old in (self.output / "examples").glob("*.parquet"):
            old.unlink()
        (self.output / "examples").mkdir(parents=True, exist_ok=True)
        self._quarantine = (self.output / "quarantine.jsonl").open("w", encoding="utf-8")
        return self

    def __exit__(self, *failure: object) -> None:
        assert self._quarantine is not None
        self._quarantine.close()
        for name, (writer, _, _) in self._writers.items():
            self._flush(name)
            writer.close()
            if failure[0] is None:
                os.replace(self._part(name), self.output / name)
            else:
                self._part(name).unlink()

    def write(self, kind: str, record: dict[str, Any]) -> None:
        """Adds one row; `kind` is study, example or rejected."""
        assert self._quarantine is not None
        if kind == "rejected":
            self._quarantine.write(json.dumps(record) + "\n")
            return
        name = "studies.parquet" if kind == "study" else f"examples/{record['split']}-00000.parquet"
        if name not in self._writers:
            schema = STUDY if kind == "study" else EXAMPLE
            self._writers[name] = (pq.ParquetWriter(self._part(name), schema, compression="zstd"), schema, [])
        rows = self._writers[name][2]
        if kind == "study":
            record = record | {"sections": list((record["sections"] or {}).items())}
        rows.append(record)
        if len(rows) >= ROW_GROUP:
            self._flush(name)

    def _part(self, name: str) -> Path:
        return self.output / (name + ".part")

    def _flush(self, name: str) -> None:
        writer, schema, rows = self._writers[name]
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()
