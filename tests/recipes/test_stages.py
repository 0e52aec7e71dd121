"""Records of finished stages: damaged ones lose nothing, killed runs leave the old result or the new one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reasoner.errors import UserError
from recipes import stages
from recipes.cli import main
from recipes.load import load_recipe
from tests.killed import Killed


@pytest.fixture
def recipe(tmp_path):
    return load_recipe("phantom", [f"output={tmp_path / 'out'}"])


def finish(recipe, stage, text):
    stages.prepare(recipe, stage, force=True)
    with stages.recorded(recipe, stage, []):
        (stages.working(recipe, stage) / stages.STAGES[stage].proof).write_text(
            json.dumps({"text": text}), encoding="utf-8"
        )


def told(recipe, stage):
    """The text that `finish` gave the result."""
    proof = stages.result(recipe, stage) / stages.STAGES[stage].proof
    return json.loads(proof.read_text(encoding="utf-8"))["text"]


GOOD = {"fingerprint": "f", "seconds": 1, "peak_gib": 1.5, "finished": "2026-01-01", "overrides": ["seed=1"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not JSON"),
        ('{"sft": {"fing', "not JSON"),
        ("[]", "a JSON object is needed"),
        (json.dumps({"sft": None}), "damaged record of sft (a mapping is needed (got None)); mend it"),
        (json.dumps({"sft": {}}), "damaged record of sft ('fingerprint' is missing)"),
        (json.dumps({"sft": {**GOOD, "seconds": "1"}}), "seconds: input should be a valid number"),
        (json.dumps({"sft": {**GOOD, "seconds": float("nan")}}), "seconds: input should be a finite number"),
        (json.dumps({"sft": {**GOOD, "overrides": "seed=1"}}), "overrides: input should be a valid list"),
        (json.dumps({"sft": {**GOOD, "colour": "red"}}), "unknown key 'colour'"),
    ],
)
@pytest.mark.parametrize("command", ["sft", "summary", "mine"])
def test_a_damaged_record_stops_every_command_and_touches_nothing(command, content, message, recipe, capsys):
    finish(recipe, "sft", "{}")
    records = recipe.output / stages.RECORDS
    records.write_text(content, encoding="utf-8")
    before = sorted(recipe.output.rglob("*"))
    assert main([command, "--set", f"output={recipe.output}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {records}: ") and message in error and error.count("\n") == 1
    assert "delete it: results are then used as they are by `make` and --if-needed" in error
    assert sorted(recipe.output.rglob("*")) == before and records.read_text(encoding="utf-8") == content
    records.unlink()
    assert main(["sft", "--if-needed", "--set", f"output={recipe.output}"]) == 0
    assert "put there by hand" in " ".join(capsys.readouterr().err.split())


def test_records_of_other_stages_are_passed_over(recipe):
    finish(recipe, "sft", "{}")
    records = recipe.output / stages.RECORDS
    records.write_text(json.dumps({**json.loads(records.read_text(encoding="utf-8")), "dpo": 1}), encoding="utf-8")
    assert set(stages.read_records(recipe.output)) == {"sft"}


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"another", None])
def test_an_unreadable_mark_sets_the_half_run_aside(content, recipe):
    stages.prepare(recipe, "sft", force=False)
    part = stages.working(recipe, "sft")
    (part / "checkpoints").mkdir()
    (part / stages.MARK).unlink()
    (part / stages.MARK).mkdir() if content is None else (part / stages.MARK).write_bytes(content)
    assert not stages.prepare(recipe, "sft", force=False)
    assert (recipe.output / "sft.interrupted" / "checkpoints").is_dir() and not (part / "checkpoints").exists()


def test_a_run_that_fails_leaves_the_old_result_and_its_record(recipe):
    finish(recipe, "sft", "old")
    before = stages.read_records(recipe.output)
    stages.prepare(recipe, "sft", force=True)
    with pytest.raises(RuntimeError), stages.recorded(recipe, "sft", []):
        raise RuntimeError
    assert stages.read_records(recipe.output) == before and stages.reusable(recipe, "sft")
    assert told(recipe, "sft") == "old"


@pytest.mark.parametrize("stage", ["sft", "eval"])
@pytest.mark.parametrize("step", range(9))
def test_a_kill_between_the_end_of_a_run_and_its_record_loses_neither(stage, step, recipe, kill_before, monkeypatch):
    finish(recipe, stage, "old")
    stages.prepare(recipe, stage, force=True)
    old = stages.read_records(recipe.output)[stage]
    kill_before(step)
    proof = stages.STAGES[stage].proof
    try:
        with stages.recorded(recipe, stage, ["seed=0"]):
            (stages.working(recipe, stage) / proof).write_text('{"text": "new"}', encoding="utf-8")
    except Killed:
        pass
    monkeypatch.undo()
    finished = (recipe.output / f".{stage}.finished").exists() or step > 0
    stages.settle_all(recipe)
    text, record = told(recipe, stage), stages.read_records(recipe.output)[stage]
    if finished:
        assert text == "new" and record.overrides == ["seed=0"]
        left_over = {path.name for path in recipe.output.iterdir()} - {stages.STAGES[stage].folder, stages.RECORDS}
        assert left_over <= {"sft.previous", "eval.old"}
    else:
        assert text == "old" and record == old


def test_a_full_disk_at_the_very_end_leaves_the_checkpoints_to_go_on_from(recipe, monkeypatch):
    def finished():
        with stages.recorded(recipe, "sft", []):
            (part / "config.json").write_text("{}", encoding="utf-8")

    part = stages.working(recipe, "sft")
    stages.prepare(recipe, "sft", force=False)
    (part / "checkpoints").mkdir()
    with monkeypatch.context() as full:
        full.setattr(stages, "_journal", lambda *_: Path("/proc/journal"))
        with pytest.raises(UserError, match="cannot be written"):
            finished()
    assert stages.prepare(recipe, "sft", force=False) and (part / "checkpoints").is_dir()
    finished()
    assert not (recipe.output / "sft" / "checkpoints").exists()


def test_an_adapter_names_its_base_where_that_is_in_the_end(recipe):
    stages.prepare(recipe, "sft", force=False)
    part = stages.working(recipe, "sft")
    with stages.recorded(recipe, "sft", []):
        for name in ("base", "adapter"):
            (part / name).mkdir()
        (part / "config.json").write_text("{}", encoding="utf-8")
        named = {"base_model_name_or_path": str(part / "base"), "r": 4}
        (part / "adapter" / "adapter_config.json").write_text(json.dumps(named), encoding="utf-8")
    config = json.loads((recipe.output / "sft" / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config == {"base_model_name_or_path": str(recipe.output / "sft" / "base"), "r": 4}
    assert Path(config["base_model_name_or_path"]).is_dir()


def test_an_evaluation_takes_over_finished_predictions_and_leaves_the_old_ones(recipe):
    stages.prepare(recipe, "eval", force=False)
    with stages.recorded(recipe, "eval", []):
        (stages.working(recipe, "eval") / "predictions").mkdir()
        (stages.working(recipe, "eval") / "predictions" / "a.jsonl").write_text("old", encoding="utf-8")
        (stages.working(recipe, "eval") / "scores.json").write_text("{}", encoding="utf-8")
    stages.prepare(recipe, "eval", force=False)
    (stages.working(recipe, "eval") / "predictions" / "a.jsonl").write_text("new", encoding="utf-8")
    assert (recipe.output / "eval" / "predictions" / "a.jsonl").read_text(encoding="utf-8") == "old"
    stages.prepare(recipe, "eval", force=True)
    assert not (stages.working(recipe, "eval") / "predictions").exists()


@pytest.mark.parametrize("output", ["/proc/here", "/dev/null", "/dev/null/here", "FILE", "FILE/here"])
def test_an_output_that_cannot_be_written_is_one_line(output, tmp_path, capsys):
    (tmp_path / "FILE").write_text("mine", encoding="utf-8")
    output = output.replace("FILE", str(tmp_path / "FILE"))
    assert main(["mine", "--set", f"output={output}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "choose another --set output=DIR" in error and error.count("\n") == 1
    assert (tmp_path / "FILE").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["data", "stages.json"])
def test_a_file_or_folder_in_the_way_is_named_and_stays(name, recipe, capsys):
    way = recipe.output / name
    way.parent.mkdir(parents=True)
    way.mkdir() if name == "stages.json" else way.write_text("mine", encoding="utf-8")
    assert main(["mine", "--set", f"output={recipe.output}"]) == 2
    error = capsys.readouterr().err
    assert name in error and error.count("\n") == 1
    assert way.is_dir() if name == "stages.json" else (recipe.output / name).read_text(encoding="utf-8") == "mine"


def test_settings_that_no_longer_load_are_no_reason_to_stop(recipe):
    finish(recipe, "mine", "{}")
    record = stages.read_records(recipe.output)["mine"]
    gone = record.model_copy(update={"overrides": ["data.colour=red"]})
    stages.write_record(recipe.output, "mine", gone)
    assert stages.reusable_as_made(recipe, "mine", "phantom", []) is None


def test_what_several_processes_trained_is_not_what_one_would_but_serves_later_stages(recipe, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    finish(recipe, "sft", "two")
    assert stages.read_records(recipe.output)["sft"].processes == 2 and stages.reusable(recipe, "sft")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not stages.reusable(recipe, "sft")
    assert stages.reusable_as_made(recipe, "sft", "phantom", []) == "same settings"


def test_a_damaged_journal_says_what_to_do(recipe):
    recipe.output.mkdir(parents=True)
    (recipe.output / ".sft.finished").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"delete it; if .*sft\.part is whole, rename it to sft"):
        stages.settle_all(recipe)


def test_what_was_put_there_by_hand_is_kept(recipe):
    place = recipe.output / "eval"
    place.mkdir(parents=True)
    (place / "notes.txt").write_text("mine", encoding="utf-8")
    for _ in range(2):
        finish(recipe, "eval", "{}")
        assert (recipe.output / "eval.previous" / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_an_export_replaces_nothing_but_an_export(recipe, capsys):
    finish(recipe, "sft", "{}")
    for folder in (recipe.output / "sft", recipe.output):
        held = sorted(folder.iterdir())
        assert main(["export", "--source", "sft", "--output", str(folder), "--set", f"output={recipe.output}"]) == 2
        assert "holds other files" in capsys.readouterr().err and sorted(folder.iterdir()) == held


@pytest.mark.parametrize("stage", ["eval", "export", "sft", "grpo"])
def test_a_stage_without_what_it_starts_from_says_so_and_nothing_else(stage, recipe, capsys):
    assert main([stage, "--set", f"output={recipe.output}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no ") and "RECIPE=phantom` first" in error and error.count("\n") == 1
    assert not recipe.output.exists()
    assert main(["export", "--source", "nope", "--output", str(recipe.output), "--set", f"output={recipe.output}"]) == 2
    assert "no checkpoint in nope: check --source" in capsys.readouterr().err and not recipe.output.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"half'])
@pytest.mark.parametrize("stage", list(stages.STAGES))
def test_a_result_whose_proof_is_damaged_is_not_reused(stage, content, recipe):
    finish(recipe, stage, "old")
    assert stages.reusable(recipe, stage)
    (stages.result(recipe, stage) / stages.STAGES[stage].proof).write_text(content, encoding="utf-8")
    assert not stages.reusable(recipe, stage) and not stages.reusable_as_made(recipe, stage, "phantom", [])


@pytest.mark.parametrize("name", ["stages.json", "logs/mine.log", ".sft.finished"])
def test_a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for(name, recipe, capsys):
    pipe = recipe.output / name
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    assert main(["mine", "--set", f"output={recipe.output}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {pipe}: ") and "no regular file" in error and error.count("\n") == 1


def test_models_that_were_not_trained_from_one_another_are_told(recipe):
    for stage in ("mine", "sft", "grpo"):
        finish(recipe, stage, "first")
    assert stages.mismatches(recipe, "eval") == []
    record = stages.read_records(recipe.output)["sft"]
    stages.write_record(recipe.output, "sft", record.model_copy(update={"finished": "later"}))
    assert stages.mismatches(recipe, "eval") == [("grpo", "sft")] and stages.mismatches(recipe, "export") == []
