"""Patterns over the words of a sentence: a small language for data files, and how it is matched.

    word            that word                       {class}     any word or phrase of a class
    (a|b c)         either of them                  x?          with or without it (a word, class or group)
    ..              up to three words               ...         up to twelve
    ^ ...           only where a clause begins      ^^ ...      only where a sentence begins

Words called fillers ("also", "carefully") may stand between the words of a pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from reasoner.findings.text import tokenize

#: Word or class -> the next level; `END` -> the name of the pattern that ends there; a gap -> what may follow it.
Trie = dict[str, Any]
END, CLAUSE, SENTENCE = "", "^", "^^"
#: The most words in a gap, and the class of those that it cannot hold.
GAPS = {"..": (3, "{barrier}"), "...": (12, "{finite}")}
#: The most fillers in a row.
FILLED = 2
_ELEMENT = re.compile(r"\(([^()]*)\)(\??)|(\S+?)(\??)(?:\s+|$)")


class Vocabulary:
    """Classes of words, and named patterns made of them."""

    def __init__(self, classes: Mapping[str, Iterable[str]], patterns: Mapping[str, Iterable[str]]) -> None:
        """Raises ValueError for a pattern that is empty or begins with a gap."""
        self.phrases = {name: [_words(phrase) for phrase in members] for name, members in classes.items()}
        self.labels: dict[str, tuple[str, ...]] = {}
        for name, phrases in self.phrases.items():
            for words in phrases:
                if len(words) == 1:
                    self.labels[words[0]] = (*self.labels.get(words[0], (words[0],)), f"{{{name}}}")
        self.trie: Trie = {}
        for name, forms in patterns.items():
            for form in forms:
                for elements in self._expand(form):
                    node = self.trie
                    for element in elements:
                        node = node.setdefault(element, {})
                    node.setdefault(END, name)
        if not self.trie.keys().isdisjoint((END, *GAPS)):
            raise ValueError("a pattern begins with a word or class")

    def labels_of(self, word: str) -> tuple[str, ...]:
        """The word itself and its classes."""
        return self.labels.get(word) or (word,)

    def _expand(self, form: str) -> Iterator[list[str]]:
        """All sequences of words and classes that a pattern stands for."""
        choices: list[list[list[str]]] = []
        for group, optional, word, open_ended in _ELEMENT.findall(form):
            ways = [way for part in group.split("|") for way in self._expand(part)] if group else self._ways(word)
            choices.append([*ways, []] if optional or open_ended else ways)
        for choice in product(*choices):
            yield [element for part in choice for element in part]

    def _ways(self, word: str) -> list[list[str]]:
        if word in GAPS or word in (CLAUSE, SENTENCE):
            return [[word]]
        if not word.startswith("{"):
            return [_words(word)]
        phrases = self.phrases.get(word[1:-1], [])
        return [[word], *(words for words in phrases if len(words) > 1)]

    def match(
        self, labels: Sequence[Sequence[str]], i: int, last: int, starts: Sequence[str] = ()
    ) -> tuple[int, str] | None:
        """The longest pattern from word i on that ends before `last`: where it ends, and its name. `starts` says what
        begins at word i: CLAUSE, SENTENCE."""
        if not starts and self.trie.keys().isdisjoint(labels[i]):
            return None
        ends: list[tuple[int, str]] = []
        for mark in starts:
            ends += _walk(labels, i, last, self.trie.get(mark, {}), FILLED)
        ends += _walk(labels, i, last, self.trie, 0)
        return max(ends, key=lambda end: end[0], default=None)


def _walk(labels: Sequence[Sequence[str]], i: int, last: int, node: Trie, fillers: int) -> Iterator[tuple[int, str]]:
    if END in node:
        yield i, node[END]
    for gap, (wide, barrier) in GAPS.items():
        if gap not in node:
            continue
        for j in range(i, min(i + wide + 1, last)):
            yield from _walk(labels, j, last, node[gap], 0)
            if barrier in labels[j]:
                break
    if i >= last:
        return
    for label in labels[i]:
        if label in node:
            yield from _walk(labels, i + 1, last, node[label], FILLED)
    if fillers and "{filler}" in labels[i]:
        yield from _walk(labels, i + 1, last, node, fillers - 1)


def _words(phrase: str) -> list[str]:
    return [token.text for token in tokenize(phrase)]
