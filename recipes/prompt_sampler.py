"""Which prompts GRPO draws: balanced over answers, by how much they still teach, from easy to hard.

Every draw is a function of the seed, the number of the batch, and the spread of rewards seen in batches so far back
that they are over however many batches the data loader has drawn ahead. These spreads are kept in the checkpoint, so
that a resumed run draws what the whole one would have drawn.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import Sampler

from reasoner.errors import UserError
from reasoner.runtime.disk import read_object, replacing
from reasoner.runtime.terminal import say
from recipes.config import Prompts
from recipes.prompt_facts import Facts

if TYPE_CHECKING:
    from trl import GRPOConfig

#: Tasks from closed to open (CX-Mind, arXiv 2508.03733).
CLOSED_TO_OPEN = (
    *("binary", "anomaly", "temporal", "single", "multiple", "stage"),
    *("detection", "abnormality_list", "grounding", "report"),
)
#: The easiest share of the prompts, which a curriculum starts with.
START = 0.2
#: How fast running spreads follow: of a prompt, and of an answer, which many prompts share.
OWN_RATE, SHARED_RATE = 0.5, 0.1
#: What is kept in a checkpoint's folder.
STATE = "prompts.json"


class PromptSampler(Sampler[int]):
    """Yields numbers of examples as TRL's `RepeatSampler` does: `prompts` of them a batch, each `generations` times,
    the batch `repeats` times over. Within a batch no prompt comes twice; prompts are not used up.

    Args:
        facts: of the data set's examples, in its order.
        settings: the recipe's.
        prompts: of one batch of completions, over all processes.
        steps_per_batch: optimizer steps that one such batch serves; may be a fraction.
        ahead: batches that the data loader may have drawn while one is trained on.
    """

    def __init__(
        self,
        facts: Facts,
        settings: Prompts,
        *,
        prompts: int,
        generations: int = 1,
        repeats: int = 1,
        steps_per_batch: float = 1.0,
        ahead: int = 1,
        seed: int = 0,
    ):
        self.settings, self.prompts, self.generations, self.repeats = settings, prompts, generations, repeats
        self.steps_per_batch, self.lag, self.seed = steps_per_batch, ahead + 1, seed
        self.size, self.epoch = len(facts), 0
        self._cells = facts.cells
        self._variety = variety(facts, settings.balance)
        self._difficulty = difficulty(facts, settings.curriculum, seed)
        self._start = _last_stage(facts) if settings.curriculum[:1] == ["stage"] else START
        self._seen: dict[int, list[tuple[int, float]]] = {}
        self._forget()

    @classmethod
    def of(cls, facts: Facts, settings: Prompts, args: GRPOConfig) -> PromptSampler:
        """The sampler of a training with these arguments of TRL's."""
        repeats = args.steps_per_generation * args.num_iterations
        return cls(
            facts,
            settings,
            prompts=args.generation_batch_size // args.num_generations,
            generations=args.num_generations,
            repeats=repeats,
            steps_per_batch=repeats / args.gradient_accumulation_steps,
            ahead=1 + args.dataloader_num_workers * (args.dataloader_prefetch_factor or 2),
            seed=args.seed,
        )

    def __len__(self) -> int:
        return self._batches * self.prompts * self.generations * self.repeats

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self._batches
        self.epoch += 1
        for number in range(first, first + self._batches):
            drawn = self.draw(number)
            for _ in range(self.repeats):
                for index in drawn:
                    yield from [index] * self.generations

    @property
    def _batches(self) -> int:
        return self.size // self.prompts

    def set_epoch(self, epoch: int) -> None:
        """Accelerate's call before each epoch."""
        self.epoch = epoch

    def draw(self, number: int) -> list[int]:
        """The prompts of batch `number`."""
        return _draw([self.seed, number], self.weights(number, number - self.lag), self.prompts)

    def spare(self, number: int, round_: int, process: int, count: int, taken: Iterable[int]) -> list[int]:
        """`count` further prompts, none of those `taken`, for an extra round of batch `number`; fewer if there are no
        more. Each process has its own."""
        weights = self.weights(number, number - 1)
        weights[list(taken)] = 0.0
        return _draw([self.seed, number, round_ + 1, process], weights, count)

    def observe(self, number: int, spreads: Iterable[tuple[int, float]]) -> None:
        """Takes down the spread of rewards of each prompt of batch `number`: (index, spread)."""
        self._seen[number] = [(int(index), float(spread)) for index, spread in spreads]

    def openness(self, number: int) -> float:
        """The easiest share of the prompts that batch `number` draws from: grows evenly to 1, from `START`, or with
        stages from the share of the last one."""
        if not self.settings.curriculum:
            return 1.0
        progress = number * self.steps_per_batch / self.settings.curriculum_steps
        return min(1.0, self._start + (1 - self._start) * progress)

    def save(self, folder: Path) -> None:
        """Keeps what was observed in a checkpoint's folder."""
        with replacing(folder / STATE) as file:
            json.dump({str(number): spreads for number, spreads in self._seen.items()}, file)

    def load(self, folder: Path) -> None:
        """Goes on from a checkpoint; one without our file is told, and starts with no spreads."""
        try:
            held = read_object(folder / STATE, "").items()
            self._seen = {int(number): [(int(i), float(s)) for i, s in spreads] for number, spreads in held}
        except (UserError, OSError, ValueError, TypeError):
            say(f"{folder / STATE}: missing or damaged; which prompts still teach is learned anew")
            return
        self.epoch = (max(self._seen, default=-1) + 1) // max(1, self._batches)
        self._forget()

    def weights(self, number: int, last: int) -> np.ndarray:
        """The chance of each prompt in batch `number`, (examples,), by what was observed up to batch `last`."""
        weights = self._variety.copy()
        if share := self.settings.informative:
            self._learn(last)
            teaches = self._teaching()
            weights *= (1 - share) + share * teaches / max(teaches.mean(), 1e-9)
        open_to = max(self.openness(number) * self.size, min(self.size, 2 * self.prompts))
        weights[self._difficulty >= open_to] = 0.0
        return weights

    def _forget(self) -> None:
        self._known = -1  # the last batch that is learned
        self._own = np.full(self.size, np.nan)
        self._shared = np.full(self._cells.number, np.nan)

    def _learn(self, last: int) -> None:
        """The running spreads as they were after batch `last`."""
        if last < self._known:
            self._forget()
        for number in range(self._known + 1, last + 1):
            for index, spread in self._seen.get(number, ()):
                for running, places, rate in (
                    (self._own, index, OWN_RATE),
                    (self._shared, self._cells.of(index), SHARED_RATE),
                ):
                    before = running[places]
                    running[places] = np.where(np.isnan(before), spread, before + rate * (spread - before))
        self._known = max(self._known, last)

    def _teaching(self) -> np.ndarray:
        """The spread expected of each prompt: its own, else that of its answers, else the mean of those known."""
        known = self._shared[~np.isnan(self._shared)]
        usual = known.mean() if known.size else 1.0
        guessed = self._cells.mean(np.where(np.isnan(self._shared), usual, self._shared))
        return np.where(np.isnan(self._own), guessed, self._own)


