"""What a text says about a finding, as the reader reads it, and whether that is what was expected."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.reading_grammar.words import THINGS
from reasoner.findings import ancestors
from rewards.radrscore.claims import Fact
from rewards.radrscore.reading import read_reasoning

DEGREES = frozenset(degree for thing in THINGS for degree in thing.severities) | {"minimal", "trace", "borderline"}
STATUSES = ("present", "absent", "uncertain")


class Expected(NamedTuple):
    """What a text is to say of a concept: one of `allowed` (`none`: nothing) and the details where it is present."""

    concept: str
    allowed: frozenset[str]
    side: str | None = None
    severity: str | None = None
    change: str | None = None


def facts_about(text: str, concept: str) -> list[Fact]:
    """The facts of a text that settle something about a concept.

    That a kind of it is there or may be says that it is or may be; that what it is a kind of is not there says that it
    is not. Of a claim with several facts that are present any one may be meant, so they are uncertain, unless each of
    them is the concept or a kind of it.
    """
    about = []
    for sentence in read_reasoning(text):
        for claim in sentence.claims:
            if claim.status == "absent":
                about += [fact for fact in claim.facts if fact.concept in (concept, *ancestors(concept))]
                continue
            named = [fact for fact in claim.facts if concept in (fact.concept, *ancestors(fact.concept))]
            sure = len(named) == len(claim.facts)
            about += named if sure else [fact._replace(status="uncertain") for fact in named]
    return about


def says(text: str, concept: str, side: str | None = None) -> frozenset[str]:
    """The statuses of a concept in a text: none if it is silent, several if it contradicts itself. With a side, facts
    about the other one do not count; without, the absence on one side does not."""
    facts = facts_about(text, concept)
    if side:
        facts = [fact for fact in facts if fact.laterality in (None, side, "bilateral")]
    else:
        facts = [fact for fact in facts if fact.status != "absent" or fact.laterality in (None, "bilateral")]
    return frozenset(fact.status for fact in facts)


def failure(text: str, expected: Expected) -> str | None:
    """How a text is misread, in words, or None if it is read right."""
    found = says(text, expected.concept, expected.side if expected.allowed == {"absent"} else None)
    said = "none" if not found else "+".join(sorted(found))
    if said not in expected.allowed:
        return f"{expected.concept}: {said}, not {' or '.join(sorted(expected.allowed))}"
    for detail, wanted in (
        ("laterality", expected.side),
        ("severity", expected.severity),
        ("change", expected.change),
    ):
        if wanted and said == "present":
            values = {getattr(fact, detail) for fact in facts_about(text, expected.concept) if fact.status == "present"}
            if values != {wanted}:
                return f"{expected.concept}: {detail} {sorted(map(str, values))}, not {wanted}"
    return None


#: `~absent` and the like: whatever is not that, contradictions included.
ANY = frozenset({"none", *STATUSES, "present+uncertain"})


def parse_expected(text: str, concepts: dict[str, str], details: dict[str, str]) -> tuple[Expected, ...]:
    """`x present+side, y absent|none`: per slot the statuses allowed, and details: `side`, `other`, `sev`, a side, a
    degree, or a change. `=cardiomegaly absent` names the concept itself."""
    out = []
    for part in text.split(","):
        slot, words = part.split()
        statuses, *marks = words.split("+")
        allowed = ANY - {statuses[1:]} if statuses[0] == "~" else frozenset(statuses.split("|"))
        assert allowed <= ANY, text
        more: dict[str, str] = {}
        for mark in marks:
            value = details.get(mark, mark)
            kind = "side" if value in ("left", "right", "bilateral") else "severity" if value in DEGREES else "change"
            more[kind] = value
        concept = slot[1:] if slot.startswith("=") else concepts[slot]
        out.append(Expected(concept, allowed, **more))
    return tuple(out)
