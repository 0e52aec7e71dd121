"""What questions are made from, and what they are before their chain is verified."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

from reasoner.mining.chains import deniable
from reasoner.schema import (
    CLASSES,
    NO_FINDING,
    Chain,
    Finding,
    Step,
    Study,
    Target,
    Turn,
    complete_labels,
    verified_labels,
)


@dataclass(frozen=True)
class Read:
    """A study, what its report says, and how to word things."""

    study: Study
    findings: tuple[Finding, ...]
    mined: dict[str, str | None]
    style: str
    seed: int

    @cached_property
    def labels(self) -> dict[str, str | None]:
        """Of all classes: the verified ones, and where nobody verified, what the report says."""
        verified = verified_labels(self.study.labels, None)
        return complete_labels(verified, self.mined) if verified else self.mined

    @cached_property
    def disputed(self) -> tuple[str, ...]:
        """The classes that the report asserts and the verified labels deny, or the reverse. Silence denies nothing."""
        opposed = {"present", "absent"}
        return tuple(n for n in CLASSES if n != NO_FINDING and {self.mined[n], self.labels[n]} == opposed)

    def deniable(self, name: str) -> bool:
        """Whether the class may be called absent: a distractor, or a No."""
        return deniable(name, self.findings)


@dataclass(frozen=True)
class Draft:
    """An example before its chain is verified; `chain` takes the attempt's number.

    `offered`: answers that the question names itself, as its choices. `prior`: whether an earlier image is shown.
    `classes`: those that the question is about, its options among them.
    """

    question: str
    answer: str
    chain: Callable[[int], Chain]
    options: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()
    prior: bool = False
    stage: int | None = None
    classes: Collection[str] = CLASSES
    context: tuple[Turn, ...] = ()
    #: How the answer is graded, where the task does not say.
    target: Target | None = None
    #: The sentences of an answer in prose, which are verified like steps.
    said: tuple[Step, ...] = ()


def make_key(read: Read, task: str, number: int) -> tuple[object, ...]:
    """What the choices for one example depend on."""
    return (read.seed, read.study.study_id, task, number)
