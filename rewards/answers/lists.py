"""Lists of abnormalities: the classes that an answer names, and what is to be named."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from reasoner.findings import ancestors, concept_class, extract_text
from reasoner.findings.answers import ABNORMAL, NAME, Entry, is_attribute, roles_of, vocabulary
from reasoner.findings.lexicon import load
from reasoner.schema import CLASSES, NO_FINDING, present_classes, verified_labels
from rewards.answers.phrases import kind_at
from rewards.answers.reading import read
from rewards.answers.spelling import corrected
from rewards.answers.stances import Reading, gather, ranked
from rewards.answers.text import Item, Token, longest, parse, plain, remembered, tokens_of

#: A name that is no class begins with it.
UNKNOWN = "?"
#: A list of organs has no more items.
_MOST_LISTED = 40
#: Adjectives that may stand before `abnormality`.
_MOST_ADJECTIVES = 8
_SEPARATORS = re.compile(r"[,;\n|•]|\band\b", re.IGNORECASE)


class ClassList(NamedTuple):
    """The classes that a list names, in `CLASSES` order, and its items that name none, each once."""

    classes: tuple[str, ...]
    unknown: tuple[str, ...]


class GoldList(NamedTuple):
    """What a list is graded by.

    `classes` are to be named, in `CLASSES` order; those of `free` may be named or not; `text` is what the evidence
    shows.
    """

    classes: tuple[str, ...]
    free: frozenset[str]
    text: str

    def counted(self, named: Collection[str]) -> set[str]:
        """The named classes that count. Whoever names free ones alone, where nothing is to be named, is as right as
        with `No Finding`."""
        counted = set(named) - self.free
        return {NO_FINDING} if named and not counted and self.classes == (NO_FINDING,) else counted


def gold_list(answer: str | None, labels: Mapping[str, str | None] | None, label_source: str | None) -> GoldList | None:
    """The gold list of a row: class by class the verified label, else the reference answer, else (without one) the
    mined labels; None where they do not tell.

    A class that is verified uncertain is free, and so is one that was not verified in a row without reference answer.

    Raises:
        UserError: an unknown `label_source`.
    """
    verified = verified_labels(labels, label_source)
    answer = (answer or "").strip()
    if not verified:
        if not answer and any((labels or {}).values()):
            answer = ", ".join(present_classes(labels or {}))
        return GoldList(parse_class_list(answer).classes, frozenset(), answer) if answer else None
    said = parse_class_list(answer).classes
    rest = {name: "present" if name in said else "absent" if said else None for name in CLASSES}
    status = {name: verified.get(name, rest[name]) for name in CLASSES if name != NO_FINDING}
    classes = present_classes(status)
    free = frozenset(name for name in status if status[name] in ("uncertain", None))
    vague = not said or verified.get(NO_FINDING) == "absent"  # something may be there, or is, and nobody says what
    if vague and classes == (NO_FINDING,) and not verified.keys() >= status.keys():
        return None
    return GoldList(classes, free, ", ".join(classes))


@remembered
def parse_class_list(text: str) -> ClassList:
    """The classes that a text asserts, be it a list, a table or prose; `unknown` are the names that are no class, or
    are left open (`A or B`), or both asserted and denied. What is denied is not named.
    """
    names = plain_list(text)
    return ClassList(names, ()) if names else _read(text)


def plain_list(text: str) -> tuple[str, ...]:
    """The classes of a list of official names and nothing else; empty for any other text."""
    items = [item.strip(" .").lower() for item in _SEPARATORS.split(text)]
    names = {_OFFICIAL.get(item) for item in items if item}
    if None in names or (NO_FINDING in names and len(names) > 1):
        return ()
    return tuple(name for name in CLASSES if name in names)


_OFFICIAL = {form: name for name in CLASSES for form in (name.lower(), f"{name.lower()}s")}


def name_at(tokens: Sequence[Token], i: int) -> tuple[Entry, int] | None:
    """The class, other finding, or statement of normality named at token i, as a reader's `Namer`.

    `no significant abnormality`: adjectives may stand between, and are part of the name.
    """
    words = vocabulary()
    found = longest(words.classes, tokens, i, _is_side)
    if found and found[0][0] == NAME:
        return found
    j, marks = i, set()
    while j < min(i + _MOST_ADJECTIVES, len(tokens)) and (kind := words.qualifiers.get(tokens[j].word)):
        marks.add(kind)
        j += 1
    noun = longest(words.classes, tokens, j) if j > i else found
    if noun is None or noun[0][0] == NAME:
        return found
    if noun[0][0] in ("otherwise", "quality"):
        return noun
    if noun[0][1].startswith(("acute", "active")):
        marks.add("acute")
    mark = "other" if "other" in marks else "acute" if "acute" in marks else ""
    return (NAME, f"{mark} {ABNORMAL}".strip()), noun[1]


def _is_side(word: str) -> bool:
    return "side" in roles_of(word)


def _steady_at(tokens: Sequence[Token], i: int) -> tuple[Entry, int] | None:
    """`no significant change in` what is there all the same, as a reader's `Namer`."""
    words = vocabulary()
    denial = longest(words.cues, tokens, i)
    if denial is None or denial[0][0] != "not":
        return None
    j = denial[1]
    while j < min(i + _MOST_ADJECTIVES, len(tokens)) and tokens[j].word in words.fillers:
        j += 1
    return longest(words.steady, tokens, j)


