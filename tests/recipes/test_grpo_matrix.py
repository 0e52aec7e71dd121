"""GRPO on every task and with every feature: two real steps each, vLLM and the trainer agreeing to 1e-3.

The policy is the tiny Qwen2.5-VL after a few seconds of SFT on every kind of question, so that completions end and
rewards differ. All runs share this process, its Ray and one mined data set.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import VOWELS
from reasoner.mining.grounding import PLACED
from reasoner.training.dataset import load_examples
from recipes import known_recipes
from recipes.load import load_recipe
from recipes.stages import result, working

pytestmark = pytest.mark.slow
TASKS = ("abnormality_list", "binary", "single", "multiple", "anomaly", "temporal", "detection", "grounding", "stage")
#: What is trained on together: tasks of a kind, since each run costs a start of vLLM.
TRAINED = ("abnormality_list", "binary, single, multiple, anomaly", "temporal", "stage", ", ".join(PLACED))
#: Has something to say on every other completion, so to speak.
ODD = """
from rewards.registry import Score, reward

@reward("odd")
def odd(completion: str) -> Score:
    return Score(len(completion) / 100) if len(completion) % 2 else Score.abstained("even")
"""
SMALL = {
    "data.options.train": 120,
    "data.options.val": 12,
    "data.options.test": 0,
    "data.options.site_b": 0,
    "data.options.prior_rate": 0.5,
    "data.options.boxes": "true",
    "data.tasks": "{" + ", ".join(f"{task}: 1.0" for task in TASKS) + "}",
    "data.style": "concise",
    "model.options.max_position_embeddings": 4096,
    "model.max_length": 2048,  # dialogues are long
    "sft.vision_warmup": "null",
    "sft.held_out": "{every: 50, examples: 8}",
    "sft.augment.geometry": 0,
    "sft.trainer.max_steps": 150,
    "sft.trainer.learning_rate": 2e-3,
    "sft.trainer.lr_scheduler_type": "constant",
    "sft.trainer.lr_scheduler_kwargs": "{}",
    "sft.trainer.warmup_steps": 10,
    "sft.trainer.dataloader_num_workers": 0,
    "sft.trainer.dataloader_persistent_workers": "false",
    "sft.trainer.dataloader_prefetch_factor": "null",
    "grpo.tasks": "null",
    "grpo.augment.geometry": 0,
    "grpo.rewards": "{answer: 1.0, process: 1.0, format: 0.2, vowels: 5.0}",
    "grpo.log_rollouts_every": 1,
    "grpo.trainer.max_steps": 2,
    "grpo.trainer.per_device_train_batch_size": 16,
    "grpo.trainer.num_generations": 4,
    "grpo.trainer.max_completion_length": 64,
    "grpo.trainer.mask_truncated_completions": "false",
    "grpo.trainer.warmup_steps": 0,
    "grpo.trainer.logging_steps": 1,
}
STAGES = {"grpo.rewards": "{stage: 1.0, format: 0.2, vowels: 5.0}"}
#: Each run costs a start of vLLM: features that do not touch each other share one.
FEATURES = {
    "lora, loss dr_grpo, not scaled": {
        "model.lora.r": 4,
        "grpo.trainer.learning_rate": 0.01,
        "grpo.trainer.loss_type": "dr_grpo",
        "grpo.trainer.scale_rewards": "none",
    },
    "lora and a reference, checkpointing": {
        "model.lora.r": 4,
        "grpo.trainer.beta": 0.1,
        "grpo.trainer.learning_rate": 0.01,
        "grpo.trainer.gradient_checkpointing": "true",
    },
    "a reference, frozen vision, loss bnpo": {
        "grpo.trainer.beta": 0.1,
        "model.freeze_vision": "true",
        "grpo.trainer.loss_type": "bnpo",
    },
    "accumulation, loss grpo, scaled by batch": {
        "grpo.trainer.gradient_accumulation_steps": 2,
        "grpo.trainer.per_device_train_batch_size": 8,
        "grpo.trainer.loss_type": "grpo",
        "grpo.trainer.scale_rewards": "batch",
    },
    "several generations a step, loss dapo, truncated masked": {
        "grpo.trainer.gradient_accumulation_steps": 4,
        "grpo.trainer.per_device_train_batch_size": 4,
        "grpo.trainer.steps_per_generation": 2,
        "grpo.trainer.loss_type": "dapo",
        "grpo.trainer.mask_truncated_completions": "true",
    },
    "augmentation, loss cispo, sequences": {
        "grpo.augment.film": 0.3,
        "grpo.augment.geometry": 0.05,
        "grpo.tasks": "[abnormality_list, temporal]",
        "grpo.trainer.loss_type": "cispo",
        "grpo.trainer.importance_sampling_level": "sequence",
    },
    "step credit alone": {
        "grpo.step_credit": 0.5,
        "grpo.rewards": "{answer: 1.0, process: 0.0, format: 0.2, vowels: 5.0}",
    },
    "claim weights, step credit": {"grpo.claim_weight": 4.0, "grpo.step_credit": 0.5},
    "edits": {"grpo.edits.rate": 1.0},
    "refilled groups": {"grpo.prompts.refill": 2, "grpo.rewards": "{answer: 1.0}", "grpo.tasks": "[binary, single]"},
    "the last stage": {"grpo.tasks": "[stage]", "grpo.stages": "[8]", **STAGES},
    "own earlier turns": {"grpo.tasks": "[stage]", "grpo.stages": "[2, 8]", "grpo.context": "own", **STAGES},
    "a curriculum": {
        "grpo.tasks": "[abnormality_list, single, binary]",
        "grpo.prompts.curriculum": "[task, length]",
        "grpo.prompts.curriculum_steps": 1,
    },
}


def recipe_of(output: Path, name: str = "phantom", **more: object):
    return load_recipe(name, [f"{key}={value}" for key, value in {**SMALL, "output": output, **more}.items()])


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """An output folder with a mined data set of every task, and a policy that was warmed up on it."""
    import ray

    from recipes import mine, sft

    folder = tmp_path_factory.mktemp("matrix")
    recipe = recipe_of(folder)
    mine.run(recipe)
    sft.run(recipe)
    working(recipe, "sft").rename(result(recipe, "sft"))
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield folder
    ray.shutdown()


def train(start: Path, output: Path, name: str = "phantom", **more: object) -> list[dict]:
    """Two steps of GRPO from the warmed-up policy; returns what was logged at each."""
    from recipes import grpo

    output.mkdir(exist_ok=True)
    for part in ("data", "sft"):
        if not (output / part).exists():
            (output / part).symlink_to(start / part)
    recipe = recipe_of(output, name, **{"grpo.reward_files": f"['{VOWELS}']", **more})
    grpo.run(recipe)
    working(recipe, "grpo").rename(result(recipe, "grpo"))
    return logged(output)


def logged(output: Path) -> list[dict]:
    history = json.loads((output / "grpo" / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return [row for row in history if "reward" in row]


def check(steps: list[dict], output: Path, start: Path) -> list[dict]:
    """Both steps agree with vLLM, moved the weights and are written down; returns the rollouts."""
    from safetensors.torch import load_file

    assert len(steps) == 2
    assert max(row["sampling/sampling_logp_difference/mean"] for row in steps) <= 1e-3
    before, after = (load_file(folder / "model.safetensors") for folder in (start / "sft", output / "grpo"))
    assert before.keys() == after.keys() and any(not before[name].equal(after[name]) for name in before)
    files = sorted((output / "grpo" / "rollouts").glob("step-*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert {row["step"] for row in rows} == {0, 1}
    return rows


@pytest.mark.parametrize("task", TRAINED)
def test_every_task_trains(start, tmp_path, task):
    rows = check(train(start, tmp_path, **{"grpo.tasks": f"[{task}]"}), tmp_path, start)
    assert {row["task"] for row in rows} <= set(task.split(", ")) and len(rows) == 2 * 16
    shown = {len(row["images"]) for row in rows}
    assert shown == {2} if task == "temporal" else shown <= {1, 2} if task == "stage" else shown == {1}
    answers = {example.id: example.answer for example in load_examples(start / "data", "train")}
    assert all(row["answer"] == answers[row["id"]] for row in rows), "the reference, not the reward of that name"
    if task != "stage":
        assert all(row["answer_reward"] is not None for row in rows)


def test_a_mix_of_all_tasks_trains_from_a_tokenizer_that_pads_on_the_wrong_side(start, tmp_path):
    import shutil

    shutil.copytree(start / "sft", tmp_path / "sft")
    config = tmp_path / "sft" / "tokenizer_config.json"
    own = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(own | {"padding_side": "right"}), encoding="utf-8")
    more = {"grpo.trainer.per_device_train_batch_size": 64, "grpo.trainer.num_generations": 2}
    rows = check(train(start, tmp_path, **more), tmp_path, start)
    first = [row for row in rows if row["step"] == 0]
    assert len({row["task"] for row in first}) >= 5
    assert len({len(row["question"]) for row in first}) > 5, "prompts of different lengths in one batch"
    assert {len(row["images"]) for row in first} == {1, 2}


@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_trains(start, tmp_path, feature):
    steps = train(start, tmp_path, **FEATURES[feature])
    rows = check(steps, tmp_path, start)
    assert not [row for step in steps for name, row in step.items() if name.endswith("/failed") and row]
    if feature in SEEN:
        SEEN[feature](steps, rows, tmp_path)


def weighed(steps, rows, output):
    assert all(step["claim_weight/mean"] == pytest.approx(1) and 0 < step["claim_weight/share"] < 1 for step in steps)


def edited(steps, rows, output):
    corrected = [row for row in rows if row["edited"]]
    assert len(corrected) == sum(step["edits/share"] * 16 for step in steps) > 0
    assert all(row["edited_from"] not in ("", row["completion"]) for row in corrected)
    assert all(step["edits/gain"] > 0 > step["edits/logp"] for step in steps if step["edits/share"])


def refilled(steps, rows, output):
    assert sum(step["refill/flat"] for step in steps) > 0
    assert sum(row["refilled"] for row in rows) == sum(4 * step["refill/groups"] for step in steps)
    assert all(step["refill/extra_completions"] <= 2 * 16 for step in steps)


def opened(steps, rows, output):
    assert {row["task"] for row in rows if row["step"] == 0} == {"binary"}
    assert [step["prompts/open"] for step in steps] == [0.2, 1.0]


def last_stage(steps, rows, output):
    assert all("-stage-8" in row["id"] for row in rows) and all("parts/stage_8" in step for step in steps)
    assert all(0 <= row["stage_reward"] <= 1 for row in rows)


def own(steps, rows, output):
    assert {row["id"].rpartition("-")[2] for row in rows} <= {"2", "8"}
    assert all(step["own_turns/reference"] < 1 for step in steps)


#: What a feature leaves in the logs and the rollouts.
SEEN = {
    "the last stage": last_stage,
    "own earlier turns": own,
    "claim weights, step credit": weighed,
    "edits": edited,
    "refilled groups": refilled,
    "a curriculum": opened,
}


def check_best(folder: Path, metric: str, best_of) -> None:
    """The result has the weights of the checkpoint with the best score, which was scored three times."""
    from safetensors.torch import load_file

    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    scores = {row["step"]: row[metric] for row in state["log_history"] if metric in row}
    best = best_of(scores, key=scores.get)
    assert len(scores) == 3 and state["best_global_step"] == best
    kept = folder / "checkpoints" / f"checkpoint-{best}" / "model.safetensors"
    kept, taken = (load_file(file) for file in (kept, folder / "model.safetensors"))
    assert kept.keys() == taken.keys() and all(kept[name].equal(taken[name]) for name in kept)


def test_sft_keeps_the_weights_with_the_best_held_out_loss(start):
    check_best(start / "sft", "eval_loss", min)


def test_a_resumed_run_draws_the_prompts_of_the_whole_one_and_comes_to_its_weights(start, tmp_path):
    import shutil

    from safetensors.torch import load_file

    feature = {
        "grpo.prompts.balance": 1.0,
        "grpo.prompts.informative": 0.8,
        "grpo.step_credit": 0.5,
        "grpo.held_out": "{every: 1, examples: 6}",
        "grpo.stop": "{}",
        "grpo.trainer.max_steps": 3,
    }
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    steps = train(start, whole, **feature)
    seen = json.loads((whole / "grpo" / "checkpoints" / "checkpoint-2" / "prompts.json").read_text(encoding="utf-8"))
    assert {number: len(prompts) for number, prompts in seen.items()} == {"0": 4, "1": 4}
    assert steps[1]["prompts/spread"] > 0
    kept = working(recipe_of(resumed), "grpo") / "checkpoints"
    shutil.copytree(whole / "grpo" / "checkpoints" / "checkpoint-2", kept / "checkpoint-2")
    assert len(train(start, resumed, **feature)) == 3
    asked = [
        [row["id"] for row in pq.read_table(folder / "grpo" / "rollouts" / "step-000002.parquet").to_pylist()]
        for folder in (whole, resumed)
    ]
    assert asked[0] == asked[1] and len(set(asked[0])) == 4
    last = [folder / "grpo" / "checkpoints" / "checkpoint-3" / "model.safetensors" for folder in (whole, resumed)]
    ours, theirs = map(load_file, last)
    assert all(ours[name].equal(theirs[name]) for name in ours)
    check_best(whole / "grpo", "eval_reward", max)
    assert not list((whole / "grpo" / "rollouts").glob("step-*-*.parquet")), "what is scored is not trained on"


def test_each_reward_is_normalised_by_itself_whatever_abstains(start, tmp_path, monkeypatch):
    """TRL's `normalize_then_sum` against GDPO's formula (arXiv 2601.05242), with a reward that many rows lack."""
    import numpy as np
    from trl import GRPOTrainer

    seen = []

    def calculated(self, *args):
        rewards = original(self, *args)
        seen.append([rewards.double().numpy()])
        return rewards

    def scored(self, inputs):
        output = generated(self, inputs)
        seen[-1].append(output["advantages"].numpy())
        return output

    original, generated = GRPOTrainer._calculate_rewards, GRPOTrainer._generate_and_score_completions
    monkeypatch.setattr(GRPOTrainer, "_calculate_rewards", calculated)
    monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", scored)
    (tmp_path / "odd.py").write_text(ODD, encoding="utf-8")
    files = [str(VOWELS), str(tmp_path / "odd.py")]
    more = {"grpo.reward_files": str(files), "grpo.rewards": "{answer: 1.0, odd: 2.0, vowels: 0.5, process: 0.0}"}
    more |= {"grpo.trainer.multi_objective_aggregation": "normalize_then_sum", "grpo.step_credit": 0.5}
    check(train(start, tmp_path, **more), tmp_path, start)
    assert len(seen) == 2 and any(np.isnan(rewards).any() for rewards, _ in seen)
    for rewards, advantages in seen:
        groups = rewards.reshape(4, 4, 4)
        with np.errstate(all="ignore"):
            each = (groups - np.nanmean(groups, 1, keepdims=True)) / (
                np.nanstd(groups, 1, ddof=1, keepdims=True) + 1e-4
            )
        total = np.nansum(each.reshape(16, 4) * [1.0, 2.0, 0.5, 0.0], axis=1)
        assert np.allclose(advantages, (total - total.mean()) / (total.std(ddof=1) + 1e-4), atol=1e-3)


def test_the_forward_pass_of_the_loss_corrects_as_one_before_it_does(start, tmp_path, monkeypatch):
    """The same two steps with TRL's pass over every batch before its loss, where vLLM and the trainer are far apart."""
    from safetensors.torch import load_file
    from trl import GRPOTrainer

    from reasoner.compat.trl import HookedTrainer

    passes = []

    def off(self, *args):
        ids, logprobs = sampled(self, *args)
        return ids, [[value - 0.3 * (n % 3) for n, value in enumerate(row)] for row in logprobs]

    def counted(self, *args, **kwargs):
        passes.append(self.model.training)
        return forward(self, *args, **kwargs)

    sampled, forward = GRPOTrainer._generate_single_turn, GRPOTrainer._get_per_token_logps_and_entropies
    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", off)
    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", counted)
    halves = {"grpo.trainer.gradient_accumulation_steps": 2, "grpo.trainer.per_device_train_batch_size": 8}
    mode = {"grpo.trainer.vllm_importance_sampling_mode": "token_truncate"}
    mode["grpo.trainer.vllm_importance_sampling_clip_max"] = 1.5
    once = train(start, tmp_path / "once", **halves, **mode)
    assert len(passes) == 4, "one a micro-batch"
    passes.clear()
    monkeypatch.setattr(HookedTrainer, "one_pass", lambda self: False)
    twice = train(start, tmp_path / "twice", **halves, **mode)
    assert len(passes) > 4
    for one, two in zip(once, twice, strict=True):
        assert one.keys() == two.keys()
        assert {name: one[name] for name in ("loss", "grad_norm")} == {
            name: pytest.approx(two[name], rel=1e-3, abs=1e-5) for name in ("loss", "grad_norm")
        }
    assert once[0]["sampling/sampling_logp_difference/mean"] > 0.1
    ours, theirs = (load_file(tmp_path / name / "grpo" / "model.safetensors") for name in ("once", "twice"))
    assert max((ours[name] - theirs[name]).abs().max() for name in ours) < 1e-4


