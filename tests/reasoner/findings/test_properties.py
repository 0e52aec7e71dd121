"""Whatever comes in, the extractor answers, in linear time, with spans that lie in the text."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner.findings import ancestors, concept_class, extract_report, extract_text, labels_of, split_sentences
from reasoner.findings.lexicon import load
from reasoner.schema import CLASSES, NO_FINDING, STATUSES, Finding

WORDS = (
    *(
        "no",
        "without",
        "possible",
        "effusion",
        "pneumothorax",
        "the",
        "heart",
        "is",
        "enlarged",
        "left",
        "right",
        "and",
    ),
    *("bilateral", "or", "but", "normal", "clear", "lungs", "has", "resolved", "unchanged", "new", "XXXX", "___", "1."),
    *("FINDINGS:", "IMPRESSION:", "cm", "may", "represent", "rather", "than", "cannot", "exclude", "İ", "ß", "ﬁ", "肺"),
    *(",", ".", ";", ":", "(", ")", "/", "?", "\n", "\n\n", "\x00", "\u200b"),
)
wild = st.text(max_size=400) | st.lists(st.sampled_from(WORDS), max_size=120).map(" ".join)


def check(text: str, findings: list[Finding]) -> None:
    for finding in findings:
        assert finding.concept in load().concepts
        assert finding.status in STATUSES
        assert finding.evidence is not None
        assert 0 <= finding.evidence.start < finding.evidence.end <= len(text)


@settings(max_examples=300, deadline=None)
@given(wild)
def test_any_text_gives_valid_findings(text: str) -> None:
    check(text, extract_report(text))
    check(text, extract_text(text))
    assert set(labels_of(extract_text(text))) == set(CLASSES)


@settings(max_examples=200, deadline=None)
@given(wild)
def test_sentences_are_disjoint_and_in_order(text: str) -> None:
    spans = split_sentences(text)
    assert all(start < end for start, end in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))


@pytest.mark.slow
def test_time_is_linear_in_length() -> None:
    """Without any full stop, of the words that make scopes walk: five times the length, five times the CPU time."""
    rng = random.Random(0)
    for words in (["effusion"], ["absent", "effusion"], ["normal", "heart"], ["no", "or", "effusion", "left"], WORDS):

        def seconds(length: int, words: Sequence[str] = words) -> float:
            text = ""
            while len(text) < length:
                text += " ".join(rng.choice(words) for _ in range(500)) + " "
            start = time.process_time()
            extract_text(text[:length])
            return time.process_time() - start

        assert min(seconds(100_000) for _ in range(2)) < 15 * max(seconds(20_000), 0.02)  # quadratic: 25


def test_sections_that_assert_nothing_are_not_read() -> None:
    report = "INDICATION: Pneumothorax.\n\nCOMPARISON: Left effusion.\n\nFINDINGS: Cardiomegaly.\n\nIMPRESSION: Edema."
    assert [f.concept for f in extract_report(report)] == ["cardiomegaly", "pulmonary_edema"]
    assert [f.evidence.section for f in extract_report(report) if f.evidence] == ["findings", "impression"]


def test_a_report_without_headers_is_all_findings() -> None:
    assert [f.concept for f in extract_report("Small left effusion.")] == ["pleural_effusion"]


def test_lower_case_and_inline_headers() -> None:
    report = "history: pneumonia\nFindings: The heart is enlarged. IMPRESSION: Cardiomegaly."
    assert {f.concept for f in extract_report(report)} == {"cardiomegaly"}


def test_labels_take_the_strongest_assertion() -> None:
    labels = labels_of(extract_text("Possible effusion. Small left effusion. No pneumothorax. Possible pneumonia."))
    assert labels["Pleural Effusion"] == "present"
    assert labels["Pneumothorax"] == "absent"
    assert labels["Pneumonia"] == "uncertain"
    assert labels["Fracture"] is None
    assert labels[NO_FINDING] == "absent"
    assert labels_of(extract_text("The lungs are clear."))[NO_FINDING] == "present"
    assert labels_of([])[NO_FINDING] is None


def test_the_hierarchy() -> None:
    assert ancestors("pneumonia") == ("consolidation", "lung_opacity")
    assert "support_device" in ancestors("picc")
    assert ancestors("nonsense") == ()
    assert concept_class("infiltrate") == "Lung Opacity"
    assert concept_class("scoliosis") is None
    assert concept_class("nonsense") is None


def test_every_class_has_a_concept() -> None:
    assert {c.label for c in load().concepts.values() if c.label} == set(CLASSES) - {NO_FINDING}


def test_extraction_is_fast() -> None:
    """Well above 1,000 reports a second on a quiet machine; the bound leaves room for a busy one."""
    rng = random.Random(1)
    nouns = ["effusion", "pneumothorax", "nodule", "consolidation", "rib fracture", "cardiomegaly"]
    reports = []
    for _ in range(500):
        sentences = [
            f"There is no {rng.choice(nouns)} or {rng.choice(nouns)} at {rng.random():.6f} cm." for _ in range(8)
        ]
        reports.append("FINDINGS: " + " ".join(sentences))
    start = time.process_time()
    for report in reports:
        extract_report(report)
    assert len(reports) / (time.process_time() - start) > 300
