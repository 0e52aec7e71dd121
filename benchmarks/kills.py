"""SIGKILL at random points of a training run: does the same command go on to the very same weights?

python -m benchmarks.kills --stage sft|grpo [--kills 20] [--output outputs/kills] [--seed 0]

A run of the phantom recipe, made small, is done once without a kill. Then for each kill a new one is started, killed
with all its processes, and started again. A third of the kills come before the first checkpoint, a third while one is
written, a third between two. Each start is `reasoner STAGE` in a process of its own, forked from one that has loaded
the libraries. Prints a line for each kill and a JSON summary; exit code 1 unless all weights are equal, bit by bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks import VOWELS
from reasoner.layout import CHECKPOINTS, GRPO, SFT, TRAINER_STATE
from recipes.cli import main as reasoner
from recipes.resume import missing

#: The recipe's sizes here.
SMALL: dict[str, object] = {
    "data.options.train": 48,
    "data.options.val": 8,
    "data.options.test": 4,
    "data.options.site_b": 4,
    "data.tasks": "{abnormality_list: 1.0}",
    "sft.vision_warmup.max_steps": 6,
    "sft.vision_warmup.save_steps": 2,
    "sft.vision_warmup.per_device_train_batch_size": 8,
    "sft.trainer.max_steps": 10,
    "sft.trainer.save_steps": 2,
    "sft.trainer.per_device_train_batch_size": 4,
    "grpo.rewards": "{answer: 1.0, skill: 1.0, format: 0.2, vowels: 5.0}",
    "grpo.reward_workers": 1,
    "grpo.log_rollouts_every": 1,
    "grpo.prompts.informative": 0.5,  # state of our own in the checkpoint
    "grpo.trainer.max_steps": 5,
    "grpo.trainer.save_steps": 1,
    "grpo.trainer.per_device_train_batch_size": 16,
    "grpo.trainer.num_generations": 4,
    "grpo.trainer.max_completion_length": 16,
    "grpo.trainer.mask_truncated_completions": "false",
}
STEP_S = 0.002  # how often the disk is looked at


class Point(NamedTuple):
    """When a run is killed: so long after a checkpoint of this folder's name has appeared, or ("") after the start."""

    checkpoint: str
    seconds: float


class Outcome(NamedTuple):
    """What a kill met and what came of it."""

    point: Point
    cut: str
    """The checkpoint that was being written, with what it lacked; "" when none was."""
    weights: str
    """Digest of the weights in the end."""


