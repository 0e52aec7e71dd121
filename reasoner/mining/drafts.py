"""What questions are made from, and what they are before their chain is verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reasoner.mining.chains import deniable
from reasoner.schema import Chain, Finding, Step, Study, Turn


@dataclass(frozen=True)
class Read:
    """A study, what its report says, and how to word things."""

    study: Study
    findings: tuple[Finding, ...]
    mined: dict[str, str | None]
    style: str
    seed: int

    @property
    def labels(self) -> dict[str, str | None]:
        return self.study.labels or self.mined

    def deniable(self, name: str) -> bool:
        """Whether the class may be called absent: a distractor, or a No."""
        return deniable(name, self.findings)


@dataclass(frozen=True)
class Draft:
    """An example before its chain is verified; `chain` takes the attempt's number.

    `offered`: answers that the question names itself, as its choices. `prior`: whether an earlier image is shown.
    """

    question: str
    answer: str
    chain: Callable[[int], Chain]
    options: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()
    prior: bool = False
    stage: int | None = None
    context: tuple[Turn, ...] = ()
    #: The sentences of an answer in prose, which are verified like steps.
    said: tuple[Step, ...] = ()


def make_key(read: Read, task: str, number: int) -> tuple[object, ...]:
    """What the choices for one example depend on."""
    return (read.seed, read.study.study_id, task, number)
