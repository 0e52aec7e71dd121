"""Lengths in a sentence ("1.2 cm", "23 x 14 mm") as items beside the terms, in millimetres."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right

from reasoner.findings.lexicon import Term
from reasoner.findings.text import Token

_NUMBER = r"\d{1,4}(?:\.\d{1,2})?"
_LENGTH = re.compile(
    rf"(?<![\d.])({_NUMBER})(?:[ -]?(?:cm|mm)?[ ]?(?:x|by|to|-)[ ]?({_NUMBER}))?"
    rf"(?:[ -]?(?:cm|mm)?[ ]?x[ ]?({_NUMBER}))?"
    r"[ -]?(cm|mm|centimet(?:er|re)s?|millimet(?:er|re)s?)\b",
    re.IGNORECASE,
)


def with_sizes(sentence: str, tokens: list[Token], items: list[Term]) -> list[Term]:
    """`items` and, in their order, one of role `size` for each length that stands between them."""
    lowered = sentence.lower()
    if not ("cm" in lowered or "mm" in lowered or "imet" in lowered):
        return items
    starts = [token.start for token in tokens]
    found = list(items)
    for match in _LENGTH.finditer(sentence):
        first, last = bisect_left(starts, match.start()), bisect_right(starts, match.end() - 1)
        if first < last:
            found.append(Term(first, last, {"size": _millimetres(match)}))
    if len(found) > len(items):
        found.sort(key=lambda item: (item.first, item.last))
        found = [item for n, item in enumerate(found) if n == 0 or item.first >= found[n - 1].last]
    return found


def _millimetres(match: re.Match[str]) -> str:
    scale = 10 if match[4].lower().startswith("c") else 1
    sides = [f"{float(number) * scale:g}" for number in match.groups()[:3] if number]
    between = " to " if re.search(r"\d ?(?:to|-) ?\d", match[0]) else " x "
    return between.join(sides) + " mm"
