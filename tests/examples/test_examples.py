"""Every example runs as its docstring says, with the real parts. Nothing is asked of what untrained weights write."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
#: Without the port that a training run in this very process may have taken.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("MASTER_ADDR", "MASTER_PORT")}


def run(name: str, *arguments: str | Path) -> str:
    """What the example prints; it must end well."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        cwd=ROOT,
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, f"{name}: {done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def load(name: str):
    spec = importlib.util.spec_from_file_location(Path(name).stem, EXAMPLES / name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_each_example_says_how_to_run_it_and_is_listed(name):
    docstring = (EXAMPLES / name).read_text(encoding="utf-8").split('"""')[1]
    assert f"\n    python examples/{name}\n" in docstring
    assert re.search(r"Takes about (?:a|\d+) (?:second|minute)", docstring)
    assert f"[{name}]({name})" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


def test_a_csv_is_mined_and_no_row_is_lost(tmp_path):
    printed = run("mine_your_csv.py", "--output", tmp_path)
    summary = json.loads((tmp_path / "data" / "summary.json").read_text(encoding="utf-8"))
    rejected = [
        json.loads(line) for line in (tmp_path / "data" / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert summary["studies"]["mined"] + len(rejected) == 11, "the rows of reports.csv"
    assert {row["reason"] for row in rejected} == {"no finding read", "wrong language", "bad row"}
    for row in rejected:
        assert f": {row['reason']}; " in printed
    assert re.search(r"small left pleural effusion is present\. +<- small left pleural effusion", printed)


def test_columns_of_ones_own_and_pictures_are_taken(tmp_path):
    from PIL import Image

    Image.new("L", (32, 32)).save(tmp_path / "x.png")
    table = tmp_path / "my.csv"
    table.write_text("id,who,text,sum,file\n7,p,The heart is enlarged.,Cardiomegaly.,x.png\n", encoding="utf-8")
    columns = ["--study=id", "--patient=who", "--findings=text", "--impression=sum"]
    printed = run("mine_your_csv.py", f"--csv={table}", f"--output={tmp_path / 'out'}", *columns, "--image=file")
    assert "answer: Cardiomegaly" in printed
    study = json.loads((tmp_path / "out" / "reports.jsonl").read_text(encoding="utf-8"))
    assert study["study_id"] == "7" and study["images"] == [str(tmp_path / "x.png")]


def test_a_missing_column_is_named_with_those_there_are():
    arguments = [sys.executable, EXAMPLES / "mine_your_csv.py", "--study=uid"]
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode != 0
    assert "no column 'uid'; it has Accession, Patient" in done.stderr and "Traceback" not in done.stderr


def test_one_completion_is_scored_and_explained():
    printed = run("score_one_completion.py")
    assert re.search(r"^format: 1\.000$", printed, re.MULTILINE)
    assert re.search(r"^answer: 0\.333$", printed, re.MULTILINE), "one class of three right"
    assert "verdict: contradicted" in printed and "against: small left pleural effusion" in printed


@pytest.mark.slow
def test_plain_trl_trains_with_our_rewards(tmp_path):
    printed = run("rewards_in_plain_trl.py", "--output", tmp_path)
    assert re.findall(r"^step (\d): reward", printed, re.MULTILINE) == ["1", "2"]
    assert (tmp_path / "model" / "model.safetensors").is_file()

    example = load("rewards_in_plain_trl.py")
    studies = example.load_examples(tmp_path / "data", "train")[:3]
    rows = example.to_dataset(studies)
    texts = [example.format_completion(e.reasoning, e.answer) for e in studies]
    logged: dict[str, float] = {}
    totals = example.reward_function(example.WEIGHTS)(
        prompts=rows["prompt"],
        completions=[[{"role": "assistant", "content": text}] for text in [*texts[:2], "No tags at all."]],
        log_metric=logged.__setitem__,
        **{name: rows[name] for name in example.REWARD_COLUMNS},
    )
    assert logged["parts/format"] == pytest.approx(2 / 3)
    assert totals[0] > 1.5 and totals[1] > 1.5 and totals[2] == 0


@pytest.mark.slow
def test_pictures_of_ones_own_are_mined_and_trained_on(tmp_path):
    printed = run("train_on_your_pictures.py", "--steps", "2", "--output", tmp_path)
    summary = json.loads((tmp_path / "data" / "summary.json").read_text(encoding="utf-8"))
    assert summary["studies"] == {"read": 50, "mined": 50, "train": 40, "test": 10}
    assert {path.suffix for path in (tmp_path / "pictures").glob("study-*")} == {".png", ".jpg"}
    state = json.loads((tmp_path / "sft" / "trainer_state.json").read_text(encoding="utf-8"))
    assert max(row["step"] for row in state["log_history"]) == 2
    assert "the model: " in printed and "reference: <think>" in printed
