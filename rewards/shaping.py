"""Shaping penalties: 0 when the completion is fine, down to -1. They steer how long a model writes, not what."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from pydantic import Field

from reasoner.prompts import parse_completion
from reasoner.settings import Float, Int
from rewards.registry import Score, reward

Natural = Annotated[Int, Field(ge=0)]
Share = Annotated[Float, Field(ge=0)]


@reward("length", settings=("words_min", "words_max", "margin"))
def length(completion: str, *, words_min: Natural = 10, words_max: Natural = 300, margin: Share = 0.5) -> Score:
    """0 within [words_min, words_max] words of reasoning, falling linearly outside to -1.

    It reaches -1 at no words, and at `(1 + margin) * words_max` words: the soft over-long punishment of DAPO
    (arXiv 2503.14476, eq. 13) in words, mirrored for the over-short.

    >>> length("<think>No edema.</think><answer>No Finding</answer>", words_min=4).value
    -0.5
    """
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