def _read(text: str) -> ClassList:
    reading, normal, excepted = _reading(text)
    known = {name for name in reading.clear if name in CLASSES}
    named = (reading.clear | reading.vague) - known
    others = [name for name in named if not name.endswith(ABNORMAL) and known.isdisjoint(_kinds(name))]
    weak = reading.nothing or f"acute {ABNORMAL}" in reading.excluded or normal >= {"lungs", "heart"}
    if (ABNORMAL in reading.excluded and ABNORMAL not in reading.asserted) or (weak and not known and not others):
        known.add(NO_FINDING)
    if excepted and len(known) + len(others) > 1:  # "normal except for"
        known.discard(NO_FINDING)
    elif NO_FINDING in known and ABNORMAL in reading.asserted and not reading.nothing:
        others.append(ABNORMAL)
    unknown = dict.fromkeys(sorted(name.removeprefix(UNKNOWN).lower() for name in others))
    return ClassList(tuple(name for name in CLASSES if name in known), tuple(unknown))


@lru_cache(maxsize=4096)
def _kinds(name: str) -> frozenset[str | None]:
    """The classes that a finding outside them belongs to more widely: it backs them, and is no name beside them."""
    concept = name.removeprefix(UNKNOWN).replace(" ", "_") if name.startswith(UNKNOWN) else ""
    return frozenset(concept_class(parent) for parent in ancestors(concept))


def impression(text: str) -> str | None:
    """`normal` or `abnormal`: what a text says on the whole; None where it says neither, or both."""
    classes, unknown = parse_class_list(text)
    if classes == (NO_FINDING,):
        return None if unknown else "normal"
    reading, normal, _ = _reading(text)
    if NO_FINDING in classes or reading.vague:
        return None
    findings = any(name[1:].replace(" ", "_") in load().concepts for name in reading.clear if name.startswith(UNKNOWN))
    if classes or findings or ABNORMAL in reading.clear or NO_FINDING in reading.excluded:
        return "abnormal"
    return "normal" if "lungs" in normal and not reading.asserted else None


def _reading(text: str) -> tuple[Reading, set[str], bool]:
    """The reading of a text, the regions that it calls normal, and whether it excepts anything."""
    text = plain(text)
    tokens = corrected(tokens_of(text))
    items, normal = _chunked(parse(tokens, name_at, _steady_at), tokens)
    excepted = any(item.kind in ("except", "allbut") for item in items)
    return gather(ranked(read(items, tokens), False), excepted=True, normal=NO_FINDING), normal, excepted


def stances(text: str) -> Reading:
    """What a text asserts, excludes and leaves open, classes and other findings by `name_of`."""
    return _reading(text)[0]


def name_of(concept: str) -> str:
    """The name under which a concept of the lexicon is read: its class, or itself."""
    return concept_class(concept) or UNKNOWN + concept.replace("_", " ")


def _chunked(items: Sequence[Item], tokens: Sequence[Token]) -> tuple[list[Item], set[str]]:
    """The items with what names no class made a name, too, and the regions that are called normal.

    Between two marks without any name, what an organ is said to be counts (`the heart is enlarged`, `Heart: enlarged`);
    of other words a noun is an unknown name, a sentence is prose and names nothing.
    """
    made: list[Item] = []
    normal: set[str] = set()
    chunk: list[Item] = []
    for n, item in enumerate((*items, Item("end", "", 0, 0))):
        if item.kind == ":" and chunk and _heads(chunk[-1], item, tokens):
            chunk.pop()
        if item.kind in (":", "–") and _speaks_of_organ(chunk, tokens):
            continue
        related = item.kind == "," and item.last < len(tokens) and tokens[item.last].word in vocabulary().relatives
        several = item.kind == "," and _lists_organs(chunk, tokens)
        clause = item.kind == "and" and kind_at(items, n + 1) == "exists"  # "the heart is large and there is ..."
        if not clause and (
            item.kind not in _BREAKS or related or several
        ):  # "the heart, which is large", "heart, lungs and bones are"
            chunk.append(item)
            continue
        found = _organs(chunk, tokens, normal)
        taken_back = [i for i in chunk if i.kind in ("retract", "rethink")]
        made += _nouns(chunk, tokens) if found is None else taken_back + found
        made += [] if item.kind == "end" else [item]
        chunk = []
    return made, normal


