"""The lexicon of `lexicon.yaml`, compiled once into a trie over words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from reasoner.findings.data import read_data, verb_forms
from reasoner.findings.text import Token, tokenize
from reasoner.schema import CLASSES, READ_ORDER, Status

PATH = Path(__file__).with_name("lexicon.yaml")
#: The region of what is said about the image itself, not the chest.
QUALITY = "quality"
#: What a term can be: its kind -> its value (a concept, an anatomy, a side, ...). One term may play several parts.
Roles = dict[str, Any]
_STATUS_MARK: dict[str, Status] = {"-": "absent", "?": "uncertain"}
_END = ""
#: Role -> the part of the data file that holds its values.
_GROUPS = {
    "quality": "qualities", "side": "sides", "location": "locations", "hint": "side_hints", "severity": "severities",
    "change": "changes", "acuity": "acuities", "kind": "kinds", "tip": "tips",
}  # fmt: skip


@dataclass(frozen=True)
class Concept:
    """What can be asserted. `label` is its CheXpert class; `implies` and `denies` are asserted and denied with it.

    `anatomy` is the structure it lies in, `radlex` its preferred name in RadLex where it has one.
    """

    name: str
    label: str | None
    region: str
    parents: tuple[str, ...]
    sided: bool
    implies: tuple[str, ...]
    denies: tuple[str, ...]
    refine: dict[str, str]
    anatomy: str = ""
    radlex: str | None = None


@dataclass(frozen=True)
class Term:
    """A term found in a sentence: tokens `[first, last)` and what it can be."""

    first: int
    last: int
    roles: Roles


@dataclass(frozen=True)
class Lexicon:
    """`trie` maps a word to the next level, and `""` to the roles of the term that ends there; `terms` are the words
    of each concept; `opposites` says what a denied quality is; `existence` are words of mere existence, `pointing`
    those that may stand for a finding, `function` others without a meaning of their own, `linking` verbs that say what
    something is; `titles` which keys and columns name a subject, which a value; `corrections` are the words that take
    back what was said; `operators` are the classes of verbs and adjectives that a denial turns."""

    concepts: dict[str, Concept]
    frames: dict[str, dict[str, tuple[tuple[str, Status], ...]]]
    regions: dict[str, str]
    trie: dict[str, Any]
    terms: dict[str, tuple[str, ...]]
    opposites: dict[str, str]
    existence: frozenset[str]
    pointing: frozenset[str]
    function: frozenset[str]
    linking: frozenset[str]
    titles: dict[str, str]
    corrections: dict[str, tuple[str, ...]]
    operators: dict[str, dict[str, Any]]

    def match(self, tokens: list[Token]) -> list[Term]:
        """The longest terms from left to right, without overlap."""
        items: list[Term] = []
        i, n, trie = 0, len(tokens), self.trie
        while i < n:
            node = trie.get(tokens[i].text)
            if node is None:
                i += 1
                continue
            j, end, roles = i, i, None
            while node is not None:
                j += 1
                if _END in node:
                    end, roles = j, node[_END]
                node = node.get(tokens[j].text) if j < n else None
            if roles is None:
                i += 1
            else:
                items.append(Term(i, end, roles))
                i = end
        return items


def _plural(term: str) -> str | None:
    if term.endswith(("s", "x", "is", "ed", "ing")) or not term[-1:].isalpha():
        return None
    return re.sub("y$", "ie", term) + "s" if re.search("[^aeiou]y$", term) else term + "s"


def _forms(verb: str) -> Iterator[tuple[str, bool]]:
    """The forms of a verb given as "see saw seen" or "rule | out", and whether each is a past form or participle."""
    stem, _, particle = verb.partition(" | ")
    base, *past = stem.split()
    *active, regular = verb_forms(base)
    for form in (*active, *(past or [regular])):
        yield f"{form} {particle}".strip(), form not in active


class _Builder:
    def __init__(self) -> None:
        self.trie: dict[str, Any] = {}

    def add(self, term: str, kind: str, value: Any, plural: bool = False) -> None:
        for form in filter(None, (term, _plural(term) if plural else None)):
            node = self.trie
            for token in tokenize(form):
                node = node.setdefault(token.text, {})
            node.setdefault(_END, {}).setdefault(kind, value)


@cache
def load() -> Lexicon:
    """The compiled lexicon; a mistake in the data file raises ValueError naming the entry."""
    data = read_data(PATH)
    builder = _Builder()
    concepts: dict[str, Concept] = {}
    regions: dict[str, str] = {}
    names: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    for name, entry in data["concepts"].items():
        concepts[name] = Concept(
            name,
            entry.get("class"),
            entry["region"],
            tuple(entry.get("parents", ())),
            entry.get("sided", True),
            tuple(entry.get("implies", ())),
            tuple(entry.get("denies", ())),
            entry.get("refine", {}),
            entry.get("anatomy", ""),
            entry.get("radlex"),
        )
        names[name] = tuple(dict.fromkeys((*entry["terms"], name.replace("_", " "))))
        for term in names[name]:
            if owner.setdefault(term, name) != name:
                raise ValueError(f"{PATH.name}: '{term}' is a term of {owner[term]} and of {name}")
            builder.add(term, "concept", name, plural=True)
    for name, entry in data["anatomy"].items():
        regions[name] = entry["region"]
        for term in entry["terms"]:
            builder.add(term, "anatomy", name, plural=True)
    for kind, group in _GROUPS.items():
        for value, words in data[group].items():
            for term in words:
                builder.add(term, kind, value)
    for kind, entry in data["operators"].items():
        for verb in entry.pop("verbs", ()):
            for form, past in _forms(verb):
                builder.add(form, "operator", kind)
                builder.add(form, "past form" if past else "active form", True)
        for word in entry.pop("words", ()):
            builder.add(word, "operator", kind)
    plain: dict[str, Any] = {
        kind: frozenset(data["cues"].pop(kind)) for kind in ("existence", "pointing", "function", "linking")
    }
    for kind, terms in data["cues"].items():
        for term in terms:
            builder.add(term, kind, True, plural=kind == "speaker")
    frames = {
        anatomy: {quality: tuple(_parse_claim(claim) for claim in claims) for quality, claims in entry.items()}
        for anatomy, entry in data["frames"].items()
    }
    _check(concepts, regions, frames)
    return Lexicon(concepts, frames, regions, builder.trie, names, **plain, **_discourse(data))


def _discourse(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "opposites": data["opposites"],
        "titles": {word: kind for kind, words in data["titles"].items() for word in words},
        "corrections": {kind: tuple(words) for kind, words in data["corrections"].items()},
        "operators": data["operators"],
    }


class Matched(NamedTuple):
    """The tokens of a text, and the longest terms of the lexicon among them."""

    tokens: tuple[Token, ...]
    terms: tuple[Term, ...]


@lru_cache(maxsize=1 << 10)  # all that reads a sentence needs them, and one reader follows soon upon another
def matched(text: str) -> Matched:
    tokens = tokenize(text)
    return Matched(tuple(tokens), tuple(load().match(tokens)))


def _parse_claim(claim: str) -> tuple[str, Status]:
    return (claim[1:], _STATUS_MARK[claim[0]]) if claim[0] in _STATUS_MARK else (claim, "present")


def _check(concepts: dict[str, Concept], regions: dict[str, str], frames: dict[str, Any]) -> None:
    for concept in concepts.values():
        known = {*concept.parents, *concept.implies, *concept.denies, *concept.refine.values()}
        if missing := known - concepts.keys():
            raise ValueError(f"{PATH.name}: concept {concept.name} refers to unknown {sorted(missing)}")
        if concept.label is not None and concept.label not in CLASSES:
            raise ValueError(f"{PATH.name}: concept {concept.name} has unknown class {concept.label}")
        if concept.region not in READ_ORDER:
            raise ValueError(f"{PATH.name}: concept {concept.name} has unknown region {concept.region}")
    for anatomy, entry in frames.items():
        if anatomy not in regions:
            raise ValueError(f"{PATH.name}: frame of unknown anatomy {anatomy}")
        for claims in entry.values():
            for name, _ in claims:
                if name not in concepts:
                    raise ValueError(f"{PATH.name}: frame {anatomy} asserts unknown concept {name}")


def concept_class(concept: str) -> str | None:
    """The CheXpert class of a concept; None for one outside the 14 or an unknown name."""
    entry = load().concepts.get(concept)
    return entry.label if entry else None


def region(concept: str) -> str:
    """The stage of a systematic read (`schema.READ_ORDER`) at which a concept is looked for."""
    return load().concepts[concept].region


def implied(concept: str) -> tuple[str, ...]:
    """The concepts that are asserted with this one: a hydropneumothorax is an effusion and a pneumothorax."""
    return load().concepts[concept].implies


@cache
def ancestors(concept: str) -> tuple[str, ...]:
    """All ancestors of a concept, nearest first; empty for an unknown name."""
    found: list[str] = []
    queue = [concept]
    while queue:
        entry = load().concepts.get(queue.pop(0))
        for parent in entry.parents if entry else ():
            if parent not in found:
                found.append(parent)
                queue.append(parent)
    return tuple(found)


@cache
def kin(concept: str) -> frozenset[str]:
    """The concept, its ancestors and its descendants: all names under which a text may speak of it."""
    return frozenset({concept, *ancestors(concept), *(name for name in load().concepts if concept in ancestors(name))})
