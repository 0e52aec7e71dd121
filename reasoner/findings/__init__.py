"""Reads findings from text: reports and model completions alike."""

from reasoner.findings.dictation import written
from reasoner.findings.extract import extract_report, extract_text
from reasoner.findings.labels import labels_of
from reasoner.findings.lexicon import QUALITY, ancestors, concept_class, kin, region
from reasoner.findings.text import split_sections, split_sentences

__all__ = [
    "QUALITY",
    "ancestors",
    "concept_class",
    "extract_report",
    "extract_text",
    "kin",
    "labels_of",
    "region",
    "split_sections",
    "split_sentences",
    "written",
]