class Runs:
    """Runs of one stage below `folder`, which share their data (and SFT).

    Args:
        folder: for all that is written.
        stage: `sft` or `grpo`.
        settings: key of the recipe -> value, over `SMALL`.
    """

    def __init__(self, folder: Path, stage: str, settings: Mapping[str, object] | None = None):
        self.folder, self.stage, self.settings = folder.resolve(), stage, dict(settings or {})
        self.folder.mkdir(parents=True, exist_ok=True)
        self.settings |= {"grpo.reward_files": f"[{json.dumps(str(VOWELS))}]"}
        self.appeared: dict[str, tuple[float, float]] = {}

    def whole(self) -> str:
        """Makes what all runs share and the run without a kill; returns the digest of its weights."""
        base = self.folder / "base"
        for stage in ("mine", SFT)[: 1 if self.stage == SFT else 2]:
            self._finish(self._start(base, stage), stage, base)
        run = self._new("whole")
        start = time.monotonic()
        process = self._start(run, self.stage)
        while not _ended(process):
            self._watch(run, time.monotonic() - start)
            time.sleep(STEP_S)
        if not self.appeared:
            raise RuntimeError(f"no checkpoint was seen below {run}; its log is in {run / 'logs'}")
        return weights(run / self.stage)

    def point(self, rng: random.Random) -> Point:
        """A random one: before the first checkpoint, while one is written, or until the next one."""
        names = list(self.appeared)
        kind, number = rng.randrange(3), rng.randrange(len(names))
        seen, whole = self.appeared[names[number]]
        if kind == 0:
            return Point("", rng.uniform(0, self.appeared[names[0]][0]))
        if kind == 1:
            return Point(names[number], rng.uniform(0, whole - seen))
        later = self.appeared[names[number + 1]][0] if number + 1 < len(names) else whole + (whole - seen)
        return Point(names[number], rng.uniform(whole - seen, max(whole, later) - seen))

    def killed(self, name: str, *points: Point) -> Outcome:
        """A run that is killed at each point in turn, and then left alone."""
        run, cut = self._new(name), ""
        for point in points:
            process, start = self._start(run, self.stage), time.monotonic()
            place = self._working(run) / point.checkpoint
            while point.checkpoint and not place.exists() and not _ended(process):
                time.sleep(STEP_S)
            if point.checkpoint:
                start = time.monotonic()
            while time.monotonic() - start < point.seconds and not _ended(process):
                time.sleep(STEP_S)
            _kill(process)
            cut = "; ".join(
                f"{folder.name} without {', '.join(lacks)}"
                for folder in sorted(self._working(run).glob(f"**/{CHECKPOINTS}/checkpoint-*"))
                if (lacks := missing(folder))
            )
        self._finish(self._start(run, self.stage), self.stage, run)
        return Outcome(points[-1], cut, weights(run / self.stage))

    def _working(self, run: Path) -> Path:
        return run / f"{self.stage}.part"

    def _watch(self, run: Path, now: float) -> None:
        """Notes when each checkpoint appears and when it is whole, in seconds since the start."""
        for folder in self._working(run).glob(f"**/{CHECKPOINTS}/checkpoint-*"):
            name = str(folder.relative_to(self._working(run)))
            seen, whole = self.appeared.get(name, (now, now))
            if seen == whole and (folder / TRAINER_STATE).exists():
                whole = now
            self.appeared[name] = seen, max(whole, seen)

    def _new(self, name: str) -> Path:
        run = self.folder / name
        if run.exists():
            shutil.rmtree(run)
        run.mkdir()
        for shared in ("data", SFT)[: 1 if self.stage == SFT else 2]:
            (run / shared).symlink_to(self.folder / "base" / shared)
        return run

    def _start(self, run: Path, stage: str) -> int:
        """Forks a process, the first of a session, that runs the stage; returns its id."""
        settings = {**SMALL, **self.settings, "output": run}
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            os.setsid()
            silence = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1):
                os.dup2(silence, number)
            told = os.open(run.parent / f"{run.name}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(told, 2)
            code = reasoner([stage, *(f"--set={key}={value}" for key, value in settings.items())])
        finally:
            os._exit(code)

    def _finish(self, process: int, stage: str, run: Path) -> None:
        _, status = os.waitpid(process, 0)
        if status:
            raise RuntimeError(f"{stage} ended with {status}; see {run}.txt and {run / 'logs' / stage}.log")


def _ended(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill(process: int) -> None:
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)


def weights(folder: Path) -> str:
    """A digest of all numbers in the folder's safetensors files."""
    from safetensors.numpy import load_file

    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in sorted(load_file(file).items()):
            digest.update(name.encode() + tensor.tobytes())
    return digest.hexdigest()[:12]


def prepare() -> None:
    """Loads what the stages need, so that each start need not."""
    os.environ.setdefault("WANDB_MODE", "disabled")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from reasoner.models.engine import prepare_vllm

    prepare_vllm()
    import ray  # noqa: F401
    import trl  # noqa: F401
    import vllm  # noqa: F401

    from reasoner.compat.trl import HookedTrainer  # noqa: F401
    from recipes import commands, grpo, sft  # noqa: F401


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=(SFT, GRPO), default=SFT)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("outputs/kills"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    prepare()
    rng = random.Random(args.seed)
    runs = Runs(args.output / args.stage, args.stage)
    expected = runs.whole()
    equal = cut = 0
    for number in range(args.kills):
        outcome = runs.killed(f"killed-{number}", runs.point(rng))
        equal, cut = equal + (outcome.weights == expected), cut + bool(outcome.cut)
        place = re.sub(rf"{CHECKPOINTS}/|\.part", "", outcome.point.checkpoint) or "the start"
        print(
            f"kill {number + 1}: {outcome.point.seconds:.3f} s after {place}"
            f"{f' ({outcome.cut})' if outcome.cut else ''}: "
            f"{'equal' if outcome.weights == expected else 'DIFFERENT'}",
            flush=True,
        )
        if outcome.weights == expected:
            shutil.rmtree(runs.folder / f"killed-{number}")
    told = {"stage": args.stage, "kills": args.kills, "equal": equal, "half_written": cut, "weights": expected}
    print(json.dumps(told))
    return int(equal < args.kills)


if __name__ == "__main__":
    sys.exit(main())
