"""Step-level credit: what each step of a reasoning text earned, and which tokens it belongs to.

Process supervision as in GRPO (DeepSeekMath, arXiv 2402.03300, section 4.1.3): the rewards of all steps of a group are
normalised together. There a token receives the sum over the steps that follow it; here, where steps stand side by side
and do not build on each other, it receives that of its own step.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from reasoner.prompts import parse_completion
from rewards.registry import Score

#: The rewards that judge the reasoning step by step; the first that a recipe has among its rewards gives the credit.
PROCESS_REWARDS = ("skill", "process")


class StepReward(NamedTuple):
    """One step, `completion[start:end]`, and its reward."""

    start: int
    end: int
    reward: float


def step_rewards(completion: str, score: Score) -> list[StepReward]:
    """The steps of a completion that assert something, from the evidence of a process reward: of `skill` each claim
    with what it earned, of `process` each step with the mean of its effectiveness and its claims' factuality."""
    reasoning = parse_completion(completion).reasoning
    offset = completion.find(reasoning)
    if not reasoning or offset < 0:  # tags inside the reasoning: nothing to point at
        return []
    earned = [entry for entry in score.evidence if "earned" in entry]
    if earned:
        return [StepReward(offset + e["start"], offset + e["end"], e["earned"]) for e in earned if e["words"]]
    credited = [entry for entry in score.evidence if entry.get("credit") is not None]
    claims = [entry for entry in credited if entry["part"] == "factuality"]
    steps = []
    for step in (entry for entry in credited if entry["part"] == "effectiveness"):
        facts = [c["credit"] for c in claims if step["start"] <= c["start"] < step["end"]]
        reward = fmean([step["credit"], fmean(facts)] if facts else [step["credit"]])
        steps.append(StepReward(offset + step["start"], offset + step["end"], reward))
    return steps


def normalised(group: Sequence[Sequence[StepReward]]) -> list[list[StepReward]]:
    """The steps of one group's completions with rewards of mean 0 and standard deviation 1 over the whole group."""
    rewards = [step.reward for steps in group for step in steps]
    if not rewards:
        return [list(steps) for steps in group]
    mean, spread = fmean(rewards), pstdev(rewards) + 1e-4
    return [[step._replace(reward=(step.reward - mean) / spread) for step in steps] for steps in group]


def token_spans(tokenizer: Any, ids: Sequence[int], text: str) -> list[tuple[int, int]]:
    """The (start, end) in `text` of each token of `ids`, of which `text` is the decoding without special tokens.

    A byte-level vocabulary (Qwen's) writes one character per byte, so the lengths are known without decoding; where
    they do not add up (half a character was sampled) prefixes are decoded instead.
    """
    special, added = set(tokenizer.all_special_ids), tokenizer.get_added_vocab()
    ends, length = [], 0
    for token_id, token in zip(ids, tokenizer.convert_ids_to_tokens(list(ids)), strict=True):
        length += 0 if token_id in special else len(token.encode()) if token in added else len(token)
        ends.append(length)
    encoded = text.encode()
    if length == len(encoded):
        if len(encoded) != len(text):
            ends = [len(encoded[:end].decode(errors="ignore")) for end in ends]
    else:
        ends = [len(tokenizer.decode(ids[: n + 1], skip_special_tokens=True)) for n in range(len(ids))]
    return list(pairwise([0, *ends]))


def token_credit(steps: Sequence[StepReward], spans: Sequence[tuple[int, int]]) -> list[float]:
    """For each token the reward of the step it has characters in; 0 for the rest (tags, plans, the answer)."""
    return [next((s.reward for s in steps if start < s.end and s.start < end), 0.0) for start, end in spans]
