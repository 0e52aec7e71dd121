"""A real `vllm serve` and the same checkpoint in this process, side by side.

How many of their greedy answers are equal is measured by `benchmarks/eval_server.py`: with untrained weights, where two
tokens are near a tie, rounding decides.
"""

from __future__ import annotations

import json

import pytest

from benchmarks.eval_server import QUESTION, phantoms, served
from eval.benchmarks.run import Wanted, run
from eval.benchmarks.tables import ITEMS, rows_of
from reasoner.models import tiny

ITEMS_ASKED, LONGEST = 6, 12


@pytest.mark.slow
def test_a_vllm_server_and_its_checkpoint_answer_the_same_questions(tmp_path):
    model = str(tiny.build(tmp_path / "model", [QUESTION, "The heart is enlarged."] * 4, vocab_size=320))
    questions = phantoms(tmp_path / "data", ITEMS_ASKED)
    with served(model, tmp_path / "server.log") as url:
        models = {"server": url, "offline": model}
        wanted = Wanted(
            "phantom",
            tmp_path / "run",
            questions,
            questions.parent,
            models=models,
            max_new_tokens=LONGEST,
            resamples=50,
            samples=2,
        )
        scores = run(wanted)
    rows = list(rows_of(tmp_path / "run" / ITEMS))
    for label in models:
        asked = [row for row in rows if row["label"] == label]
        assert [row["id"] for row in asked] == [f"p{number}" for number in range(ITEMS_ASKED)]
        assert scores[label]["test_abnormality_list"]["n"] == ITEMS_ASKED
        answers = list(rows_of(tmp_path / "run" / "predictions" / label / "test_abnormality_list.jsonl"))
        assert len(answers) == ITEMS_ASKED and all(len(row["completions"]) == 2 for row in answers)
    made = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert not any(count for failures in made["failures"].values() for count in failures.values()), made["failures"]
    log = (tmp_path / "server.log").read_text(encoding="utf-8")
    assert log.count('POST /v1/chat/completions HTTP/1.1" 200') == ITEMS_ASKED  # one request for both samples
