"""What questions are made from, and what they are before their chain is verified."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from reasoner.errors import UserError
from reasoner.mining.chains import PLAIN, build_chain, deniable
from reasoner.mining.wording import CLASS_CONCEPT, choose, noun, with_article
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

LETTERS = "ABCDEF"
#: Steps that a systematic read may have besides, where the report gives them.
Extra = Literal["differential", "recommendation"]
EXTRAS: tuple[Extra, ...] = ("differential", "recommendation")
CHOICES, COMPARE = ("near", "level"), ("words", "reports")


@dataclass(frozen=True)
class Design:
    """How questions and chains are made, beside style and seed; the defaults are what every older data set has.

    `choices`: `near` offers what is easily confused with the right option, `level` (`level.py`) the same options
    whichever is right. `compare`: change is what the report's own `words` say of it, or what two `reports` tell
    (`comparison.py`). `steps`: of `EXTRAS`.
    """

    choices: str = "near"
    compare: str = "words"
    steps: tuple[str, ...] = ()


def check_design(design: Design) -> None:
    """Raises `UserError` for a value that is none of those above."""
    for name, values, known in (
        ("choices", (design.choices,), CHOICES),
        ("compare", (design.compare,), COMPARE),
        ("steps", design.steps, EXTRAS),
    ):
        if wrong := [value for value in values if value not in known]:
            raise UserError(f"data.{name}: '{wrong[0]}' is unknown; choose among {', '.join(known)}")


@dataclass(frozen=True)
class Read:
    """A study, what its report says, and how to word things."""

    study: Study
    findings: tuple[Finding, ...]
    mined: dict[str, str | None]
    style: str
    seed: int
    design: Design = field(default_factory=Design)

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

    def offerable(self, name: str) -> bool:
        """Whether the class is surely a wrong option: it may be called absent, and nobody verified that it is not."""
        return self.deniable(name) and self.labels[name] in ("absent", None)


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


def ask(read: Read, questions: Sequence[str], key: tuple[object, ...]) -> str:
    """One way to ask; always the first where chains have one wording, too."""
    return questions[0] if read.style in PLAIN else choose(questions, *key, "question")


def chain_of(
    read: Read, key: tuple[object, ...], classes: Collection[str] | None, conclusion: str | None
) -> Callable[[int], Chain]:
    """What `Draft.chain` is: the chain over these classes (None: the whole read) that ends in the conclusion."""

    def build(attempt: int) -> Chain:
        return build_chain(
            read.findings,
            style=read.style,
            key=key,
            classes=classes,
            conclusion=conclusion,
            attempt=attempt,
            study=read.study,
            extra=read.design.steps,
        )

    return build


def class_words(name: str) -> str:
    """A class as a question names it: `a pleural effusion`."""
    concept = CLASS_CONCEPT[name]
    if name == "Lung Lesion":
        return "a lung nodule or mass"
    return with_article(noun(concept), concept)


def lettered(words: Sequence[str]) -> tuple[str, ...]:
    """`A) words`, ..."""
    return tuple(f"{letter}) {option}" for letter, option in zip(LETTERS, words, strict=False))
