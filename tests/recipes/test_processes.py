"""Two processes on CPUs train as one with the same global batch. Run as a script, this file is a process of GRPO."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks import VOWELS
from recipes.cli import main
from recipes.load import load_recipe
from recipes.stages import read_records, result, working

pytestmark = pytest.mark.slow
RANKS = 2
SMALL = {
    "data.options.train": 24,
    "data.options.val": 0,
    "data.options.test": 0,
    "data.options.site_b": 0,
    "data.options.prior_rate": 1.0,
    "data.tasks": "{abnormality_list: 1.0, temporal: 1.0}",  # one image a prompt, and two
    "sft.vision_warmup": "null",
    "sft.trainer.max_steps": 3,
    "sft.trainer.warmup_steps": 0,
    "sft.trainer.lr_scheduler_type": "constant",
    "sft.trainer.lr_scheduler_kwargs": "{}",
    "sft.trainer.logging_steps": 1,
    "sft.trainer.save_steps": 2,
    "sft.trainer.dataloader_num_workers": 0,
    "sft.trainer.dataloader_persistent_workers": "false",
    "sft.trainer.dataloader_prefetch_factor": "null",
    "grpo.tasks": "null",
    "grpo.rewards": "{vowels: 5.0, answer: 1.0}",
    "grpo.log_rollouts_every": 1,
    "grpo.trainer.max_steps": 2,
    "grpo.trainer.num_generations": 4,
    "grpo.trainer.max_completion_length": 12,
    "grpo.trainer.mask_truncated_completions": "false",
    "grpo.trainer.warmup_steps": 0,
    "grpo.trainer.save_steps": 100,
}
BATCH = {"sft": "sft.trainer.per_device_train_batch_size=8", "grpo": "grpo.trainer.per_device_train_batch_size=16"}
HALF = {"sft": "sft.trainer.per_device_train_batch_size=4", "grpo": "grpo.trainer.per_device_train_batch_size=8"}
#: What is logged at a step and must be the same.
LOGGED = {
    "sft": ("loss", "grad_norm", "mean_token_accuracy", "num_tokens"),
    "grpo": ("loss", "grad_norm", "reward", "reward_std", "entropy", "rewards/vowels/mean", "parts/length"),
}


def settings(output: Path) -> list[str]:
    return [
        f"grpo.reward_files=['{VOWELS}']",
        *(f"{key}={value}" for key, value in {**SMALL, "output": output}.items()),
    ]


def here(output: Path, stage: str) -> Path:
    """Trains in this process, with the whole batch."""
    from recipes import grpo, sft

    recipe = load_recipe("phantom", [*settings(output), BATCH[stage]])
    {"sft": sft, "grpo": grpo}[stage].run(recipe)
    working(recipe, stage).rename(result(recipe, stage))
    return output


def folder(start: Path, name: str, *parts: str) -> Path:
    """An output folder beside `start` that shares its data, and more of its parts."""
    output = start.parent / name
    output.mkdir()
    for part in ("data", *parts):
        (output / part).symlink_to(start / part)
    return output


def logged(output: Path, stage: str) -> list[dict[str, float]]:
    history = json.loads((output / stage / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return [{name: row[name] for name in LOGGED[stage]} for row in history if "loss" in row]


def weights(output: Path, stage: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(output / stage / "model.safetensors")


def same(two: Path, one: Path, stage: str) -> None:
    """Logs equal to 1e-3, and moved weights that are about equal."""
    import torch

    mine, theirs = logged(two, stage), logged(one, stage)
    assert len(mine) == len(theirs) == SMALL[f"{stage}.trainer.max_steps"]
    assert all(row["grad_norm"] > 0 for row in theirs)
    for row, other in zip(mine, theirs, strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-5)
    left, right = weights(two, stage), weights(one, stage)
    left.pop("lm_head.weight", None)  # tied; FSDP writes it out
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.allclose(value, right[name], atol=1e-4), name


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Mined data, and a policy that one process has trained on them for three steps."""
    from recipes import mine

    output = tmp_path_factory.mktemp("processes") / "one"
    output.mkdir()
    mine.run(load_recipe("phantom", settings(output)))
    return here(output, "sft")


