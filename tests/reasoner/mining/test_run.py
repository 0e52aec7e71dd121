"""The run on Ray Data, end to end, on a real local Ray; and the labels against real reports where those are at hand."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from reasoner.errors import UserError
from reasoner.findings import extract_report, labels_of
from reasoner.mining.pipeline import run
from reasoner.mining.pipeline.evaluate import evaluate_labels, score
from reasoner.mining.pipeline.run import mine
from reasoner.mining.pipeline.summary import table
from reasoner.mining.verify import faults
from reasoner.schema import Chain, Example
from reasoner.sources import open_source

pytestmark = pytest.mark.slow

TASKS = {"abnormality_list": 1.0, "binary": 1.0, "single": 0.5, "temporal": 1.0}
COUNTS = {"train": 230, "val": 20, "test": 20, "site_b": 10}


class Mined(NamedTuple):
    first: Path
    second: Path
    summary: dict


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Mined:
    """The same phantoms mined by two workers and by one, in one Ray each."""
    folders = [tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("one")]
    for folder, workers in zip(folders, (2, 1), strict=True):
        source = open_source("phantom", None, folder, COUNTS)
        summary = mine(source, folder, tasks=TASKS, style="concise", seed=3, workers=workers)
    return Mined(folders[0], folders[1], summary)


def test_files_and_summary(mined: Mined) -> None:
    folder, summary = mined.first, mined.summary
    assert summary == json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["studies"]["read"] == sum(COUNTS.values())
    assert pq.read_table(folder / "studies.parquet").num_rows == summary["studies"]["mined"]
    quarantined = (folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(quarantined) == sum(summary["quarantined"].values())
    for split in COUNTS:
        rows = pq.read_table(folder / "examples" / f"{split}-00000.parquet").num_rows
        assert rows == sum(counts.get(split, 0) for counts in summary["examples"].values())
    assert "config_name" in (folder / "README.md").read_text(encoding="utf-8")
    assert "abnormality_list" in table(summary)


def test_one_worker_and_two_write_the_same(mined: Mined) -> None:
    for name in ("studies.parquet", "examples/train-00000.parquet", "examples/site_b-00000.parquet"):
        assert (mined.first / name).read_bytes() == (mined.second / name).read_bytes(), name
    assert not (mined.first / "shards").exists()


def test_rows_are_faithful_examples_with_images(mined: Mined) -> None:
    rows = pq.read_table(mined.first / "examples" / "train-00000.parquet").to_pylist()
    for row in rows:
        example = Example.from_dict(row)
        assert example.reasoning == Chain(example.steps).text
        assert all((mined.first / image).is_file() for image in example.images)
        assert not Path(example.images[0]).is_absolute()
        found = faults(Chain(example.steps), [*example.gold_findings], example.report, prior=example.task == "temporal")
        assert found == []
    assert len({row["id"] for row in rows}) == len(rows)


def test_complete_reports_are_read_without_error(mined: Mined) -> None:
    for row in pq.read_table(mined.first / "studies.parquet").to_pylist():
        if row["split"] in ("test", "site_b"):
            present = {n for n, s in row["labels"].items() if s == "present"}
            assert present == {n for n, s in row["verified_labels"].items() if s == "present"}, row["report"]


def test_a_second_run_replaces_the_first(tmp_path: Path, mined: Mined) -> None:
    shutil.copytree(mined.first, tmp_path, dirs_exist_ok=True)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"study_id": "s", "report": "Cardiomegaly."}) + "\n" + "broken\n", encoding="utf-8")
    source = open_source("jsonl", str(rows), tmp_path, {"require_images": False})
    summary = mine(source, tmp_path, tasks={"abnormality_list": 1.0}, workers=0)
    assert summary["quarantined"] == {"not JSON": 1}
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8")) == summary
    assert len(list((tmp_path / "examples").iterdir())) == 1


#: A run over six parts that is killed at the start of the fourth, when asked to, and says which parts it reads.
KILLED = """
import os, signal, sys
from pathlib import Path
from reasoner.mining.pipeline.run import mine
from reasoner.sources import jsonl

folder, fatal = Path(sys.argv[1]), sys.argv[2] == "kill"
jsonl.LINES = 20

class Source(jsonl.JsonlSource):
    def read(self, partition):
        print(partition["line"], flush=True)
        if fatal and partition["line"] == 61:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(partition)

