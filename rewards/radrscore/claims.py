"""What one phrase asserts: facts and claims, the units that the process rewards compare."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from reasoner.findings import ancestors, region
from reasoner.findings.lexicon import implied
from reasoner.findings.replies import read_line
from reasoner.schema import Finding, Status
from rewards.radrscore.details import further_details, vaguer, written

DEVICES = "devices"
NONE: Mapping[str, str] = {}


class Fact(NamedTuple):
    """What of a finding the rewards compare; a hashable key of it, too. `details` are the finer ones, as
    `rewards.radrscore.details` writes them."""

    concept: str
    status: Status
    laterality: str | None = None
    severity: str | None = None
    change: str | None = None
    details: str | None = None

    @classmethod
    def of(cls, finding: Finding, more: Mapping[str, str] = NONE) -> Fact:
        """With what `further_details` tells of it. An absence has an age and a place at most."""
        place = finding.location
        if place and region(finding.concept) == DEVICES:  # a device is where its tip is
            place = None
        details: Mapping[str, str | None] = {"acuity": finding.acuity, "location": place}
        if finding.status != "absent":
            details = {**more, **details, "size": finding.size, "tip": finding.tip or more.get("tip")}
        where = finding.concept, finding.status, finding.laterality
        return cls(*where, finding.severity, finding.change, written(details))


class Meaning(NamedTuple):
    """What a claim says, as strings: they compare by value, in every process, and as fast as numbers.

    A claim says nothing new where what was said before it implies one of `implied_by`. `subject` is without details:
    which concepts, and whether they are there.
    """

    key: str
    subject: str
    implies: frozenset[str]
    implied_by: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)  # compared by `meaning` or by `quote`, which is fast
class Claim:
    """What one phrase asserts: its facts share a status and the words `sentence[start:end]`.

    A normal statement ("the lungs are clear") denies several concepts at once and is one `general` claim: absences that
    are implied rather than named. "A nodule or a mass" is one claim, too, with `alternatives`: true if either is there.
    Several facts otherwise are names of one thing ("nodular opacity"). Claims of equal `quote` say the same in the same
    words.
    """

    facts: tuple[Fact, ...]
    status: Status
    concepts: frozenset[str]
    words: str
    start: int
    end: int
    general: bool
    alternatives: bool
    meaning: Meaning
    quote: str

    @classmethod
    def of(cls, facts: Sequence[Fact], words: str, start: int, alternatives: bool = False) -> Claim:
        meaning = _meaning(tuple(facts), alternatives)
        return cls(
            tuple(facts),
            facts[0].status,
            frozenset(fact.concept for fact in facts),
            words,
            start,
            start + len(words),
            len(facts) > 1 and facts[0].status == "absent",
            alternatives,
            meaning,
            sys.intern(f"{meaning.key}: {words.lower()}"),
        )


def read_claims(text: str, findings: Iterable[Finding]) -> tuple[Claim, ...]:
    """Findings of `text`, grouped by the words that make them, in the order of the text."""
    findings = tuple(findings)
    more = further_details(text, findings)
    groups: dict[tuple[int, int, str, str], list[Fact]] = {}
    # A hydropneumothorax is two claims: there is an effusion, and there is a pneumothorax.
    twofold = {f.evidence for f in findings if f.status != "absent" and len(implied(f.concept)) > 1}
    for n, finding in enumerate(findings):
        span = finding.evidence
        if span is not None and not (span in twofold and len(implied(finding.concept)) > 1):
            fact = Fact.of(finding, more.get(n, NONE))
            apart = finding.concept if span in twofold else ""
            groups.setdefault((span.start, span.end, finding.status, apart), []).append(fact)
    claims = []
    for (start, end, status, _), facts in groups.items():
        words = text[start:end]
        alternatives = status != "absent" and len(facts) > 1 and _OR.search(words) is not None
        claims.append(Claim.of(facts, words, start, alternatives))
    return tuple(claims)


#: The extractor gives alternatives ("a nodule or mass") one span, as the names of one thing ("nodular opacity").
_OR = re.compile(r"\b(?:or|versus|vs)\b|/", re.IGNORECASE)


@lru_cache(maxsize=1 << 14)
def _meaning(facts: tuple[Fact, ...], alternatives: bool) -> Meaning:
    """A presence implies all that is vaguer; an absence is implied by the absence of all that is vaguer, and what is
    denied in a place or as acute is denied."""
    own = frozenset(map(_key, facts))
    key = sys.intern((" or " if alternatives else " and ").join(sorted(own)))
    status = facts[0].status
    subject = sys.intern(f"{status} {' '.join(sorted({fact.concept for fact in facts}))}")
    whole = frozenset({key})
    if alternatives:
        return Meaning(key, subject, whole, whole | own)
    if status != "absent":
        return Meaning(key, subject, whole.union(*map(_vaguer, facts)), whole)
    if len(facts) > 1:  # a normal statement implies what it does not name; naming that is no repetition
        return Meaning(key, subject, whole, whole)
    plain = facts[0]._replace(details=None)
    return Meaning(key, subject, whole | {_key(plain)}, whole | _vaguer(plain))


@lru_cache(maxsize=1 << 14)
def _vaguer(fact: Fact) -> frozenset[str]:
    """The keys of the fact, and of all with less detail, of its concept or one that it is a kind of."""
    names = (fact.concept, *ancestors(fact.concept))
    some = product(*({None, detail} for detail in fact[2:5]), vaguer(fact.details))
    return frozenset(_key(Fact(name, fact.status, *details)) for details in some for name in names)


def _key(fact: Fact) -> str:
    return sys.intern("/".join(part or "" for part in fact))


@lru_cache(maxsize=1 << 15)
def claims_of(sentence: str, head: str) -> tuple[Claim, ...]:
    """What the words of a sentence under a heading claim, be they a plan or not; offsets are within it."""
    found = read_line(sentence, head)
    doubtful = {finding.evidence for finding in found if finding.status == "uncertain"}
    # Of "atelectasis versus pneumonia" either may be so: one claim, as doubtful as its parts.
    settled = [replace(f, status="uncertain") if f.status == "present" and f.evidence in doubtful else f for f in found]
    return read_claims(sentence, settled)
