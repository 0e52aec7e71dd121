"""The guard at the end of mining: a chain must say what the report says, as read back from its own words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reasoner.findings import extract_text, parents
from reasoner.schema import Chain, Finding, Step

#: A model sees the image alone: it can know of no report, clinician, date or identifying blank.
_UNSEEABLE = re.compile(
    r"\b(?:report|dictated|radiologist|dr\.|clinical history|xxxx)\b|___|\d{1,2}/\d{1,2}/\d{2,4}", re.I
)


def faults(chain: Chain, findings: Sequence[Finding], report: str) -> list[str]:
    """Why a chain must not be used; empty when it is faithful.

    Args:
        chain: the finished chain.
        findings: the merged findings of the report.
        report: the text in which all evidence lies.
    """
    if not chain.steps:
        return ["empty chain"]
    found = [fault for step in chain.steps for fault in _step_faults(step, findings, report)]
    said = {step.text for step in chain.steps}
    if len(said) < len(chain.steps):
        found.append("a step is repeated")
    return found


def _step_faults(step: Step, findings: Sequence[Finding], report: str) -> list[str]:
    found = []
    if unseeable := _UNSEEABLE.search(step.text):
        found.append(f"speaks of what the image cannot show: {unseeable.group()!r}")
    for evidence in (step.evidence, *(f.evidence for f in step.findings)):
        if evidence is not None and not 0 <= evidence.start < evidence.end <= len(report):
            found.append(f"evidence outside of the report: {step.text!r}")
    read = extract_text(step.text)
    for finding in step.findings:
        if not any(finding.concept == other.concept and _said(other, finding) for other in read):
            found.append(f"{finding.concept} ({finding.status}) is not read back from {step.text!r}")
    for other in read:
        if other.status == "absent":
            if _denies_a_finding(other, findings):
                found.append(f"{step.text!r} denies {other.concept}, which the source asserts")
        elif not any(other.concept in _with_parents(f) and _said(other, f) for f in step.findings):
            found.append(f"{step.text!r} asserts {other.concept} ({other.status}) without support")
    return found


def _with_parents(finding: Finding) -> tuple[str, ...]:
    return (finding.concept, *parents(finding.concept))


def _said(read: Finding, meant: Finding) -> bool:
    """Whether what is read has the status that is meant, and no other side."""
    return read.status == meant.status and read.laterality in (None, meant.laterality)


def _denies_a_finding(denied: Finding, findings: Sequence[Finding]) -> bool:
    if denied.change == "resolved":
        return False
    return any(
        f.status != "absent"
        and denied.concept in _with_parents(f)
        and (denied.laterality is None or denied.laterality == f.laterality)
        for f in findings
    )
