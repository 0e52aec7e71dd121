"""The words of short answers, from `answers.yaml`: compiled once into tries over words in the singular."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from reasoner.findings.data import read_data
from reasoner.findings.lexicon import concept_class, load
from reasoner.schema import CLASSES, NO_FINDING

PATH = Path(__file__).with_name("answers.yaml")
#: Word -> the next level, and `""` -> what the phrase that ends there stands for.
Trie = dict[str, Any]
END = ""
#: What a phrase of a trie stands for: a kind, and a value of that kind.
Entry = tuple[str, Any]
#: The kind of phrases that name something; others change what is said of it.
NAME = "name"
#: The value of a name that speaks of abnormality in general: denied, it is `No Finding`.
ABNORMAL = "abnormal"
ARTICLES = frozenset({"a", "an", "the"})
_ATTRIBUTES = {"side", "severity", "location", "change", "acuity", "hint"}
_WORD = re.compile(r"[^\W_]+|[&/+<>]")
_GROUP = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Vocabulary:
    """The words by what they do.

    `cues` change what is said of names; `classes` and `changes` name; `glue` names nothing; `fillers` are skipped where
    changes are read; `qualifiers` of abnormality are `adjectives`, `acute` or `other` ones; no option is a letter after
    one of `letters`, and a capital one is before `no_nouns`, which follow no article; `yes_no` are whole answers; after
    `no`, `pronouns` begin a sentence of their own; `noes` are words for it, `interjections` may stand before;
    `concessive` words grant what does not count; after a comma, `relatives` go on about what stands before; `surest`
    and `possible` tell how likely a choice is, `certain` how sure one is. Options are counted by `ordinals` and `last`
    before one of `option_nouns`, and by `cardinals` after one of `counted_nouns`. After a denial, `steady` (`no change
    in A`) leaves what is there. `shorthand` stands for words.
    """

    cues: Trie
    classes: Trie
    changes: Trie
    glue: frozenset[str]
    fillers: frozenset[str]
    qualifiers: dict[str, str]
    letters: frozenset[str]
    yes_no: dict[str, str]
    pronouns: frozenset[str]
    relatives: frozenset[str]
    no_nouns: frozenset[str]
    concessive: frozenset[str]
    interjections: frozenset[str]
    noes: frozenset[str]
    surest: frozenset[str]
    possible: frozenset[str]
    certain: frozenset[str]
    ordinals: dict[str, int]
    last: frozenset[str]
    cardinals: dict[str, int]
    option_nouns: frozenset[str]
    counted_nouns: frozenset[str]
    steady: Trie
    shorthand: dict[str, str]


@lru_cache(maxsize=1 << 14)
def singular(word: str) -> str:
    """The form in which words are compared: in lower case, without the -s of a plural."""
    word = word.lower()
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "is", "us")):
        return word[:-1]
    return word


@lru_cache(maxsize=1 << 14)
def roles_of(word: str) -> frozenset[str]:
    """What a word is in the lexicon, itself or its plural: `side`, `anatomy`, `quality`, ..."""
    return frozenset(role for form in (word, f"{word}s") for role in load().trie.get(form, {}).get(END, ()))


def is_attribute(word: str) -> bool:
    """Whether a word says which, where or how much, and not what."""
    return not _ATTRIBUTES.isdisjoint(roles_of(word))


def words_of(phrase: str) -> list[str]:
    """The words of a phrase as tries hold them: singular, without articles."""
    return [
        singular(word) for word in _WORD.findall(phrase.replace("cannot", "can not")) if word.lower() not in ARTICLES
    ]


def insert(trie: Trie, phrase: str, entry: Entry, replace: bool = True) -> None:
    """Adds a phrase; an empty one is left out."""
    node = trie
    for word in words_of(phrase):
        node = node.setdefault(word, {})
    if node is not trie and (replace or END not in node):
        node[END] = entry


@cache
def vocabulary() -> Vocabulary:
    """The compiled vocabulary.

    Raises:
        ValueError: a class or a group of `answers.yaml` that does not exist.
    """
    data = read_data(PATH, plain=True)
    cues: Trie = {}
    for kind, phrases in data["cues"].items():
        for phrase in phrases:
            for form in _expanded(phrase, data["groups"]):
                insert(cues, form, (kind, form))
    changes: Trie = {}
    for change, phrases in data["changes"].items():
        for phrase in phrases:
            for form in _expanded(phrase, data["groups"]):
                insert(changes, form, (NAME, change), replace=False)
    steady: Trie = {}
    for noun, of in product(data["steady"]["nouns"], data["steady"]["of"]):
        insert(steady, f"{noun} {of}", ("steady", noun))
    abnormality = data["abnormality"]
    return Vocabulary(
        cues,
        _classes(data),
        changes,
        glue=_words(data["glue"]) | _words(data["interjections"]),
        fillers=_words(data["fillers"]),
        qualifiers={singular(word): kind for kind in ("adjectives", "acute", "other") for word in abnormality[kind]},
        letters=_words(data["letter_names"]),
        yes_no={word: said for said, words in data["yes_no"].items() for word in words},
        pronouns=_words(data["pronouns"]),
        relatives=_words(data["relatives"]),
        no_nouns=_words(data["no_nouns"]),
        concessive=_words(data["concessive"]),
        interjections=_words(data["interjections"]),
        noes=_words(data["noes"]),
        surest=frozenset(data["surest"]),
        possible=_words(data["possible"]),
        certain=_words(data["certain"]),
        ordinals=_counts(data["ordinals"]),
        last=_words(data["last"]),
        cardinals=_counts(data["cardinals"]),
        option_nouns=_words(data["option_nouns"]),
        counted_nouns=_words(data["counted_nouns"]),
        steady=steady,
        shorthand=dict(data["shorthand"]),
    )


def _words(words: Iterable[str]) -> frozenset[str]:
    return frozenset(map(singular, words))


def _counts(forms: Iterable[Iterable[str]]) -> dict[str, int]:
    """Each word -> the number whose form it is, from 1."""
    return {singular(word): number for number, words in enumerate(forms, 1) for word in words}


def _classes(data: dict[str, Any]) -> Trie:
    """Names of classes, of findings that belong to none (named as themselves, `?` before them), and of nothing; what
    is said of the image's quality names nothing."""
    trie: Trie = {}
    for concept, terms in load().terms.items():
        name = concept_class(concept) or f"?{concept.replace('_', ' ')}"
        kind = "quality" if load().concepts[concept].region == "quality" else NAME
        for term in terms:
            insert(trie, term, (kind, name), replace=False)
    for name, phrases in data["classes"].items():
        if name not in CLASSES:
            raise ValueError(f"{PATH.name}: unknown class {name}")
        for phrase in phrases:
            for form in _expanded(phrase, data["groups"]):
                insert(trie, form, (NAME, name))
    for phrase in data["harmless"]:
        insert(trie, phrase, ("quality", phrase))
    for noun in data["abnormality"]["nouns"]:
        insert(trie, noun, ("noun", noun))
    for term in load().terms["cardiopulmonary_abnormality"]:
        insert(trie, term, ("noun", term))
    for phrase in data["abnormal"]:
        insert(trie, phrase, (NAME, ABNORMAL))
    for phrase in data["normal"]:
        insert(trie, phrase, (NAME, NO_FINDING))
    for phrase in data["rest_normal"]:
        insert(trie, phrase, ("otherwise", phrase))
    for name in CLASSES:
        insert(trie, name, (NAME, name))
    return trie


def _expanded(phrase: str, groups: dict[str, list[str]]) -> list[str]:
    """The phrase with each `{group}` replaced by each of its phrases."""
    names = _GROUP.findall(phrase)
    if unknown := set(names) - groups.keys():
        raise ValueError(f"{PATH.name}: unknown group {sorted(unknown)} in {phrase!r}")
    forms = []
    for choice in product(*(groups[name] for name in names)):
        values = iter(choice)
        forms.append("".join(next(values) if n % 2 else part for n, part in enumerate(_GROUP.split(phrase))))
    return forms
