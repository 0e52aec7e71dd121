"""The language model as judge: its word is taken when it has the form asked for, and the rules go on without it."""

from __future__ import annotations

import json
import time

import pytest

from reasoner.errors import UserError
from reasoner.prompts import format_completion
from recipes.cli import main
from rewards.judges import Case, LlmJudge, RulesJudge
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
    cache = str(tmp_path / "judge.sqlite")
    return {"process": {"judge": {"kind": "llm", "url": web.url, "model": "model", "cache": cache}}}


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


def test_a_chunk_is_asked_about_at_once_and_in_order(openai_server, tmp_path):
    def answer(prompt, number):
        good = "good" in prompt.partition("REASONING:")[2]
        time.sleep(0.2)
        return 200, json.dumps({key: [{"words": "x", "good": good}] for key in REPLY})

    web = openai_server(answer)
    web.socket.listen(128)  # by itself it lets five wait, and turns the others away
    judge = LlmJudge(web.url, "model", cache=str(tmp_path / "c"))
    cases = [Case(f"{number} {'good' if number % 3 else 'bad'}", "r", "r") for number in range(40)]
    assert [score.value for score in judge.score(cases)] == [float(number % 3 > 0) for number in range(40)]
    assert web.most > 16 and judge.score([]) == []


def test_a_server_that_goes_leaves_what_it_said_and_the_rules(server, tmp_path):
    rewards = RewardSet.build({"process": 1.0}, options=options(server, tmp_path))
    rewards.score(row())
    server.stop()
    assert rewards.score(row())["process"].parts["judge_fallback"] == 0.0
    assert rewards.score(row("No fracture."))["process"].parts["judge_fallback"] == 1.0


def test_a_row_that_is_not_for_it_costs_no_request(server, tmp_path):
    rewards = RewardSet.build({"process": 1.0}, options=options(server, tmp_path))
    rows = [row(), {**row(), "report": None}, row("No fracture.")]
    scores = list(rewards.score_chunk("process", rows))
    assert [score.outcome for score in scores] == ["scored", "abstained", "scored"] and server.asked == 2


@pytest.mark.slow
def test_the_pool_asks_about_its_chunks_and_survives_a_server_that_goes(server, tmp_path):
    rows = [row(f"There is no fracture {n}.") for n in range(12)]
    with RewardPool({"process": 1.0}, workers=1, options=options(server, tmp_path)) as pool:
        scores = pool.score(rows)
        assert server.asked == 12 and all(s["process"].parts["judge_fallback"] == 0.0 for s in scores)
        server.stop()
        scores = pool.score([row(f"There is no effusion {n}.") for n in range(12)])
        assert all(s["process"].parts["judge_fallback"] == 1.0 for s in scores)


def test_a_run_does_not_start_without_its_server(server, tmp_path):
    other = {"process": {"judge": {**options(server, tmp_path)["process"]["judge"], "model": "other"}}}
    with pytest.raises(UserError, match=r"judge llm: .* serves model, not 'other'; start one, or mend"):
        RewardPool({"process": 1.0}, workers=1, options=other)
    server.stop()
    with pytest.raises(UserError, match=r"judge llm: .*no OpenAI-compatible server answers there"):
        RewardSet.build({"process": 1.0}, options=options(server, tmp_path)).start()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"judge": "llm"}, "option 'judge.url': it is missing"),
        ({"judge": "lm"}, "option 'judge': unknown kind 'lm'; known: rules, llm, radeval"),
        ({"judge": {"url": "http://x"}}, "option 'judge': it needs a `kind`"),
        (
            {"judge": {"kind": "llm", "url": "x", "model": "m"}},
            r"option 'judge.url': string should match .* \(got 'x'\)",
        ),
        (
            {"judge": {"kind": "rules", "url": "http://x"}},
            "unknown option of reward 'process': 'judge.url'; known: kind",
        ),
        ({"judge": {"kind": "llm", "url": "http://x", "model": "m", "timeout": 3}}, "did you mean 'timeout_s'"),
        (
            {"judge": {"kind": "llm", "url": "http://x", "model": "m", "timeout_s": -1}},
            r"option 'judge.timeout_s': input should be greater than 0 \(got -1\)",
        ),
        (
            {"judge": "llm", "url": "http://x", "model": "m", "judge_timeout_s": 5},
            "write `judge: {kind: llm, url: http://x, model: m, timeout_s: 5}`",
        ),
        ({"parts": []}, "option 'parts': .* at least 1 item"),
        ({"parts": ["facts"]}, "option 'parts.0': input should be 'factuality', 'completeness' or 'effectiveness'"),
        ({"parts": ["factuality", "factuality"]}, "factuality, factuality: each at most once"),
        ({"parts": ["factuality"], "judge": "radeval"}, "judge radeval has no parts factuality"),
        ({"judge": "radeval", "metric": "rouge", "gpus": 0}, "write `judge: {kind: radeval, metric: rouge, gpus: 0}`"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(UserError, match=message) as raised:
        RewardSet.build({"process": 1.0}, options={"process": settings})
    assert "\n" not in str(raised.value)


def test_factuality_alone_is_what_chestx_reasoner_rewards():
    row = {
        "completion": format_completion("There is a small left pleural effusion. The heart is enlarged.", "Edema"),
        "reasoning": "There is a small left pleural effusion. The heart is normal. No fracture.",
        "report": "There is a small left pleural effusion. The heart is normal.",
    }
    scores = [
        RewardSet.build({"process": 1.0}, options={"process": options}).score(row)["process"]
        for options in ({}, {"parts": ["factuality"]}, {"parts": ["factuality", "completeness", "effectiveness"]})
    ]
    assert scores[1].value == scores[0].parts["factuality"] == 0.5
    assert scores[2] == scores[0] and scores[0].value == pytest.approx(sum(scores[0].parts.values()) / 3)
    assert scores[1].parts == scores[0].parts and list(scores[1].evidence) == list(scores[0].evidence)


def test_the_set_knows_whether_the_judge_gives_verdicts_on_steps():
    def gives(judge):
        return RewardSet.build({"process": 1.0}, options={"process": {"judge": judge}}).gives_step_verdicts("process")

    assert gives("rules") and gives({"kind": "llm", "url": "http://x", "model": "m"}) and not gives("radeval")
    assert gives(RulesJudge()) and not RewardSet.build({"format": 1.0}).gives_step_verdicts("format")


@pytest.mark.parametrize("setting", ["grpo.step_credit", "grpo.edits.rate"])
def test_a_dry_run_refuses_credit_from_a_judge_without_verdicts_on_steps(capsys, setting):
    run = ["grpo", "--recipe", "phantom", "--dry-run", "--set", "grpo.rewards={process: 1.0}"]
    run += ["--set", f"{setting}=0.5", "--set"]
    assert main([*run, "grpo.reward_options.process.judge=radeval"]) == 2
    told = capsys.readouterr().err
    assert f"{setting} needs verdicts on steps, which judge radeval does not give" in told
    assert main([*run, "grpo.reward_options.process.judge=rules"]) == 0
    assert main([*run, "grpo.rewards={answer: 1.0}"]) == 2
    assert f"{setting} needs the reward 'skill' or 'process' in grpo.rewards" in capsys.readouterr().err
