"""How one claim fares against what a text says: the matching behind RadRScore.

Credit is graded; the table of credits is in `docs/rewards.md`, its numbers are the constants here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from reasoner.findings import ancestors, concept_class, extract_report
from reasoner.findings.lexicon import load
from reasoner.findings.text import FINDING_SECTIONS, split_sections
from rewards.radrscore.claims import Claim, Fact, read_claims
from rewards.radrscore.details import (
    MISSING,
    WRONG,
    at_place,
    borne_out,
    count,
    degrees_agree,
    parted,
    place_of,
    together,
)
from rewards.radrscore.places import Placement
from rewards.radrscore.reading import read_reasoning

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
#: So many of the groups of mentions of a concept are searched for one that a mention adds to.
MOST_GROUPS = 16


@dataclass(slots=True)  # not frozen: many are made, and that takes three times as long
class Match:
    """`credit` in [0, 1] for agreeing with `other`, the finding that the other text states in `words`; None where it is
    silent. `place`: how the boxes agree, where that counts."""

    credit: float
    words: str = ""
    other: Fact | None = None
    place: Placement | None = None

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
        strict: for a completion. Of alternatives ("A or B") each is left open, and each mention of a finding stands for
            itself; a report has no reason to list many to have one right, and what it says of a finding in several
            places belongs together.
    """

    def __init__(
        self, claims: Sequence[Claim], about: Mapping[str, Sequence[str]] | None = None, strict: bool = False
    ) -> None:
        self.quotes = {claim.quote for claim in claims} if not strict else set()
        self._named: dict[str, list[Stated]] = {}
        self._below: dict[str, list[Stated]] = {}
        distinct: dict[str, Claim] = {}
        for claim in claims:
            if about is None or not about.keys().isdisjoint(claim.concepts):
                distinct.setdefault(claim.meaning.key, claim)
        self._whole = [claim for claim in distinct.values() if claim.general or claim.alternatives]
        there = _asserted(claims) if self._whole else frozenset()
        for claim in distinct.values():
            for fact in claim.facts:
                above = ancestors(fact.concept) if about is None else about.get(fact.concept)
                if above is None or (claim.general and fact.concept in there):
                    continue
                if claim.alternatives and strict:
                    fact = fact._replace(status="uncertain")
                stated = fact, claim.words
                self._named.setdefault(fact.concept, []).append(stated)
                for ancestor in above:
                    self._below.setdefault(ancestor, []).append(stated)
        if not strict:
            where = _places(fact for claim in distinct.values() for fact in claim.facts)
            for mentions in (*self._named.values(), *self._below.values()):
                mentions[:] = _joined([(_placed(fact, where), words) for fact, words in mentions])

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
        a wider normal statement, fewer alternatives. Less for both sides where the text speaks of one. With its words.
        """
        for said in self._whole:
            credit = 0.0
            if said.general and claim.general:
                credit = _restated(claim, said)
            elif said.alternatives and claim.alternatives and set(said.facts) <= set(claim.facts):
                credit = 1.0
            if credit:
                return Match(credit, said.words, said.facts[0])
        return None

    def opposes(self, gold: Fact) -> bool:
        """Whether the text names the finding with the opposite status, in the same place."""
        about = self._named.get(gold.concept)
        if about is None or gold.status not in OPPOSITE:
            return False
        opposite = OPPOSITE[gold.status]
        there = [said for said, _ in about if said.status == opposite]
        return bool(there) and not all(elsewhere(said, gold) for said in there)


@lru_cache(maxsize=4096)
def facts_of_report(report: str) -> Facts:
    """A report is read as such, without the ways of reasoning; but read out as reasoning it says the same."""
    facts = Facts(read_claims(report, extract_report(report)))
    for section in split_sections(report):
        if section.name in FINDING_SECTIONS:
            aloud = read_reasoning(report[section.start : section.end])
            facts.quotes.update(claim.quote for sentence in aloud for claim in sentence.claims)
    return facts


def _restated(claim: Claim, said: Claim) -> float:
    """How far one normal statement implies another."""
    if not claim.concepts <= said.concepts:
        return 0.0
    sides = {fact.concept: fact.laterality for fact in said.facts}
    pairs = {(fact.laterality, sides[fact.concept]) for fact in claim.facts}
    if all(theirs in (None, "bilateral", ours) for ours, theirs in pairs):
        return 1.0
    return WRONG if all(ours == "bilateral" for ours, _ in pairs) else 0.0


def _asserted(claims: Iterable[Claim]) -> frozenset[str]:
    """What is named as there, which outweighs a normal statement: "patchy infiltrate ... the lungs are otherwise
    clear"."""
    return frozenset().union(*{_upwards(claim.concepts) for claim in claims if claim.status != "absent"})


@lru_cache(maxsize=1 << 12)
def _upwards(concepts: frozenset[str]) -> frozenset[str]:
    return concepts.union(*map(ancestors, concepts))


def _places(facts: Iterable[Fact]) -> Mapping[str, set[Fact]]:
    """Findings that are there and have a place, by what they are and what they are kinds of."""
    where: dict[str, set[Fact]] = {}
    for fact in facts:
        if fact.details and fact.status != "absent" and place_of(fact.details):
            for name in (fact.concept, *ancestors(fact.concept)):
                where.setdefault(name, set()).add(fact)
    return where