def _draw(key: list[int], weights: np.ndarray, count: int) -> list[int]:
    """At most `count` different indices, by their weights."""
    count = min(count, int(np.count_nonzero(weights)))
    if not count:
        return []
    chances = weights / weights.sum()
    return np.random.default_rng(key).choice(len(weights), size=count, replace=False, p=chances).tolist()


def variety(facts: Facts, balance: float) -> np.ndarray:
    """The weight of each prompt, (prompts,): the mean over its cells of one over their size, to the power `balance`.
    Each task keeps its share of the whole. Diagnostic diversity as in DiTPO (arXiv 2603.04022), by answers."""
    weights = facts.cells.mean(1 / facts.cells.sizes()) ** balance
    for task in np.unique(facts.tasks):
        weights[facts.tasks == task] /= weights[facts.tasks == task].mean()
    return weights


def _last_stage(facts: Facts) -> float:
    """The share of the prompts that ask the last stage of any."""
    return float(np.mean(facts.stages == facts.stages.max(initial=0))) if len(facts) else 0.0


def difficulty(facts: Facts, by: Sequence[str], seed: int) -> np.ndarray:
    """The rank of each prompt, (prompts,), 0 the easiest; equals are ranked by chance."""
    openness = {task: place for place, task in enumerate(CLOSED_TO_OPEN)}
    keys = {
        "task": lambda: np.array([openness.get(name, len(openness)) for name in facts.names], dtype=int)[facts.tasks],
        "length": lambda: facts.words,
        "stage": lambda: -facts.stages,
    }
    chance = np.random.default_rng(seed).permutation(len(facts))
    columns = [chance, *(keys[name]() for name in reversed(by))]
    ranks = np.empty(len(facts), dtype=int)
    ranks[np.lexsort(columns)] = np.arange(len(facts))
    return ranks
