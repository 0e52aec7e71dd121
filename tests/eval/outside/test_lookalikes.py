"""A column that looks like a published one and is not read is never passed over in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.eval.outside.runs import evaluate, json_lines, reasoner, write_lines

ROW = {"question": "Which? A) Edema B) Pneumonia", "answer": "B", "pred": "<answer>B</answer>"}
LOOKALIKES = [
    *("reason_step", "reasons_steps", "reasonsteps", "Reason_Steps", "reasoning_steps"),
    *("Answer", "answers", "anwser", "Question", "questions", "Pred", "preds"),
    *("original_reports", "orginal_report", "original_report_3", "image_paths", "images_paths", "itemid", "item-id"),
]
UNRELATED = [
    *("split", "view", "sex", "age", "patient_id", "correct", "question_type", "answer_type", "task", "source"),
    *("gpt_score", "comment", "url", "model_name", "num_steps", "date", "is_abnormal", "option_list", "quality"),
]


def said(name: str, *texts: str) -> bool:
    return any(f"'{name}'" in text or f'"{name}"' in text or f"`{name}`" in text or name in text for text in texts)


@pytest.mark.parametrize("name", LOOKALIKES)
def test_eval_names_the_column(tmp_path: Path, name: str):
    path = write_lines(tmp_path / "mimic_single_test_option.jsonl", [ROW, {**ROW, name: "Text."}])
    outcome = reasoner(
        "eval", "--benchmark", "radrbench", "--predictions", f"m={path}", "--output", tmp_path / "run", "--bootstrap", 9
    )
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1 and outcome.err.startswith("error: ")
    assert said(name, outcome.err) and path.name in outcome.err


@pytest.mark.parametrize("name", LOOKALIKES)
def test_score_names_the_column(tmp_path: Path, name: str):
    path = write_lines(tmp_path / "in.jsonl", [ROW, {**ROW, name: "Text."}])
    outcome = reasoner("score", "--input", path, "--output", tmp_path / "out.jsonl")
    written = (tmp_path / "out.jsonl").read_text("utf-8") if (tmp_path / "out.jsonl").exists() else ""
    assert "Traceback" not in outcome.err
    assert said(name, outcome.err, written), "in silence"


def test_other_columns_do_no_harm_to_eval(tmp_path: Path):
    row: dict[str, Any] = {**ROW, **dict.fromkeys(UNRELATED, "x"), "task": "single"}
    path = write_lines(tmp_path / "mimic_single_test_option.jsonl", [row])
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path}")
    assert run.item("mimic_single_test_option")["strict"] is True


@pytest.mark.parametrize("name", UNRELATED)
def test_other_columns_do_no_harm_to_score(tmp_path: Path, name: str):
    path = write_lines(tmp_path / "in.jsonl", [{**ROW, name: "single" if name == "task" else "x"}])
    outcome = reasoner("score", "--input", path, "--output", tmp_path / "out.jsonl")
    assert outcome.code == 0, outcome.err
    (row,) = json_lines(tmp_path / "out.jsonl")
    assert row.get("error") is None and row["answer"] == 1.0


@pytest.mark.parametrize("name", ["completion", "pred", "prediction", "response", "output"])
def test_a_prediction_is_read_or_named(tmp_path: Path, name: str):
    row = {key: value for key, value in ROW.items() if key != "pred"}
    path = write_lines(tmp_path / "mimic_single_test_option.jsonl", [{**row, name: "<answer>B</answer>"}])
    outcome = reasoner(
        "eval", "--benchmark", "radrbench", "--predictions", f"m={path}", "--output", tmp_path / "run", "--bootstrap", 9
    )
    if outcome.code:
        assert outcome.code == 2 and said(name, outcome.err), outcome.err
    else:
        (item,) = json_lines(tmp_path / "run" / "items.jsonl")
        assert item["strict"] is True


#: Published spellings that `reasoner score` must take as the evaluator does: the row, and what it earns.
SCORED = [
    (
        "authors_row",
        {"q": ROW["question"], "a": "B", "pred": "<think>Pneumonia.</think> <answer>B</answer>"},
        "answer",
        1,
    ),
    ("answer_content", {"q": ROW["question"], "answer_content": "A", "pred": "<answer>B</answer>"}, "answer", 0),
    ("tags", {**ROW, "answer": "<answer>B</answer>"}, "answer", 1),
    (
        "reason_steps",
        {**ROW, "reason_steps": "There is pneumonia.", "pred": "<think>There is pneumonia.</think> <answer>B</answer>"},
        "completeness",
        1,
    ),
    (
        "nested_steps",
        {
            **ROW,
            "reason_steps": {"reason_steps": ["There is pneumonia."]},
            "pred": "<think>There is pneumonia.</think> <answer>B</answer>",
        },
        "radrscore",
        1,
    ),
    (
        "original_report",
        {
            **ROW,
            "reason_steps": ["There is pneumonia."],
            "original_report": "No pneumonia.",
            "pred": "<think>There is pneumonia.</think> <answer>B</answer>",
        },
        "factuality",
        0,
    ),
    ("whole_chat", {**ROW, "pred": "user\nWhich? <answer></answer>\nassistant\n<answer>B</answer>"}, "answer", 1),
]


@pytest.mark.parametrize(("row", "metric", "value"), [case[1:] for case in SCORED], ids=[case[0] for case in SCORED])
def test_score_takes_published_rows(tmp_path: Path, row: dict[str, Any], metric: str, value: float):
    path = write_lines(tmp_path / "in.jsonl", [row])
    outcome = reasoner("score", "--input", path, "--output", tmp_path / "out.jsonl")
    assert outcome.code == 0, outcome.err
    (scored,) = json_lines(tmp_path / "out.jsonl")
    assert scored[metric] == pytest.approx(value)
    assert json.loads(outcome.out)["bad_rows"] == 0