@pytest.mark.parametrize("sharded", [False, True], ids=["DDP", "FSDP2"])
def test_sft_in_two_processes_is_sft_in_one_with_the_same_batch(start, sharded, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    output = folder(start, f"two-{sharded}")
    more = ["--set", "sft.trainer.fsdp='full_shard'"] if sharded else []
    words = [word for setting in (*settings(output), HALF["sft"]) for word in ("--set", setting)]
    assert main(["sft", "--recipe", "phantom", "--processes", str(RANKS), *words, *more]) == 0
    same(output, start, "sft")
    record = read_records(output)["sft"]
    assert record.processes == RANKS and record.peak_gib > 0.3
    assert len(list((output / "wandb").glob("offline-run-*"))) == 1, "the main process alone is tracked"
    assert {path.name for path in (output / "logs").iterdir()} == {"sft.log", "sft-rank1.log", "sft.metrics.jsonl"}
    if sharded:
        return
    assert not [path for path in output.iterdir() if path.name.endswith((".part", ".interrupted", ".finished"))]


def test_what_the_main_process_finds_wrong_is_told_once(tmp_path):
    from recipes.launch import REASONER, launch

    ended = launch([*REASONER, "sft", "--recipe", "phantom", "--set", f"output={tmp_path / 'new'}"], RANKS)
    assert ended.code == 2 and ended.line.startswith("error: no mined training examples in")
    assert not (tmp_path / "new" / "logs").exists()


def test_grpo_in_two_processes_is_grpo_in_one_that_is_given_their_completions(start, monkeypatch):
    from trl import GRPOTrainer

    from recipes.launch import launch

    two, one = folder(start, "grpo-two", "sft"), folder(start, "grpo-one", "sft")
    ended = launch([__file__, str(two)], RANKS)
    assert ended.code == 0, ended.line
    told = [json.loads((two / f"rank{rank}.json").read_text(encoding="utf-8")) for rank in range(RANKS)]
    assert [side["scored"] for side in told] == [[16, 16], []], "one dispatch a step, from the main process"
    assert all(side["gap"] <= 1e-3 for side in told), "each engine samples from the policy that is trained"
    assert told[0]["said"][0] != told[1]["said"][0]
    given = [[row for side in told for row in side["said"][step]] for step in range(2)]

    def replayed(self, prompt_ids, images, fields, num_generations, *args):
        said = given.pop(0)
        return [ids for ids, _ in said], [logprobs for _, logprobs in said]

    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", replayed)
    here(one, "grpo")
    same(two, one, "grpo")
    written = [[row for row in rows(output) if row.pop("images")] for output in (two, one)]
    assert written[0] == written[1] and len(written[0]) == 32


def rows(output: Path) -> list[dict[str, Any]]:
    """The rollouts, in the order of the global batch."""
    files = sorted((output / "grpo" / "rollouts").iterdir())
    assert [file.name for file in files] == ["step-000000.parquet", "step-000001.parquet"]
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def _one_process(output: Path) -> None:
    """GRPO as one of the processes; keeps what it sampled, and how much it gave to the pool at once."""
    from trl import GRPOTrainer

    from reasoner.runtime.ranks import is_main, rank
    from recipes import grpo
    from rewards.workers import RewardPool

    told: dict[str, Any] = {"said": [], "scored": [], "gap": 0.0}
    sample, score, log = GRPOTrainer._generate_single_turn, RewardPool.score, GRPOTrainer.log

    def sampled(self: Any, *args: Any) -> Any:
        ids, logprobs = sample(self, *args)
        told["said"].append(list(zip(ids, logprobs, strict=True)))
        return ids, logprobs

    def scored(self: Any, given: Any, **more: Any) -> Any:
        told["scored"].append(len(given))
        return score(self, given, **more)

    def noted(self: Any, logs: dict[str, float], *args: Any) -> None:
        gaps = self._metrics["train"]["sampling/sampling_logp_difference/mean"]
        told["gap"] = max([told["gap"], *gaps])
        log(self, logs, *args)

    GRPOTrainer._generate_single_turn, RewardPool.score, GRPOTrainer.log = sampled, scored, noted
    recipe = load_recipe("phantom", [*settings(output), HALF["grpo"]])
    grpo.run(recipe)
    (output / f"rank{rank()}.json").write_text(json.dumps(told), encoding="utf-8")
    if is_main():
        working(recipe, "grpo").rename(result(recipe, "grpo"))


if __name__ == "__main__":
    _one_process(Path(sys.argv[1]))
