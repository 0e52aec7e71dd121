"""How one claim fares against what a text says: the matching behind RadRScore.

Credit is graded; the table of credits is in `docs/rewards.md`, its numbers are the constants here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from reasoner.findings import ancestors, concept_class, extract_report, kin
from reasoner.findings.lexicon import load
from rewards.radrscore.claims import Claim, Fact, read_claims
from rewards.radrscore.reading import Sentence, read_reasoning
from rewards.radrscore.terms import terms

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
#: What a pair of words weighs beside a word: its two.
PAIR = 2.0
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


SILENT = Match(0.0)
OPPOSITE: dict[str, str] = {"present": "absent", "absent": "present"}
#: A finding and the words that state it.
Stated = tuple[Fact, str]


class Facts:
    """What a text says, ready to be asked about one finding after another.

    Args:
        claims: of the text, in its order.
        about: the concepts that matter to what will be asked, each with those of its ancestors that will be asked
            about; by default all.
    """

    def __init__(self, claims: Iterable[Claim], about: Mapping[str, Sequence[str]] | None = None) -> None:
        self._named: dict[str, list[Stated]] = {}
        self._below: dict[str, list[Stated]] = {}
        self._normal: list[tuple[frozenset[str], str]] = []
        distinct: dict[int, Claim] = {}
        for claim in claims:
            distinct.setdefault(claim.meaning, claim)
        # What is named as there outweighs a normal statement: "patchy infiltrate ... the lungs are otherwise clear".
        there = {f.concept for claim in distinct.values() if claim.status != "absent" for f in claim.facts}
        there.update(*map(ancestors, there))
        for claim in distinct.values():
            if claim.general:
                self._normal.append((claim.concepts, claim.words))
            for fact in claim.facts:
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
        """Full credit for a normal statement that the text makes too, with the words of its own."""
        words = next((words for concepts, words in self._normal if claim.concepts <= concepts), None)
        return Match(1.0, words, claim.facts[0]) if words else None

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


class Topic(NamedTuple):
    """A sentence of the reference: its stems and pairs, each with its weight and the concept that it (each of the two)
    helps to name; those concepts; the sum of the weights."""

    sentence: Sentence
    stems: tuple[tuple[str, float, str | None], ...]
    pairs: tuple[tuple[tuple[str, str], float, str | None, str | None], ...]
    named: frozenset[str]
    weight: float


class Reference(NamedTuple):
    """A reference chain, read once for all completions of its row.

    `about` holds the concepts that bear on its claims, each with those of its ancestors that it makes claims about;
    `terms` counts its terms; `times` says how often it makes each claim.
    """

    facts: Facts
    topics: tuple[Topic, ...]
    terms: int
    about: dict[str, tuple[str, ...]]
    times: Counter[int]


@lru_cache(maxsize=4096)
def read_reference(text: str) -> Reference:
    sentences = read_reasoning(text)
    times: Counter[str | tuple[str, str]] = Counter()
    known: set[str] = set()
    topics = []
    for sentence in sentences:
        found = terms(sentence.words)
        times.update((*found.stems, *found.pairs))
        stems = tuple((stem, _another(times[stem]), name) for stem, name in found.stems.items())
        pairs = tuple((p, PAIR * _another(times[p]), found.stems[p[0]], found.stems[p[1]]) for p in sorted(found.pairs))
        if sentence.claims or stems:
            weight = sum(worth for _, worth, _ in stems) + sum(worth for _, worth, _, _ in pairs)
            named = frozenset(name.removeprefix("concept:") for _, _, name in stems if name)
            topics.append(Topic(sentence, stems, pairs, named, weight))
        known |= found.single
    said = [claim for sentence in sentences for claim in sentence.claims]
    concepts = {concept for claim in said for concept in claim.concepts}
    return Reference(
        Facts(said),
        tuple(topics),
        len(known),
        {name: tuple(a for a in ancestors(name) if a in concepts) for name in set().union(*map(kin, concepts))},
        Counter(claim.subject for claim in said),
    )


def _another(times: int) -> float:
    """What the n-th sentence with a term adds to the term's weight: n sentences weigh sqrt(n) in all."""
    return float(times**0.5 - (times - 1) ** 0.5)


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
        if status is None:
            return None
        credit = 1.0 if status == claim.status else HEDGED.get((claim.status, status), 0.0)
        return Match(credit, f"verified: {name} {status}", Fact(claim.concept, status))  # type: ignore[arg-type]


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
