"""A completion's words beside their verdicts: its reasoning cut into segments by the process reward's evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

#: Verdicts on a claim, mildest first.
SEVERITY = ("supported", "repeated", "partial", "unsupported", "contradicted")
#: Parts whose entries are no claims of their own: sentences of the reference, and steps of which claims are judged.
_NO_CLAIMS = ("completeness", "effectiveness")


class Segment(NamedTuple):
    """A piece of the reasoning; `verdict` is None where nothing is asserted; `against` are the words it was held to."""

    text: str
    verdict: str | None = None
    against: str = ""


def segments(text: str, evidence: Sequence[Mapping[str, Any]]) -> Iterator[Segment]:
    """The reasoning `text` in order, cut at the claims that `process` or `skill` judged; claims that overlap become one
    segment with the worst of their verdicts. Together the segments are the text."""
    at = 0
    for start, end, group in _groups([entry for entry in evidence if _is_claim(entry)]):
        if start > at:
            yield Segment(text[at:start])
        worst = max((claim["verdict"] for claim in group), key=SEVERITY.index)
        against = " | ".join(dict.fromkeys(claim["against"] for claim in group if claim["against"]))
        yield Segment(text[start:end], worst, against)
        at = end
    if at < len(text):
        yield Segment(text[at:])


def missed(evidence: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What the reference says and the reasoning leaves out, in the reference's words."""
    left_out = [entry for entry in evidence if entry.get("verdict") == "missed"]
    return tuple(dict.fromkeys(words for e in left_out if (words := e.get("words") or e.get("against"))))


def _is_claim(entry: Mapping[str, Any]) -> bool:
    """Whether it is a verdict on words of the reasoning; judges other than the rules have other entries, too."""
    start, end = entry.get("start"), entry.get("end")
    placed = isinstance(start, int) and isinstance(end, int) and 0 <= start < end
    return placed and entry.get("part") not in _NO_CLAIMS and entry.get("verdict") in SEVERITY


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
