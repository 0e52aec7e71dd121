from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from reasoner.models import tiny
from reasoner.prompts import format_completion
from rewards.credit import (
    StepReward,
    claim_spans,
    claim_weights,
    normalised,
    step_rewards,
    token_credit,
    token_spans,
)
from rewards.radrscore import radrscore
from rewards.skill import skill_reward

REFERENCE = "There is a small left pleural effusion. The heart is enlarged. No pneumothorax."
REASONING = "There is a small left pleural effusion. There is a right pneumothorax. We now look at the heart."
COMPLETION = format_completion(REASONING, "Pleural Effusion")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = [COMPLETION, REFERENCE, "Größe: 5 µm – naïve ✓ 心臓"] * 4
    return AutoTokenizer.from_pretrained(tiny.build(tmp_path_factory.mktemp("tiny"), texts))


def steps_of(completion: str = COMPLETION) -> list[StepReward]:
    return step_rewards(completion, radrscore(REASONING, REFERENCE, REFERENCE))


def test_each_asserting_step_has_the_reward_of_its_own_verdicts():
    right, wrong = steps_of()
    assert COMPLETION[right.start : right.end] == "There is a small left pleural effusion."
    assert COMPLETION[wrong.start : wrong.end] == "There is a right pneumothorax."
    assert right.reward == 1.0 and wrong.reward == 0.0


def test_rewards_are_normalised_over_all_steps_of_the_group():
    group = [steps_of(), steps_of()[:1], []]
    flat = [step.reward for steps in normalised(group) for step in steps]
    assert sum(flat) == pytest.approx(0, abs=1e-6) and sum(r * r for r in flat) / 3 == pytest.approx(1, rel=1e-2)
    assert flat[0] > 0 > flat[1]
    assert normalised([[], []]) == [[], []]


def test_credit_lands_on_the_tokens_of_the_step_and_nowhere_else(tokenizer):
    ids = tokenizer(COMPLETION + "<|im_end|>", add_special_tokens=False)["input_ids"]
    spans = token_spans(tokenizer, ids, COMPLETION)
    [steps] = normalised([steps_of()])
    values = token_credit(steps, spans)
    assert len(values) == len(ids)
    said = {sign: "" for sign in (1, 0, -1)}
    for (start, end), value in zip(spans, values, strict=True):
        said[(value > 0) - (value < 0)] += COMPLETION[start:end]
    assert said[1].strip() == "There is a small left pleural effusion."
    assert said[-1].strip() == "There is a right pneumothorax."
    assert "We now look at the heart." in said[0] and "<answer>Pleural Effusion</answer>" in said[0]


def test_of_overlapping_claims_each_word_answers_for_its_own(tokenizer):
    text = format_completion("No pleural effusion or pneumothorax.", "No Finding")
    score = skill_reward(text, reasoning=REFERENCE, report=REFERENCE)
    denied = next(entry for entry in score.evidence if entry["part"] == "denied")
    confirmed = next(entry for entry in score.evidence if entry["part"] == "ruled_out")
    assert confirmed["start"] <= denied["start"] < denied["end"] < confirmed["end"], "the second span holds the first"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    spans = token_spans(tokenizer, ids, text)
    for steps in (step_rewards(text, score), step_rewards(text, score)[::-1]):
        values = token_credit(steps, spans)
        words = {
            value: "".join(text[slice(*s)] for s, v in zip(spans, values, strict=True) if v == value)
            for value in values
        }
        assert words[denied["earned"]].endswith("No pleural effusion")
        assert words[confirmed["earned"]].strip() == "or pneumothorax"


def test_a_claim_that_settles_several_bets_has_their_sum():
    chain = "There is consolidation in the left lung. There is a right lung nodule."
    text = format_completion("The lungs are clear.", "No Finding")
    score = skill_reward(text, reasoning=chain, report=chain)
    bets = [entry["earned"] for entry in score.evidence if entry["words"]]
    [step] = step_rewards(text, score)
    assert len(bets) == 2 and step.reward == pytest.approx(sum(bets)) == pytest.approx(score.value)


def test_claims_are_the_words_of_findings_and_the_answer():
    text = format_completion(
        "I examine the heart. There is a small left pleural effusion. No pneumothorax or nodule. So the answer is B.",
        "B",
    )
    assert [text[start:end] for start, end in claim_spans(text)] == [
        "small left pleural effusion",
        "No pneumothorax",
        "No pneumothorax or nodule",
        "B",
    ]
    assert claim_spans("") == [] and claim_spans("<think>a<think>b") == []


@pytest.mark.parametrize("weight", [2.0, 5.0, 1000.0])
def test_claims_weigh_more_and_the_mean_stays_1(tokenizer, weight):
    ids = tokenizer(COMPLETION + "<|im_end|>", add_special_tokens=False)["input_ids"]
    spans = token_spans(tokenizer, ids, COMPLETION)
    weights = claim_weights(claim_spans(COMPLETION), spans, weight)
    assert len(weights) == len(ids) and sum(weights) / len(ids) == pytest.approx(1)
    assert max(weights) == pytest.approx(weight * min(weights))
    heavy = "".join(COMPLETION[slice(*s)] for s, w in zip(spans, weights, strict=True) if w > 1)
    assert heavy.split() == ["small", "left", "pleural", "effusion", "right", "pneumothoraxPleural", "Effusion"]
    assert claim_weights([], spans, weight) == [1.0] * len(ids) and claim_weights([], [], weight) == []


def test_text_without_a_reasoning_block_to_point_at_has_no_steps():
    score = radrscore(REASONING, REFERENCE, REFERENCE)
    assert step_rewards("<think>a<think>b", score) == [] and step_rewards("", score) == []


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60), cut=st.integers(0, 5))
def test_spans_tile_any_text_even_when_a_character_is_cut(tokenizer, text, cut):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = ids[: len(ids) - cut] if cut < len(ids) else ids
    decoded = tokenizer.decode(ids, skip_special_tokens=True)
    spans = token_spans(tokenizer, ids, decoded)
    assert len(spans) == len(ids)
    assert all(0 <= start <= end <= len(decoded) + 1 for start, end in spans)
    if spans:
        assert spans[0][0] == 0 and spans[-1][1] == len(decoded)
