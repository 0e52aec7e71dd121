"""Base rates: what can be known of a row without its image, and what bets are worth so that it earns nothing.

Learned from a training split, for each kind of question by itself: for each question that is asked often, else for its
task. Rows weigh one over their number of findings, as in `skill`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from reasoner.errors import UserError
from reasoner.findings import kin
from reasoner.schema import Status
from rewards.radrscore.claims import Fact
from rewards.radrscore.skill import (
    THRESHOLD,
    WHOLE_FILM,
    Rates,
    Table,
    Truth,
    credit_of_denial,
    find,
    place_bets,
    truth_of,
)

#: What confirming one absence can earn at most, however seldom it is stated.
MOST_GAIN = 0.5
#: Gains are held below what pays nothing on the training split, for other splits differ by chance.
MARGIN = 0.9
#: A question or a task has rates of its own from so many rows on.
FEWEST = 50
#: The least that a scale can be: where references hardly earn, nobody should earn multiples.
LEAST_SCALE = 0.1
#: Steps in which a stake is raised until blind assertions no longer pay.
_STEP = 0.05
_FILM = "film"
#: The base rates of a public collection of reports, which count where none are given.
DEFAULT = Path(__file__).with_name("base_rates.json")


class Row(NamedTuple):
    """A training row: reference chain, report, verified labels, task, the words of question and options."""

    reference: str
    report: str
    labels: tuple[tuple[str, str | None], ...] = ()
    task: str | None = None
    question: str = ""
    options: tuple[str, ...] = ()

    @property
    def truth(self) -> Truth:
        return truth_of(self.reference, self.report, self.labels, self.task, " ".join((self.question, *self.options)))

    @property
    def groups(self) -> tuple[str, str]:
        """The kinds of question that it is of, the narrower first."""
        film = self.task in WHOLE_FILM
        return (_FILM, _FILM) if film else (f"{self.task}: {self.question}", str(self.task))


@dataclass(frozen=True)
class BaseRates:
    """Rates by kind of question; `studies` counts the rows that they were learned from."""

    studies: int = 0
    groups: Mapping[str, Rates] = field(default_factory=dict)

    def of(self, row: Row) -> Rates:
        """The rates of a row: of its question, its task, or else of whole films."""
        narrow, wide = row.groups
        return self.groups.get(narrow) or self.groups.get(wide) or self.groups.get(_FILM) or Rates()

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")


@cache
def default_base_rates() -> BaseRates:
    return read_base_rates(DEFAULT)


def read_base_rates(path: Path) -> BaseRates:
    """What `BaseRates.write` wrote.

    Raises:
        UserError: no such file, or another kind of file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        groups = {
            name: Rates(Table(**group["named"]), Table(**group["others"]), float(group["scale"]))
            for name, group in data["groups"].items()
        }
        return BaseRates(int(data["studies"]), groups)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        fix = "give a mined data folder, or the file that GRPO or eval left"
        raise UserError(f"{path}: no base rates ({why}); {fix}") from error


def learn_base_rates(rows: Sequence[Row]) -> BaseRates:
    """The base rates of a training split.

    Raises:
        UserError: no rows.
    """
    if not rows:
        raise UserError("base rates need at least one row with a reference chain and a report")
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        for name in dict.fromkeys(row.groups):
            groups[name].append(row)
    rates = {name: _learn(members) for name, members in groups.items() if name == _FILM or len(members) >= FEWEST}
    unscaled = BaseRates(len(rows), rates)
    scales = {name: _scale(members, unscaled) for name, members in groups.items()}
    # One scale a task: a question that is hardly ever answered by yes should not pay multiples.
    learned = {name: replace(own, scale=scales[groups[name][0].groups[1]]) for name, own in rates.items()}
    return BaseRates(len(rows), learned)


def _scale(rows: Sequence[Row], rates: BaseRates) -> float:
    """What the reference chains of the rows earn on average."""
    earned = [
        row.truth.share * sum(bet.earned for bet in place_bets(row.reference, row.truth, rates.of(row))) for row in rows
    ]
    return max(round(fmean(earned), 4), LEAST_SCALE)


class _Weights:
    """Weights of rows by concept, of those whose question names it and of the others."""

    def __init__(self, truths: Sequence[Truth]) -> None:
        self.all = sum(truth.share for truth in truths)
        self.named: dict[str, float] = defaultdict(float)
        for truth in truths:
            for concept in truth.named:
                self.named[concept] += truth.share

    def of(self, concept: str, named: bool) -> float:
        return self.named[concept] if named else self.all - self.named[concept]


def _learn(rows: Sequence[Row]) -> Rates:
    truths = [row.truth for row in rows]
    weights = _Weights(truths)
    named, others = (
        Table(
            _stakes(truths, "present", weights, named),
            _stakes(truths, "uncertain", weights, named),
            _gains(truths, named),
        )
        for named in (True, False)
    )
    return Rates(named, others)


def _stakes(truths: Sequence[Truth], status: Status, weights: _Weights, named: bool) -> dict[str, float]:
    """The concepts whose stake exceeds `THRESHOLD`: where asserting them in every row would pay at that."""
    credits: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for truth in truths:
        for concept in sorted({name for finding, _ in truth.findings for name in kin(finding.concept)}):
            if (concept in truth.named) is named:
                fact = Fact(concept, status)
                match = truth.credit(fact)
                if find(truth, match) is not None:  # as if every detail were guessed right
                    credits[concept].append((truth.share, match.credit))
    stakes = {}
    for concept, found in credits.items():
        mean = sum(weight * credit for weight, credit in found) / weights.of(concept, named)
        if mean > THRESHOLD:
            stakes[concept] = round(-(-mean // _STEP) * _STEP, 4)
    return stakes


def _gains(truths: Sequence[Truth], named: bool) -> dict[str, float]:
    """What confirming an absence earns: what denying the concept loses in all rows, spread over those that ask it."""
    lost: dict[str, float] = defaultdict(float)
    asked: dict[str, float] = defaultdict(float)
    for truth in truths:
        for finding, _ in (*truth.findings, *truth.beside):
            if (finding.concept in truth.named) is named:
                lost[finding.concept] += truth.share * (1.0 - credit_of_denial(finding))
        for concept in truth.absent:
            if (concept in truth.named) is named:
                asked[concept] += truth.share
    return {name: round(min(MOST_GAIN, MARGIN * lost[name] / asked[name]), 4) for name in sorted(asked) if lost[name]}
