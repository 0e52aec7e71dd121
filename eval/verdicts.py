"""A completion's words beside their verdicts: its reasoning cut into segments by the process reward's evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rewards.radrscore.parts import COMPLETENESS

#: Verdicts on a claim, mildest first.
SEVERITY = ("supported", "repeated", "partial", "unsupported", "contradicted")
FACTUALITY = "factuality"


class Segment(NamedTuple):
    """A piece of the reasoning; `verdict` is None where nothing is asserted; `against` are the words it was held to."""

    text: str
    verdict: str | None = None
    against: str = ""


def segments(text: str, evidence: Sequence[Mapping[str, Any]]) -> Iterator[Segment]:
    """The reasoning `text` in order, cut at its claims (part factuality); claims that overlap become one segment with
    the worst of their verdicts. Together the segments are the text."""
    claims = [entry for entry in evidence if entry.get("part") == FACTUALITY]
    at = 0
    for start, end, group in _groups(claims):
        if start > at:
            yield Segment(text[at:start])
        worst = max((claim["verdict"] for claim in group), key=SEVERITY.index)
        against = " | ".join(dict.fromkeys(claim["against"] for claim in group if claim["against"]))
        yield Segment(text[start:end], worst, against)
        at = end
    if at < len(text):
        yield Segment(text[at:])


def missed(evidence: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The sentences of the reference that the reasoning leaves out."""
    return tuple(
        dict.fromkeys(e["words"] for e in evidence if e.get("part") == COMPLETENESS and e["verdict"] == "missed")
    )


def _groups(claims: Sequence[Mapping[str, Any]]) -> list[tuple[int, int, list[Mapping[str, Any]]]]:
    """Claims by overlapping spans: (start, end, claims)."""
    groups: list[tuple[int, int, list[Mapping[str, Any]]]] = []
    for claim in sorted(claims, key=lambda claim: (claim["start"], claim["end"])):
        if groups and claim["start"] < groups[-1][1]:
            start, end, members = groups[-1]
            groups[-1] = start, max(end, claim["end"]), [*members, claim]
        else:
            groups.append((claim["start"], claim["end"], [claim]))
    return groups
