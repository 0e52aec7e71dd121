"""The rows that are attacked, what scores them, and the reader that a blind policy must not come near."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

from reasoner.findings import labels_of
from reasoner.mining.questions import ANOMALY, TEMPORAL_ANSWERS
from reasoner.prompts import format_completion
from reasoner.schema import NO_FINDING, Example, Step, present_classes
from rewards.registry import REGISTRY, RewardSet, gated_total, load_rewards
from rewards.skill import base_rates_of

#: The share of reference steps that the mediocre reader gets to, and of those the share where he sees what another
#: patient has there.
READ, MISTAKEN = 0.7, 0.15
TOTAL = "total"

T = TypeVar("T")


def is_normal(example: Example) -> bool:
    return present_classes(dict(example.labels or {})) == (NO_FINDING,)


def draw(examples: Sequence[Example], most: int, *, balanced: bool, seed: int) -> list[Example]:
    """At most so many of the examples, at random; with `balanced` half of them normal."""
    mixed = random.Random(seed).sample(list(examples), len(examples))
    if balanced:
        normal, other = ([e for e in mixed if is_normal(e) is wanted] for wanted in (True, False))
        half = min(len(normal), len(other), most // 2)
        mixed = [e for pair in zip(normal[:half], other[:half], strict=True) for e in pair]
    return mixed[:most]


def process_rewards() -> list[str]:
    """The registered rewards that grade a reading: those that ask for the reference chain."""
    load_rewards()
    return [name for name, function in REGISTRY.items() if "reasoning" in function.columns]


class Scorer:
    """The GRPO total (`TOTAL`) and every process reward by itself, of a completion of an example."""

    def __init__(self, weights: Mapping[str, float], train: Sequence[Example], folder: Path, rates: Path | None = None):
        """Skill's base rates are those of `train`, as in GRPO, unless `rates` is a file with others."""
        self.weights = dict(weights)
        self.alone = process_rewards()
        if rates is None:
            rates = folder / "base_rates.json"
            base_rates_of(train).write(rates)
        spec = {**dict.fromkeys(self.alone, 0.0), **self.weights}
        self.rewards = RewardSet.build(spec, options={"skill": {"base_rates": str(rates.resolve())}})

    @property
    def objectives(self) -> list[str]:
        """The total, and the process rewards that it pays for."""
        return [TOTAL, *(name for name in self.alone if self.weights.get(name))]

    def value(self, objective: str, example: Example, completion: str) -> float:
        """One number: the total, or one reward (0 where it abstains)."""
        row = {**_columns(example), "completion": completion}
        if objective != TOTAL:
            return self.rewards.score_one(objective, row).value or 0.0
        paid = [name for name, weight in self.weights.items() if weight]
        return gated_total({name: self.rewards.score_one(name, row) for name in paid}, self.weights)

    def all(self, example: Example, completion: str) -> dict[str, float]:
        """The total, each process reward, and its parts as `reward.part`."""
        scores = self.rewards.score({**_columns(example), "completion": completion})
        values = {TOTAL: gated_total(scores, self.weights)}
        for name in self.alone:
            values[name] = scores[name].value or 0.0
            values |= {f"{name}.{part}": value for part, value in scores[name].parts.items()}
        return values


def _columns(example: Example) -> dict[str, Any]:
    names = ("id", "task", "question", "options", "answer", "reasoning", "report", "labels", "label_source")
    return {name: getattr(example, name) for name in names}


@dataclass
class Budget:
    """How long a search may go on: seconds, or evaluations of candidates."""

    seconds: float = float("inf")
    tries: float = float("inf")
    used: int = 0
    start: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        """The share that is gone."""
        return max((time.monotonic() - self.start) / self.seconds, self.used / self.tries)

    def part(self, share: float) -> Budget:
        """A fresh budget of a share of the whole."""
        return Budget(self.seconds * share, max(1.0, self.tries * share))


