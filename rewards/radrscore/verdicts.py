"""How one claim fares against what a text says: the matching behind RadRScore.

Credit is graded; the table of credits is in `docs/rewards.md`, its numbers are the constants here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from reasoner.findings import ancestors, concept_class, extract_report
from reasoner.findings.lexicon import load
from rewards.radrscore.claims import Claim, Fact, read_claims

Verdict = Literal["supported", "partial", "contradicted", "unsupported", "repeated", "missed"]

#: The claim names an ancestor of the reference's concept ("opacity" for "pneumonia"): true, but vaguer.
VAGUER = 0.75
#: The claim names a descendant of it: more than the reference says.
NARROWER = 0.5
#: One of present and absent against a hedge.
HEDGED: dict[tuple[str, str], float] = {
    ("present", "uncertain"): 0.5,
    ("uncertain", "present"): 0.5,
    ("absent", "uncertain"): 0.25,
    ("uncertain", "absent"): 0.25,
}
#: A denial where the text both denies and asserts: reports deny by habit and assert on purpose.
DISPUTED = 0.5
#: A detail that only one of the two gives; one that both give, differently (a wrong side is 0: another finding).
DETAIL_MISSING, DETAIL_WRONG = 0.8, 0.5
_DEGREES = {"trace": 0, "minimal": 0, "small": 1, "mild": 1, "borderline": 1, "moderate": 2, "large": 3, "severe": 3}


@dataclass(slots=True)  # not frozen: many are made, and that takes three times as long
class Match:
    """`credit` in [0, 1] for agreeing with `other`, the finding that the other text states in `words`; None where it is
    silent."""

    credit: float
    words: str = ""
    other: Fact | None = None

    @property
    def verdict(self) -> Verdict:
        if self.credit >= 1.0:
            return "supported"
        if self.other is None:
            return "unsupported"
        return "partial" if self.credit > 0.0 else "contradicted"


SILENT = Match(0.0)


def best_of(matches: Sequence[Match]) -> Match:
    """The one of the highest credit, of equals the first that has words for it."""
    return matches[0] if len(matches) == 1 else max(matches, key=lambda match: (match.credit, match.other is not None))


OPPOSITE: dict[str, str] = {"present": "absent", "absent": "present"}
#: A finding and the words that state it.
Stated = tuple[Fact, str]


class Facts:
    """What a text says, ready to be asked about one finding after another.

    Args:
        claims: of the text, in its order.
        about: the concepts that matter to what will be asked, each with those of its ancestors that will be asked
            about; by default all.
        strict: whether of alternatives ("A or B") each is left open; else each is taken as said, as befits a report,
            which has no reason to list many to have one right.
    """

    def __init__(
        self, claims: Sequence[Claim], about: Mapping[str, Sequence[str]] | None = None, strict: bool = False
    ) -> None:
        self.quotes = {claim.quote for claim in claims}
        self._named: dict[str, list[Stated]] = {}
        self._below: dict[str, list[Stated]] = {}
        self._whole: list[Claim] = []
        distinct: dict[str, Claim] = {}
        for claim in claims:
            distinct.setdefault(claim.meaning.key, claim)
        # What is named as there outweighs a normal statement: "patchy infiltrate ... the lungs are otherwise clear".
        there = {f.concept for claim in distinct.values() if claim.status != "absent" for f in claim.facts}
        there.update(*map(ancestors, there))
        for claim in distinct.values():
            if claim.general or claim.alternatives:
                self._whole.append(claim)
            for fact in claim.facts:
                if claim.alternatives and strict:
                    fact = fact._replace(status="uncertain")
                above = ancestors(fact.concept) if about is None else about.get(fact.concept)
                if above is None or (claim.general and fact.concept in there):
                    continue
                stated = fact, claim.words
                self._named.setdefault(fact.concept, []).append(stated)
                for ancestor in above:
                    self._below.setdefault(ancestor, []).append(stated)

    def match(self, claim: Fact) -> Match:
        """The best that the text has to say on the finding: on its concept, else on narrower, else on wider ones."""
        concept = claim.concept
        about = self._named.get(concept)
        match = _on_same(claim, about) if about else None
        if match is None:
            about = self._below.get(concept)
            match = _on_narrower(claim, about) if about else None
        if match is None:
            for ancestor in ancestors(concept):
                about = self._named.get(ancestor)
                match = _on_wider(claim, about) if about else None
                if match is not None:
                    return match
        return match or SILENT

    def restates(self, claim: Claim) -> Match | None:
        """Full credit for a normal statement or alternatives that the text states too, or that what it states implies:
        a wider normal statement, fewer alternatives. With the words of its own."""
        for said in self._whole:
            if said.general and claim.general:
                implied = claim.concepts <= said.concepts
            else:
                implied = said.alternatives and claim.alternatives and set(said.facts) <= set(claim.facts)
            if implied:
                return Match(1.0, said.words, said.facts[0])
        return None

    def opposes(self, gold: Fact) -> bool:
        """Whether the text names the finding with the opposite status, on the same side."""
        about = self._named.get(gold.concept)
        if about is None or gold.status not in OPPOSITE:
            return False
        opposite = OPPOSITE[gold.status]
        return any(said.status == opposite and not apart(said.laterality, gold.laterality) for said, _ in about)


@lru_cache(maxsize=4096)
def facts_of_report(report: str) -> Facts:
    return Facts(read_claims(report, extract_report(report)))


def _on_same(claim: Fact, about: Sequence[Stated]) -> Match | None:
    """The same concept in both; None when the text speaks only of the other side."""
    side, denial = claim.laterality, claim.status == "absent"
    best: Match | None = None
    for other, words in about:
        _, status, theirs, _, _ = other
        if theirs and (denial or status == "absent") and apart(side, theirs):
            continue
        if theirs and not side and status == "absent" and not (denial and _all_denied(about)):
            continue  # "no right effusion" backs no plain denial beside a left one, and refutes no plain assertion
        credit = agreement(claim, other)
        if best is None or credit > best.credit:
            best = Match(credit, words, other)
            if credit == 1.0:
                break
    if best and denial and best.credit == 1.0:
        asserted = [s for s in about if s[0].status == "present" and not apart(side, s[0].laterality)]
        return Match(DISPUTED, asserted[0][1], asserted[0][0]) if asserted else best
    return best


def _all_denied(about: Sequence[Stated]) -> bool:
    return all(other.status == "absent" for other, _ in about)


def _on_narrower(claim: Fact, about: Sequence[Stated]) -> Match | None:
    """Only kinds of the concept are spoken of. A kind that is present implies it; an absent one says little."""
    if claim.status != "absent":
        matches = [
            Match(VAGUER * agreement(claim, other), words, other) for other, words in about if other.status != "absent"
        ]
        return max(matches, key=lambda match: match.credit, default=None)
    there = [s for s in about if s[0].status != "absent" and not apart(claim.laterality, s[0].laterality)]
    if there:
        hedged = all(other.status == "uncertain" for other, _ in there)
        other, words = there[0]
        return Match(HEDGED["absent", "uncertain"] if hedged else 0.0, words, other)
    return next((Match(NARROWER, words, other) for other, words in about if other.status == "absent"), None)


def _on_wider(claim: Fact, said: Sequence[Stated]) -> Match | None:
    """Only an ancestor is spoken of. Its absence implies that this one is absent; its presence leaves this one open."""
    best: Match | None = None
    for other, words in said:
        if claim.status == "absent":
            if other.status != "absent":
                continue
            credit = 1.0
        else:
            credit = NARROWER * agreement(claim, other)
        if best is None or credit > best.credit:
            best = Match(credit, words, other)
    return best


def agreement(a: Fact, b: Fact) -> float:
    """How far finding b backs finding a of the same concept, in [0, 1]: status, then side, severity, change."""
    _, ours, side, severity, change = a
    _, theirs, other_side, other_severity, other_change = b
    credit = 1.0 if ours == theirs else HEDGED.get((ours, theirs), 0.0)
    if credit == 0.0 or ours == "absent" or theirs == "absent":
        return credit
    return credit * _side(side, other_side) * _severity(severity, other_severity) * _detail(change, other_change)


def apart(a: str | None, b: str | None) -> bool:
    return (a == "left" and b == "right") or (a == "right" and b == "left")


def _side(a: str | None, b: str | None) -> float:
    if apart(a, b):
        return 0.0
    return _detail(a, b)


def _severity(a: str | None, b: str | None) -> float:
    if a and b and a != b and abs(_DEGREES.get(a, 1) - _DEGREES.get(b, 1)) < 2:
        return 1.0 if _DEGREES.get(a) == _DEGREES.get(b) else DETAIL_MISSING
    return _detail(a, b)


def _detail(a: str | None, b: str | None) -> float:
    """What a does not claim needs no backing: vagueness costs completeness, where a is the reference's finding."""
    if a is None or a == b:
        return 1.0
    return DETAIL_MISSING if b is None else DETAIL_WRONG


