"""Hostile input: bytes, huge lines, nested punctuation, mixed scripts. No exception, spans in the text, linear time.

`CXR_REASONER_FUZZ=10000` runs the full number of inputs.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest

from reasoner.findings import extract_report, extract_text
from reasoner.findings.lexicon import load

INPUTS = int(os.environ.get("CXR_REASONER_FUZZ", "1000"))
TERMS = tuple(term for terms in load().terms.values() for term in terms)
CUES = (
    *("no", "without", "may represent", "cannot be excluded", "rather than", "but", "with", "or", "and", "left"),
    *("right", "is", "normal", "heart", "lungs", "clear", "resolved", "4 x 5 cm", "above the carina", "XXXX", "___"),
    "FINDINGS:",
)
SCRIPTS = "肺に異常なし पल्मोनरी التهاب рентген ﬁ ß İ ı ǆ \u202e\u200b\u0301\ud800\U0001f4a9 ٣٫٥ ½ ﷺ"
MARKS = "()[]{}.,;:?!/-–—'\"*#<>|\\\n\r\t\x00\x0c\u2028"


def noise(rng: random.Random, length: int) -> str:
    return rng.randbytes(length).decode(rng.choice(("latin-1", "utf-16-le", "utf-8")), "replace")


def words(rng: random.Random, length: int) -> str:
    parts: list[str] = []
    size = 0
    while size < length:
        part = rng.choice(rng.choice((TERMS, CUES, tuple(SCRIPTS.split()))))
        parts.append(part)
        size += len(part) + 1
    return rng.choice((" ", " ", ", ", "\n", "/"))[:length].join(parts)[:length]


def marks(rng: random.Random, length: int) -> str:
    return "".join(rng.choice(MARKS) * rng.randrange(1, 9) + rng.choice(CUES) for _ in range(length // 8))[:length]


def nested(rng: random.Random, length: int) -> str:
    depth = length // 4
    return "(" * depth + rng.choice(TERMS) + ")" * depth + rng.choice(CUES) * (depth // 4)


KINDS: tuple[Callable[[random.Random, int], str], ...] = (noise, words, marks, nested)


def test_hostile_input_is_read_without_an_exception() -> None:
    rng = random.Random(7)
    for n in range(INPUTS):
        text = KINDS[n % len(KINDS)](rng, rng.randrange(400))
        for finding in (*extract_text(text), *extract_report(text)):
            assert finding.evidence is not None
            assert 0 <= finding.evidence.start < finding.evidence.end <= len(text)


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_of_100_kb_takes_linear_time(kind: Callable[[random.Random, int], str]) -> None:
    """Five times the length, about five times the CPU time; quadratic would be 25."""

    def seconds(length: int) -> float:
        text = kind(random.Random(length), length)  # of its own, so that no sentence is known from the other
        start = time.process_time()
        extract_report(text)
        return time.process_time() - start

    assert min(seconds(100_000) for _ in range(2)) < 15 * max(seconds(20_000), 0.02)
