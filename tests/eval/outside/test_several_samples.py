"""pass@k, votes and choices of several samples, computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.eval.outside.runs import Run, evaluate, json_lines, write_json, write_lines

TABLE = "mimic_single_test_option"
RIGHT, WRONG, OPEN = "<answer>B</answer>", "<answer>A</answer>", "no idea"
#: Four samples of each of three questions: right 2 of 4, 4 of 4, 1 of 4.
SAMPLES = [[WRONG, RIGHT, RIGHT, OPEN], [RIGHT] * 4, [WRONG, WRONG, RIGHT, WRONG]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("samples")
    questions = [
        {"item_id": f"i{n}", "question": "Which? A) Edema B) Pneumonia", "answer": "B", "original_report": f"Film {n}."}
        for n in range(3)
    ]
    plain = [{"table": TABLE, "index": n, "completions": texts} for n, texts in enumerate(SAMPLES)]
    return evaluate(
        "radrbench",
        folder / "run",
        *("--input", write_json(folder / f"{TABLE}.json", questions)),
        *("--predictions", f"m={write_lines(folder / 'plain.jsonl', plain)}"),
    )


BY_HAND = {
    "strict": (0 + 1 + 0) / 3,  # of the first sample
    "pass@1": (2 / 4 + 1 + 1 / 4) / 3,
    "pass@2": ((1 - 1 / 6) + 1 + (1 - 3 / 6)) / 3,  # 1 - C(n - c, 2) / C(4, 2)
    "pass@4": 1.0,
    "best_by_vote": (1 + 1 + 0) / 3,
}


@pytest.mark.parametrize("metric", BY_HAND)
def test_by_hand(run: Run, metric: str):
    assert run.scores["m"][TABLE][metric] == pytest.approx(BY_HAND[metric])


def test_best_by_reward_finds_a_right_one(run: Run):
    assert run.scores["m"][TABLE]["best_by_reward"] == 1.0


def test_grades_of_each_sample_are_kept(run: Run):
    rows: list[dict[str, Any]] = json_lines(run.folder / "samples.jsonl")
    assert len(rows) in (3, 12) and len(run.items) == 3


def test_item_shows_the_first_sample(run: Run):
    assert [item["completion"] for item in run.items] == [texts[0] for texts in SAMPLES]


def test_uneven_numbers_of_samples(tmp_path: Path):
    questions = [{"item_id": f"i{n}", "question": "Which? A) Edema B) Pneumonia", "answer": "B"} for n in range(2)]
    plain = [
        {"table": TABLE, "index": 0, "completions": [RIGHT, WRONG]},
        {"table": TABLE, "index": 1, "completion": RIGHT},
    ]
    run = evaluate(
        "radrbench",
        tmp_path / "run",
        *("--input", write_json(tmp_path / f"{TABLE}.json", questions)),
        *("--predictions", f"m={write_lines(tmp_path / 'plain.jsonl', plain)}"),
    )
    assert [item["strict"] for item in run.items] == [True, True]
