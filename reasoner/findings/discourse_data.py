"""The words and patterns of `discourse.yaml`, compiled once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from reasoner.findings.data import read_data, verb_forms
from reasoner.findings.patterns import Vocabulary

PATH = Path(__file__).with_name("discourse.yaml")
_ENDINGS = ("", "s", "ing", "ed")
#: Frames that say what a search came to.
OUTCOMES = ("nothing", "undecided")


@cache
def data() -> dict[str, Any]:
    """The data as they stand in the file."""
    return read_data(PATH, plain=True)


@cache
def frames() -> Vocabulary:
    """What makes a clause a plan, general knowledge, the word of others, ..."""
    return Vocabulary(data()["classes"] | _verbs(), data()["frames"])


@cache
def outcomes() -> Vocabulary:
    return Vocabulary({}, {name: data()["frames"][name] for name in OUTCOMES})


@cache
def here() -> Vocabulary:
    """What speaks of this film."""
    return Vocabulary({}, {"here": data()["classes"]["here"]})


@cache
def asides() -> Vocabulary:
    return Vocabulary({}, {"aside": data()["reply"]["aside"]})


@cache
def headings() -> Vocabulary:
    return Vocabulary({}, data()["headings"])


@cache
def reply_words() -> dict[str, frozenset[str]]:
    """The words of answers, by kind."""
    return {name: frozenset(words) for name, words in data()["reply"].items() if name != "aside"}


def _verbs() -> dict[str, list[str]]:
    """The classes of forms of each group of verbs."""
    classes: dict[str, list[str]] = {}
    for name, bases in data()["verbs"].items():
        rows = [*map(verb_forms, bases), *data()["irregular"].get(name, ())]
        for ending, forms in zip(_ENDINGS, zip(*rows, strict=True), strict=True):
            classes[name + ending] = list(forms)
    return classes
