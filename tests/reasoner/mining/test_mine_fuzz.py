"""Whatever stands in a JSON-lines file, `reasoner mine` accounts for each row, or gives one line of error and leaves
the data set of before."""

from __future__ import annotations

import io
import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reasoner.mining.pipeline.run import mine
from reasoner.mining.pipeline.summary import EXAMPLE_REASONS
from reasoner.sources.io.files import decode
from recipes import mine as mine_stage
from recipes.cli import main
from tests.hostile import MANY, files

GOOD: list[dict[str, Any]] = [
    {"study_id": f"s{n}", "patient_id": f"p{n % 5}", "report": report, **more}
    for n, (report, more) in enumerate(
        [
            ("FINDINGS: Small left pleural effusion. The heart is enlarged.", {"split": "train"}),
            ("The lungs are clear. No pneumothorax.", {"labels": {"Edema": "absent"}, "views": ["frontal"]}),
            ("IMPRESSION: Right lower lobe pneumonia.", {"sections": {"impression": "Right lower lobe pneumonia."}}),
            ("Cardiomegaly.", {"boxes": [{"label": "heart", "x0": 0.1, "y0": 0.2, "x1": 0.5, "y1": 0.9}]}),
            ("A nodule.", {"images": [], "official_labels": {"Lung Lesion": "present"}, "split": "test"}),
        ]
        * 40
    )
]


@pytest.mark.parametrize("count", [300, pytest.param(MANY, marks=pytest.mark.slow)])
def test_hostile_rows(
    tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mine_stage, "mine", partial(mine, workers=0))
    source, output = tmp_path / "in.jsonl", tmp_path / "out"
    mined = 0
    for content in files(random.Random(0), GOOD, count):
        source.write_bytes(content)
        before = contents(output)
        code = main(["mine", "--source", "jsonl", "--input", str(source), "--output", str(output)])
        printed = capsys.readouterr()
        assert printed.out == ""
        if code == 2:
            assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
            assert contents(output) == before
            continue
        assert code == 0 and printed.err == "" and not (output / "shards").exists()
        summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
        studies = [row["study_id"] for row in pq.read_table(output / "studies.parquet").to_pylist()]
        examples = [row for file in (output / "examples").iterdir() for row in pq.read_table(file).to_pylist()]
        quarantined = [
            json.loads(line) for line in (output / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        left_out = sum(row["reason"] not in EXAMPLE_REASONS for row in quarantined)
        assert len(studies) + left_out == summary["studies"]["read"] == sum(map(is_row, io.BytesIO(content)))
        assert len(studies) == len(set(studies)) == summary["studies"]["mined"]
        assert len({row["id"] for row in examples}) == len(examples)
        assert {row["study_id"] for row in examples} <= set(studies)
        assert all(row["where"] and row["reason"] for row in quarantined)
        json.dumps(quarantined, ensure_ascii=False).encode()
        mined += len(studies)
    assert mined > count / 50


def is_row(line: bytes) -> bool:
    text = decode(line)
    return text is None or bool(text.strip())


def contents(folder: Path) -> dict[str, bytes]:
    """What a reader of the data set sees."""
    files = (path for path in folder.rglob("*") if path.is_file() and not {"shards", "logs"} & {*path.parts})
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
