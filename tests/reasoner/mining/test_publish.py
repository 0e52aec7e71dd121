"""Whatever happens to a run, the output folder holds one whole data set: the one before, or the new one."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reasoner.errors import UserError
from reasoner.llm import Llm
from reasoner.mining.pipeline import publish
from reasoner.mining.pipeline.partition import MineSettings, mine_partition
from reasoner.mining.pipeline.run import mine
from reasoner.mining.pipeline.shards import Shards, fingerprint
from reasoner.runtime.disk import alone
from reasoner.sources import jsonl, open_source
from recipes.cli import main

TASKS = {"abnormality_list": 1.0, "binary": 1.0}
REPORTS = ("Small left pleural effusion.", "The lungs are clear.", "Cardiomegaly. Right pneumothorax.")


def rows(count: int, first: int = 0, **more: Any) -> list[dict[str, Any]]:
    return [{"study_id": f"s{n}", "report": REPORTS[n % 3], **more} for n in range(first, first + count)]


def write(path: Path, *content: dict[str, Any] | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in content), encoding="utf-8"
    )
    return path


def run(input: Path, output: Path, **settings: Any) -> dict[str, Any]:
    source = open_source("jsonl", str(input), output)
    return mine(source, output, **{"tasks": TASKS, "workers": 0} | settings)


def contents(folder: Path, *without: str) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not {*path.parts} & {"logs", *without})
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def quarantine(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    run(write(tmp_path / "old.jsonl", *rows(9, split="train")), tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """The input of another data set, with other splits and something in quarantine."""
    return write(tmp_path / "new.jsonl", *rows(4, first=20, split="test"), "broken")


def test_a_bad_input_leaves_the_old_data_set(tmp_path: Path, old: Path) -> None:
    before = contents(old)
    for content in ("", "nonsense\n", '{"study_id": "a"}\n', '{"study_id": "a", "report": ""}\n'):
        (tmp_path / "bad.jsonl").write_text(content, encoding="utf-8")
        with pytest.raises(UserError) as told:
            run(tmp_path / "bad.jsonl", old)
        assert contents(old, "shards") == before
        if "quarantine" in str(told.value):
            assert json.loads(Path(str(told.value).rpartition("see ")[2]).read_text(encoding="utf-8"))["reason"]


class Killed(BaseException):
    pass


def test_a_kill_at_any_step_of_publishing_mixes_nothing(
    tmp_path: Path, old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, whole = contents(old), tmp_path / "whole"
    run(new, whole)
    after, move = contents(whole), publish._move
    assert before.keys() != after.keys()
    for steps in range(6):
        folder, made = tmp_path / f"killed{steps}", []
        shutil.copytree(old, folder)

        def die(path: Path, place: Path, steps: int = steps, made: list[Path] = made) -> None:
            if len(made) == steps:
                raise Killed
            made.append(path)
            move(path, place)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(publish, "_move", die)
            run(new, folder)
        assert not (folder / "summary.json").exists()  # so nobody takes it for whole
        with pytest.raises(UserError):  # any later run first ends what was begun
            run(write(tmp_path / "bad.jsonl", "nonsense"), folder)
        assert contents(folder, "shards") == after
    assert before == contents(old)


def test_a_killed_merge_is_done_again(tmp_path: Path, old: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(old)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(Killed()))
        run(new, old)
    assert contents(old, "shards") == before
    run(new, old)
    assert not (old / "shards").exists() and len(quarantine(old)) == 1


@pytest.mark.parametrize("name", ["README.md", "studies.parquet", "summary.json", "quarantine.jsonl", "examples/a.txt"])
def test_what_is_not_of_a_mining_run_is_never_replaced(tmp_path: Path, new: Path, name: str) -> None:
    write(tmp_path / "mine" / name, "precious")
    with pytest.raises(UserError, match="not of a mining run"):
        run(new, tmp_path / "mine")
    assert contents(tmp_path / "mine") == {name: b"precious\n"}


@pytest.mark.parametrize("name", ["shards/work.txt", "examples/notes.txt", "examples/train-mine.parquet"])
def test_strangers_in_a_data_set_are_not_lost(old: Path, new: Path, name: str) -> None:
    write(old / name, "precious")
    before = contents(old)
    with pytest.raises(UserError, match="not of a mining run"):
        run(new, old)
    assert contents(old) == before


def test_other_files_in_the_folder_stay(old: Path, new: Path) -> None:
    write(old / "notes.txt", "precious")
    run(new, old)
    assert (old / "notes.txt").read_text(encoding="utf-8") == "precious\n" and [*(old / "examples").iterdir()] == [
        old / "examples" / "test-00000.parquet"
    ]


def test_an_output_is_never_read_as_input(tmp_path: Path, old: Path) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(old / "quarantine.jsonl")
    before = contents(old)
    for name in (old / "quarantine.jsonl", link):
        with pytest.raises(UserError, match="is written by mining into"):
            run(name, old)
    assert contents(old) == before
    write(tmp_path / "d" / "reports.jsonl", *rows(3), "broken")
    first = run(tmp_path / "d", tmp_path / "d")
    before = contents(tmp_path / "d")
    assert run(tmp_path / "d", tmp_path / "d") == first and contents(tmp_path / "d") == before


#: As on a full disk: no file may grow beyond some bytes.
FULL = """
import resource, sys
from functools import partial
from reasoner.mining.pipeline.run import mine
from recipes import mine as stage
from recipes.cli import main
stage.mine = partial(mine, workers=0)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main(["mine", "--source", "jsonl", "--input", sys.argv[2], "--output", sys.argv[3]]))
"""


@pytest.mark.parametrize("limit", [0, 300, 5000])
def test_a_full_disk_is_one_line_and_loses_nothing(old: Path, new: Path, limit: int) -> None:
    before = contents(old)
    command = [sys.executable, "-c", FULL, str(limit), new, old]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300)
    assert result.returncode == 2 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert "cannot be written" in result.stderr and contents(old, "shards") == before


@pytest.mark.parametrize("output", ["/proc/out", "file", "file/out", "x" * 300])
def test_an_output_that_cannot_be_written_is_one_line(tmp_path: Path, new: Path, output: str) -> None:
    write(tmp_path / "file", "precious")
    with pytest.raises(UserError, match=r"cannot be written|is no folder"):
        run(new, tmp_path / output)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "precious\n"


def test_a_folder_where_another_run_is_at_work_is_left_alone(old: Path, new: Path) -> None:
    write(old / "shards" / "00000" / "counts.json", "of the other")
    before = contents(old)
    message = rf"another run is mining into {old} \(process {os.getpid()}\)"
    with alone(old / ".mining", "mining"), pytest.raises(UserError, match=message):
        run(new, old)
    assert contents(old) == before


def test_a_refused_folder_gets_no_log(tmp_path: Path, new: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "mine" / "README.md", "precious")
    assert main(["mine", "--source", "jsonl", "--input", str(new), "--output", str(tmp_path / "mine")]) == 2
    assert os.listdir(tmp_path / "mine") == ["README.md"] and "not of a mining run" in capsys.readouterr().err


def test_pictures_of_the_old_data_set_stay_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(seed: int) -> None:
        counts = {"train": 5, "val": 0, "test": 0, "site_b": 0, "seed": seed}
        mine(open_source("phantom", None, tmp_path, counts), tmp_path, tasks=TASKS, workers=0)

    draw(0)
    before = contents(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(Killed()))
        draw(1)
    assert contents(tmp_path, "shards") == before
    draw(1)
    after = contents(tmp_path)
    assert (
        after.keys() == before.keys()
        and after["images/train/train-00000.png"] != before["images/train/train-00000.png"]
    )


@pytest.mark.parametrize("lines", [1, 3, 1000])
def test_the_second_study_of_an_id_is_quarantined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int) -> None:
    monkeypatch.setattr(jsonl, "LINES", lines)
    twice = [
        *rows(5, split="train"),
        {"study_id": "s1", "report": "Left pneumothorax.", "split": "test"},
        {"study_id": "e", "report": ""},
        {"study_id": "e", "report": "Cardiomegaly.", "split": "train"},
    ]
    write(tmp_path / "in" / "a.jsonl", *twice)
    write(tmp_path / "in" / "b.jsonl", *rows(3, split="test"))
    summary = run(tmp_path / "in", tmp_path / "out", balance=1.0)
    assert summary["quarantined"] == {"duplicate": 4, "empty report": 1}
    assert summary["studies"] == {"read": 11, "mined": 6, "train": 6}
    assert list(summary["examples"]["abnormality_list"]) == ["train"]
    studies = pq.read_table(tmp_path / "out" / "studies.parquet").to_pylist()
    assert [row["study_id"] for row in studies] == ["s0", "s1", "s2", "s3", "s4", "e"]
    assert studies[1]["report"] == REPORTS[1] and studies[5]["report"] == "Cardiomegaly."
    a, b = tmp_path / "in" / "a.jsonl", tmp_path / "in" / "b.jsonl"
    told = {(row["where"], row["detail"]) for row in quarantine(tmp_path / "out") if row["reason"] == "duplicate"}
    assert told == {(f"{a}:6", f"as {a}:2"), *((f"{b}:{n}", f"as {a}:{n}") for n in (1, 2, 3))}
    one = write(tmp_path / "once.jsonl", *twice[:5], twice[-1])
    run(one, tmp_path / "once", balance=1.0)
    names = ("studies.parquet", "examples/train-00000.parquet")
    assert all((tmp_path / "out" / n).read_bytes() == (tmp_path / "once" / n).read_bytes() for n in names)


def test_a_patient_in_two_splits_is_told_of(tmp_path: Path) -> None:
    mixed = [
        *rows(2, split="train", patient_id="p"),
        *rows(2, first=2, split="test", patient_id="p"),
        *rows(3, first=4),
    ]
    assert run(write(tmp_path / "a.jsonl", *mixed), tmp_path / "out")["patients_in_several_splits"] == 1
    assert "patients_in_several_splits" not in run(write(tmp_path / "b.jsonl", *rows(3)), tmp_path / "out")


def test_a_lone_surrogate_costs_its_study(tmp_path: Path) -> None:
    bad = [{"study_id": "a\ud800", "report": "Cardiomegaly."}, {"study_id": "b", "report": "Cardiomegaly \udfff."}]
    summary = run(write(tmp_path / "in.jsonl", *rows(3), *bad), tmp_path / "out")
    assert summary["studies"]["mined"] == 3 and summary["quarantined"] == {"bad row": 2}
    json.dumps(quarantine(tmp_path / "out"), ensure_ascii=False).encode()


def test_a_study_that_no_table_can_hold_or_that_fails_costs_itself(tmp_path: Path) -> None:
    class Odd(jsonl.JsonlSource):
        def read(self, partition: Any) -> Any:
            for study in super().read(partition):
                vars(study)["labels"] = {"s1": {"Edema": 7}}.get(study.study_id)
                vars(study)["report"] = {"s2": 5}.get(study.study_id, study.report)
                yield study

    source = Odd(write(tmp_path / "in.jsonl", *rows(5)), tmp_path / "out")
    summary = mine(source, tmp_path / "out", tasks=TASKS, workers=0)
    assert summary["studies"]["mined"] == 3 and summary["quarantined"] == {"failed": 1, "bad row": 1}


@pytest.mark.parametrize("damage", ["truncate", "flip", "lose", "counts", "sums"])
def test_a_damaged_shard_is_made_again(tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "LINES", 3)
    input, output = write(tmp_path / "in.jsonl", *rows(9)), tmp_path / "out"
    run(input, tmp_path / "whole")
    source, settings = open_source("jsonl", str(input), output), MineSettings(TASKS)
    shards, parts = Shards(output / "shards"), source.partitions()
    name = fingerprint(source, parts, settings.fingerprint())
    assert shards.open(name, 3) == [0, 1, 2]
    for number, part in enumerate(parts):
        mine_partition(source, part, number, output, settings)
    assert shards.open(name, 3) == []
    table = output / "shards" / "00001" / "studies.arrow"
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 255
    match damage:
        case "truncate":
            table.write_bytes(table.read_bytes()[:-100])
        case "flip":
            table.write_bytes(data)
        case "lose":
            table.unlink()
        case _:
            next(table.parent.glob(f"{damage}*")).write_bytes(b"\xff{")
    assert shards.open(name, 3) == [1]
    run(input, output)
    assert contents(output) == contents(tmp_path / "whole")


def test_a_damaged_manifest_starts_anew(tmp_path: Path, new: Path) -> None:
    for content in (b"\xff", b"", b"[]", b"[" * 100_000):
        manifest = tmp_path / "out" / "shards" / "manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.write_bytes(content)
        run(new, tmp_path / "out")
        assert not manifest.exists()


def test_fingerprints_say_what_decides(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", *rows(3))

    def of(llm: Llm | None = None, output: str = "out", seed: int = 0, **options: Any) -> str:
        source = open_source("jsonl", str(path), tmp_path / output, options)
        return fingerprint(source, source.partitions(), MineSettings(TASKS, seed=seed, llm=llm).fingerprint())

    assert of() == of(output="elsewhere")
    assert of(Llm("http://a", "m")) == of(Llm("http://b", "m", concurrency=2, retries=0, timeout_s=1.0, backoff_s=9.0))
    different = [of(), of(Llm("http://a", "m")), of(Llm("http://a", "n")), of(seed=1), of(require_images=True)]
    write(path, *rows(4))
    different.append(of())
    assert len(set(different)) == len(different)


@pytest.mark.parametrize("keep", [0, 5, 0.5, 0.9])
def test_a_truncated_archive_is_told_of(tmp_path: Path, keep: float) -> None:
    lines = [json.dumps({"study_id": f"s{n}", "report": f"{REPORTS[n % 3]} {n * 7919}"}) for n in range(3000)]
    data = gzip.compress("\n".join(lines).encode())
    size = int(keep * len(data)) if isinstance(keep, float) else keep
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(data[:size])
    try:
        summary = run(path, tmp_path / "out")
    except UserError:
        assert size < 100
    else:
        assert summary["quarantined"] == {"undecodable": 1} and summary["studies"]["mined"] > 500
