"""What one phrase asserts: facts and claims, the units that the process rewards compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, product
from typing import NamedTuple

from reasoner.schema import Finding, Status


class Fact(NamedTuple):
    """What of a finding the rewards compare; a hashable key of it, too."""

    concept: str
    status: Status
    laterality: str | None = None
    severity: str | None = None
    change: str | None = None

    @classmethod
    def of(cls, finding: Finding) -> Fact:
        return cls(finding.concept, finding.status, finding.laterality, finding.severity, finding.change)


_NUMBERS: dict[tuple, int] = {}
_COUNT = count()


def _number(meaning: tuple) -> int:
    return _NUMBERS.setdefault(meaning, next(_COUNT))


@lru_cache(maxsize=1 << 14)
def _gists(subject: int, *details: str | None) -> tuple[int, frozenset[int]]:
    """The numbers of a claim with these details, and of all that it implies."""
    implied = frozenset(_number((subject, vaguer)) for vaguer in product(*({None, detail} for detail in details)))
    return _number((subject, details)), implied


@dataclass(frozen=True, slots=True)
class Claim:
    """What one phrase asserts: its facts share a status and the words `sentence[start:end]`.

    A normal statement ("the lungs are clear") denies several concepts at once and is one `general` claim: absences that
    are implied rather than named. Claims of equal `subject` say the same of the same concepts, those of equal `gist`
    with the same side, severity and change (of the first), those of equal `meaning` altogether; `implied` are the gists
    of what it says at least: its own, and those with any of these details left out. All are numbers, to be fast.
    """

    facts: tuple[Fact, ...]
    status: Status
    concepts: frozenset[str]
    words: str
    start: int
    end: int
    general: bool
    subject: int
    gist: int
    implied: frozenset[int]
    meaning: int

    @classmethod
    def of(cls, facts: Sequence[Fact], words: str, start: int) -> Claim:
        first = facts[0]
        concepts = frozenset(fact.concept for fact in facts)
        subject = _number((concepts, first.status))
        gist, implied = _gists(subject, first.laterality, first.severity, first.change)
        return cls(
            tuple(facts),
            first.status,
            concepts,
            words,
            start,
            start + len(words),
            len(facts) > 1 and first.status == "absent",
            subject,
            gist,
            implied,
            _number(tuple(facts)),
        )


def read_claims(text: str, findings: Iterable[Finding]) -> tuple[Claim, ...]:
    """Findings of `text`, grouped by the words that make them, in the order of the text."""
    groups: dict[tuple[int, int, str], list[Fact]] = {}
    for finding in findings:
        span = finding.evidence
        if span is not None:
            groups.setdefault((span.start, span.end, finding.status), []).append(Fact.of(finding))
    return tuple(Claim.of(group, text[start:end], start) for (start, end, _), group in groups.items())
