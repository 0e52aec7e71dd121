"""The words of a sentence as discourse sees them: each with its classes, terms of the lexicon as one word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reasoner.findings.discourse_data import frames
from reasoner.findings.lexicon import Roles, Term, load, matched

_ATTRIBUTES = frozenset(("side", "location", "severity", "change", "acuity", "hint", "size", "kind"))
_STOPS = frozenset(",;:?-/")
#: Marks between words that end a clause, and those of them that lead to a result.
_MARKS = ("...", "…", "->", "=>", "→", "--", '"', "“", "”", "! ", ". ", "\n")
ARROWS = frozenset(("->", "=>", "→", "...", "…"))


class Word(NamedTuple):
    """`sentence[start:end]`, a word or a term of the lexicon, with its labels: itself and its classes.

    `mark` is the punctuation before it, if any.
    """

    labels: tuple[str, ...]
    text: str
    start: int
    end: int
    mark: str

    @property
    def side(self) -> str | None:
        """Set for "left" and the like."""
        roles: Roles = load().trie.get(self.text.partition(" ")[0], {}).get("", {})
        return roles.get("side")


def words_of(sentence: str) -> list[Word]:
    """The words of a sentence; "fracture of the ribs" is one, and "such abnormalities" names nothing."""
    return list(_merged(list(_words(sentence))))


def _words(sentence: str) -> Iterator[Word]:
    tokens, found = matched(sentence)
    terms = {item.first: (item, labels) for item in found if (labels := _labels(item))}
    labels_of = frames().labels_of
    mark, end, i = "", 0, 0
    while i < len(tokens):
        token = tokens[i]
        gap = sentence[end : token.start]
        if len(gap) > 1 or gap == '"':
            mark = next((sign for sign in _MARKS if sign in gap), mark)
        if token.text in "()":  # a gloss parts nothing
            i += 1
        elif token.text in _STOPS:
            mark, end, i = mark or token.text, token.end, i + 1
        else:
            item, labels = terms.get(i, (None, ()))
            last = item.last if item else i + 1
            own = labels_of(token.text) if last == i + 1 or "{finding}" not in labels else (token.text,)
            end = tokens[last - 1].end
            text = token.text if last == i + 1 else " ".join(part.text for part in tokens[i:last])
            yield Word((*own, *labels), text, token.start, end, mark)
            mark, i = "", last


def _labels(item: Term) -> tuple[str, ...]:
    """The classes of a term of the lexicon."""
    roles = item.roles
    if roles.get("operator") == "unreal":
        return ("{unreal}",)
    if "concept" in roles:
        return ("{finding}",)
    if "anatomy" in roles:
        return ("{organ}", "{study}") if roles["anatomy"] == "study" else ("{organ}",)
    if "quality" in roles:
        return ("{state}",)
    if not _ATTRIBUTES.isdisjoint(roles):
        return ("{detail}",)
    if "speaker" in roles and "nobody" not in roles:
        return ("{speaker}",)
    return ("{tells}",) if "say" in roles else ()


def _merged(words: Sequence[Word]) -> Iterator[Word]:
    n = 0
    while n < len(words):
        word = words[n]
        if "{finding}" in word.labels:
            organ = _organ_of(words, n)
            if organ:
                word, n = word._replace(end=words[organ].end), organ
            elif n and "{pointer}" in words[n - 1].labels and "{vague}" in frames().labels_of(word.text):
                word = word._replace(labels=(word.text,))
        yield word
        n += 1


def _organ_of(words: Sequence[Word], n: int) -> int:
    """Where the organ stands that a finding is said to be of, "fracture of the ribs"; 0 if nowhere."""
    following = words[n + 1 : n + 4]
    if len(following) < 2 or following[0].text not in ("of", "in") or following[0].mark:
        return 0
    at = 2 if following[1].text == "the" else 1
    return n + 1 + at if at < len(following) and "{organ}" in following[at].labels else 0
