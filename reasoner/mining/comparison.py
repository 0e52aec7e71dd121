"""Change from two reports: what the earlier one and this one say of a finding, each in words of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from reasoner.findings import extract_report
from reasoner.mining.chains import merge
from reasoner.schema import Change, Finding

#: Degrees on one scale; those of one rank are no change.
_DEGREES = {"trace": 1, "minimal": 1, "borderline": 1, "small": 2, "mild": 2, "moderate": 3, "large": 4, "severe": 4}


def compared(earlier: str, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The merged findings of a report with the change that it and the `earlier` report tell together.

    New is what the earlier report denies, resolved what it asserts and this one denies; with degrees in both it is
    worse, improved or stable. Silence tells nothing. Where this report has a word of its own ("increased"), that
    stands, unless the two reports contradict it: then nothing is told of the finding.
    """
    before = _read(earlier) if earlier.strip() else ()
    return tuple(replace(f, change=_agreed(f.change, _told(f, before))) for f in findings)


@lru_cache(maxsize=256)
def _read(report: str) -> tuple[Finding, ...]:
    return tuple(merge(extract_report(report)))


def _told(finding: Finding, before: Sequence[Finding]) -> Change | None:
    """What the statuses and degrees of the two reports say of one finding."""
    same = [f for f in before if f.concept == finding.concept]
    here = [f for f in same if f.laterality == finding.laterality or None in (f.laterality, finding.laterality)]
    statuses: set[str] = {f.status for f in same if f.status != "absent"}
    statuses = statuses or {f.status for f in here}
    if finding.status == "absent":
        return "resolved" if statuses == {"present"} and here else None
    if finding.status != "present" or len(statuses) != 1:
        return None
    if statuses == {"absent"}:
        return "new"
    degrees = {_DEGREES.get(f.severity or "") for f in here}
    now, then = _DEGREES.get(finding.severity or ""), degrees.pop() if len(degrees) == 1 else None
    if statuses != {"present"} or now is None or then is None:
        return None
    return "worse" if now > then else "improved" if now < then else "stable"


def _agreed(said: Change | None, told: Change | None) -> Change | None:
    """The one of the two that is finer; None where they contradict each other."""
    if said is None or told is None or said == told:
        return said or told
    # A degree is coarse: within one there is room for better and worse.
    return said if told == "stable" and said in ("worse", "improved") else None