class Means:
    """The mean of candidates over rows, each candidate once. Those that fall behind on the first rows are given up."""

    FIRST, BEHIND = 40, 0.03

    def __init__(self, value: Callable[[Example, Any], float], rows: Sequence[Example], budget: Budget):
        self.value, self.rows, self.budget = value, rows, budget
        self.known: dict[Any, float] = {}
        self._best = (float("-inf"), float("-inf"))  # on the first rows and on all

    def __call__(self, candidate: Any) -> float:
        if candidate not in self.known:
            self.known[candidate] = self._mean(candidate)
        return self.known[candidate]

    def _mean(self, candidate: Any) -> float:
        self.budget.used += 1
        values = [self.value(row, candidate) for row in self.rows[: self.FIRST]]
        first = fmean(values)
        if first < self._best[0] - self.BEHIND:
            return self._best[1] + first - self._best[0]
        values += [self.value(row, candidate) for row in self.rows[self.FIRST :]]
        mean = fmean(values)
        if mean > self._best[1]:
            self._best = first, mean
        return mean


def climb(
    start: Iterable[T], change: Callable[[T, Sequence[T], random.Random], T], mean: Callable[[T], float],
    budget: Budget, rng: random.Random, size: int = 12,
) -> list[T]:  # fmt: skip
    """Evolution: of a few survivors one, the better the likelier, is changed. The survivors, best first."""
    alive = sorted(dict.fromkeys(start), key=mean, reverse=True)[:size]
    while budget.spent < 1.0:
        child = alive[min(int(rng.expovariate(0.5)), len(alive) - 1)]
        for _ in range(1 + int(rng.expovariate(1.0))):
            child = change(child, alive, rng)
        budget.used += 1  # also where it is known: a search that is stuck ends
        if (child not in alive and mean(child) > mean(alive[-1])) or len(alive) < size:
            alive = sorted(dict.fromkeys([*alive, child]), key=mean, reverse=True)[:size]
    return alive


class Seen(NamedTuple):
    """A step of a reading, and whether it is one of the row's own."""

    step: Step
    own: bool


class Reader:
    """The mediocre reader: reads some of the steps, in some of these sees another patient, and answers by what he read.

    In a question about something he sees there what another patient has of the same; else what another has at the same
    stage of the read.
    """

    def __init__(self, train: Sequence[Example]):
        self.elsewhere: dict[tuple[str, ...], list[Step]] = {}
        self.answers = [example.answer for example in train]
        for example in train:
            for step in example.steps:
                self.elsewhere.setdefault(_place(step, example), []).append(step)

    def reads(self, example: Example, rng: random.Random) -> list[Seen]:
        steps = [step for step in example.steps if rng.random() < READ]
        return [self._sees(step, example, rng) for step in steps]

    def _sees(self, step: Step, example: Example, rng: random.Random) -> Seen:
        if rng.random() < MISTAKEN:
            other = rng.choice(self.elsewhere.get(_place(step, example), [step]))
            return Seen(other, other.text == step.text)
        return Seen(step, True)

    def answer(self, example: Example, read: Iterable[Seen], rng: random.Random) -> str:
        """What follows from the steps that were read; where nothing does, a guess."""
        findings = [finding for seen in read for finding in seen.step.findings]
        labels = labels_of(findings)
        names = present_classes(labels)
        if example.task == "binary":
            return "Yes" if any(finding.status == "present" for finding in findings) else "No"
        if example.task == "temporal":
            changes = [TEMPORAL_ANSWERS[finding.change] for finding in findings if finding.change]
            return changes[0] if changes else rng.choice(self.answers)
        if example.task == "stage":
            return " ".join(seen.step.text for seen in read) or "-"
        if not example.options:
            return ", ".join(names)
        words = {option.partition(") ")[2]: option[0] for option in example.options}
        if set(words) == set(ANOMALY):
            return words[ANOMALY[any(finding.status == "present" for finding in findings)]]
        chosen = [words[name] for name in names if name in words]
        open_ = [letter for name, letter in words.items() if labels.get(name) != "absent"]
        chosen = chosen or [rng.choice(open_ or list(words.values()))]
        return ", ".join(chosen) if example.task == "multiple" else chosen[0]

    def write(self, example: Example, rng: random.Random) -> str:
        read = self.reads(example, rng)
        return format_completion(" ".join(seen.step.text for seen in read) or "-", self.answer(example, read, rng))


def _place(step: Step, example: Example) -> tuple[str, ...]:
    if example.task in ("abnormality_list", "stage") or not step.findings:
        return (step.stage, str(example.stage or ""))
    return (step.stage, step.findings[0].concept)
