"""The whole road with the real parts, as small as it goes: mine, two steps of SFT and GRPO, evaluation, export.

Each stage runs as its own process through the command line, as `make demo` runs them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reasoner.models.load import VISION_TOKENS

pytestmark = pytest.mark.slow

SMALL = {
    "data.options.train": 48,
    "data.options.val": 4,
    "data.options.test": 8,
    "data.options.site_b": 8,
    "sft.vision_warmup.max_steps": 2,
    "sft.trainer.max_steps": 2,
    "sft.trainer.per_device_train_batch_size": 8,
    "grpo.trainer.max_steps": 3,
    "grpo.trainer.save_steps": 1,
    "grpo.trainer.per_device_train_batch_size": 16,
    "grpo.trainer.num_generations": 4,
    "grpo.trainer.max_completion_length": 24,
    "grpo.trainer.logging_steps": 1,
    "grpo.log_rollouts_every": 1,
    "eval.max_new_tokens": 24,
    "eval.samples": 2,
    "eval.bootstrap": 50,
}


def process(output: Path, *command: str, **more: object) -> dict:
    """How to start `reasoner COMMAND` on the phantom recipe, made small."""
    settings = [f"--set={key}={value}" for key, value in {**SMALL, "output": output, **more}.items()]
    return {
        "args": [sys.executable, "-m", "recipes.cli", *command, *settings],
        "env": {**os.environ, "WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1"},
        "cwd": Path(__file__).parents[2],
    }


def reasoner(output: Path, *command: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(**process(output, *command, **more), capture_output=True, encoding="utf-8", timeout=400)


def run(output: Path, *command: str, **more: object) -> str:
    done = reasoner(output, *command, **more)
    if done.returncode:
        log = output / "logs" / f"{command[0]}.log"
        kept = log.read_text(encoding="utf-8")[-6000:] if log.is_file() else ""
        pytest.fail(f"{command}: {done.stderr[-3000:]}\n{kept}")
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """An output folder after mine, sft and grpo."""
    output = tmp_path_factory.mktemp("road")
    for stage in ("mine", "sft", "grpo"):
        run(output, stage)
    return output


def kill_after(written: str, output: Path, stage: str, **more: object) -> None:
    """Starts a stage and kills it, with all its processes, as soon as that file is in its working folder."""
    file = output / f"{stage}.part" / written
    with subprocess.Popen(
        **process(output, stage, **more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:
        until = time.monotonic() + 300
        while not file.is_file():
            assert running.poll() is None and time.monotonic() < until, f"{stage} ended before {written}"
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGKILL)
    assert not (output / f"{stage}.part" / "trainer_state.json").is_file(), "killed too late to show anything"


def history(folder: Path) -> list[dict]:
    return json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]


def rollouts(folder: Path) -> list[dict]:
    files = sorted((folder / "rollouts").glob("step-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_sft_and_grpo_ran_their_steps_and_left_plain_checkpoints(road):
    for stage, steps in (("sft", 2), ("grpo", 3)):
        assert max(row.get("step", 0) for row in history(road / stage)) == steps
        assert (road / stage / "model.safetensors").is_file() and (road / stage / "processor_config.json").is_file()


@pytest.mark.anywhere(to="all")
def test_vllm_and_the_trainer_agree_at_every_step(road):
    gaps = [row["sampling/sampling_logp_difference/mean"] for row in history(road / "grpo") if "reward" in row]
    assert len(gaps) == 3 and max(gaps) <= 1e-3


def test_every_reward_component_is_logged_and_explained(road):
    logged = [row for row in history(road / "grpo") if "reward" in row]
    rows = rollouts(road / "grpo")
    assert len(rows) == 3 * 16
    for name in ("answer", "skill", "format"):
        assert f"rewards/{name}/mean" in logged[0] and f"rewards/{name}/std" in logged[0]
        assert f"{name}_reward" in rows[0]
    assert {"found", "false_alarms", "ruled_out", "denied"} <= set(json.loads(rows[0]["parts"]))
    assert set(json.loads(rows[0]["evidence"])) >= {"answer", "skill", "format"}
    assert list((road / "wandb").glob("offline-run-*")), "W&B writes offline runs below the output"


def test_finished_stages_are_reused(road):
    assert "reus" in run(road, "sft").lower()


def test_a_killed_sft_run_resumes_to_the_very_same_weights(road, tmp_path):
    from safetensors.torch import load_file

    more = {"sft.trainer.max_steps": 30, "sft.trainer.save_steps": 5, "sft.augment.film": 0.3}
    more |= {"sft.vision_warmup.max_steps": 30, "sft.vision_warmup.save_steps": 5}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").symlink_to(road / "data")
    run(tmp_path / "whole", "sft", **more)
    kill_after("base/processor_config.json", tmp_path / "killed", "sft", **more)  # then in the warm-up, then after it
    for checkpoints in ("warm.part/checkpoints", "checkpoints"):
        kill_after(f"{checkpoints}/checkpoint-5/trainer_state.json", tmp_path / "killed", "sft", **more)
    assert "resum" in run(tmp_path / "killed", "sft", **more)
    whole, resumed = (load_file(tmp_path / name / "sft" / "model.safetensors") for name in ("whole", "killed"))
    assert all(whole[name].equal(resumed[name]) for name in whole)


def test_a_killed_grpo_run_resumes_to_the_very_same_weights_and_as_one_run_of_wandb(road, tmp_path):
    from safetensors.torch import load_file

    for name in ("data", "sft"):
        (tmp_path / name).symlink_to(road / name)
    kill_after("checkpoints/checkpoint-1/trainer_state.json", tmp_path, "grpo")
    assert "resum" in run(tmp_path, "grpo")
    prompts = [[(row["step"], row["id"]) for row in rollouts(folder / "grpo")] for folder in (road, tmp_path)]
    assert prompts[0] == prompts[1]
    assert [row["step"] for row in history(tmp_path / "grpo") if "reward" in row] == [1, 2, 3]
    whole, resumed = (load_file(folder / "grpo" / "model.safetensors") for folder in (road, tmp_path))
    assert all(whole[name].equal(resumed[name]) for name in whole)
    parts = [folder.name.rpartition("-")[2] for folder in (tmp_path / "wandb").glob("offline-run-*")]
    assert len(parts) == 2 and len(set(parts)) == 1
    logged = (tmp_path / "logs" / "grpo.metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [json.loads(line)["step"] for line in logged]
    assert steps == sorted(steps) and {1, 2, 3} <= set(steps)


def test_training_goes_on_when_the_policy_wants_vision_tokens(road, tmp_path):
    """The output layer is turned towards the image token, which every unguarded sample would then hold."""
    import torch

    from reasoner.models.load import load_model, load_processor

    processor, model = load_processor(road / "sft"), load_model(road / "sft")
    token = processor.image_token_id
    embedding = model.get_output_embeddings().weight
    with torch.no_grad():
        inputs = processor(text=["<|im_start|>assistant\n<think>"], return_tensors="pt")
        hidden = model.model(**inputs).last_hidden_state[0, -1]
        embedding[token] = 50 * hidden / hidden.norm()
        ids = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert token in ids[0].tolist(), "the drive must work unguarded, or this test shows nothing"
    output = tmp_path / "driven"
    (output / "sft").mkdir(parents=True)
    (output / "data").symlink_to(road / "data")
    model.save_pretrained(output / "sft")
    processor.save_pretrained(output / "sft")
    run(output, "grpo")
    texts = [row["completion"] for row in rollouts(output / "grpo")]
    assert texts and not any(vision in text for text in texts for vision in VISION_TOKENS)


def test_adapters_are_merged_and_a_frozen_vision_tower_stays(road, tmp_path):
    from safetensors.torch import load_file

    (tmp_path / "data").symlink_to(road / "data")
    run(tmp_path, "sft", **{"model.lora.r": 4, "model.freeze_vision": "true", "sft.trainer.learning_rate": 0.01})
    before, after = (load_file(tmp_path / place / "model.safetensors") for place in ("sft/warm", "sft"))
    adapter = json.loads((tmp_path / "sft" / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert before.keys() == after.keys() and adapter["base_model_name_or_path"] == str(tmp_path / "sft" / "warm")
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed and all("language_model" in name or name.startswith("model.layers") for name in changed), changed


@pytest.mark.anywhere(to="all")
def test_evaluation_and_export_close_the_road(road):
    run(road, "eval")
    scores = json.loads((road / "eval" / "scores.json").read_text(encoding="utf-8"))
    assert {"base", "sft", "grpo"} <= set(scores)
    assert (road / "eval" / "report.html").is_file() and (road / "eval" / "report.md").is_file()
    run(road, "export")
    check = json.loads((road / "export" / "export_check.json").read_text(encoding="utf-8"))
    assert check["logits_max_difference"] <= 1e-5


def test_grpo_without_sft_says_make_sft(road, tmp_path):
    (tmp_path / "data").symlink_to(road / "data")
    done = reasoner(tmp_path, "grpo")
    assert done.returncode == 2
    assert "make sft" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_missing_pictures_cost_their_rows_and_not_the_run(road, tmp_path):
    import shutil

    for stage in ("sft", "grpo", "base"):
        (tmp_path / stage).symlink_to(road / stage)
    shutil.copytree(road / "data", tmp_path / "data")
    gone, cut = sorted((tmp_path / "data" / "images" / "train").glob("train-?????.png"))[:2]
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:200])
    lost = next((tmp_path / "data" / "images" / "test").glob("test-?????.png"))
    lost.write_bytes(lost.read_bytes()[:200])
    (tmp_path / "sft").unlink()
    told = run(tmp_path, "sft", **{"sft.trainer.max_steps": 8})  # more than one epoch
    assert "left out" in told and f"{gone.name}: missing image" in told and f"{cut.name}: damaged image" in told
    told = run(tmp_path, "eval", **{"eval.models": "[sft]"})
    assert "left out" in told and f"{lost.name}: damaged image" in told
    for path in (tmp_path / "data" / "images" / "train").glob("*.png"):
        path.unlink()
    done = reasoner(tmp_path, "sft", "--force")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and last.startswith("error: pictures of") and last.endswith("run `make mine` again")
