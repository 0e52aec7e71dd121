"""Shaping penalties: 0 when the completion is fine, down to -1. They steer how long a model writes, not what."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from pydantic import Field

from reasoner.prompts import parse_completion
from reasoner.settings import Float, Int
from rewards.registry import Score, reward

Natural = Annotated[Int, Field(ge=0)]
Positive = Annotated[Int, Field(ge=1)]
Share = Annotated[Float, Field(ge=0)]


@reward("length", settings=("words_min", "words_max", "margin", "tokens_min"))
def length(
    completion: str,
    *,
    completion_tokens: int | None = None,
    words_min: Natural = 10,
    words_max: Natural = 300,
    margin: Share = 0.5,
    tokens_min: Positive | None = None,
) -> Score:
    """0 within [words_min, words_max] words of reasoning, falling linearly outside to -1.

    It reaches -1 at no words, and at `(1 + margin) * words_max` words: the soft over-long punishment of DAPO
    (arXiv 2503.14476, eq. 13) in words, mirrored for the over-short.

    With `tokens_min` the words do not count, but the tokens n of the whole completion, its end included, and there is
    no upper end: 0 from `tokens_min` on, below max(-1, (n - tokens_min) / tokens_min). With 400 that is NV-Reason-CXR's
    (arXiv 2510.23968; `train/vlm_rewards.py`, `get_soft_overshort_punishment`). It abstains where nobody counted.

    Args:
        completion_tokens: as the policy sampled them; GRPO gives it.

    >>> text = "<think>No edema.</think><answer>No Finding</answer>"
    >>> length(text, words_min=4).value, length(text, tokens_min=400, completion_tokens=300).value
    (-0.5, -0.25)
    """
    if tokens_min is not None:
        return _enough(completion_tokens, tokens_min)
    words = len(parse_completion(completion).reasoning.split())
    short = max(0, words_min - words) / words_min if words_min > 0 else 0.0
    slack = margin * words_max
    excess = max(0, words - words_max)
    long = min(1.0, excess / slack) if slack > 0 else float(excess > 0)
    penalty = max(short, long)
    if not penalty:
        return Score(0.0)
    verdict = "too short" if short >= long else "too long"
    return Score(-penalty, ({"verdict": verdict, "words": words, "allowed": [words_min, words_max]},))


def _enough(tokens: int | None, least: int) -> Score:
    """Soft punishment of completions of fewer than `least` tokens."""
    if tokens is None:
        return Score.abstained("nobody counted the tokens of the completion (`completion_tokens`)")
    if tokens >= least:
        return Score(0.0)
    return Score((tokens - least) / least, ({"verdict": "too short", "tokens": tokens, "least": least},))


@reward("repetition", settings=("ngram",))
def repetition(completion: str, *, ngram: Annotated[Int, Field(ge=1)] = 4) -> Score:
    """Minus the share of the reasoning's word n-grams that occurred before in it; 0 below `ngram` words.

    >>> repetition("<think>no edema no edema</think><answer>No Finding</answer>", ngram=1).value
    -0.5
    """
    words = parse_completion(completion).reasoning.lower().split()
    counts = Counter(zip(*(words[shift:] for shift in range(ngram)), strict=False))
    total = counts.total()
    repeated = total - len(counts)
    if not repeated:
        return Score(0.0)
    worst, times = counts.most_common(1)[0]
    evidence = {"verdict": "repeated", "words": " ".join(worst), "times": times, "repeated": repeated, "of": total}
    return Score(-repeated / total, (evidence,))
