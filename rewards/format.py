"""The format reward: one think block, then one answer block, and nothing else."""

from __future__ import annotations

from reasoner.prompts import ANSWER_OPEN, TAGS, THINK_OPEN, parse_completion
from rewards.registry import Score, reward


@reward("format")
def format_reward(completion: str) -> Score:
    """1 iff each tag stands exactly once, in order, with words in both blocks and nothing around them; else 0.

    >>> format_reward("<think>Wide heart.</think><answer>Cardiomegaly</answer>").value
    1.0
    >>> format_reward("<answer>Cardiomegaly</answer>").evidence[0]["why"]
    '<think> occurs 0 times; </think> occurs 0 times'
    """
    if parse_completion(completion).well_formed:
        return Score(1.0)
    return Score(0.0, ({"verdict": "malformed", "why": _fault(completion)},))


def _fault(completion: str) -> str:
    counts = {tag: completion.count(tag) for tag in TAGS}
    wrong = [f"{tag} occurs {count} times" for tag, count in counts.items() if count != 1]
    if wrong:
        return "; ".join(wrong)
    places = [completion.index(tag) for tag in TAGS]
    if places != sorted(places):
        return "the blocks are nested or out of order"
    think, end_think, answer, end_answer = places
    for opening, start, end in ((THINK_OPEN, think, end_think), (ANSWER_OPEN, answer, end_answer)):
        if not completion[start + len(opening) : end].strip():
            return f"the {opening} block is empty"
    return "there is text outside the blocks"
