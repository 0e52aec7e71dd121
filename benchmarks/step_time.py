"""Where the seconds of a training step go, beside plain TRL, for tiny models of three sizes in one run.

    python -m benchmarks.step_time [--stages sft grpo] [--sizes 0.9 10 60] [--steps 4] [--rounds 2]

GRPO three ways: `ours` (the recipe's trainer, vLLM, a pool of Ray workers), `trl+vllm` (TRL's trainer as it is, vLLM,
rewards as Python functions in the trainer's process) and `trl` (the same, transformers generates). SFT two ways: ours,
with its weighted tokens, and TRL's trainer with its own collator. All train the same model from the same rows with the
same arguments, completions have a fixed length (an untrained policy does not end), and each way is a process of its
own, in turn, for so many rounds. The first step, in which everything is built, does not count.

Seconds a step by what is done in them, each second counted once: `data` (rows read, pictures decoded and processed),
`push` (weights to vLLM), `rollout`, `reward`, `logps` (forward passes), `update` (backward passes and the optimizer),
`rest`. TRL needs an engine made for the CPU, which it has no arguments for: `trl+vllm` has ours
(`reasoner.models.engine.trl_rollouts`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from benchmarks.plan_check import MIB, REWARDS, SIZES, overrides, resident, write_data

WAYS = {"sft": ("ours", "trl"), "grpo": ("ours", "trl+vllm", "trl")}
PARTS = ("data", "push", "rollout", "reward", "logps", "update", "rest")
#: What of a trainer belongs to which part: the attribute that holds it ("" for the trainer itself), method, part.
METHODS = (
    ("", "get_batch_samples", "data"),
    ("", "_generate_single_turn", "rollout"),
    ("vllm_generation", "sync_weights", "push"),
    ("", "_calculate_rewards", "reward"),
    ("", "_get_per_token_logps_and_entropies", "logps"),
    ("", "training_step", "update"),
    ("optimizer", "step", "update"),
)


class Clock:
    """Seconds by part; what is begun within another part is not counted there."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._parts = ["rest"]
        self._since = time.perf_counter()

    def _turn(self) -> None:
        now = time.perf_counter()
        self.seconds[self._parts[-1]] += now - self._since
        self._since = now

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        self._turn()
        self._parts.append(part)
        try:
            yield
        finally:
            self._turn()
            self._parts.pop()

    def take(self) -> dict[str, float]:
        """The seconds since this was last called."""
        self._turn()
        taken, self.seconds = self.seconds, defaultdict(float)
        return taken


