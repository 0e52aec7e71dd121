"""Transcripts of speech: read as they were meant, with spans that point at the words as they were spoken."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.findings import extract_report, written
from tests.reasoner.findings.test_sentences import expectation, faults

FILE = Path(__file__).parent / "data" / "dictation.txt"
CASES = [
    (text, [expectation(part) for part in wanted.split("; ")])
    for line in FILE.read_text("utf-8").splitlines()
    if line and not line.startswith("#")
    for text, _, wanted in [line.rpartition(" => ")]
]


def test_there_are_many() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text[:60] for text, _ in CASES])
def test_a_transcript_is_read_as_meant(text: str, expected: list[dict[str, str]]) -> None:
    assert not faults(f"REPORT {text}", expected), written(text)


@pytest.mark.parametrize("text", [text for text, _ in CASES])
def test_spans_point_into_what_was_spoken(text: str) -> None:
    clean = written(text)
    assert len(clean) == len(text)
    for finding in extract_report(text):
        span = finding.evidence
        assert span is not None and clean[span.start : span.end].strip()
        assert 0 <= span.start < span.end <= len(text)


def test_a_span_holds_the_words_of_its_finding() -> None:
    text = "there is uh a small left no right pleural effusion period no um pneumothorax period"
    spoken = {f.concept: text[f.evidence.start : f.evidence.end] for f in extract_report(text) if f.evidence}
    assert "right pleural effusion" in spoken["pleural_effusion"]
    assert spoken["pneumothorax"] == "no um pneumothorax"


@pytest.mark.parametrize(
    "text",
    [
        "FINDINGS: Small left effusion, no right effusion. No acute disease.",
        "The postoperative period was uneventful. The colon is dilated. No free air.",
        "Corrected for rotation, the heart is normal. No, or minimal, effusion.",
        "IMPRESSION: 1. No pneumothorax. 2. Surgical correction of scoliosis.",
    ],
)
def test_written_reports_stay_as_they_are(text: str) -> None:
    assert written(text) == text


SPOKEN = ["um", "uh", "period", "comma", "no", ",", ".", "left", "right", "effusion", "scratch that", "correction",
          "i mean", "new paragraph", "findings colon", "sorry", "there is", "\n", "small", "no wait", ":"]  # fmt: skip


@given(st.lists(st.one_of(st.sampled_from(SPOKEN), st.text(max_size=8)), max_size=30))
def test_wild_speech_keeps_its_length(words: list[str]) -> None:
    text = " ".join(words)
    assert len(written(text)) == len(text)
    for finding in extract_report(text):
        assert finding.evidence and 0 <= finding.evidence.start < finding.evidence.end <= len(text)
