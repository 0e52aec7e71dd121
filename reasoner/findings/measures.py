"""Numbers in a sentence as items beside the terms: lengths ("1.2 cm", "23 x 14 mm"), in millimetres, and the
cardiothoracic ratio ("0.62"), as a large or normal heart."""

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
_ABOVE = ("above", "over", "greater than", "more than", "exceeds", "exceeding", ">")
_BELOW = ("below", "under", "less than", "<")
#: Widest heart over widest chest; above `_LARGE` the heart is enlarged (on a PA film; Danzer 1919).
_RATIO = re.compile(
    r"(?:\bcardio-?\s?thoracic ratio|\bctr)\b(?:\s[a-z]+){0,4}?\s?"
    rf"(?P<side>{'|'.join((*_ABOVE, *_BELOW))})?[\s:=]*(?P<number>(?:0?\.\d{{1,3}}|[1-9]\d(?:\.\d)?\s?%))",
    re.IGNORECASE,
)
_LARGE = 0.5


def with_numbers(sentence: str, tokens: Sequence[Token], items: Sequence[Term]) -> Sequence[Term]:
    """`items` and, in their order, what numbers say that stand between them."""
    return _with_ratio(sentence, tokens, _with_sizes(sentence, tokens, items))


def _with_ratio(sentence: str, tokens: Sequence[Token], items: Sequence[Term]) -> Sequence[Term]:
    """With one of role `quality` for the number of a cardiothoracic ratio."""
    match = _RATIO.search(sentence)
    if match is None:
        return items
    written, side = match["number"], (match["side"] or "").lower()
    ratio = float(written.rstrip(" %")) / (100 if written.endswith("%") else 1)
    if (side in _ABOVE and ratio < _LARGE) or (side in _BELOW and ratio > _LARGE):
        return items  # "above 0.4" leaves it open
    large = ratio > _LARGE or side in _ABOVE
    starts = [token.start for token in tokens]
    first = bisect_left(starts, match.start("number"))
    if first == len(tokens):
        return items
    number = Term(first, first + 1, {"quality": "enlarged" if large else "normal"})
    rest = [item for item in items if not item.first <= first < item.last]
    return sorted([*rest, number], key=lambda item: item.first)


def _with_sizes(sentence: str, tokens: Sequence[Token], items: Sequence[Term]) -> Sequence[Term]:
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
