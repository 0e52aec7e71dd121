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
    *("original_reports", "orginal_report", "original_report_3", "images_paths", "itemid", "item-id"),
]
UNRELATED = [
    *("split", "view", "sex", "age", "patient_id", "correct", "question_type", "answer_type", "source"),
    *("gpt_score", "comment", "url", "model_name", "date", "is_abnormal", "option_list", "quality"),
]


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Problem by column of a file with a row for each, after rows without; its lines are checked."""
    folder = tmp_path_factory.mktemp("listed")
    rows = [ROW, *({**ROW, name: "Text."} for name in (*LOOKALIKES, *UNRELATED))]
    path = write_lines(folder / "mimic_single_test_option.jsonl", rows)
    run = evaluate("radrbench", folder / "run", "--predictions", f"m={path}")
    assert len(run.items) == 1 + len(UNRELATED) and all(item["strict"] for item in run.items)
    assert [row["line"] for row in run.meta["malformed"]["rows"]] == [*range(2, 2 + len(LOOKALIKES))]
    return dict(zip(LOOKALIKES, (row["problem"] for row in run.meta["malformed"]["rows"]), strict=True))


@pytest.mark.parametrize("name", LOOKALIKES)
def test_eval_lists_a_row_with_the_column(listed: dict[str, str], name: str):
    assert f"'{name}'" in listed[name]


@pytest.mark.parametrize("name", ["reason_step", "Answer", "original_report_3"])
def test_eval_ends_where_all_rows_have_the_column(tmp_path: Path, name: str):
    path = write_lines(tmp_path / "mimic_single_test_option.jsonl", [{**ROW, name: "Text."}] * 3)
    outcome = reasoner("eval", "--benchmark", "radrbench", "--predictions", f"m={path}", "--output", tmp_path / "run")
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    assert f"'{name}'" in outcome.err and "did you mean" in outcome.err and path.name in outcome.err


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What `reasoner score` makes of a row for each column, all in one file."""
    folder = tmp_path_factory.mktemp("columns")
    rows = [{**ROW, "id": name, name: "Text."} for name in (*LOOKALIKES, *UNRELATED)]
    outcome = reasoner("score", "--input", write_lines(folder / "in.jsonl", rows), "--output", folder / "out.jsonl")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["bad_rows"] == len(LOOKALIKES) - 1
    names = (*LOOKALIKES, *UNRELATED)
    return dict(zip(names, json_lines(folder / "out.jsonl"), strict=True))


@pytest.mark.parametrize("name", LOOKALIKES)
def test_score_names_the_column(scored: dict[str, dict[str, Any]], name: str):
    if name == "images_paths":  # it looks at no picture
        assert scored[name].get("error") is None
    else:
        assert f"'{name}'" in scored[name]["error"] and scored[name]["answer"] is None


@pytest.mark.parametrize("name", UNRELATED)
def test_other_columns_do_no_harm_to_score(scored: dict[str, dict[str, Any]], name: str):
    assert scored[name].get("error") is None
    assert scored[name]["answer"] == 1.0


@pytest.mark.parametrize("name", ["completion", "pred"])
def test_both_names_of_a_prediction_are_read(tmp_path: Path, name: str):
    row = {"question": ROW["question"], "answer": "B", name: "<answer>B</answer>"}
    path = write_lines(tmp_path / "mimic_single_test_option.jsonl", [row])
    run = evaluate("radrbench", tmp_path / "run", "--predictions", f"m={path}")
    assert [item["strict"] for item in run.items] == [True]


@pytest.mark.parametrize("name", ["prediction", "response", "output"])
def test_another_name_of_a_prediction_is_named(tmp_path: Path, name: str):
    row = {"question": ROW["question"], "answer": "B", name: "<answer>B</answer>"}
    path = write_lines(tmp_path / "mimic_single_test_option.jsonl", [row])
    outcome = reasoner("eval", "--benchmark", "radrbench", "--predictions", f"m={path}", "--output", tmp_path / "run")
    assert outcome.code == 2 and f"'{name}'" in outcome.err and "'pred'" in outcome.err


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
        {
            **ROW,
            "reason_steps": "There is pneumonia.",
            "original_report": "Pneumonia.",
            "pred": "<think>There is pneumonia.</think> <answer>B</answer>",
        },
        "completeness",
        1,
    ),
    (
        "nested_steps",
        {
            **ROW,
            "original_report": "Pneumonia.",
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
