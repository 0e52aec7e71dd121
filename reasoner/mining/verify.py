"""The guard at the end of mining: a chain must say what the report says, as read back from its own words."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache

from reasoner.findings import QUALITY, ancestors, extract_text, region
from reasoner.schema import Chain, Evidence, Finding, Step

#: A model sees the image alone: it can know of no report, clinician, patient history, date or identifying blank.
_UNSEEABLE = re.compile(
    r"\b(?:reports?|reported|dictat\w+|radiologists?|clinicians?|physicians?|technologists?|dr\.|xxxx"
    r"|clinical (?:history|information|indication)|history|indications?|reason for exam\w*|findings section"
    r"|y/o|years? old|year-old|yesterday|today|(?:days?|weeks?|months?|years?|hours?) ago|last (?:week|month|year)"
    r"|(?:19|20)\d\d|\d{1,2}[/-]\d{1,2}[/-]\d{2,4}"
    r"|(?:january|february|march|april|june|july|august|september|october|november|december) \d{1,2}"
    r"|\d{1,2} (?:january|february|march|april|may|june|july|august|september|october|november|december))\b|_{3}",
    re.IGNORECASE,
)
#: What only another image can show. A finding's `change` is checked besides.
_PRIOR = re.compile(
    r"\b(?:priors?|previous(?:ly)?|earlier|compar(?:ed|ison|ing)|interval|since|again|unchanged|persist\w*|redemonstrat\w+"
    r"|newly|no longer|worsening|worsened|improving|improved|increased|decreased|enlarging|progress(?:ed|ing|ion)"
    r"|resol\w+|follow(?:ed|ing)?[- ]?up from|remains?)\b",
    re.IGNORECASE,
)
#: True without another image: that there is none.
NO_PRIOR = (
    "There is no prior image to compare with.",
    "No prior image is shown, so nothing can be said about change.",
    "Without a prior image, change cannot be judged.",
)


def faults(chain: Chain, findings: Sequence[Finding], report: str, *, prior: bool = False) -> list[str]:
    """Why a chain must not be used; empty when it is faithful.

    Args:
        chain: the finished chain.
        findings: the merged findings of the report.
        report: the text in which all evidence lies.
        prior: whether the model is shown an earlier image, so that a chain may speak of change.
    """
    if not chain.steps:
        return ["empty chain"]
    found = [fault for step in chain.steps for fault in step_faults(step, findings, report, prior=prior)]
    said = {step.text for step in chain.steps}
    if len(said) < len(chain.steps):
        found.append("a step is repeated")
    return found


def step_faults(step: Step, findings: Sequence[Finding], report: str, *, prior: bool = False) -> list[str]:
    """The faults of one step; arguments as in `faults`."""
    return misread(step, findings, prior=prior) + _evidence_faults(step, findings, report)


def misread(step: Step, findings: Sequence[Finding], *, prior: bool = False) -> list[str]:
    """What a step says that it should not, and what it fails to say. Its evidence is not looked at here."""
    return _word_faults(step, prior) + _assertion_faults(step, findings)


def leak(question: str, answer: str, options: Sequence[str], offered: Collection[str] = ()) -> str | None:
    """The part of the right answer that the question gives away; None when it gives away nothing.

    Args:
        question: its words, without the options.
        answer: letters where there are options, else words; several are separated by commas.
        options: `A) words`, ...
        offered: answers that the question names as its choices, so that naming them gives nothing away.
    """
    parts = [part.strip() for part in re.split(r"[,;.]", answer) if part.strip()]
    if options:
        words = {option[0]: option.partition(") ")[2] for option in options}
        parts = [words.get(part, part) for part in parts]
    said = f" {_plain(question)} "
    return next((part for part in parts if part not in offered and f" {_plain(part)} " in said), None)


def unseeable(text: str, *, prior: bool = False) -> str | None:
    """The words of a text that speak of what the image cannot show; None when there are none."""
    match = _UNSEEABLE.search(text)
    if match is None and not prior and text not in NO_PRIOR:
        match = _PRIOR.search(text)
    return match.group() if match else None


@lru_cache(maxsize=1 << 15)
def read(text: str) -> tuple[Finding, ...]:
    """What a sentence asserts of the chest. Few sentences make most chains, so they are remembered."""
    return tuple(finding for finding in extract_text(text) if region(finding.concept) != QUALITY)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _word_faults(step: Step, prior: bool) -> list[str]:
    if words := unseeable(step.text, prior=prior):
        return [f"speaks of what the image cannot show: {words!r}"]
    changed = not prior and next((f for f in read(step.text) if f.change is not None), None)
    return [f"{step.text!r} speaks of change, with one image"] if changed else []


def _evidence_faults(step: Step, findings: Sequence[Finding], report: str) -> list[str]:
    """Spans lie in the report, and are those of the findings that the step is about. A denial may rest on silence."""
    own = [f.evidence for f in step.findings]
    found = []
    for evidence in (step.evidence, *own):
        if evidence is not None and not _within(evidence, report):
            found.append(f"evidence outside of the report: {step.text!r}")
    if step.findings and step.evidence is not None and step.evidence not in own:
        found.append(f"the evidence is not that of the step's findings: {step.text!r}")
    for finding in step.findings:
        if finding.status == "absent" and finding.evidence is None:
            continue
        if not any(f.concept == finding.concept and f.evidence == finding.evidence for f in findings):
            found.append(f"{finding.concept}: the report holds no such evidence for {step.text!r}")
    return found


def _within(evidence: Evidence, report: str) -> bool:
    inside = 0 <= evidence.start < evidence.end <= len(report)
    return inside and bool(report[evidence.start : evidence.end].strip())


def _assertion_faults(step: Step, findings: Sequence[Finding]) -> list[str]:
    found = []
    heard = read(step.text)
    for finding in step.findings:
        same = [other for other in heard if finding.concept == other.concept and _said(other, finding)]
        if not any(finding.change in (None, other.change) for other in same):
            found.append(f"{finding.concept} ({finding.status}) is not read back from {step.text!r}")
    for other in heard:
        if other.status == "absent":
            if _denies_a_finding(other, findings):
                found.append(f"{step.text!r} denies {other.concept}, which the source asserts")
        elif not any(other.concept in _with_parents(f) and _said(other, f) for f in step.findings):
            found.append(f"{step.text!r} asserts {other.concept} ({other.status}) without support")
    return found


def _with_parents(finding: Finding) -> tuple[str, ...]:
    return (finding.concept, *ancestors(finding.concept))


def _said(heard: Finding, meant: Finding) -> bool:
    """Whether what is read has the status that is meant, no other side, no other size, no other end."""
    same_size = heard.severity is None or heard.severity == meant.severity
    same_end = heard.tip in (None, meant.tip)
    return heard.status == meant.status and heard.laterality in (None, meant.laterality) and same_size and same_end


def _denies_a_finding(denied: Finding, findings: Sequence[Finding]) -> bool:
    if denied.change == "resolved":
        return False
    return any(
        f.status != "absent"
        and denied.concept in _with_parents(f)
        and (denied.laterality is None or denied.laterality == f.laterality)
        for f in findings
    )
