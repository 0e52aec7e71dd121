"""Credit for tokens: what each step of a reasoning text earned, and which words carry its claims.

Step credit is process supervision as in GRPO (DeepSeekMath, arXiv 2402.03300, section 4.1.3): the rewards of all steps
of a group are normalised together. There a token receives the sum over the steps that follow it; here, where steps
stand side by side and do not build on each other, it receives that of its own step.

Claim weights follow DiTPO (arXiv 2603.04022): most tokens of a reading are its template, so the few that name findings
weigh more in the policy gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from reasoner.boxes import box_spans
from reasoner.findings import extract_text
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
    with all that it earned, of `process` each step with the mean of its effectiveness and its claims' factuality."""
    reasoning = parse_completion(completion).reasoning
    offset = completion.find(reasoning)
    if not reasoning or offset < 0:  # tags inside the reasoning: nothing to point at
        return []
    earned = [entry for entry in score.evidence if "earned" in entry]
    if earned:
        bets: dict[tuple[int, int], float] = {}
        for e in (e for e in earned if e["words"]):  # "no effusion" may confirm one absence and deny two findings
            span = offset + e["start"], offset + e["end"]
            bets[span] = bets.get(span, 0.0) + e["earned"]
        return [StepReward(*span, reward) for span, reward in bets.items()]
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
    """For each token the reward of the step it has characters in; 0 for the rest (tags, plans, the answer).

    Of several steps the shortest counts: in "no effusion or pneumothorax" the second denial spans the first, too.
    """
    shortest = sorted(steps, key=lambda step: step.end - step.start)
    return [next((s.reward for s in shortest if start < s.end and s.start < end), 0.0) for start, end in spans]


def claim_spans(completion: str) -> list[tuple[int, int]]:
    """The stretches `completion[start:end]` that claim something: the words of each finding with its denial, side and
    degree, as the extractor reads them in the reasoning, boxes there, and the whole answer, which is a claim by itself.
    """
    said = parse_completion(completion)
    spans = []
    if said.reasoning and (offset := completion.find(said.reasoning)) >= 0:
        found = (finding.evidence for finding in extract_text(said.reasoning))
        words = {(span.start, span.end) for span in found if span is not None}
        spans = sorted((offset + a, offset + b) for a, b in words.union(box_spans(said.reasoning)))
    if said.answer and (offset := completion.rfind(said.answer)) >= 0:
        spans.append((offset, offset + len(said.answer)))
    return spans


def claim_weights(claims: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]], weight: float) -> list[float]:
    """For each token its weight in the policy gradient: `weight` times as much with characters in one of `claims` as
    without, with a mean of 1, so that a completion weighs as much as before.

    >>> claim_weights([(0, 4)], [(0, 4), (4, 8)], 3.0)
    [1.5, 0.5]
    """
    raw = [weight if any(start < last and first < end for first, last in claims) else 1.0 for start, end in spans]
    mean = fmean(raw) if raw else 1.0
    return [value / mean for value in raw]
