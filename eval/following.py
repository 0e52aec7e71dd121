"""Whether the answer follows from the chain: the answer that the claims of the reasoning imply, beside the one given.

Claims are read by the extractor, answers by the rules of the answer reward. In words: docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from reasoner.findings import QUALITY, ancestors, concept_class, extract_text, kin, region
from reasoner.mining.chains import GENERAL
from reasoner.mining.questions import REGIONS, TEMPORAL_ANSWERS
from reasoner.mining.wording import CLASS_CONCEPT
from reasoner.prompts import parse_completion
from reasoner.schema import NO_FINDING, Change, Status
from rewards.answers import LIST_TASK, parse_class_list
from rewards.answers.choices import change, chosen, compiled
from rewards.answers.yes_no import yes_or_no
from rewards.radrscore.claims import Claim, Fact
from rewards.radrscore.reading import named

#: What an answer says: classes, letters of options, a change, `yes` or `no`.
Said = frozenset[str]
_ANY_ABNORMALITY = "Is there any abnormality?"


class Asked(NamedTuple):
    """A question, and the facts that the reasoning claims."""

    question: str
    options: tuple[str, ...]
    facts: Sequence[Fact]

    @property
    def meanings(self) -> Mapping[str, str]:
        """Letters of options by what they mean."""
        return compiled(self.options).meanings

    def inside(self) -> list[Fact]:
        """The facts of the region that the question is about; all where it names none."""
        where = next((name for name, words in REGIONS.items() if f"the {words}" in self.question), None)
        return [fact for fact in self.facts if where in (None, region(fact.concept))]


class Implied(NamedTuple):
    """What the answer is to say, and what it may say or not because the reasoning leaves it open."""

    said: Said
    free: Said = frozenset()


def following_statistics(row: Mapping[str, Any], claims: Sequence[Claim]) -> dict[str, float]:
    """Counts of a prediction row that makes these claims: whether its answer follows from them, and whether that is
    undecidable; none for a task without a rule."""
    if row["task"] not in _RULES:
        return {}
    follows = answer_follows(row, claims)
    counts = {"n:answer_undecidable": 1.0, "sum:answer_undecidable": float(follows is None)}
    return counts if follows is None else counts | {"n:answer_follows": 1.0, "sum:answer_follows": float(follows)}


def answer_follows(row: Mapping[str, Any], claims: Sequence[Claim]) -> bool | None:
    """Whether the answer is what the claims imply; None where they imply none, or more than one, and where the answer
    cannot be read."""
    facts = [
        fact._replace(status="uncertain") if claim.alternatives else fact
        for claim in claims
        for fact in claim.facts
        if region(fact.concept) != QUALITY
    ]
    asked = Asked(row["question"] or "", tuple(row["options"] or ()), facts)
    answer = parse_completion(row["completion"]).answer
    imply, read = _RULES[row["task"]]
    implied = imply(asked) if facts and answer else None
    given = read(asked, answer) if implied and answer else frozenset()
    return given - implied.free == implied.said - implied.free if implied and given else None


# What the claims imply


def _list(asked: Asked) -> Implied | None:
    return _classes(asked.facts)


def _classes(facts: Sequence[Fact]) -> Implied | None:
    """The classes that are asserted; `No Finding` where none is. Hedged ones are free."""
    by_status = {s: {concept_class(f.concept) for f in facts if f.status == s} for s in ("present", "uncertain")}
    present = frozenset(name for name in by_status["present"] if name)
    free = frozenset(name for name in by_status["uncertain"] if name) - present
    if present:
        return Implied(present, free)
    vague = any(fact.concept in GENERAL and fact.status != "absent" for fact in facts)
    return None if vague else Implied(frozenset([NO_FINDING]), free | ({NO_FINDING} if free else set()))


def _yes_no(asked: Asked) -> Implied | None:
    """By the status of what is asked about."""
    topics = set(named(asked.question)) or {finding.concept for finding in extract_text(asked.question)}
    status = _whole(asked.facts) if topics <= GENERAL else _status(asked.facts, topics)
    return _meant(asked, {"present": "yes", "absent": "no"}.get(status or ""))


def _anomaly(asked: Asked) -> Implied | None:
    """Abnormal where a finding is asserted, normal where all is denied."""
    status = _whole(asked.inside())
    normal, abnormal = (NO_FINDING, "abnormal") if asked.options and NO_FINDING in asked.meanings else ("no", "yes")
    return _meant(asked, {"present": abnormal, "absent": normal}.get(status or ""))


def _one(asked: Asked) -> Implied | None:
    """The one option that is asserted."""
    implied = _several(asked)
    return Implied(implied.said) if implied and len(implied.said) == 1 else None


def _several(asked: Asked) -> Implied | None:
    """The options that are asserted; `No Finding` where nothing is. Without options the classes of the region."""
    if not asked.options:
        return _classes(asked.inside())
    normal = asked.meanings.get(NO_FINDING)
    status = {
        label: _status(asked.facts, _concepts(words))
        for label, words in compiled(asked.options).words.items()
        if label != normal
    }
    present = frozenset(label for label in status if status[label] == "present")
    if not present and normal and _whole(asked.facts) == "absent":
        present = frozenset([normal])
    free = frozenset(label for label in status if status[label] == "uncertain")
    return Implied(present, free) if present else None


def _change(asked: Asked) -> Implied | None:
    """The one change that is told of what is asked about."""
    about = {concept for name in named(asked.question) for concept in kin(name)}
    told = {fact.change for fact in asked.facts if fact.change and fact.concept in about}
    return _meant(asked, TEMPORAL_ANSWERS[cast(Change, told.pop())]) if len(told) == 1 else None


def _meant(asked: Asked, meaning: str | None) -> Implied | None:
    """An answer in words, or the letter of the option that means it."""
    said = asked.meanings.get(meaning or "") if asked.options else meaning
    return Implied(frozenset([said])) if said else None


def _concepts(words: str) -> set[str]:
    return {*named(words), *(CLASS_CONCEPT[name] for name in parse_class_list(words).classes if name in CLASS_CONCEPT)}


def _status(facts: Iterable[Fact], topics: Iterable[str]) -> Status | None:
    """What is claimed of any of some concepts: a kind of one, or a finding of its class, stands for it, and the denial
    of what it is a kind of denies it. None where nothing is claimed."""
    concepts = set(topics)
    classes = {concept_class(concept) for concept in concepts} - {None}
    above = concepts.union(*map(ancestors, concepts))
    found: set[Status] = set()
    for fact in facts:
        if fact.status == "absent":
            found |= {fact.status} if fact.concept in above else set()
        elif concept_class(fact.concept) in classes or not concepts.isdisjoint(
            (fact.concept, *ancestors(fact.concept))
        ):
            found.add(fact.status)
    return _strongest(found)


def _whole(facts: Iterable[Fact]) -> Status | None:
    return _strongest({fact.status for fact in facts})


def _strongest(found: Iterable[Status]) -> Status | None:
    order: tuple[Status, ...] = ("present", "uncertain", "absent")
    return next((status for status in order if status in found), None)


# What the answer says


def _said_classes(asked: Asked, answer: str) -> Said:
    classes, unknown = parse_class_list(answer)
    return frozenset((*classes, *unknown))


def _said_one(asked: Asked, answer: str) -> Said:
    return frozenset(chosen(answer, asked.options, asked.question, True).clear)


def _said_several(asked: Asked, answer: str) -> Said:
    if not asked.options:
        return _said_classes(asked, answer)
    return frozenset(chosen(answer, asked.options, asked.question).clear)


def _said_yes_no(asked: Asked, answer: str) -> Said:
    return _said_one(asked, answer) if asked.options else _word(yes_or_no(answer, asked.question))


def _said_anomaly(asked: Asked, answer: str) -> Said:
    return _said_one(asked, answer) if asked.options else _word(yes_or_no(answer, _ANY_ABNORMALITY))


def _said_change(asked: Asked, answer: str) -> Said:
    return _said_one(asked, answer) if asked.options else _word(change(answer))


def _word(said: str | None) -> Said:
    return frozenset([said] if said else ())


#: By task: what the claims imply, and what the answer says.
_RULES: dict[str, tuple[Callable[[Asked], Implied | None], Callable[[Asked, str], Said]]] = {
    LIST_TASK: (_list, _said_classes),
    "binary": (_yes_no, _said_yes_no),
    "single": (_one, _said_one),
    "multiple": (_several, _said_several),
    "anomaly": (_anomaly, _said_anomaly),
    "temporal": (_change, _said_change),
}
