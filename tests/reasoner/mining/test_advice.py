"""Differential diagnoses and recommendations as steps of a systematic read, and change from two reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reasoner.findings import extract_report, labels_of
from reasoner.mining.advice import advice, differentials
from reasoner.mining.chains import merge
from reasoner.mining.comparison import compared
from reasoner.mining.drafts import Design
from reasoner.mining.pipeline.run import mine
from reasoner.mining.questions import Read, build_examples
from reasoner.mining.verify import faults
from reasoner.schema import Chain, Example, Study
from reasoner.sources import open_source

BOTH = Design(steps=("differential", "recommendation"))


def read_list(report: str, design: Design = BOTH, style: str = "systematic") -> Example:
    findings = extract_report(report)
    read = Read(Study("s", "s", report, images=("a",)), tuple(merge(findings)), labels_of(findings), style, 0, design)
    (row,) = build_examples(read, {"abnormality_list": 1.0})
    assert isinstance(row, Example), row
    return row


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ("Right base opacity may represent atelectasis or pneumonia.", {"opacity", "atelectasis", "pneumonia"}),
        ("Left basilar opacity, which may be atelectasis versus pneumonia.", {"opacity", "atelectasis", "pneumonia"}),
        ("Opacity at the left base could represent pneumonia.", {"opacity", "pneumonia"}),
        ("A nodule in the right upper lobe is suspicious for malignancy.", {"nodule"}),
        ("Possible edema or atypical pneumonia.", {"pulmonary edema", "atypical pneumonia"}),
    ],
)
def test_what_a_report_weighs_is_a_step(report: str, words: set[str]) -> None:
    text = f"FINDINGS: {report} No effusion."
    (step,) = differentials(text, merge(extract_report(text)), ("k",))
    assert all(word in step.text for word in words), step.text
    assert step.evidence and text[step.evidence.start : step.evidence.end] in report
    assert {f.status for f in step.findings} <= {"present", "uncertain"} and step.stage == "conclusion"


NOT_WEIGHED = (
    "Small left pleural effusion.",
    "No pneumonia or atelectasis.",
    "Cardiomegaly and pulmonary edema.",
    "Possible nodule in the right upper lobe.",
)


@pytest.mark.parametrize("report", NOT_WEIGHED)
def test_where_nothing_is_weighed_there_is_no_step(report: str) -> None:
    text = f"FINDINGS: {report}"
    assert differentials(text, merge(extract_report(text)), ("k",)) == []


def test_the_steps_close_a_faithful_read() -> None:
    report = "FINDINGS: Right base opacity may represent atelectasis or pneumonia. Recommend CT of the chest."
    row = read_list(report)
    plain = read_list(report, Design())
    assert row.steps[: len(plain.steps)] == plain.steps and len(row.steps) == len(plain.steps) + 2
    weighed, advised = row.steps[-2:]
    assert "atelectasis" in weighed.text and advised.text == "CT of the chest is advised."
    assert advised.evidence and "Recommend CT" in report[advised.evidence.start : advised.evidence.end]
    assert faults(Chain(row.steps), merge(extract_report(report)), report) == []
    only = read_list(report, Design(steps=("recommendation",)))
    assert only.steps[-1] == advised and weighed not in only.steps
    assert read_list(report, style="concise") == read_list(report, Design(), "concise")


def test_spoken_advice_is_advice() -> None:
    report = "findings colon left effusion period new paragraph impression colon um recommend uh a chest CT period"
    (step,) = advice(report)
    assert step.evidence and "um recommend uh a chest CT" in report[step.evidence.start : step.evidence.end]


@pytest.mark.parametrize(
    ("before", "now", "concept", "change"),
    [
        ("No pleural effusion.", "Small left pleural effusion.", "pleural_effusion", "new"),
        ("Left pneumothorax.", "No pneumothorax.", "pneumothorax", "resolved"),
        ("Small right pleural effusion.", "Large right pleural effusion.", "pleural_effusion", "worse"),
        ("Large pleural effusion.", "Trace left pleural effusion.", "pleural_effusion", "improved"),
        ("Mild pulmonary edema.", "Mild pulmonary edema.", "pulmonary_edema", "stable"),
        ("Mild pulmonary edema.", "Mild pulmonary edema, slightly increased.", "pulmonary_edema", "worse"),
        # silence, doubt, another side and no degree tell nothing
        ("Cardiomegaly.", "Small left pleural effusion.", "pleural_effusion", None),
        ("Possible left effusion.", "Left pleural effusion.", "pleural_effusion", None),
        ("Small right pleural effusion.", "Large left pleural effusion.", "pleural_effusion", None),
        ("Left pleural effusion.", "Small left pleural effusion.", "pleural_effusion", None),
        ("Left pneumothorax.", "No right pneumothorax.", "pneumothorax", None),
        # the two contradict each other
        ("Large pleural effusion.", "Small pleural effusion, increased.", "pleural_effusion", None),
        ("Small left effusion.", "New small left effusion.", "pleural_effusion", None),
        # this report alone
        ("", "Worsening pulmonary edema.", "pulmonary_edema", "worse"),
    ],
)
def test_two_reports_tell_the_change(before: str, now: str, concept: str, change: str | None) -> None:
    told = compared(f"FINDINGS: {before}" if before else "", merge(extract_report(f"FINDINGS: {now}")))
    assert [f.change for f in told if f.concept == concept] == [change]


def test_temporal_questions_from_two_reports(tmp_path: Path) -> None:
    """From the rows of a file to questions; without the option, and without a prior, there are none."""
    row = {"study_id": "s", "split": "train", "report": "FINDINGS: Small left pleural effusion. No pneumothorax."}
    prior = {"prior_study_id": "r", "prior_report": "FINDINGS: Large left pleural effusion. Left pneumothorax."}

    def answers(extra: dict[str, str], design: Design) -> dict[str, str]:
        (tmp_path / "rows.jsonl").write_text(json.dumps(row | extra) + "\n", encoding="utf-8")
        source = open_source("jsonl", str(tmp_path / "rows.jsonl"), tmp_path / "out")
        mine(source, tmp_path / "out", tasks={"temporal": 3.0}, style="brief", design=design, workers=0)
        return {e["question"]: e["answer"] for e in examples_in(tmp_path / "out")}

    reports = Design(compare="reports")
    told = answers(prior, reports)
    assert sorted(told.values()) == ["improving", "resolved"]
    assert any("pneumothorax" in question for question, answer in told.items() if answer == "resolved")
    assert answers(prior, Design()) == answers({}, reports) == {}


def examples_in(folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    files = (folder / "examples").glob("*.parquet")
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_a_prior_report_must_be_text(tmp_path: Path) -> None:
    rows = [
        {"study_id": str(n), "report": "FINDINGS: Left effusion.", "prior_report": p}
        for n, p in enumerate((5, ["x"], ""))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = open_source("jsonl", str(tmp_path / "rows.jsonl"), tmp_path / "out")
    summary = mine(source, tmp_path / "out", tasks={"binary": 1.0}, workers=0)
    assert summary["quarantined"] == {"bad row": 2} and summary["studies"]["mined"] == 1
