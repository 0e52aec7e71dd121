"""Shaping penalties: 0 when the completion is fine, down to -1. They steer how long a model writes, not what."""

from __future__ import annotations

from collections import Counter

from reasoner.prompts import parse_completion
from rewards.registry import Score, reward


@reward("length", settings=("words_min", "words_max", "margin"))
def length(completion: str, *, words_min: int = 10, words_max: int = 300, margin: float = 0.5) -> Score:
    """0 within [words_min, words_max] words of reasoning, falling linearly outside to -1.

    It reaches -1 at no words, and at `(1 + margin) * words_max` words: the soft over-long punishment of DAPO
    (arXiv 2503.14476, eq. 13) in words, mirrored for the over-short.
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
def repetition(completion: str, *, ngram: int = 4) -> Score:
    """Minus the share of the reasoning's word n-grams that occurred before in it; 0 below `ngram` words."""
    words = parse_completion(completion).reasoning.lower().split()
    counts = Counter(zip(*(words[shift:] for shift in range(ngram)), strict=False))
    total = counts.total()
    repeated = total - len(counts)
    if not repeated:
        return Score(0.0)
    worst, times = counts.most_common(1)[0]
    evidence = {"verdict": "repeated", "words": " ".join(worst), "times": times, "repeated": repeated, "of": total}
    return Score(-repeated / total, (evidence,))
