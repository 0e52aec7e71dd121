"""`reasoner score` on files: one row out per row in, in order, whatever the rows hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reasoner.errors import UserError
from reasoner.prompts import format_completion
from rewards.score import COLUMNS, score_file

pytestmark = pytest.mark.anywhere(to="system")

REPORT = "FINDINGS: Small left pleural effusion. No pneumothorax. The heart is normal in size."
CHAIN = "A small left pleural effusion is present. No pneumothorax. Heart size is normal."
GOOD = {
    "id": "a",
    "completion": format_completion(CHAIN, "Pleural Effusion"),
    "reasoning": CHAIN,
    "report": REPORT,
    "task": "abnormality_list",
    "question": "Which abnormalities are present?",
    "answer": "Pleural Effusion",
}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(tmp_path: Path, *rows: object) -> tuple[dict, list[dict]]:
    output = tmp_path / "new" / "out.jsonl"
    summary = score_file(write(tmp_path / "in.jsonl", *rows), output)
    return summary, [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


def test_a_full_row_gets_every_number_and_evidence(tmp_path):
    summary, (row,) = run(tmp_path, GOOD)
    assert {name: row[name] for name in COLUMNS} == dict.fromkeys(COLUMNS, 1.0)
    assert row["id"] == "a" and row["evidence"]["process"][0]["words"] in CHAIN
    assert summary["n"] == 1 and summary["mean"]["radrscore"] == 1.0 and summary["bad_rows"] == 0


def test_bad_rows_keep_their_place_and_are_counted(tmp_path):
    bad = [
        "{broken\n",
        "[1, 2]\n",
        {"id": "no completion", "report": REPORT},
        {**GOOD, "id": "number", "report": 7},
        {**GOOD, "id": "labels", "labels": "{"},
        {**GOOD, "id": "options", "options": "A) yes"},
    ]
    summary, rows = run(tmp_path, GOOD, *bad, {**GOOD, "id": "z"})
    assert [row["id"] for row in rows] == ["a", None, None, "no completion", "number", "labels", "options", "z"]
    for row in rows[1:-1]:
        assert row["error"] and all(row[name] is None for name in COLUMNS)
    assert summary["bad_rows"] == 6 and summary["null"]["format"] == 6 and summary["mean"]["format"] == 1.0
    assert summary["errors"][0]["line"] == 2


def test_columns_that_are_not_there_give_nulls(tmp_path):
    summary, (row,) = run(tmp_path, {"id": 1, "completion": "The lungs are clear.", "report": REPORT})
    assert row["radrscore"] is None and row["factuality"] is None and row["answer"] is None
    assert row["format"] == 0.0 and row["id"] == 1
    assert summary["mean"]["radrscore"] is None and summary["null"]["radrscore"] == 1


def test_text_without_tags_is_scored_as_reasoning(tmp_path):
    _, (row,) = run(tmp_path, {**GOOD, "completion": CHAIN})
    assert row["format"] == 0.0 and row["radrscore"] == 1.0


def test_a_gold_answer_may_come_in_its_tags(tmp_path):
    _, (row,) = run(tmp_path, {**GOOD, "answer": "<answer> Pleural Effusion </answer>"})
    assert row["answer"] == 1.0


def test_verified_labels_are_heeded_as_object_and_as_text(tmp_path):
    labels = {"Pneumothorax": "present"}
    _, rows = run(tmp_path, GOOD, {**GOOD, "labels": labels}, {**GOOD, "labels": json.dumps(labels)})
    assert rows[0]["factuality"] == 1.0 and rows[1]["factuality"] == rows[2]["factuality"] < 1.0


@pytest.mark.parametrize("content", ["", "\n\n", "nonsense\n", '{"id": 1}\n'])
def test_no_usable_row_is_an_error_and_leaves_no_file(tmp_path, content):
    source = tmp_path / "in.jsonl"
    source.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"in\.jsonl: no usable row"):
        score_file(source, tmp_path / "out.jsonl")
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl"]


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none\.jsonl"):
        score_file(tmp_path / "none.jsonl", tmp_path / "out.jsonl")


def test_broken_utf8_is_a_bad_row(tmp_path):
    source = write(tmp_path / "in.jsonl", GOOD)
    source.write_bytes(b'{"id": "\xff"}\n' + source.read_bytes())
    assert score_file(source, tmp_path / "out.jsonl")["bad_rows"] == 1


def test_agrees_with_the_published_judge_on_real_reports(tmp_path, data_dir):
    """Spearman with GPT-4o's judgements on OpenI; the floors are a little below what was measured."""
    path = data_dir / "radrscore_dev" / "openi_judged.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not at hand")
    judged = [json.loads(line)["judge"] for line in path.read_text(encoding="utf-8").splitlines()]
    score_file(path, tmp_path / "out.jsonl")
    ours = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    floors = {"factuality": 0.38, "effectiveness": 0.38, "radrscore": 0.48}
    for name, floor in floors.items():
        assert spearman([row[name] for row in ours], [judge[name] for judge in judged]) >= floor, name


def spearman(a: list[float], b: list[float]) -> float:
    import numpy as np

    def ranks(values: list[float]) -> np.ndarray:
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts + 1) / 2)[place]

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])