class Watch(TrainerCallback):
    """Reads the clock after each step; the methods are timed from the beginning of training."""

    def __init__(self, trainer: Any):
        self.trainer, self.clock = trainer, Clock()
        self.steps: list[dict[str, float]] = []

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        for holder, name, part in METHODS:
            at = getattr(self.trainer, holder, None) if holder else self.trainer
            if hasattr(at, name):
                setattr(at, name, self._timed(getattr(at, name), part))

    def _timed(self, method: Callable[..., Any], part: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.clock.of(part):
                return method(*args, **kwargs)

        return timed

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.steps.append(self.clock.take())


def settings(stage: str, way: str, size: str, steps: int, output: Path) -> list[str]:
    options, *rows = SIZES[size]
    own: dict[str, Any] = {f"{stage}.trainer.max_steps": steps + 1, f"{stage}.trainer.logging_steps": 1}
    if stage == "grpo":
        own |= {"grpo.rewards": REWARDS, "grpo.trainer.use_vllm": way != "trl"}
    shared = overrides(stage, output, options, rows[stage == "grpo"], checkpointing=False)
    return [*shared, *(f"{key}={json.dumps(value)}" for key, value in own.items())]


def in_process(weights: dict[str, float]) -> list[Callable[..., list[float | None]]]:
    """Rewards as TRL's users write them: a function each, which scores one completion after another."""
    from reasoner.training.dataset import REWARD_COLUMNS
    from rewards.registry import RewardSet, gate

    def function(name: str) -> Callable[..., list[float | None]]:
        rewards = RewardSet.build({name: 1.0})

        def scored(prompts: list, completions: list, **columns: Any) -> list[float | None]:
            names = [column for column in REWARD_COLUMNS if column in columns]
            return [
                gate(name, rewards.score({**{column: columns[column][n] for column in names}, "completion": text}))
                for n, text in enumerate(completion[-1]["content"] for completion in completions)
            ]

        scored.__name__ = name
        return scored

    return [function(name) for name in weights]


@contextmanager
def grpo_trainer(way: str, recipe: Any) -> Iterator[Any]:
    from recipes import grpo
    from recipes.reward_bridge import RewardBridge
    from recipes.training import base_checkpoint, train_dataset

    start = recipe.output / "sft"
    if not start.exists():
        Path(base_checkpoint(recipe)).rename(start)
    args = grpo.check(recipe)
    examples, processor = grpo.load_data(recipe, start)
    if way == "ours":
        with grpo.reward_pool(recipe, args, examples, recipe.output) as pool:
            bridge = RewardBridge(pool, recipe.grpo.rewards, recipe.output / "rollouts", recipe.grpo.log_rollouts_every)
            yield grpo.build_trainer(recipe, args, start, examples, processor, bridge)
        return
    from contextlib import nullcontext

    from trl import GRPOTrainer

    from reasoner.models.engine import trl_rollouts
    from reasoner.models.load import load_model

    engine = trl_rollouts(processor, dtype="float32", max_images=1) if way == "trl+vllm" else nullcontext()
    with engine:
        yield GRPOTrainer(
            model=load_model(start, dtype="float32", attn_implementation=recipe.model.attn_implementation),
            reward_funcs=in_process(recipe.grpo.rewards),
            args=args,
            train_dataset=train_dataset(recipe, "grpo", examples, completions=False),
            processing_class=processor,
        )


@contextmanager
def sft_trainer(way: str, recipe: Any) -> Iterator[Any]:
    from trl import SFTTrainer

    from reasoner.models.load import load_model, load_processor
    from recipes import sft
    from recipes.training import base_checkpoint, keep_rows, train_dataset

    if way == "ours":
        made: list[Any] = []
        sft.train = lambda trainer, *_: made.append(trainer)
        sft.finish = lambda *_: None
        sft.run(recipe)
        yield made[0]
        return
    base = base_checkpoint(recipe)
    processor = load_processor(base)
    examples = keep_rows(recipe, "sft", processor, completions=True, dialogues=True)
    yield SFTTrainer(
        model=load_model(base, dtype="float32", attn_implementation=recipe.model.attn_implementation),
        args=sft.check(recipe),
        train_dataset=train_dataset(recipe, "sft", examples, completions=True),
        processing_class=processor,
    )


def child(stage: str, way: str, size: str, steps: int, work: Path) -> None:
    """Trains one way, and prints what was measured as a JSON line."""
    from reasoner.runtime.memory import keep_freed_memory
    from reasoner.runtime.threads import share_cores
    from recipes.load import load_recipe
    from recipes.stages import working

    share_cores()
    keep_freed_memory()
    with tempfile.TemporaryDirectory(dir=work) as place:
        output = Path(place)
        (output / "data").symlink_to(work / "data")
        recipe = load_recipe("phantom", settings(stage, way, size, steps, output))
        working(recipe, stage).mkdir(parents=True)
        make = {"sft": sft_trainer, "grpo": grpo_trainer}[stage]
        with make(way, recipe) as trainer:
            watch = Watch(trainer)
            trainer.add_callback(watch)
            trainer.train()
            told = {
                "parts": {part: statistics.fmean(step.get(part, 0.0) for step in watch.steps[1:]) for part in PARTS},
                "tokens": max(row.get("num_tokens", 0) for row in trainer.state.log_history) / (steps + 1),
                "peak": resident("VmHWM"),
                "parameters": sum(p.numel() for p in trainer.model.parameters()),
            }
    print(json.dumps(told), flush=True)


def measured(stage: str, way: str, size: str, steps: int, work: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.step_time", "--child", stage, way, size]
    command += ["--steps", str(steps), "--work", str(work)]
    environment = os.environ | {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"parts"')]
    if done.returncode or not lines:
        raise SystemExit(f"{stage} {way} {size} died: {done.stderr[-3000:]}")
    return json.loads(lines[-1])


def table(stage: str, sizes: Sequence[str], steps: int, rounds: int, work: Path) -> None:
    """Prints a row for each size and way, as they are measured."""
    print(f"\n{stage}: seconds a step, fastest of {rounds} rounds\n")
    print(f"| parameters | way | {' | '.join(PARTS)} | step | x ours | tokens/s | peak MiB |")
    print(f"|{'---|' * (len(PARTS) + 6)}")
    for size in sizes:
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS[stage]}
        for _ in range(rounds):
            for way, runs in found.items():
                runs.append(measured(stage, way, size, steps, work))
        best = {way: min(runs, key=lambda run: sum(run["parts"].values())) for way, runs in found.items()}
        ours = sum(best["ours"]["parts"].values())
        for way, run in best.items():
            total = sum(run["parts"].values())
            parts = " | ".join(f"{run['parts'][part]:.2f}" for part in PARTS)
            print(
                f"| {run['parameters'] / 1e6:.1f} M | {way} | {parts} | {total:.2f} | {total / ours:.2f} | "
                f"{run['tokens'] / total:.0f} | {run['peak'] / MIB:.0f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES), metavar="MILLIONS")
    parser.add_argument("--steps", type=int, default=4, help="that count (default 4)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        stage, way, size = args.child
        child(stage, way, size, args.steps, args.work)
        return
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        write_data(work)
        for stage in args.stages:
            table(stage, args.sizes, args.steps, args.rounds, work)


if __name__ == "__main__":
    main()
