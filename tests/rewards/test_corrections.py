"""Completions corrected from their reference: every fault is mended, and what was right stays as it was said."""

from __future__ import annotations

import pytest

from reasoner.profiles import PROFILES
from reasoner.prompts import format_completion, parse_completion
from rewards.edits import corrections
from rewards.process import process
from rewards.skill import skill_reward

CHAIN = "There is a small left pleural effusion. No pneumothorax. The heart is not enlarged. No fracture."
QUESTION = "I examine the chest. There is a small left effusion. No pneumothorax. This makes B the answer."
JUDGES = [skill_reward, process]


def corrected(
    said: str, answer: str = "No Finding", chain: str = CHAIN, right: str = "Pleural Effusion", judge=process
):
    text = format_completion(said, answer)
    drafts = corrections(text, chain, right, judge(text, reasoning=chain, report=chain).evidence)
    return [(parse_completion(draft).reasoning, parse_completion(draft).answer) for draft in drafts]


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize(
    ("said", "mended"),
    [
        ("No pleural effusion. No pneumothorax.", "There is a small left pleural effusion. No pneumothorax."),
        ("There is a small left pleural effusion. The heart is enlarged.", "The heart is not enlarged."),
        ("No pneumothorax. The heart is not enlarged.", "There is a small left pleural effusion. No pneumothorax. The"),
        ("No pleural effusion or pneumothorax.", "There is a small left pleural effusion. No pneumothorax."),
        ("Small left pleural effusion. There is a nodule.", "Small left pleural effusion."),
    ],
    ids=["contradicted", "a false alarm", "missed, in its place", "one of a list", "unsupported"],
)
def test_faults_are_mended_and_pay(judge, said, mended):
    (reasoning, answer), *_ = corrected(said, judge=judge)
    assert mended in reasoning and answer == "Pleural Effusion"
    before, after = (
        judge(format_completion(text, "x"), reasoning=CHAIN, report=CHAIN).value for text in (said, reasoning)
    )
    assert after > before
    left = judge(format_completion(reasoning, "x"), reasoning=CHAIN, report=CHAIN).evidence
    assert not any(e["verdict"] in ("contradicted", "unsupported") for e in left)


def test_what_is_right_keeps_the_words_of_the_policy():
    said = "A left effusion is seen, small in size.\nPneumothorax is not seen.\nThe heart is large."
    [(reasoning, _), *_] = corrected(said)
    assert reasoning.startswith("A left effusion is seen, small in size.\nPneumothorax is not seen.\n")
    assert "is large." not in reasoning and "The heart is not enlarged." in reasoning


def test_the_conclusion_goes_with_the_answer():
    drafts = corrected("I look at the pleura. No effusion or pneumothorax. So the answer is A.", "A", QUESTION, "B")
    assert drafts == [
        ("I look at the pleura. There is a small left effusion. No pneumothorax. This makes B the answer.", "B"),
        ("I look at the pleura. There is a small left effusion. No pneumothorax. So the answer is A.", "A"),
    ]
    chain = "There is a left pneumothorax. In summary, left pneumothorax."
    drafts = corrected("No acute abnormality. In summary, no acute abnormality.", chain=chain, right="Pneumothorax")
    assert drafts[0] == (chain, "Pneumothorax")


def test_a_conclusion_stays_at_the_end():
    chain = "A small left pneumothorax is noted. The heart is normal. In summary, left pneumothorax."
    said = "No pneumothorax. The heart is normal. Altogether, no acute abnormality."
    for judge in JUDGES:
        assert corrected(said, chain=chain, right="Pneumothorax", judge=judge)[0] == (chain, "Pneumothorax")


def test_a_denial_of_what_may_be_there_is_mended():
    chain = "A left pneumothorax is suspected. The heart is normal."
    assert corrected("No pneumothorax. The heart is normal.", chain=chain, judge=skill_reward)[0][0] == chain


def test_a_right_reading_with_a_wrong_answer_has_its_answer_mended():
    assert corrected(CHAIN) == [(CHAIN, "Pleural Effusion")]


def test_what_needs_no_correction_or_cannot_have_one_is_left_alone():
    assert corrected(CHAIN, "Pleural Effusion") == []
    evidence = process(format_completion("No effusion.", "x"), reasoning=CHAIN, report=CHAIN).evidence
    for text in ("No effusion.", "<think>No effusion.</think>", "<think>a</think><answer>b</answer><answer>c</answer>"):
        assert corrections(text, CHAIN, "Pleural Effusion", evidence) == []
    assert corrections(format_completion("No effusion.", "x"), " ", "Edema", evidence) == []


def test_a_reading_that_is_wrong_throughout_becomes_the_reference():
    (reasoning, _), *_ = corrected("There is a nodule. There is a fracture. The heart is enlarged.")
    assert {*reasoning.rstrip(".").split(". ")} == {*CHAIN.rstrip(".").split(". ")}, "in the order of the policy"
    assert corrected("There is a nodule.", chain="It is open.", judge=skill_reward) == [], "nothing is left to say"


def test_nothing_is_said_twice():
    said = "No pleural effusion. No effusion on the left. The pleural spaces are normal."
    for judge in JUDGES:
        (reasoning, _), *_ = corrected(said, judge=judge)
        assert reasoning.count("small left pleural effusion") == 1


@pytest.mark.parametrize("name", [name for name, profile in PROFILES.items() if profile.form != "plain"])
def test_what_stands_around_the_blocks_stays_as_the_profile_teaches_it(name):
    form, chain = PROFILES[name].completion, "There is a small left pleural effusion. The heart is not enlarged."
    text = form.format(reasoning="No pleural effusion. The heart is not enlarged.", answer="No Finding")
    best = corrections(text, chain, "Pleural Effusion", process(text, reasoning=chain, report=chain).evidence)[0]
    assert best == form.format(reasoning=chain, answer="Pleural Effusion")