source = Source(folder.parent / "rows.jsonl", folder, require_images=False)
mine(source, folder, tasks={"abnormality_list": 1, "single": 1}, style="systematic", workers=0, balance=2.0)
"""


def run_parts(folder: Path, how: str) -> tuple[int, list[int]]:
    result = subprocess.run(
        [sys.executable, "-c", KILLED, folder, how], capture_output=True, encoding="utf-8", timeout=300
    )
    return result.returncode, [int(line) for line in result.stdout.split()]


@pytest.mark.anywhere(to="system")
def test_a_killed_run_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    reports = ["Small left effusion.", "The lungs are clear.", "Cardiomegaly. Right pneumothorax.", ""]
    rows = [json.dumps({"study_id": f"s{i}", "report": reports[i % 4]}) for i in range(120)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_parts(whole, "live") == (0, [1, 21, 41, 61, 81, 101])
    assert run_parts(killed, "kill") == (-signal.SIGKILL, [1, 21, 41, 61])
    assert not (killed / "studies.parquet").exists()
    (killed / "shards" / "00003.part-1").mkdir()  # as a kill in the middle of writing leaves it
    assert run_parts(killed, "live") == (0, [61, 81, 101])
    names = sorted(str(path.relative_to(whole)) for path in whole.rglob("*"))
    assert names == sorted(str(path.relative_to(killed)) for path in killed.rglob("*"))
    for name in names:
        assert (whole / name).is_dir() or (whole / name).read_bytes() == (killed / name).read_bytes(), name


def test_shards_of_other_settings_or_input_are_not_used(tmp_path: Path) -> None:
    rows = [json.dumps({"study_id": f"s{i}", "report": "Cardiomegaly."}) for i in range(120)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert run_parts(tmp_path / "out", "kill")[1] == [1, 21, 41, 61]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n\n", encoding="utf-8")
    assert run_parts(tmp_path / "out", "live")[1] == [1, 21, 41, 61, 81, 101, 121]


def test_nothing_to_mine(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(UserError, match="holds no studies"):
        mine(open_source("jsonl", str(empty), tmp_path), tmp_path, tasks=TASKS)
    with pytest.raises(UserError, match="style 'loud' is unknown"):
        mine(open_source("phantom", None, tmp_path), tmp_path, tasks=TASKS, style="loud")


def test_no_disk_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "NEEDED_BYTES", 2**60)
    with pytest.raises(UserError, match="free some space"):
        mine(open_source("phantom", None, tmp_path), tmp_path, tasks=TASKS)


def test_evaluation_counts(tmp_path: Path, mined: Mined) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_text("uid,Cardiomegaly,Fracture,sides\nnobody,1,0,\n", encoding="utf-8")
    with pytest.raises(UserError, match="none of its 1 uids"):
        evaluate_labels(mined.first / "studies.parquet", gold)
    finding = {"concept": "fracture", "status": "present", "laterality": "left"}
    row = {"labels": {"Fracture": "present", "Cardiomegaly": "uncertain"}, "findings": [finding]}
    result = score([({"Fracture": "1", "Cardiomegaly": "1", "Edema": "-1", "sides": "Fracture:left"}, row)] * 30)
    assert result["per_class"]["Fracture"]["f1"] == 1.0 and result["per_class"]["Cardiomegaly"]["fn"] == 30
    assert result["side_accuracy"] == 1.0 and result["macro_f1"] == 0.5
    assert result["micro_f1"] == pytest.approx(2 / 3)


GOLD = "uid,Fracture,sides\n"


@pytest.mark.parametrize(
    "content, told",
    [
        ("", "column 'uid' is missing"),
        ("uid,sides\na,\n", "no column is a CheXpert class"),
        ("id,Fracture\na,1\n", "column 'uid' is missing"),
        (GOLD, "at least one row"),
        (GOLD + "a,yes,\n", ":2: column 'Fracture' holds 'yes'; give 1, 0 or -1"),
        (GOLD + "a,,\n", "holds ''"),
        (GOLD + "a,1,left\n", "column 'sides' holds 'left'"),
        (GOLD + "a,1,Fracture:up\n", "column 'sides' holds 'Fracture:up'"),
        (GOLD + "a,1,Fracture:left:right\n", "column 'sides' holds"),
        (GOLD + "a,1\n", ":2: bad row"),
        (GOLD + "nobody,1,\u4e00\n", "holds"),
    ],
)
def test_a_wrong_gold_file_is_one_line(tmp_path: Path, mined: Mined, content: str, told: str) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(told)):
        evaluate_labels(mined.first / "studies.parquet", gold)


def test_a_gold_file_in_latin_1(tmp_path: Path, mined: Mined) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_bytes("uid,note,Fracture\ntrain-00001,Ärztin,0\n".encode("latin-1"))
    assert evaluate_labels(mined.first / "studies.parquet", gold)["studies"] == 1
    gold.write_bytes(b"uid,Fracture\ntrain-00001\x00\xff\x81,0\n")
    with pytest.raises(UserError, match="undecodable"):
        evaluate_labels(mined.first / "studies.parquet", gold)


def test_damaged_studies_are_one_line(tmp_path: Path, mined: Mined) -> None:
    (tmp_path / "gold.csv").write_text(GOLD + "a,1,\n", encoding="utf-8")
    data = (mined.first / "studies.parquet").read_bytes()
    for name, content in {
        "half": data[: len(data) // 2],
        "empty": b"",
        "flip": data[:99] + b"xxxx" * 99 + data[495:],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            evaluate_labels(tmp_path / name, tmp_path / "gold.csv")
    pq.write_table(pq.read_table(mined.first / "studies.parquet", columns=["study_id"]), tmp_path / "other")
    with pytest.raises(UserError, match="no studies of a mining run"):
        evaluate_labels(tmp_path / "other", tmp_path / "gold.csv")


def test_real_reports(data_dir: Path) -> None:
    """The floors of the label quality on the public Indiana reports; see docs/mining.md for the table."""
    root = data_dir / "iu"
    with (root / "indiana_reports.csv").open(newline="", encoding="utf-8") as file:
        reports = {
            row["uid"]: f"FINDINGS: {row['findings']}\n\nIMPRESSION: {row['impression']}"
            for row in csv.DictReader(file)
        }
    pairs = []
    with (root / "gold_dev.csv").open(newline="", encoding="utf-8") as file:
        for gold in csv.DictReader(file):
            findings = extract_report(reports[gold["uid"]])
            pairs.append((gold, {"labels": labels_of(findings), "findings": [f.to_dict() for f in findings]}))
    result = score(pairs)
    assert result["micro_f1"] >= 0.95
    assert result["macro_f1"] >= 0.92
    assert result["side_accuracy"] >= 0.95
