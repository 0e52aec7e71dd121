"""GRPO in its own process, from a vLLM server, and from one that is killed twice: gaps, learning curves, what is equal.

    .venv/bin/python -m benchmarks.server_faults [--start outputs/phantom] [--recipe NAME] [--steps 20] [--set K=V]

`--start` is an output folder with `data` and `sft`; without one a few phantoms and an untrained policy do, which learns
to write vowels. Prints one JSON object: of each way the largest log-probability gap of a token, the reward of each step
and how many servers were lost; of the killed run the share of its completions that are those of the whole one. Servers
are killed, with SIGKILL, after a third and after two thirds of the steps.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from benchmarks import VOWELS
from reasoner.serving.servers import Servers
from recipes import grpo, mine
from recipes.load import load_recipe
from recipes.stages import working
from recipes.training import base_checkpoint

GAP = "sampling/sampling_logp_difference/max"
SMALL = {
    "data.options": "{train: 40, val: 0, test: 0, site_b: 0, prior_rate: 0.0}",
    "model.dtype": "float32",
    "grpo.rewards": "{vowels: 5.0}",
    "grpo.reward_workers": 1,
    "grpo.trainer.per_device_train_batch_size": 16,
    "grpo.trainer.num_generations": 4,
    "grpo.trainer.max_completion_length": 24,
    "grpo.trainer.mask_truncated_completions": "false",
    "grpo.trainer.learning_rate": 1e-3,
    "grpo.trainer.lr_scheduler_type": "constant",  # so that a short run is the beginning of a long one
    "grpo.trainer.lr_scheduler_kwargs": "{}",
    "grpo.trainer.warmup_steps": 0,
}


def small_start(folder: Path) -> list[str]:
    """Makes `data` and an untrained `sft` in the folder; returns settings of a GRPO from there, each `KEY=VALUE`."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {**SMALL, "grpo.reward_files": f"['{VOWELS}']"}
    lines = [f"{key}={value}" for key, value in settings.items()]
    recipe = load_recipe("phantom", [*lines, f"output={folder}"])
    mine.run(recipe)
    base = base_checkpoint(recipe)
    (folder / "sft").symlink_to(base, target_is_directory=True)
    return lines


def trained(output: Path, start: Path, recipe: str, steps: int, settings: list[str]) -> list[dict[str, Any]]:
    """A run of GRPO from `start`; returns what was logged at each step."""
    output.mkdir(parents=True)
    for part in ("data", "sft"):
        (output / part).symlink_to((start / part).absolute(), target_is_directory=True)
    ours = {
        "output": output,
        "grpo.log_rollouts_every": 1,
        "grpo.trainer.max_steps": steps,
        "grpo.trainer.logging_steps": 1,
        "grpo.trainer.report_to": "none",
    }
    loaded = load_recipe(recipe, [*(f"{key}={value}" for key, value in ours.items()), *settings])
    grpo.run(loaded)
    state = json.loads((working(loaded, "grpo") / "trainer_state.json").read_text(encoding="utf-8"))
    return [row for row in state["log_history"] if "reward" in row]


def summary(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """The largest gap and the rewards of a run."""
    rewards = [round(step["reward"], 4) for step in steps]
    return {"gap_max": max(step[GAP] for step in steps), "reward": rewards, "reward_mean": round(fmean(rewards), 4)}


def completions(output: Path) -> list[tuple[int, str, str]]:
    """(step, row, words) of all that was sampled, in order."""
    files = sorted(output.rglob("rollouts/step-*.parquet"))
    return [(row["step"], row["id"], row["completion"]) for file in files for row in pq.read_table(file).to_pylist()]


@contextmanager
def killing(output: Path, steps: list[int]) -> Iterator[list[Servers]]:
    """While this is active, a server of the run in `output` is killed as soon as each of the steps has been sampled.
    Yields the servers, once they are there."""
    held: list[Servers] = []
    original, over = grpo.rollout_servers, threading.Event()

    @contextmanager
    def watched(*args: Any) -> Iterator[Servers | None]:
        with original(*args) as servers:
            assert servers is not None, "the only process is the main one"
            held.append(servers)
            threading.Thread(target=_kill, args=(servers, output, steps, over), daemon=True).start()
            yield servers

    grpo.rollout_servers = watched  # type: ignore[assignment]
    try:
        yield held
    finally:
        grpo.rollout_servers = original
        over.set()


def _kill(servers: Servers, output: Path, steps: list[int], over: threading.Event) -> None:
    for step in steps:
        while not list(output.rglob(f"rollouts/step-{step:06d}.parquet")):
            if over.wait(0.02):
                return
        process = servers.servers[0].process
        assert process is not None and process.pid is not None
        os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, help="output folder with data and sft; default: a small one is made")
    parser.add_argument("--recipe", default="phantom")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    with TemporaryDirectory() as place:
        start = args.start or Path(place) / "start"
        plain = [*([] if args.start else small_start(start)), *args.set]
        served = ["grpo.trainer.vllm_mode=server", *plain]
        folders = {name: Path(place) / name for name in ("colocate", "server", "killed")}
        told = {
            "colocate": summary(trained(folders["colocate"], start, args.recipe, args.steps, plain)),
            "server": summary(trained(folders["server"], start, args.recipe, args.steps, served)),
        }
        with killing(folders["killed"], [args.steps // 3, 2 * args.steps // 3]) as held:
            told["killed"] = summary(trained(folders["killed"], start, args.recipe, args.steps, served))
        told["killed"]["servers_lost"] = held[0].lost
        whole, killed = completions(folders["server"]), completions(folders["killed"])
        told["killed"]["same_prompts"] = [row[:2] for row in whole] == [row[:2] for row in killed]
        told["killed"]["same_completions"] = fmean(one == other for one, other in zip(whole, killed, strict=True))
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
