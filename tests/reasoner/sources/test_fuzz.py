"""Whatever stands in the cells of a collection's files, reading it ends, raises nothing, and tells of every row."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reasoner.errors import UserError
from reasoner.schema import Rejected, Study
from reasoner.sources import open_source

FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = st.sampled_from(
    [
        "",
        "1",
        "The heart is enlarged.",
        "nan",
        "a/b.png",
        "train",
        "patient1/study2/v.jpg",
        "[]",
        "../x",
        "n" * 300,
        "\0",
    ]
)
VALUE = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
BOXES = st.just([[0.1, 0.2, 0.3, 0.4]])
TREK = {"stage": VALUE, "question": VALUE, "answer": VALUE, "option_list": VALUE, "image_input_count": VALUE}
JSON_FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "padchest_gr": {"StudyID": VALUE, "ImageID": VALUE, "PreviousImageID": VALUE, "findings": VALUE | st.lists(
        st.fixed_dictionaries({"sentence_en": VALUE, "boxes": VALUE | BOXES, "labels": VALUE}))},
    "cxrtrek": {"pat_id": VALUE, "study_id": VALUE, "image": VALUE, "content": VALUE | st.lists(
        st.fixed_dictionaries(TREK), max_size=3)},
    "radrbench": {"item_id": VALUE, "question": VALUE, "answer": VALUE, "reasoning": VALUE, "report": VALUE,
                  "image_path": VALUE, "options": VALUE},
    "rexgradient": {"id": VALUE, "PatientID": VALUE, "Findings": VALUE, "Impression": VALUE, "ImagePath": VALUE,
                    "ImageViewPosition": VALUE, "StudyDate": VALUE},
    "jsonl": {"study_id": VALUE, "report": VALUE, "patient_id": VALUE, "images": VALUE, "sections": VALUE,
              "labels": VALUE, "boxes": VALUE | st.just([{"label": "x"}]), "split": VALUE},
}  # fmt: skip
CSV_FIELDS = {
    "iu_xray": ("indiana_reports.csv", ["uid", "indication", "comparison", "findings", "impression"]),
    "chexpert_plus": ("df_chexpert_plus_240401.csv", ["path_to_image", "deid_patient_id", "patient_report_date_order",
                                                      "report", "section_findings", "section_impression", "split"]),
    "rexgradient": ("train_metadata.csv", ["id", "PatientID", "Findings", "Impression", "ImagePath", "StudyDate"]),
}  # fmt: skip


def read(name: str, path: Path) -> list[Study | Rejected]:
    source = open_source(name, str(path), path.parent / "out")
    try:
        parts = source.partitions()
    except UserError:  # no record at all
        return []
    items = [item for part in parts for item in source.read(part)]
    json.dumps([vars(item) for item in items], default=vars)
    assert all(isinstance(item, Study) or (item.reason and item.where) for item in items)
    return items


@pytest.mark.parametrize("name", JSON_FIELDS)
def test_json_records(tmp_path: Path, name: str) -> None:
    # The last record makes the layout known, whatever the others lack.
    whole = {field: "x" for field in JSON_FIELDS[name]}

    @FUZZ
    @given(rows=st.lists(st.fixed_dictionaries(JSON_FIELDS[name]) | VALUE, max_size=4))
    def check(rows: list[Any]) -> None:
        path = tmp_path / ("a.jsonl" if name == "jsonl" else "a.json")
        lines = "\n".join(map(json.dumps, [*rows, whole]))
        path.write_text(lines if name == "jsonl" else json.dumps([*rows, whole]), encoding="utf-8")
        read(name, path)

    check()


@pytest.mark.parametrize("name", CSV_FIELDS)
def test_csv_rows(tmp_path: Path, name: str) -> None:
    file, columns = CSV_FIELDS[name]

    @FUZZ
    @given(
        rows=st.lists(st.lists(WORDS | st.text(max_size=9), min_size=len(columns), max_size=len(columns)), max_size=5)
    )
    def check(rows: list[list[str]]) -> None:
        rows = [[cell.encode("utf-8", "replace").decode() for cell in row] for row in rows]
        with (tmp_path / file).open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([columns, *rows])
        read(name, tmp_path / file)

    check()