_BREAKS = frozenset((",", "stop", "|", ":", "–", "(", ")", "=", "end", "but", "except", "allbut"))


def _heads(name: Item, mark: Item, tokens: Sequence[Token]) -> bool:
    """Whether a name before a colon is a heading: `Findings: ...`, `Normal: lungs, heart`."""
    after = tokens[mark.last].word if mark.last < len(tokens) else ""
    normal = name.value == NO_FINDING and name.last - name.first == 1
    return name.value.endswith(ABNORMAL) or (normal and "anatomy" in roles_of(after))


def _lists_organs(chunk: Sequence[Item], tokens: Sequence[Token]) -> bool:
    """Whether a chunk names organs, not many, and says nothing of them yet."""
    if len(chunk) > _MOST_LISTED:
        return False
    words = [tokens[item.first].word for item in chunk if item.kind == "word"]
    return _speaks_of_organ(chunk, tokens) and all("anatomy" in roles_of(word) or is_attribute(word) for word in words)


def _speaks_of_organ(chunk: Sequence[Item], tokens: Sequence[Token]) -> bool:
    if len(chunk) > _MOST_LISTED:
        return False
    words = [tokens[item.first].word for item in chunk if item.kind in ("word", "among", ",")]
    return len(words) == len(chunk) and any("anatomy" in roles_of(word) for word in words)


def _organs(chunk: Sequence[Item], tokens: Sequence[Token], normal: set[str]) -> list[Item] | None:
    """What the organs of a chunk are said to be, as items; None where nothing is said of one."""
    names = {item.value for item in chunk if item.kind == NAME}
    if names - {NO_FINDING} or not any(item.kind == "word" for item in chunk):
        return None
    spans = [token for item in chunk for token in tokens[item.first : item.last]]
    findings = extract_text(" ".join(token.raw for token in spans))
    regions = {_region(finding.concept) for finding in findings if finding.status == "absent"}
    if not findings or (names and regions >= {"lungs", "heart", "pleura"}):  # the study is normal, not an organ
        return None
    normal |= regions
    named = {name_of(finding.concept) for finding in findings if finding.status != "absent"}
    return [Item(NAME, name, chunk[0].first, chunk[-1].last) for name in sorted(named)]


def _region(concept: str) -> str:
    region = load().concepts[concept].region
    return "heart" if region == "mediastinum" else region


def _nouns(chunk: Sequence[Item], tokens: Sequence[Token]) -> list[Item]:
    """A chunk whose parts between `and` and `or` that hold strange words and no name are unknown names."""
    parts: list[list[Item]] = [[]]
    for item in chunk:
        if item.kind in ("and", "or", "/", "exists"):
            parts += [[item], []]
        else:
            parts[-1].append(item)
    made: list[Item] = []
    for number, part in enumerate(parts):
        named = any(item.kind == NAME for item in part)
        told = any(item.kind in ("one", "many", "verb", "modal", "doubt", "if") for item in part)
        if told and not any(other.kind == "exists" for before in parts[:number] for other in before):
            named = True
        strange = [item for item in part if item.kind == "word" and _strange(item.value)]
        for item in part:
            if item.kind != "word":
                made.append(item)
            elif not named and strange and item is strange[0]:
                last = strange[-1].last
                name = " ".join(token.raw for token in tokens[item.first : last])
                made.append(Item(NAME, UNKNOWN + name, item.first, last))
    return made


@lru_cache(maxsize=1 << 14)
def _strange(word: str) -> bool:
    """Whether a word may name something: it is no word of grammar, side, size or place."""
    if word in vocabulary().glue or word.replace(".", "").isdigit():
        return False
    return not is_attribute(word) and _ORGANS.isdisjoint(roles_of(word))


#: Words for organs and what is said of them are no names either.
_ORGANS = {"anatomy", "verb", "quality"}
