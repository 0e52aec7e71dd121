"""Findings from text: which concept, which status, on which side, how severe, changed how, and by which words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from reasoner.boxes import without_boxes
from reasoner.findings.dictation import written
from reasoner.findings.layout import spans
from reasoner.findings.lexicon import ancestors, load
from reasoner.findings.replies import correct, read_line
from reasoner.findings.sentence import CHEST, read_sentence
from reasoner.findings.text import FINDING_SECTIONS, split_sections, split_sentences
from reasoner.schema import Evidence, Finding

__all__ = ["extract_report", "extract_text", "read_sentence"]


def extract_report(text: str) -> list[Finding]:
    """The findings of a report, in its order, with evidence in `text`; only findings and impression are read.

    A transcript of speech is read as one would have written it (`dictation.py`).
    """
    text = written(text)
    findings: list[Finding] = []
    for section in split_sections(text):
        if section.name in FINDING_SECTIONS:
            findings += _extract(text, section.start, section.end, section.name)
    return [_with_side(finding, findings) for finding in findings]


def _with_side(finding: Finding, findings: Sequence[Finding]) -> Finding:
    """ "IMPRESSION: Pneumonia." after "right lower lobe consolidation": the side is that of the finding it sums up."""
    concept = load().concepts[finding.concept]
    if finding.status == "absent" or finding.laterality or not concept.sided or concept.region not in CHEST:
        return finding
    family = {finding.concept, *ancestors(finding.concept)}
    sides = {
        other.laterality
        for other in findings
        if other.status != "absent" and other.laterality and family & {other.concept, *ancestors(other.concept)}
    }
    return replace(finding, laterality=sides.pop()) if len(sides) == 1 else finding


def extract_text(text: str) -> list[Finding]:
    """The findings of free text such as a model's reasoning, in its order; evidence is in `text`.

    Headings, tables and lists are read with what they say of each other, and what is taken back is left out. Boxes in
    the text are no measures.
    """
    text = without_boxes(text)
    found = spans(text)
    words = [text[span.start : span.end] for span in found]
    said = [() if span.topic else read_line(line, span.head) for span, line in zip(found, words, strict=True)]
    correct(words, [span.head for span in found], said, lambda finding: {finding.concept}, _turned, _amended)
    return [finding for span, part in zip(found, said, strict=True) for finding in _placed(part, span.start, "text")]


def _turned(findings: Sequence[Finding], words: str) -> tuple[Finding, ...]:
    """What is so if the findings are not; a normal statement that does not hold says nothing of each finding."""
    span = Evidence("text", 0, len(words))
    if len(findings) > 1 and all(finding.status == "absent" for finding in findings):
        return ()
    return tuple(
        replace(f, status="present" if f.status == "absent" else "absent", severity=None, change=None, evidence=span)
        for f in findings
    )


def _amended(finding: Finding, details: dict[str, str], words: str) -> Finding:
    return replace(finding, **details, evidence=Evidence("text", 0, len(words)))  # type: ignore[arg-type]


def _extract(text: str, start: int, end: int, section: str) -> Iterator[Finding]:
    for first, last in split_sentences(text, start, end):
        yield from _placed(read_sentence(text[first:last]), first, section)


def _placed(findings: Sequence[Finding], first: int, section: str) -> Iterator[Finding]:
    """The findings of the sentence at offset `first`, with evidence in the text."""
    span = evidence = None
    for finding in findings:
        if finding.evidence is not span or evidence is None:  # one normal statement makes several findings
            span = finding.evidence
            assert span is not None
            evidence = Evidence(section, first + span.start, first + span.end)
        yield _moved(finding, evidence)


def _moved(finding: Finding, evidence: Evidence) -> Finding:
    """`replace(finding, evidence=evidence)`, five times as fast: most of the time of a repeated sentence goes here."""
    copy = object.__new__(Finding)
    copy.__dict__.update(finding.__dict__, evidence=evidence)
    return copy
