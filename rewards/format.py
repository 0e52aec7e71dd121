"""The format reward: one think block, then one answer block, and nothing else."""

from __future__ import annotations

import re

from reasoner.profiles import Form
from reasoner.prompts import ANSWER_CLOSE, ANSWER_OPEN, TAGS, THINK_OPEN, parse_completion
from rewards.registry import Score, reward

_ANSWER_ALONE = re.compile(rf"\s*{ANSWER_OPEN}(.+){ANSWER_CLOSE}\s*", re.DOTALL)


@reward("format", settings=("form",))
def format_reward(completion: str, *, reasoning: str | None = None, form: Form = "blocks") -> Score:
    """1 iff each tag stands exactly once, in order, with words in both blocks and nothing around them; else 0.

    `form` is the prompt profile's: with `blocks_where_reasoned` a row without reference reasoning, which is not asked
    for any, is one answer block alone; with `plain` it is words without tags.

    >>> format_reward("<think>Wide heart.</think><answer>Cardiomegaly</answer>").value
    1.0
    >>> format_reward("<answer>Cardiomegaly</answer>").evidence[0]["why"]
    '<think> occurs 0 times; </think> occurs 0 times'
    >>> format_reward("<answer>Cardiomegaly</answer>", reasoning="", form="blocks_where_reasoned").value
    1.0
    """
    if form == "plain":
        return _score(bool(completion.strip()) and not any(tag in completion for tag in TAGS), "tags, or no words")
    if form == "blocks_where_reasoned" and not (reasoning or "").strip():
        block = _ANSWER_ALONE.fullmatch(completion)
        words = block.group(1) if block else ""
        return _score(bool(words.strip()) and not any(tag in words for tag in TAGS), "not one answer block alone")
    if parse_completion(completion).well_formed:
        return Score(1.0)
    return _score(False, _fault(completion))


def _score(right: bool, fault: str) -> Score:
    return Score(1.0) if right else Score(0.0, ({"verdict": "malformed", "why": fault},))


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
