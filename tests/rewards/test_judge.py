"""The language model as judge: its word is taken when it has the form asked for, and the rules go on without it."""

from __future__ import annotations

import json

import pytest

from reasoner.errors import UserError
from reasoner.prompts import format_completion
from rewards.judges.llm import judged
from rewards.registry import RewardSet
from rewards.workers import RewardPool

REPORT = "FINDINGS: There is a small left pleural effusion. No pneumothorax."
TEXT = "There is a small left pleural effusion. The heart is enlarged."
REPLY = {
    "claims": [
        {"words": "There is a small left pleural effusion", "good": True},
        {"words": "The heart is enlarged", "good": False},
    ],
    "key_findings": [{"words": "No pneumothorax", "good": False}, {"words": "left pleural effusion", "good": True}],
    "steps": [{"words": "The heart is enlarged.", "good": False}],
}


@pytest.fixture
def server(openai_server):
    """Says `server.content`, and counts how often it is asked."""
    web = openai_server(lambda prompt, number: (200, web.content))
    web.content = "Sure: " + json.dumps(REPLY)
    return web


def options(web, tmp_path) -> dict:
    return {"process": {"judge": "llm", "url": web.url, "model": "m", "cache": str(tmp_path / "judge.sqlite")}}


def row(text: str = TEXT) -> dict:
    return {"id": "a", "completion": format_completion(text, "x"), "reasoning": REPORT[10:], "report": REPORT}


def test_the_judges_word_is_the_score_and_is_asked_for_once(server, tmp_path):
    rewards = RewardSet.build({"process": 1.0}, options=options(server, tmp_path))
    for _ in range(3):
        score = rewards.score(row())["process"]
    parts = {"factuality": 0.5, "completeness": 0.5, "effectiveness": 0.0, "judge_fallback": 0.0}
    assert score.parts == parts and score.value == pytest.approx(1 / 3)
    assert TEXT[score.evidence[1]["start"] : score.evidence[1]["end"]] == "The heart is enlarged"
    assert server.asked == 1


@pytest.mark.parametrize("content", ["no idea", "{}", '{"claims": 3}', '{"claims": [{"good": true}]}'])
def test_gibberish_falls_back_to_the_rules_and_is_counted(server, tmp_path, content):
    server.content = content
    judge = RewardSet.build({"process": 1.0}, options=options(server, tmp_path)).score(row())["process"]
    rules = RewardSet.build({"process": 1.0}).score(row())["process"]
    assert judge.value == rules.value and judge.evidence == rules.evidence and judge.parts["judge_fallback"] == 1.0
    assert judged(content, TEXT) is None


@pytest.mark.slow
def test_the_pool_asks_about_a_chunk_at_once_and_survives_a_server_that_is_gone(server, tmp_path):
    rows = [row(f"There is no fracture {n}.") for n in range(12)]
    with RewardPool({"process": 1.0}, workers=1, options=options(server, tmp_path)) as pool:
        scores = pool.score(rows)
        assert server.asked == 12 and all(s["process"].parts["judge_fallback"] == 0.0 for s in scores)
    server.stop()
    gone = options(server, tmp_path / "other")
    with RewardPool({"process": 1.0}, workers=1, options=gone) as pool:
        assert all(s["process"].parts["judge_fallback"] == 1.0 for s in pool.score(rows))


def test_a_judge_without_a_server_is_refused():
    with pytest.raises(UserError, match="with `url` and `model`"):
        RewardSet.build({"process": 1.0}, options={"process": {"judge": "llm"}}).score(row())
