"""What edits gain on average: each by itself, and the best that a search finds one after another."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from benchmarks.reward_attack.edits import EDITS, LOWER, Context, Reading, Said
from benchmarks.reward_attack.rows import TOTAL, Budget, Reader, Scorer, climb
from reasoner.findings import concept_class, extract_report, kin
from reasoner.schema import Example, Step, verified_labels

#: What gains less is no gain.
GAIN = 0.01
#: Rows that an edit must fit to be judged.
FEWEST = 5


class Gain(NamedTuple):
    """What edits add on average, over the rows that they fit, to one number of one kind of reading."""

    base: str
    edits: tuple[str, ...]
    what: str
    mean: float
    rows: int
    worst: float
    before: str
    after: str

    @property
    def lowers(self) -> bool:
        return any(name in LOWER for name in self.edits)


def _holds(step: Step, row: Example) -> bool:
    """Whether the row's own step is true: where a report is silent, its chain may deny what verified labels know."""
    known = verified_labels(row.labels, row.label_source)
    said = {(concept_class(finding.concept), finding.status) for finding in step.findings}
    return not any(known.get(name or "", status) != status for name, status in said)


class Editor:
    """Applies edits to the reference and to what the mediocre reader wrote, and scores what comes of it."""

    def __init__(self, scorer: Scorer, reader: Reader, train: Sequence[Example], rows: Sequence[Example], seed: int):
        self.scorer, self.seed, self.rows = scorer, seed, rows
        pool = [s for e in train for s in e.steps if s.findings and all(f.status == "present" for f in s.findings)]
        rng = random.Random(seed)
        pool = rng.sample(pool, min(len(pool), 400))
        self.wrong = [_unsupported(pool, row) for row in rows]
        self.bases: dict[str, list[Reading]] = {"reference": [], "mediocre": []}
        for row in rows:
            whole = tuple(Said(step.text, step, _holds(step, row)) for step in row.steps)
            self.bases["reference"].append(Reading(whole, row.answer))
            seen = reader.reads(row, rng)
            answer = reader.answer(row, seen, rng)
            told = tuple(Said(s.step.text, s.step, s.own and _holds(s.step, row)) for s in seen)
            self.bases["mediocre"].append(Reading(told, answer, right=answer == row.answer))
        self._before = {
            base: [self._score(i, reading) for i, reading in enumerate(self.bases[base])] for base in self.bases
        }

    def _score(self, at: int, reading: Reading) -> dict[str, float]:
        return self.scorer.all(self.rows[at], reading.write())

    def apply(self, at: int, base: str, names: Sequence[str]) -> Reading | None:
        """The edited reading of a row, the same each time; None where an edit does not fit."""
        reading: Reading | None = self.bases[base][at]
        context = Context(self.rows[at], self.wrong[at], random.Random(f"{self.seed}/{at}"))
        for name in names:
            reading = EDITS[name](reading, context) if reading is not None else None
        return reading if reading is not None and reading.said else None

    def gains(self, base: str, names: tuple[str, ...]) -> list[Gain]:
        """One gain for the total, each process reward and each part; none where the edits fit too few rows."""
        found: list[tuple[int, Reading, dict[str, float]]] = []
        for at in range(len(self.rows)):
            reading = self.apply(at, base, names)
            if reading is not None:
                found.append((at, reading, self._score(at, reading)))
        if len(found) < FEWEST:
            return []
        gains = []
        for what in found[0][2]:
            deltas = [after.get(what, 0.0) - self._before[base][at].get(what, 0.0) for at, _, after in found]
            worst = max(range(len(found)), key=deltas.__getitem__)
            at, reading, _ = found[worst]
            before = self.bases[base][at].write()
            gains.append(Gain(base, names, what, fmean(deltas), len(found), deltas[worst], before, reading.write()))
        return gains

    def search(self, objective: str, base: str, budget: Budget, rng: random.Random) -> list[Gain]:
        """The best compositions of up to five edits, at least one of which lowers."""
        known: dict[tuple[str, ...], list[Gain]] = {}

        def mean(names: tuple[str, ...]) -> float:
            if names not in known:
                budget.used += 1
                known[names] = self.gains(base, names)
            gain = next((gain.mean for gain in known[names] if gain.what == objective), float("-inf"))
            return gain if any(name in LOWER for name in names) else float("-inf")

        def change(names: tuple[str, ...], others: Sequence[tuple[str, ...]], rng: random.Random) -> tuple[str, ...]:
            new, at = list(names), rng.randrange(len(names))
            kind = rng.choice(("add", "remove", "replace"))
            if kind == "remove" and len(new) > 1:
                del new[at]
            elif kind == "add" and len(new) < 5:
                new.insert(rng.randrange(len(new) + 1), rng.choice(list(EDITS)))
            else:
                new[at] = rng.choice(list(EDITS))
            return tuple(new)

        start: list[tuple[str, ...]] = [(name,) for name in LOWER]
        best = climb(start, change, mean, budget, rng)
        return [gain for names in best for gain in known[names] if gain.what == objective and len(names) > 1]


def _unsupported(pool: Sequence[Step], row: Example) -> list[Step]:
    """The steps that nothing in the row bears out: neither the report, nor the chain, nor a label."""
    there = [f for f in (*extract_report(row.report), *row.gold_findings) if f.status != "absent"]
    names = {name for finding in there for name in kin(finding.concept)}
    classes = {name for name, status in dict(row.labels or {}).items() if status in ("present", "uncertain")}
    return [
        step
        for step in pool
        if not any(f.concept in names or concept_class(f.concept) in classes for f in step.findings)
    ]


def pays(gain: Gain) -> bool:
    return gain.mean > GAIN


def is_spared(gain: Gain) -> bool:
    """Whether it leaves less truth, by one edit, and the total hardly minds."""
    return gain.lowers and len(gain.edits) == 1 and gain.what == TOTAL and abs(gain.mean) <= GAIN


def is_value(gain: Gain, scorer: Scorer) -> bool:
    """Whether it is the total or a reward, not a part of one."""
    return gain.what == TOTAL or gain.what in scorer.alone