#: What a recipe for GPUs needs to run here: the tiny model in the place of its base, float32, two short steps.
ANYWHERE = {
    "model.dtype": "float32",
    "model.max_length": 2048,
    "model.min_pixels": 12544,
    "model.max_pixels": 50176,
    "sft.vision_warmup.max_steps": 2,
    "sft.trainer.max_steps": 2,
    "sft.trainer.per_device_train_batch_size": 4,
    "sft.trainer.gradient_accumulation_steps": 2,
    "sft.trainer.dataloader_num_workers": 1,
    "grpo.reward_workers": 2,
    "grpo.trainer.gradient_accumulation_steps": 2,
    "grpo.trainer.per_device_train_batch_size": 8,
    "grpo.trainer.learning_rate": 1e-3,
    "grpo.trainer.vllm_mode": "colocate",
    "grpo.trainer.vllm_enable_sleep_mode": "false",
    "grpo.trainer.mask_truncated_completions": "false",
}


@pytest.mark.parametrize("name", known_recipes())
def test_every_shipped_recipe_trains_with_the_tiny_model_in_the_place_of_its_base(start, tmp_path, name):
    """Its other settings stand: adapters, frozen parts, checkpointing, schedules, rewards."""
    from recipes import grpo, sft

    keep = ("data.", "model.options", "sft.", "grpo.rewards", "grpo.trainer.mask", "grpo.trainer.warmup")
    more = {key: value for key, value in SMALL.items() if not key.startswith(keep)}
    own = name == "phantom"  # builds its base on the spot, here with room for what all are asked
    more |= ANYWHERE | {"output": tmp_path, "model.base": "tiny" if own else start / "sft" / "base"}
    more |= {"model.options.max_position_embeddings": 4096} if own else {}
    recipe = load_recipe(name, [f"{key}={value}" for key, value in more.items()])
    (tmp_path / "data").symlink_to(start / "data")
    for stage, run in (("sft", sft.run), ("grpo", grpo.run)):
        run(recipe)
        working(recipe, stage).rename(result(recipe, stage))
    steps = logged(tmp_path)
    gaps = [row["sampling/sampling_logp_difference/mean"] for row in steps]
    assert len(gaps) == 2 and max(gaps) <= 1e-3
    if name in SHIPPED:
        SHIPPED[name](steps)


def shaped(steps):
    """NV-Reason-CXR's penalty of short completions: none here has 400 tokens."""
    for step in steps:
        assert step["rewards/length/mean"] == pytest.approx((step["completions/mean_length"] - 400) / 400, abs=1e-4)


def factual(steps):
    """ChestX-Reasoner's process reward, which is factuality where the form is right, and its penalty of divergence."""
    for step in steps:
        assert step["rewards/process/mean"] <= step["parts/factuality"] + 1e-6 and step["kl"] >= 0


#: What the rewards of a published recipe come to.
SHIPPED = {"nv_reason_3b": shaped, "chestx_reasoner_7b": factual}
