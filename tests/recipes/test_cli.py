from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
import yaml

from recipes import stages
from recipes.cli import main
from recipes.config import load_recipe

pytestmark = pytest.mark.anywhere(to="system")

STAGES = ("mine", "sft", "grpo", "eval", "export")


def finish(recipe, stage, overrides=()):
    """Leaves behind what a successful run of the stage would: its proof and its record."""
    stages.prepare(recipe, stage, force=False)
    with stages.recorded(recipe, stage, overrides):
        proof = recipe.output / stages.STAGES[stage].proof
        proof.parent.mkdir(parents=True, exist_ok=True)
        proof.write_text("{}", encoding="utf-8")


@pytest.fixture
def recipe(tmp_path):
    return load_recipe("phantom", [f"output={tmp_path / 'out'}"])


@pytest.mark.parametrize("command", [*STAGES, "score", "doctor", "summary"])
def test_every_command_has_help_with_examples(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert command == "summary" or f"reasoner {command}" in out.partition("examples:")[2]


def test_help_imports_nothing_heavy():
    code = "import sys, recipes.cli as cli; cli.build_parser(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    ).stdout.split()
    assert not {"torch", "ray", "trl", "vllm"} & set(loaded)


@pytest.mark.parametrize("start", [["-m", "recipes.cli"], ["-c", "import recipes.cli as cli; cli.main()"]])
def test_a_process_in_an_ascii_locale_starts_again_in_utf_8(start):
    command = [sys.executable, *start, "mine", "--dry-run", "--set", 'description="caf\\u00e9"']
    ascii_locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, env={**os.environ, **ascii_locale}, capture_output=True, check=True)
    assert "description: caf\u00e9" in done.stdout.decode("utf-8")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["sft", "--recipe", "phantm"], "unknown recipe 'phantm'; did you mean 'phantom'?"),
        (["mine", "--config", "missing.yaml"], "missing.yaml: no such recipe file"),
        (["eval", "--set", "eval.splitz=[test]"], "unknown key 'eval.splitz'; did you mean 'splits'?"),
        (["sft", "--learnin_rate", "1"], "no mined training examples in"),
        (["sft", "--dry-run", "--learnin_rate", "1"], "unknown key 'learnin_rate'; did you mean 'learning_rate'?"),
        (["grpo"], "run `make sft RECIPE=phantom` first"),
        (["mine", "--set", "min_free_gb=1e9"], "GiB free, the recipe asks for"),
        (["mine", "--set", "data.source=fantom"], "unknown source 'fantom'; did you mean 'phantom'?"),
        (["mine", "--source", "jsonl"], "give --source NAME, --input PATH and --output DIR together"),
        (["mine", "--source", "jsonl", "--input", "no.jsonl", "--output", "out"], "no.jsonl: no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_an_unknown_argument_is_refused_by_stages_without_a_trainer(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["eval", "--learning_rate", "1"])
    assert stopped.value.code == 2 and "--learning_rate" in capsys.readouterr().err


def test_dry_run_prints_the_full_recipe_and_makes_nothing(tmp_path, capsys):
    output = tmp_path / "out"
    assert main(["sft", "--dry-run", "--set", f"output={output}", "--learning_rate", "1e-4"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["sft"]["trainer"]["learning_rate"] == 1e-4 and shown["model"]["freeze_vision"] is False
    assert not output.exists()


def test_a_dry_run_can_be_read_whatever_the_terminal_knows():
    command = [sys.executable, "-m", "recipes.cli", "mine", "--dry-run", "--set", 'description="caf\\u00e9"']
    for encoding in ("ascii", "utf-8"):
        done = subprocess.run(
            command, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, encoding="utf-8", check=True
        )
        assert yaml.safe_load(done.stdout)["description"] == "caf\u00e9"


def test_a_finished_stage_is_reused_until_something_it_depends_on_changes(recipe, capsys):
    finish(recipe, "mine")
    finish(recipe, "sft")
    assert stages.reusable(recipe, "sft")
    assert main(["sft", "--set", f"output={recipe.output}"]) == 0
    assert "reusing sft" in capsys.readouterr().err

    for change in ("sft.trainer.learning_rate=1", "model.freeze_vision=true", "seed=1"):
        assert not stages.reusable(load_recipe("phantom", [f"output={recipe.output}", change]), "sft"), change
    assert stages.reusable(load_recipe("phantom", [f"output={recipe.output}", "grpo.trainer.beta=1"]), "sft")

    (recipe.output / "sft" / "config.json").unlink()
    assert not stages.reusable(recipe, "sft")


def test_redoing_an_earlier_stage_outdates_the_later_ones(recipe, monkeypatch):
    finish(recipe, "mine")
    finish(recipe, "sft")
    records = stages.read_records(recipe.output)
    stages.write_record(recipe.output, "mine", stages.Finished(records["mine"].fingerprint, 1.0, 1.0, "another time"))
    assert not stages.reusable(recipe, "sft")


def test_edited_input_outdates_mining(tmp_path):
    reports = tmp_path / "reports.jsonl"
    reports.write_text("{}\n", encoding="utf-8")
    recipe = load_recipe("phantom", [f"output={tmp_path / 'out'}", f"data.input={reports}"])
    finish(recipe, "mine")
    assert stages.reusable(recipe, "mine")
    reports.write_text("{}\n{}\n", encoding="utf-8")
    assert not stages.reusable(recipe, "mine")


def test_later_stages_accept_what_was_made_with_extra_arguments(recipe):
    special = ["sft.trainer.learning_rate=1e-4"]
    finish(recipe, "mine")
    finish(load_recipe("phantom", [f"output={recipe.output}", *special]), "sft", special)
    assert not stages.reusable(recipe, "sft")
    reason = stages.reusable_as_made(recipe, "sft", "phantom", [f"output={recipe.output}"])
    assert reason is not None and "learning_rate=1e-4" in reason


def test_a_retrained_stage_keeps_the_previous_result_and_drops_foreign_checkpoints(recipe):
    finish(recipe, "mine")
    finish(recipe, "sft")
    assert not stages.prepare(recipe, "sft", force=True)
    assert (recipe.output / "sft.previous" / "config.json").is_file() and not (recipe.output / "sft").exists()

    (recipe.output / "sft" / "checkpoints").mkdir(parents=True)  # interrupted
    assert stages.prepare(recipe, "sft", force=False), "the same settings resume"
    other = load_recipe("phantom", [f"output={recipe.output}", "sft.trainer.learning_rate=1"])
    assert not stages.prepare(other, "sft", force=False), "other settings do not"
    assert not (recipe.output / "sft").exists()


def test_records_say_how_long_and_how_much(recipe, monkeypatch, capsys):
    monkeypatch.setattr(stages, "SAMPLE_S", 0.02)
    stages.prepare(recipe, "mine", force=False)
    with stages.recorded(recipe, "mine", ["seed=0"]):
        holds = "x = bytearray(300 * 2**20); print(flush=True); import time; time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", holds], stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(1.5)
        child.kill()
        child.wait()
    record = stages.read_records(recipe.output)["mine"]
    assert record.seconds >= 1.5 and record.peak_gib > 0.29 and record.overrides == ["seed=0"]

    interval = {"value": 0.8, "low": 0.75, "high": 0.85}
    (recipe.output / "eval").mkdir()
    (recipe.output / "eval" / "scores.json").write_text(
        json.dumps({"sft": {"test": {"greedy": {"micro_f1": interval}}}}), encoding="utf-8"
    )
    assert main(["summary", "--set", f"output={recipe.output}"]) == 0
    shown = capsys.readouterr().err
    assert "mine" in shown and "GiB" in shown and "0.800 [0.750, 0.850]" in shown


def test_a_failed_stage_leaves_no_record(recipe):
    with pytest.raises(RuntimeError), stages.recorded(recipe, "mine", []):
        raise RuntimeError
    assert not stages.read_records(recipe.output)
