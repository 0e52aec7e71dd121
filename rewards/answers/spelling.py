"""Slips of the pen in long words of the official class names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

from reasoner.findings.answers import Trie, singular, vocabulary, words_of
from reasoner.findings.lexicon import load
from reasoner.schema import CLASSES
from rewards.answers.text import Token

#: Shorter words are too near to others; those longer than `_LONG` may have two slips.
_SHORT, _LONG = 7, 12


def corrected(tokens: Sequence[Token]) -> list[Token]:
    """The tokens, with the words that official names are made of spelled right."""
    words = [_respelled(token.word) for token in tokens]
    return [t if word == t.word else t._replace(word=word) for t, word in zip(tokens, words, strict=True)]


@lru_cache(maxsize=1 << 14)
def _respelled(word: str) -> str:
    """A long word that is one or two letters away from one word of the official names, as that word."""
    if len(word) < _SHORT or not word.isascii() or word in _known_words():
        return word
    most = 1 if len(word) < _LONG else 2
    near = [name for name in _official_words() if abs(len(name) - len(word)) <= most and _distance(name, word) <= most]
    return near[0] if len(near) == 1 else word


@cache
def _official_words() -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for name in CLASSES for word in words_of(name) if len(word) >= _SHORT))


@cache
def _known_words() -> frozenset[str]:
    found: set[str] = set()
    tries: list[Trie] = [vocabulary().classes, vocabulary().cues, load().trie]
    while tries:
        for word, node in tries.pop().items():
            if word:
                found.add(singular(word))
                tries.append(node)
    return frozenset(found | vocabulary().glue)


def _distance(a: str, b: str) -> int:
    """The least number of letters put in, left out, changed or swapped with the next."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        above, row = rows[-1], [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
            if i > 1 and j > 1 and (x, a[i - 2]) == (b[j - 2], y):
                row[j] = min(row[j], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]
