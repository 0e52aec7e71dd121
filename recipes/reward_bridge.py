"""Between TRL's reward functions and our pool of workers: one dispatch a batch, and the rollouts written down.

`grpo/rollouts/step-*.parquet` and the W&B table `rollouts` have a row per completion: what was asked (`id`, `task`,
`question`, `answer` and `reasoning` of the reference, `report`, `images`), the `completion`, what each reward gave
(`NAME_reward`), the parts they were made of, their evidence (both as JSON), and where the row comes from: `edited` says
that the completion is no sample but one that was corrected, from the sample `edited_from`; `refilled` that its prompt
took the place of one whose completions were all worth the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import is_
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from reasoner.errors import UserError
from reasoner.pictures import PictureError, read_picture
from reasoner.runtime.terminal import say
from reasoner.training.dataset import REWARD_COLUMNS
from recipes.dashboard import ROLLOUTS, coloured
from rewards.credit import PROCESS_REWARDS
from rewards.registry import Score, gate
from rewards.workers import RewardPool

#: Rows of a W&B table of rollouts.
SHOWN = 16
#: Batches in a row on which a reward may fail altogether: a server that is away for a moment ends no run.
LOST = 3
_ASKED = ("id", "task", "question", "completion", "reasoning", "answer", "report")


class Origin(NamedTuple):
    """Where a completion comes from: the sample it was corrected from ("": it is one), and whether its prompt is one
    that filled up the batch."""

    edited_from: str = ""
    refilled: bool = False


class RewardBridge:
    """Turns one pool dispatch per batch into the one-callable-per-component form that TRL logs and weighs.

    TRL calls the functions one after another on the same batch; the first call scores it, the others read. However
    many training processes there are, the main one alone has a `pool` and scores for all.

    Args:
        pool: of the main process; None in the others.
        weights: reward -> weight; the order of the functions.
        rollouts: folder of the Parquet files.
        log_every: write the rollouts of every so many optimizer steps; 0 is never.
        credits: whether evidence is wanted for every batch, not only for those that are written.
    """

    def __init__(
        self, pool: RewardPool | None, weights: dict[str, float], rollouts: Path, log_every: int, credits: bool = False
    ):
        self.pool, self.weights, self.rollouts, self.log_every = pool, weights, rollouts, log_every
        self.credits = credits
        self.training = True
        """Whether what is scored is trained on; held-out completions are not written down."""
        self._completions: Any = None
        self._scores: list[dict[str, Score]] = []
        self._origins: list[Origin] = []
        self._metrics: dict[str, float] = {}
        self._kept: tuple[list, list[dict[str, Score]], list[Origin]] = ([], [], [])
        self._told: set[str] = set()
        self._lost: Counter[str] = Counter()
        self._batch = (-1, 0)  # the optimizer step of the last batch, and which of the step's batches it was

    def functions(self) -> list[Callable[..., list[float | None]]]:
        """One TRL reward function per component, named after it, in the order of `weights`."""
        return [self._function(name) for name in self.weights]

    def texts(self) -> list[str]:
        """The completions of this process's last batch."""
        return [completion[-1]["content"] for completion in self._completions]

    def scores(self) -> list[dict[str, Score]]:
        """All rewards of this process's last batch, in order."""
        return self._scores

    @property
    def judge(self) -> str | None:
        """The reward that judges step by step, if there is one."""
        return next((name for name in PROCESS_REWARDS if name in self.weights), None)

    def score(
        self, rows: Sequence[dict[str, Any]], texts: Sequence[str], tokens: Sequence[int]
    ) -> list[dict[str, Score]]:
        """Scores texts of so many tokens as completions of data-set rows, before TRL asks or besides; all processes
        call it together."""
        return self._score_for_all([_reward_row(*of) for of in zip(rows, texts, tokens, strict=True)], self.credits)

    def keep(self, completions: list, scores: list[dict[str, Score]], origins: list[Origin]) -> None:
        """Takes these for the scores of the batch of completions (the very objects) that TRL is going to ask for, so
        that it is not scored again."""
        self._kept = completions, scores, origins

    def _function(self, name: str) -> Callable[..., list[float | None]]:
        def component(prompts: list, completions: list, **columns: Any) -> list[float | None]:
            if completions is not self._completions:
                self._take(completions, columns)
            return [gate(name, scores) for scores in self._scores]

        component.__name__ = name
        return component

    def _take(self, completions: list, columns: dict[str, Any]) -> None:
        """Scores a batch of TRL's, logs the parts, and writes it down when it is time to."""
        self._completions = completions
        names = [name for name in REWARD_COLUMNS if name in columns]
        rows = [
            _reward_row({name: columns[name][number] for name in names}, text, len(ids))
            for number, (text, ids) in enumerate(zip(self.texts(), columns["completion_ids"], strict=True))
        ]
        step = columns["trainer_state"].global_step
        if self.training:
            self._batch = (step, self._batch[1] + 1 if step == self._batch[0] else 0)
        written = self.training and bool(self.log_every) and step % self.log_every == 0
        known, self._scores, self._origins = self._kept
        if len(known) != len(completions) or not all(map(is_, known, completions)):
            self._scores = self._score_for_all(rows, evidence=written or self.credits)
            self._origins = [Origin()] * len(rows)
        columns["log_extra"]("edited", [bool(origin.edited_from) for origin in self._origins])
        for part in sorted({part for scores in self._scores for s in scores.values() for part in s.parts}):
            for scores in self._scores:  # TRL averages what is logged, over all processes
                for score in scores.values():
                    if part in score.parts:
                        columns["log_metric"](f"parts/{part}", score.parts[part])
        for name, value in self._metrics.items():
            columns["log_metric"](f"reward_pool/{name}", value)
        if written:
            self._write(rows, columns["image_paths"])

    def _score_for_all(self, rows: list[dict], evidence: bool) -> list[dict[str, Score]]:
        """The scores of this process's rows, of which each process may have another number. An error of the pool is
        raised everywhere."""
        everyone, counts = gather_object(rows), gather_object([len(rows)])
        answer: list[Any] = [None]
        if self.pool is not None:
            try:
                answer = [(self.pool.score(everyone, evidence=evidence), self.pool.metrics())]
                self._insist(answer[0][0])
            except Exception as error:  # the others would wait for this process until their collective times out
                answer = [error]
        broadcast_object_list(answer)
        if isinstance(answer[0], Exception):
            raise answer[0]
        scores, self._metrics = answer[0]
        first = sum(counts[: PartialState().process_index])
        return scores[first : first + len(rows)]

    def _insist(self, scores: Sequence[dict[str, Score]]) -> None:
        """Tells the first failure of each reward, which costs its row alone.

        Raises:
            UserError: a reward has failed on every row of so many batches that the policy is trained without it.
        """
        for name in self.weights if scores else ():
            failures = [row[name].failure for row in scores if row[name].outcome == "failed"]
            if failures and name not in self._told:
                self._told.add(name)
                say(f"WARNING: {failures[0]}; such rows have no reward and are counted in reward_pool/failed_rows")
            self._lost[name] = self._lost[name] + 1 if len(failures) == len(scores) else 0
            if self._lost[name] >= LOST:
                raise UserError(
                    f"the reward '{name}' failed on every row of {LOST} batches in a row, the last time with "
                    f"{failures[-1]}; mend it, and the same command goes on"
                )

    def _write(self, rows: Sequence[dict], image_paths: list[list[str]]) -> None:
        """The main process writes down what all have; they call it together."""
        step, batch = self._batch
        table: list[dict[str, Any]] = []
        for row, images, scores, origin in zip(rows, image_paths, self._scores, self._origins, strict=True):
            record = {"step": step, "images": images, **{name: row[name] for name in _ASKED}}
            record |= {"edited": bool(origin.edited_from), **origin._asdict()}
            record |= {f"{name}_reward": score.value for name, score in scores.items()}
            record["parts"] = json.dumps({k: v for s in scores.values() for k, v in s.parts.items()})
            record["evidence"] = json.dumps({name: list(score.evidence) for name, score in scores.items()})
            table.append(record)
        table = gather_object(table)
        if not PartialState().is_main_process:
            return
        self.rollouts.mkdir(parents=True, exist_ok=True)
        name = f"step-{step:06d}" + (f"-{batch}" if batch else "")
        part = self.rollouts / f"{name}.part"
        pq.write_table(pa.Table.from_pylist(table), part)
        part.replace(self.rollouts / f"{name}.parquet")
        _log_to_wandb(table[:SHOWN])