def _placed(fact: Fact, where: Mapping[str, set[Fact]]) -> Fact:
    """ "Pneumonia." after "right lower lobe consolidation": the place is that of the finding it sums up, if only one of
    its side is a kind of it, or it of that."""
    if fact.status == "absent" or not where or place_of(fact.details):
        return fact
    above = (other for name in ancestors(fact.concept) for other in where.get(name, ()) if other.concept == name)
    near = {place_of(o.details) for o in (*where.get(fact.concept, ()), *above) if o.laterality == fact.laterality}
    return fact._replace(details=at_place(fact.details, near.pop())) if len(near) == 1 else fact


def _joined(mentions: Sequence[Stated]) -> list[Stated]:
    """Mentions that contradict each other in nothing are of one finding, which has the details of all; its words are
    those of the one with most."""
    groups: list[Stated] = []
    for fact, words in mentions:
        both = [(n, whole) for n, (other, _) in enumerate(groups[:MOST_GROUPS]) if (whole := _both(other, fact))]
        if len(both) == 1:  # which of two is meant is open
            n, whole = both[0]
            other, said = groups[n]
            groups[n] = whole, said if wealth(other) >= wealth(fact) else words
        else:
            groups.append((fact, words))
    return groups


@lru_cache(maxsize=1 << 14)
def _both(a: Fact, b: Fact) -> Fact | None:
    """The finding that both may be about; None if they contradict each other."""
    if a.concept != b.concept or a.status != b.status or a.status == "absent":
        return None
    pairs = list(zip(a[2:5], b[2:5], strict=True))
    agree, details = together(a.details, b.details)
    if not agree or any(ours and theirs and ours != theirs for ours, theirs in pairs):
        return None
    side, severity, change = (ours or theirs for ours, theirs in pairs)
    return Fact(a.concept, a.status, side, severity, change, details)


def wealth(fact: Fact) -> int:
    """How many details a fact has, its side included."""
    return sum(detail is not None for detail in fact[2:5]) + count(fact.details)


def _on_same(claim: Fact, about: Sequence[Stated]) -> Match | None:
    """The same concept in both; None when the text speaks only of another side, or denies it only for another place."""
    _, status, side, _, _, details = claim
    denial, placed = status == "absent", side or details
    credit = -1.0
    best: Stated | None = None
    refuted: Stated | None = None
    for stated in about:
        other = stated[0]
        absent = other.status == "absent"
        if placed and (denial or absent) and elsewhere(claim, other):
            continue
        if absent and not side and other.laterality and not (denial and _all_denied(about)):
            continue  # "no right effusion" backs no plain denial beside a left one, and refutes no plain assertion
        found = agreement(claim, other)
        if found > credit:
            credit, best = found, stated
            if found == 1.0:
                break
        if absent and found == 0.0:
            refuted = refuted or stated
    if best is None:
        return None
    if denial and credit == 1.0:
        asserted = (s for s in about if s[0].status == "present" and not elsewhere(claim, s[0]))
        disputed = next(asserted, None)
        return Match(credit, best[1], best[0]) if disputed is None else Match(DISPUTED, disputed[1], disputed[0])
    if refuted and 0.0 < credit < 1.0 and elsewhere(claim, best[0]):  # "no acute fracture", beside an old one
        best, credit = refuted, 0.0
    return Match(credit, best[1], best[0])


def _all_denied(about: Sequence[Stated]) -> bool:
    return all(other.status == "absent" for other, _ in about)


def _on_narrower(claim: Fact, about: Sequence[Stated]) -> Match | None:
    """Only kinds of the concept are spoken of. A kind that is present implies it; an absent one says little."""
    if claim.status != "absent":
        matches = [
            Match(VAGUER * agreement(claim, other), words, other) for other, words in about if other.status != "absent"
        ]
        return max(matches, key=lambda match: match.credit, default=None)
    there = [s for s in about if s[0].status != "absent" and not elsewhere(claim, s[0])]
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
    """How far finding b backs finding a of the same concept, in [0, 1], by its status, side, severity, change and finer
    details. What a does not claim needs no backing: vagueness costs completeness, where a is the reference's."""
    _, ours, side, severity, change, details = a
    _, theirs, other_side, other_severity, other_change, other_details = b
    credit = 1.0 if ours == theirs else HEDGED.get((ours, theirs), 0.0)
    if credit == 0.0 or ours == "absent" or theirs == "absent":
        return credit
    if side and side != other_side:
        credit *= MISSING if other_side is None else 0.0 if apart(side, other_side) else WRONG
    if severity and severity != other_severity:
        credit *= MISSING if other_severity is None else degrees_agree(severity, other_severity)
    if change and change != other_change:
        credit *= MISSING if other_change is None else WRONG
    return credit * borne_out(details, other_details) if details and details != other_details else credit


def apart(a: str | None, b: str | None) -> bool:
    return (a == "left" and b == "right") or (a == "right" and b == "left")


def elsewhere(a: Fact, b: Fact) -> bool:
    """Whether two facts speak of different sides, ages or places, so that one may be there and the other not."""
    if a.laterality and b.laterality and apart(a.laterality, b.laterality):
        return True
    return bool(a.details and b.details and parted(a.details, b.details))


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
