"""Between TRL's reward functions and our pool of workers: one dispatch a batch, and the rollouts written down.

`grpo/rollouts/step-*.parquet` and the W&B table `rollouts` have a row per completion: what was asked (`id`, `task`,
`question`, `answer` and `reasoning` of the reference, `report`, `images`), the `completion`, what each reward gave
(`NAME_reward`), the parts they were made of, and their evidence (both as JSON).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from reasoner.pictures import PictureError, read_picture
from reasoner.training.dataset import REWARD_COLUMNS
from rewards.credit import PROCESS_REWARDS, StepReward, step_rewards
from rewards.registry import Score, gate
from rewards.workers import RewardPool

#: Rows of a W&B table of rollouts.
SHOWN = 16
_ASKED = ("id", "task", "question", "completion", "reasoning", "answer", "report")


class RewardBridge:
    """Turns one pool dispatch per batch into the one-callable-per-component form that TRL logs and weighs.

    TRL calls the functions one after another on the same batch; the first call scores it, the others read. However
    many training processes there are, the main one alone has a `pool` and scores for all.

    Args:
        pool: of the main process; None in the others.
        weights: reward -> weight; the order of the functions.
        rollouts: folder of the Parquet files.
        log_every: write the rollouts of every so many optimizer steps; 0 is never.
        credits: whether `steps` will be asked for, so that evidence is wanted for every batch, not only for those
            that are written.
    """

    def __init__(
        self, pool: RewardPool | None, weights: dict[str, float], rollouts: Path, log_every: int, credits: bool = False
    ):
        self.pool, self.weights, self.rollouts, self.log_every = pool, weights, rollouts, log_every
        self.credits = credits
        self._completions: Any = None
        self._scores: list[dict[str, Score]] = []
        self._batch = (-1, 0)  # the optimizer step of the last batch, and which of the step's batches it was

    def functions(self) -> list[Callable[..., list[float | None]]]:
        """One TRL reward function per component, named after it, in the order of `weights`."""
        return [self._function(name) for name in self.weights]

    def steps(self) -> list[tuple[str, list[StepReward]]]:
        """Text and rewarded steps of each completion of the last batch (a process reward must be among them)."""
        name = next(name for name in PROCESS_REWARDS if name in self.weights)
        texts = [completion[-1]["content"] for completion in self._completions]
        return [(text, step_rewards(text, s[name])) for text, s in zip(texts, self._scores, strict=True)]

    def _function(self, name: str) -> Callable[..., list[float | None]]:
        def component(prompts: list, completions: list, **columns: Any) -> list[float | None]:
            if completions is not self._completions:
                self._completions = completions
                self._score(completions, columns)
            return [gate(name, scores) for scores in self._scores]

        component.__name__ = name
        return component

    def _score(self, completions: list, columns: dict[str, Any]) -> None:
        rows = []
        for number, completion in enumerate(completions):
            row = {name: columns[name][number] for name in REWARD_COLUMNS if name in columns}
            row["labels"] = json.loads(row["labels"]) if row.get("labels") else None
            rows.append({**row, "completion": completion[-1]["content"]})
        step = columns["trainer_state"].global_step
        self._batch = (step, self._batch[1] + 1 if step == self._batch[0] else 0)
        written = bool(self.log_every) and step % self.log_every == 0
        self._scores, metrics = self._score_for_all(rows, evidence=written or self.credits)
        for part in sorted({part for scores in self._scores for s in scores.values() for part in s.parts}):
            values = [s.parts[part] for scores in self._scores for s in scores.values() if part in s.parts]
            columns["log_metric"](f"parts/{part}", sum(values) / len(values))
        for name, value in metrics.items():
            columns["log_metric"](f"reward_pool/{name}", value)
        if written:
            self._write(rows, columns["image_paths"])

    def _score_for_all(self, rows: list[dict], evidence: bool) -> tuple[list[dict[str, Score]], dict[str, float]]:
        """The scores of this process's rows, and the pool's metrics. An error of the pool is raised everywhere."""
        everyone = gather_object(rows)
        answer: list[Any] = [None]
        if self.pool is not None:
            try:
                answer = [(self.pool.score(everyone, evidence=evidence), self.pool.metrics())]
            except Exception as error:  # the others would wait for this process until their collective times out
                answer = [error]
        broadcast_object_list(answer)
        if isinstance(answer[0], Exception):
            raise answer[0]
        scores, metrics = answer[0]
        first = PartialState().process_index * len(rows)
        return scores[first : first + len(rows)], metrics

    def _write(self, rows: Sequence[dict], image_paths: list[list[str]]) -> None:
        step, batch = self._batch
        table = []
        for row, images, scores in zip(rows, image_paths, self._scores, strict=True):
            record = {"step": step, "images": images, **{name: row[name] for name in _ASKED}}
            record |= {f"{name}_reward": score.value for name, score in scores.items()}
            record["parts"] = json.dumps({k: v for s in scores.values() for k, v in s.parts.items()})
            record["evidence"] = json.dumps({name: list(score.evidence) for name, score in scores.items()})
            table.append(record)
        self.rollouts.mkdir(parents=True, exist_ok=True)
        rank = PartialState().process_index
        name = f"step-{step:06d}" + (f"-{batch}" if batch else "") + (f"-rank{rank}" if rank else "")
        part = self.rollouts / f"{name}.part"
        pq.write_table(pa.Table.from_pylist(table), part)
        part.replace(self.rollouts / f"{name}.parquet")
        _log_to_wandb(table[:SHOWN])


def _log_to_wandb(table: list[dict]) -> None:
    """A W&B table of rollouts with their first image; silent when no run is active."""
    import wandb

    if wandb.run is None:
        return
    names = [name for name in table[0] if name != "images"]
    rows = [[_wandb_image(r["images"]), *(r[n] for n in names)] for r in table]
    wandb.log({"rollouts": wandb.Table(columns=["image", *names], data=rows)}, commit=False)


def _wandb_image(paths: Sequence[str]) -> Any:
    """The first picture as a cell of a W&B table; None where there is none to show."""
    import wandb

    try:
        return wandb.Image(read_picture(paths[0])) if paths else None
    except PictureError:
        return None