def _reward_row(row: dict[str, Any], text: str, tokens: int) -> dict[str, Any]:
    """What the rewards see of a data-set row with a completion of so many tokens, the end of its turn included."""
    seen = {name: row[name] for name in REWARD_COLUMNS if name in row}
    return {**seen, "completion": text, "completion_tokens": tokens}


def _log_to_wandb(table: list[dict]) -> None:
    """A W&B table of rollouts with their first image; silent when no run is active."""
    import wandb

    if wandb.run is None:
        return
    names = [name for name in table[0] if name != "images"]
    rows = [[_wandb_image(r["images"]), _wandb_words(r), *(r[n] for n in names)] for r in table]
    wandb.log({ROLLOUTS: wandb.Table(columns=["image", "verdicts", *names], data=rows)}, commit=False)


def _wandb_words(row: Mapping[str, Any]) -> Any:
    """The completion coloured by verdict, as a cell of a W&B table."""
    import wandb

    return wandb.Html(coloured(row["completion"], json.loads(row["evidence"])), inject=False)


def _wandb_image(paths: Sequence[str]) -> Any:
    """The first picture as a cell of a W&B table; None where there is none to show."""
    import wandb

    try:
        return wandb.Image(read_picture(paths[0])) if paths else None
    except PictureError:
        return None
