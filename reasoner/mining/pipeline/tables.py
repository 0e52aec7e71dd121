"""The files of a mined data set: rows become Arrow tables, tables become files, row groups of one size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reasoner.schema import CLASSES, Record

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
_TARGET = pa.struct([("kind", _TEXT), ("options", _TEXTS), ("chosen", _TEXTS), ("boxes", pa.list_(pa.float64()))])
_TURN = pa.struct(
    [*((name, _TEXT) for name in ("question", "answer", "reasoning")), ("options", _TEXTS), ("images", pa.int32())]
)
#: Of one question of a dialogue.
_ASKED = pa.struct(
    [
        *((name, _TEXT) for name in ("id", "question", "answer", "reasoning")),
        ("options", _TEXTS),
        ("images", pa.int32()),
        ("steps", pa.list_(_STEP)),
        ("stage", pa.int32()),
        ("target", _TARGET),
    ]
)
_SECTIONS = pa.map_(_TEXT, _TEXT)

EXAMPLE = pa.schema(
    [
        *((name, _TEXT) for name in ("id", "study_id", "task", "question", "answer", "reasoning", "report")),
        *((name, _TEXTS) for name in ("options", "images")),
        ("gold_findings", pa.list_(_FINDING)),
        ("labels", _LABELS),
        ("label_source", _TEXT),
        ("steps", pa.list_(_STEP)),
        ("stage", pa.int32()),
        ("boxes", pa.list_(_BOX)),
        ("split", _TEXT),
        ("source", _TEXT),
        ("context", pa.list_(_TURN)),
        ("target", _TARGET),
        ("turns", pa.list_(_ASKED)),
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
#: Shards also tell where each study stands, for those who have to be told of duplicates.
PLACED_STUDY = STUDY.append(pa.field("where", _TEXT))
ROW_GROUP = 2000


def to_table(records: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows of one kind, nested records included, in columns."""
    rows = [{name: _plain(value) for name, value in record.items()} for record in records]
    if "sections" in schema.names:
        rows = [row | {"sections": list((row["sections"] or {}).items())} for row in rows]
    return pa.Table.from_pylist(rows, schema=schema)


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return {name: _plain(inner) for name, inner in vars(value).items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return value


class Tables:
    """`studies.parquet`, `examples/{split}-00000.parquet` and `quarantine.jsonl`, written into `folder`.

    Row groups have one size, however rows arrive, so the bytes depend on the rows alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._waiting: dict[str, pa.Table] = {}

    def __enter__(self) -> Tables:
        shutil.rmtree(self.folder / "examples", ignore_errors=True)  # of a run that was killed here
        (self.folder / "examples").mkdir(parents=True)
        self._quarantine = (self.folder / "quarantine.jsonl").open("w", encoding="utf-8")
        return self

    def __exit__(self, *failure: object) -> None:
        self._quarantine.close()
        for name, writer in self._writers.items():
            if failure[0] is None:
                self._flush(name, 1)
            writer.close()

    def add(self, name: str, table: pa.Table) -> None:
        """Adds rows to `studies`, or to the examples of the split `name`."""
        file = "studies.parquet" if name == "studies" else f"examples/{name}-00000.parquet"
        if file not in self._writers:
            self._writers[file] = pq.ParquetWriter(self.folder / file, table.schema, compression="zstd")
            self._waiting[file] = table
        else:
            self._waiting[file] = pa.concat_tables([self._waiting[file], table])
        self._flush(file, ROW_GROUP)

    def reject(self, record: Mapping[str, Any]) -> None:
        self._quarantine.write(json.dumps({name: _clean(value) for name, value in record.items()}) + "\n")

    def _flush(self, name: str, at_least: int) -> None:
        table = self._waiting[name]
        while table.num_rows >= at_least:
            self._writers[name].write_table(table.slice(0, ROW_GROUP).combine_chunks())
            table = table.slice(ROW_GROUP)
        self._waiting[name] = table


def _clean(value: Any) -> Any:
    """A lone surrogate, which is no text, as the words of its escape."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