class Labels:
    """Verified labels of the study, asked about one finding. They know classes, not sides."""

    def __init__(self, labels: Mapping[str, str | None] | None):
        self.labels = labels or {}

    def match(self, claim: Fact) -> Match | None:
        """None where the labels say nothing about the finding's class."""
        if not self.labels:
            return None
        name = concept_class(claim.concept)
        status = self.labels.get(name) if name else None
        if claim.status != "absent" and status != "present" and name:
            narrower = next((n for n in classes_below().get(name, ()) if self.labels.get(n) == "present"), None)
            if narrower:
                credit = VAGUER * HEDGED.get((claim.status, "present"), 1.0)
                return Match(credit, f"verified: {narrower} present", Fact(claim.concept, "present"))
        if status is None or (claim.status == "absent" != status and _is_kind(claim.concept)):
            return None  # "no rib fracture" says little of fractures
        credit = 1.0 if status == claim.status else HEDGED.get((claim.status, status), 0.0)
        return Match(credit, f"verified: {name} {status}", Fact(claim.concept, status))  # type: ignore[arg-type]

    def refute(self, claim: Claim) -> bool:
        """Whether they deny it: any of the absences that it claims, or all of the alternatives."""
        if not self.labels:
            return False
        wrong = [match is not None and match.credit == 0.0 for match in map(self.match, claim.facts)]
        return all(wrong) if claim.alternatives else any(wrong)


@cache
def _is_kind(concept: str) -> bool:
    """Whether the concept's class has a wider one, which its denial leaves open."""
    return any(concept_class(ancestor) == concept_class(concept) for ancestor in ancestors(concept))


@lru_cache(maxsize=1)
def classes_below() -> dict[str, tuple[str, ...]]:
    """For each CheXpert class the classes whose concepts are kinds of it, from the lexicon's hierarchy."""
    below: dict[str, set[str]] = {}
    for name, concept in load().concepts.items():
        for ancestor in ancestors(name):
            wider = concept_class(ancestor)
            if wider and concept.label and wider != concept.label:
                below.setdefault(wider, set()).add(concept.label)
    return {name: tuple(sorted(kinds)) for name, kinds in below.items()}
