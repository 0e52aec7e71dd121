"""Lengths in a sentence ("1.2 cm", "23 x 14 mm") as items beside the terms, in millimetres."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from reasoner.findings.lexicon import Term
from reasoner.findings.text import Token

_NUMBER = r"\d{1,4}(?:\.\d{1,2})?"
_LENGTH = re.compile(
    rf"(?<![\d.])({_NUMBER})(?:[ -]?(?:cm|mm)?[ ]?(?:x|by|to|-)[ ]?({_NUMBER}))?"
    rf"(?:[ -]?(?:cm|mm)?[ ]?x[ ]?({_NUMBER}))?"
    r"[ -]?(cm|mm|centimet(?:er|re)s?|millimet(?:er|re)s?)\b",
    re.IGNORECASE,
)


def with_sizes(sentence: str, tokens: Sequence[Token], items: Sequence[Term]) -> Sequence[Term]:
    """`items` and, in their order, one of role `size` for each length that stands between them."""
    lowered = sentence.lower()
    if not ("cm" in lowered or "mm" in lowered or "imet" in lowered):
        return items
    starts = [token.start for token in tokens]
    found: list[Term] = []
    for match in _LENGTH.finditer(sentence):
        first, last = bisect_left(starts, match.start()), bisect_right(starts, match.end() - 1)
        if first < last:
            found.append(Term(first, last, {"size": _millimetres(match)}))
    inside = {i for size in found for i in range(size.first, size.last)}  # the "1" of "1 cm" is no yes
    rest = [item for item in items if inside.isdisjoint(range(item.first, item.last))]
    return sorted([*rest, *found], key=lambda item: item.first)


def _millimetres(match: re.Match[str]) -> str:
    scale = 10 if match[4].lower().startswith("c") else 1
    sides = [f"{float(number) * scale:g}" for number in match.groups()[:3] if number]
    between = " to " if re.search(r"\d ?(?:to|-) ?\d", match[0]) else " x "
    return between.join(sides) + " mm"
