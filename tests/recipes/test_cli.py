from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from reasoner.runtime import memory
from recipes import stages
from recipes.cli import HELP, main
from recipes.load import load_recipe

pytestmark = pytest.mark.anywhere(to="system")


def finish(recipe, stage, overrides=()):
    """Leaves behind what a successful run of the stage would: its proof and its record."""
    stages.prepare(recipe, stage, force=False)
    with stages.recorded(recipe, stage, overrides):
        (stages.working(recipe, stage) / stages.STAGES[stage].proof).write_text("{}", encoding="utf-8")


@pytest.fixture
def recipe(tmp_path):
    return load_recipe("phantom", [f"output={tmp_path / 'out'}"])


@pytest.mark.parametrize("command", [*HELP, "score", "doctor", "watch", "summary"])
def test_every_command_has_help_with_examples(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert command == "summary" or f"reasoner {command}" in out.partition("examples:")[2]


def reasoner(*command, **more):
    return subprocess.run(
        [sys.executable, "-m", "recipes.cli", *command], stderr=subprocess.PIPE, encoding="utf-8", **more
    )


@pytest.mark.parametrize("command", [("mine", "--dry-run"), ("mine", "--help"), ("--help",)])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_or_that_does_not_fit_ends_without_a_traceback(command, unbuffered):
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    read, write = os.pipe()
    os.close(read)
    unread = reasoner(*command, stdout=write, env=env)
    os.close(write)
    with open("/dev/full", "w", encoding="utf-8") as full:
        unfit = reasoner(*command, stdout=full, env=env)
    if unbuffered and "--help" in command:  # argparse passes over it
        assert (unread.returncode, unread.stderr, unfit.returncode, unfit.stderr) == (0, "", 0, "")
        return
    assert (unread.returncode, unread.stderr) == (141, "")
    assert unfit.returncode == 2
    assert unfit.stderr == "error: writing failed: No space left on device; free some space or choose another output\n"


@pytest.mark.parametrize(
    "where",
    ["from recipes import commands; commands.check_settings", "from recipes import commands; commands.load_recipe"],
)
def test_ctrl_c_is_one_line_whenever_it_comes(where):
    module, _, place = where.partition("; ")
    code = f"""{module}
def stop(*rest):
    raise KeyboardInterrupt
{place} = stop
import sys
from recipes.cli import HELP, main
sys.exit(main(["mine", "--dry-run"]))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 130 and done.stderr.startswith("stopped; ") and done.stderr.count("\n") == 1


def test_ctrl_c_while_libraries_load_is_one_line(tmp_path):
    (tmp_path / "yaml.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}
    done = reasoner("mine", "--dry-run", env=env)
    assert done.returncode == 130 and done.stderr.startswith("stopped; ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "body", ["import sys; sys.exit(0)", "raise SystemExit", "import os; os.nothing", "x =", "\0", "1 / 0", "import nix"]
)
def test_a_reward_file_that_does_not_run_is_no_success(body, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(body, encoding="utf-8")
    assert main(["grpo", "--dry-run", "--set", f"grpo.reward_files=[{file}]"]) == 2
    out, error = capsys.readouterr()
    assert error.startswith(f"error: reward file {file} does not run: ") and error.count("\n") == 1 and not out


def test_what_a_reward_file_prints_is_not_part_of_the_recipe(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("print('a: b: c')", encoding="utf-8")
    assert main(["grpo", "--dry-run", "--set", f"grpo.reward_files=[{tmp_path / 'mine.py'}]"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["name"] == "phantom"


@pytest.mark.parametrize(
    ("stage", "key"), [("sft", "model.max_length"), ("grpo", "max_completion_length"), ("eval", "eval.max_new_tokens")]
)
def test_rows_longer_than_the_model_are_refused_before_anything_runs(stage, key, tmp_path, capsys):
    base = tmp_path / ("base" if stage == "sft" else "out/sft")
    base.mkdir(parents=True)
    (base / "config.json").write_text(json.dumps({"text_config": {"max_position_embeddings": 511}}), encoding="utf-8")
    settings = [f"--set=output={tmp_path / 'out'}", f"--set=model.base={base}"]
    assert main([stage, "--dry-run", *settings]) == 2
    error = capsys.readouterr().err
    assert key in error and "511 positions" in error and error.count("\n") == 1


@pytest.mark.parametrize("stage", ["sft", "grpo", "eval", "export"])
def test_a_profile_by_command_is_that_of_the_recipe(stage, tmp_path, capsys):
    settings = [stage, "--dry-run", "--set", f"output={tmp_path}"]
    assert main([*settings, "--profile", "nv_reason"]) == 0
    by_command = capsys.readouterr().out
    assert main([*settings, "--set", "model.profile=nv_reason"]) == 0
    assert capsys.readouterr().out == by_command and "profile: nv_reason" in by_command


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
        (["sft", "--dry-run", "--profile", "nv"], "input should be 'ours', 'chestx_reasoner', 'nv_reason'"),
        (["eval", "--dry-run", "--profile", "ours", "--profile", "a=cxrtrek"], "--profile: a recipe has one"),
        (["sft", "--dry-run", "--recip", "phantom"], "unknown key 'recip'; did you mean '--recipe'?"),
        (["sft", "--dry-run", "--learning_rate"], "input should be a valid number (got True); write --learning_rate"),
        (["sft", "--dry-run", "--optim", "nope"], "nope is not a valid OptimizerNames"),
        (["grpo", "--dry-run", "--num_generations", "7"], "(128) must be divisible by num_generations (7)"),
        (["grpo", "--dry-run", "--vllm_mode", "x"], "grpo.trainer.vllm_mode: unknown 'x'; known: colocate, server"),
        (["grpo", "--dry-run", "--scale_rewards", "x"], "grpo.trainer.scale_rewards: unknown 'x'; known: group"),
        (["grpo", "--dry-run", "--loss_type", "gpro"], "grpo.trainer.loss_type: unknown 'gpro'; did you mean 'grpo'?"),
        (["grpo", "--dry-run", "--set", "grpo.prompts.curriculum=[task, task]"], "task, task: each at most once"),
        (
            ["grpo", "--dry-run", "--num_iterations", "4", "--set", "grpo.held_out.every=50"],
            "grpo.held_out.every: a batch of completions serves 4 optimizer steps",
        ),
        (["watch", "nowhere"], "nowhere: no such folder"),
        (["eval", "--limit", "0"], "--set eval.limit=0: eval.limit: input should be greater than or equal to 1"),
        (["grpo"], "run `make sft RECIPE=phantom` first"),
        (["mine", "--set", "min_free_gb=1e9"], "GiB free, the recipe asks for"),
        (["mine", "--set", "data.source=fantom"], "unknown source 'fantom'; did you mean 'phantom'?"),
        (["mine", "--source", "jsonl"], "give --source NAME, --input PATH and --output DIR together"),
        (["mine", "--source", "jsonl", "--input", "no.jsonl", "--output", "out"], "no.jsonl: no such file"),
        (["mine", "--source", "phantom", "--output", ""], "the output's name is empty"),
        (["mine", "--source", "phantom", "--output", "/proc/x"], "mend its rights or name another output"),
        (["export", "--output", ""], "the output's name is empty"),
        (["score", "--input", "in.jsonl", "--output", "a\0b"], "holds a zero byte"),
        (["score", "--input", "in.jsonl", "--output", "out.jsonl", "--workers", "0"], "--workers 0: give 1 to 1000"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_every_stage_is_a_command():
    assert list(HELP) == list(stages.STAGES)


def test_an_unknown_argument_is_refused_by_stages_without_a_trainer(capsys):
    assert main(["eval", "--learning_rate", "1"]) == 2
    assert capsys.readouterr().err == "error: unrecognized arguments: --learning_rate 1; see `reasoner --help`\n"


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
    stages.write_record(recipe.output, "mine", records["mine"].model_copy(update={"finished": "another time"}))
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


def test_the_old_result_stays_until_the_new_one_is_whole_and_then_as_previous(recipe):
    finish(recipe, "mine")
    finish(recipe, "sft")
    (recipe.output / "sft" / "config.json").write_text('"old"', encoding="utf-8")
    assert not stages.prepare(recipe, "sft", force=True)
    assert (recipe.output / "sft" / "config.json").read_text(encoding="utf-8") == '"old"'
    finish(recipe, "sft")
    assert (recipe.output / "sft" / "config.json").read_text(encoding="utf-8") == "{}"
    assert (recipe.output / "sft.previous" / "config.json").read_text(encoding="utf-8") == '"old"'
    assert sorted(path.name for path in recipe.output.iterdir()) == ["data", "sft", "sft.previous", "stages.json"]


def test_a_half_run_waits_while_other_settings_are_tried(recipe):
    finish(recipe, "mine")
    other = load_recipe("phantom", [f"output={recipe.output}", "sft.trainer.learning_rate=1"])
    part = stages.working(recipe, "sft")
    for tried in (recipe, other):
        assert not stages.prepare(tried, "sft", force=False)
        (part / "checkpoints").mkdir()
        (part / "checkpoints" / "of").write_text(str(tried is other), encoding="utf-8")
        assert stages.prepare(tried, "sft", force=False), "the same settings resume"
    for tried in (recipe, other):
        assert stages.prepare(tried, "sft", force=False)
        assert (part / "checkpoints" / "of").read_text(encoding="utf-8") == str(tried is other)
    assert not stages.prepare(other, "sft", force=True), "unless they are told not to"
    assert not (part / "checkpoints").exists()


def test_records_say_how_long_and_how_much(recipe, monkeypatch, capsys):
    monkeypatch.setattr(memory, "SAMPLE_S", 0.02)
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
