"""`reasoner mine` over each collection's layout, end to end, in one Ray: the files that others read."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reasoner.dialogues import questions
from reasoner.mining.chains import merge
from reasoner.mining.verify import faults
from reasoner.schema import CLASSES, Chain, Example
from recipes.cli import main

NAMES = ("iu_xray", "mimic_cxr", "chexpert_plus", "padchest_gr", "rexgradient", "cxrtrek", "radrbench", "jsonl")


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written(made: Any, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    input, output = made.write(name, pictures=True), tmp_path / "out"
    expected, rejected = made.read(name, input)
    assert main(["mine", "--source", name, "--input", str(input), "--output", str(output)]) == 0
    assert capfd.readouterr().out == ""

    studies = pq.read_table(output / "studies.parquet").to_pylist()
    assert [row["study_id"] for row in studies] == list(expected)
    for row in studies:
        study = expected[row["study_id"]]
        assert (row["report"], row["split"], row["patient_id"]) == (study.report, study.split, study.patient_id)
        assert list(row["labels"]) == list(CLASSES)
        assert row["findings"] or not row["report"]
        assert [box["label"] for box in row["boxes"]] == [box.label for box in study.boxes]

    examples = [
        example
        for path in sorted((output / "examples").glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
        for example in questions(Example.from_dict(row))
    ]
    assert examples and len({example.id for example in examples}) == len(examples)
    for example in examples:
        study = expected[example.study_id]
        assert example.images and Path(example.images[0]).is_file() and example.split == study.split
        assert example.labels and example.label_source == ("verified" if study.labels else "mined")
        if study.given:
            assert example.question in {given.question for given in study.given}
        else:
            assert faults(Chain(example.steps), merge(example.gold_findings), example.report) == []
            assert example.boxes == (study.boxes if example.images == study.images else ())

    quarantined = [json.loads(line) for line in (output / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    assert [(row["where"], row["reason"]) for row in quarantined] == [(item.where, item.reason) for item in rejected]
    assert sum(summary["quarantined"].values()) == len(rejected) and summary["studies"]["mined"] == len(studies)
    assert summary["without_images"] == 0
    assert f"Source `{name}`" in (output / "README.md").read_text(encoding="utf-8")


def test_evaluation_is_all_that_standard_output_gets(
    made: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_text(
        "uid,Cardiomegaly,Pleural Effusion,Pneumothorax,sides\n1,1,1,0,Pleural Effusion:left\n3,0,0,0,\n",
        encoding="utf-8",
    )
    command = ["mine", "--source", "iu_xray", "--input", str(made.write("iu_xray")), "--output", str(tmp_path / "out")]
    assert main([*command, "--evaluate", str(gold)]) == 0
    scores = json.loads(capfd.readouterr().out)
    assert {"micro_f1", "macro_f1", "per_class", "side_accuracy"} <= scores.keys()
    assert scores["per_class"]["Cardiomegaly"]["f1"] == 1.0 and scores["side_accuracy"] == 1.0
    assert json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["without_images"] == 2


def test_options_of_a_source(made: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["mine", "--source", "iu_xray", "--input", str(made.write("iu_xray")), "--output", str(tmp_path / "out")]
    assert main([*command, "--set", f"data.options.images={tmp_path}", "--dry-run"]) == 0
    assert main([*command, "--set", "data.options.image=/nowhere", "--dry-run"]) == 2
    assert "did you mean 'images'" in capsys.readouterr().err
    assert main([*command, "--set", "data.options.images=/nowhere"]) == 2
    assert "/nowhere: no such folder" in capsys.readouterr().err
    assert main([*command, "--set", f"data.options.images={tmp_path}"]) == 2
    assert "2 x missing image" in capsys.readouterr().err


def test_a_missing_column_is_exit_code_2(made: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made.write("chexpert_plus")
    path.write_text(path.read_text(encoding="utf-8").replace("path_to_image", "path_to_img"), encoding="utf-8")
    assert main(["mine", "--source", "chexpert_plus", "--input", str(path), "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "column 'path_to_image' is missing; the nearest is 'path_to_img'" in error
