"""The finer details of a finding, beside side, severity and change; and how far two texts agree on them.

A fact carries them as one string, `acuity=acute; location=base`, in the order of their names: strings compare fast, and
what two of them mean beside each other is worked out once. The extractor reads age, place, size and tip. Others are
looked for in the sentence by the words in `details.yaml`: ribs and vertebrae, which side is worse, if a fracture is
displaced, and so on.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from reasoner.findings import ancestors
from reasoner.findings.data import read_data
from reasoner.findings.text import MAX_SENTENCE
from reasoner.schema import Finding

PATH = Path(__file__).with_name("details.yaml")
#: What is left of a credit where only one of the two gives a side, severity or change; a finer detail.
MISSING, MISSING_FINE = 0.8, 0.9
#: What is left where both give nearly the same; where they differ.
NEAR, WRONG = 0.8, 0.5
#: Lengths are like each other up to this ratio, and still near up to that; so are distances of a tip, in millimetres.
LIKE, NEARLY, TIP_MM = 1.25, 2.0, 10.0
#: How many characters may lie between a finding and a word on it, where the data does not say.
REACH = 90
_NEGATED = re.compile(
    r"(?:\b(?:no|not|non|without|neither|nor|never|lacks?|lacking|hardly)|n['’]t)\W+(?:\w+\W+){0,2}$", re.IGNORECASE
)
_WORD = re.compile(r"[a-z]+|[<>]")
_END = re.compile(r"[.;!?\n](?:\s|$)")
#: What parts a place from another: what is denied in one may be there in the other.
_WHERE = ("acuity", "location")


def written(details: Mapping[str, str | None]) -> str | None:
    """Details by name as one string; None if none has a value."""
    given = sorted(name for name, value in details.items() if value)
    return "; ".join([f"{name}={details[name]}" for name in given]) if given else None


@lru_cache(maxsize=1 << 14)
def _read(details: str | None) -> Mapping[str, str]:
    return dict(part.split("=") for part in details.split("; ")) if details else {}


@lru_cache(maxsize=1 << 15)
def borne_out(ours: str, theirs: str | None) -> float:
    """What is left of the credit of a fact with our details beside one with theirs; what we do not say costs nothing.

    >>> borne_out("location=base", "location=lower lobe; size=12 mm"), borne_out("location=base", "location=apex")
    (1.0, 0.5)
    >>> borne_out("tip=40 mm above carina", "tip=right main bronchus"), borne_out("size=12 mm", None)
    (0.5, 0.9)
    """
    said, credit = _read(theirs), 1.0
    for name, value in _read(ours).items():
        other = said.get(name)
        credit *= MISSING_FINE if other is None else _agreement(name, value, other)
    return credit


@lru_cache(maxsize=1 << 14)
def together(ours: str | None, theirs: str | None) -> tuple[bool, str | None]:
    """Whether two mentions of a finding contradict each other in no detail, and what they say together."""
    said, others = _read(ours), _read(theirs)
    agree = all(_agreement(name, said[name], others[name]) == 1.0 for name in said.keys() & others.keys())
    return agree, written({**others, **said})


@lru_cache(maxsize=1 << 14)
def parted(ours: str, theirs: str) -> bool:
    """Whether they are of different ages or places."""
    said, others = _read(ours), _read(theirs)
    return any(
        name in said and name in others and _agreement(name, said[name], others[name]) == WRONG for name in _WHERE
    )


@lru_cache(maxsize=1 << 14)
def vaguer(details: str | None) -> tuple[str | None, ...]:
    """The details, and all that say less."""
    said = _read(details)
    some = (names for n in range(len(said) + 1) for names in combinations(said, n))
    return tuple(written({name: said[name] for name in names}) for names in some)


def place_of(details: str | None) -> str | None:
    return _read(details).get("location")


def at_place(details: str | None, place: str | None) -> str | None:
    return written({**_read(details), "location": place})


def left_out(details: str | None, told: Sequence[str | None]) -> int:
    """How many of the details none of what was told gives."""
    names = _read(details).keys()
    return len(names - {name for one in told for name in _read(one)}) if names else 0


def count(details: str | None) -> int:
    return len(_read(details))


def degrees_agree(ours: str, theirs: str) -> float:
    """How far one severity is the other."""
    degrees = _data()["degrees"]
    apart = abs(degrees.get(ours, 1) - degrees.get(theirs, 1))
    return 1.0 if apart == 0 else NEAR if apart == 1 else WRONG


def _agreement(name: str, ours: str, theirs: str) -> float:
    if ours == theirs:
        return 1.0
    compare = _COMPARED.get(name)
    return compare(ours, theirs) if compare else WRONG


def _parts(detail: str, ours: str, theirs: str) -> float:
    data = _data()
    known = data["parts"][detail]
    if ours not in known or theirs not in known:
        return 1.0
    if set(known[ours]).isdisjoint(known[theirs]):
        return WRONG
    return NEAR if detail in data["near"] or not {ours, theirs}.isdisjoint(data["wide"]) else 1.0


def _age(ours: str, theirs: str) -> float:
    return _parts("acuity", ours, theirs)


def _place(ours: str, theirs: str) -> float:
    return _parts("location", ours, theirs)


def _tip(ours: str, theirs: str) -> float:
    (place, far), (other, away) = _distance(ours), _distance(theirs)
    if place != other:
        return _parts("tip", place, other)
    return NEAR if far and away and abs(far - away) > TIP_MM else 1.0


def _distance(tip: str) -> tuple[str, float]:
    """The place of a tip, and how many millimetres from it; 0 where that is not said."""
    length, unit, place = tip.partition(" mm ")
    return (place, max(_numbers(length))) if unit else (tip, 0.0)


def _length(ours: str, theirs: str) -> float:
    small, large = sorted((max(_numbers(ours)), max(_numbers(theirs))))
    return 1.0 if large <= LIKE * small else NEAR if large <= NEARLY * small else WRONG


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def _levels(ours: str, theirs: str) -> float:
    return WRONG if set(ours.split()).isdisjoint(theirs.split()) else NEAR


_COMPARED: dict[str, Callable[[str, str], float]] = {
    "acuity": _age, "location": _place, "tip": _tip, "size": _length, "level": _levels,
}  # fmt: skip


# What the extractor does not read


class _Group(NamedTuple):
    """The values of one detail, each by the words of one part of `pattern`, said of the kinds of the concepts `of`;
    `opposite` is what the denial of a value says. Without any of the words `hints` a text says none of them."""

    name: str
    hints: frozenset[str]
    of: frozenset[str]
    reach: int
    pattern: re.Pattern[str]
    values: tuple[str, ...]
    opposite: Mapping[str, str]


def further_details(text: str, findings: Sequence[Finding]) -> dict[int, dict[str, str]]:
    """Details by the place in `findings`, which are in the order of `text`: each goes to what it may be said of and
    stands nearest, in the same sentence."""
    there = [n for n, finding in enumerate(findings) if finding.status != "absent" and finding.evidence]
    found: dict[int, dict[str, str]] = {}
    words = frozenset(_WORD.findall(text.lower())) if there else frozenset()
    for group in _groups():
        if group.hints.isdisjoint(words):
            continue
        fit = [n for n in there if not group.of or not group.of.isdisjoint(_family(findings[n].concept))]
        for value, start, end in _said(group, text) if fit else ():
            for n in _nearest(text, start, end, group.reach, fit, findings):
                if group.name != "greater" or findings[n].laterality in (None, "bilateral", value):
                    found.setdefault(n, {}).setdefault(group.name, value)
    return found


@cache
def _family(concept: str) -> frozenset[str]:
    return frozenset((concept, *ancestors(concept)))


def _said(group: _Group, text: str) -> Iterator[tuple[str, int, int]]:
    for match in group.pattern.finditer(text):
        start, end = match.span()
        if group.name == "level":
            yield _level(match), start, end
            continue
        value = group.values[int(str(match.lastgroup)[1:])]
        if _NEGATED.search(text, max(start - 40, 0), start):
            if value not in group.opposite:
                continue
            value = group.opposite[value]
        yield value, start, end


def _nearest(
    text: str, start: int, end: int, reach: int, fit: Sequence[int], findings: Sequence[Finding]
) -> Iterator[int]:
    """Those of the findings `fit` that stand nearest to `text[start:end]`, in its sentence."""
    gaps: dict[int, int] = {}
    first = bisect_left(fit, start - MAX_SENTENCE, key=lambda n: _span(findings[n])[0])
    for n in fit[first:]:
        begin, stop = _span(findings[n])
        if begin > end + reach:
            break
        a, b = (stop, start) if stop <= start else (end, begin)
        if b - a <= reach and not (b > a and _END.search(text, a, b)):
            gaps[n] = max(b - a, 0)
    least = min(gaps.values(), default=0)
    yield from (n for n, gap in gaps.items() if gap == least)


def _span(finding: Finding) -> tuple[int, int]:
    assert finding.evidence is not None
    return finding.evidence.start, finding.evidence.end


def _level(match: re.Match[str]) -> str:
    """The ribs ("6 7") or vertebrae ("t8") that a match names; "fourth through sixth" are three."""
    ordinals = _data()["ordinals"]
    numbers: list[int] = []
    letter, last, through = "", 0, False
    for word in re.findall(r"[A-Za-z]+|\d+|[-–]", match[0].lower()):
        if word in ("through", "to", "-", "–"):
            through = bool(last)
        elif word.isdigit() or word in ordinals:
            number = int(word) if word.isdigit() else int(ordinals[word])
            numbers += range(last + 1, number) if through and last < number <= 12 else ()
            numbers.append(number)
            last, through = number, False
        elif word in ("c", "t", "l"):
            letter = word
    return " ".join(f"{letter}{number}" for number in dict.fromkeys(numbers))


@cache
def _data() -> dict[str, Any]:
    return read_data(PATH)


@cache
def _groups() -> tuple[_Group, ...]:
    return (_level_group(), *(_group(name, entry) for name, entry in _data()["marks"].items()))


def _group(name: str, entry: Mapping[str, Any]) -> _Group:
    lists = {word: "(?:" + "|".join(map(_words, _longest(entry[word]))) + ")" for word in entry if word not in _KEYS}
    values: dict[str, list[str]] = {}
    for value, terms in entry["values"].items():
        for side, other in (("left", "right"), ("right", "left")) if "{side}" in value else (("", ""),):
            named = {"side": side, "other": other, **lists}
            values[value.format(**named)] = [_words(term).format(**named) for term in _longest(terms)]
    pattern = "|".join(f"(?P<v{n}>{'|'.join(terms)})" for n, terms in enumerate(values.values()))
    names = tuple(values)
    return _Group(
        name,
        frozenset(hint for terms in entry["values"].values() for term in terms for hint in _hints(term, entry)),
        frozenset(entry.get("of", ())),
        entry.get("reach", REACH),
        re.compile(rf"\b(?:{pattern})(?!\w)", re.IGNORECASE),
        names,
        dict(zip(names, names[::-1], strict=True)) if len(names) == 2 and name != "greater" else {},
    )


def _hints(term: str, entry: Mapping[str, Any]) -> Iterator[str]:
    """The longest word of a term; of one with a list, that of each in the list."""
    lists = [word[1:-1] for word in term.split() if word[0] == "{" and word[1:-1] in entry]
    for one in map(str, entry[lists[0]] if lists else [term]):
        yield max((word for word in one.split() if word[0] != "{"), key=len)


_KEYS = frozenset(("of", "reach", "values"))


def _longest(terms: Sequence[str]) -> list[str]:
    return sorted(map(str, terms), key=len, reverse=True)


def _words(term: str) -> str:
    """A pattern of the words of a term, with spaces or hyphens between; for dots, of up to four words."""
    return r"[\s-]*".join(term.split()).replace("...", r"(?:\w+[\s-]+){{0,4}}")


def _level_group() -> _Group:
    number = rf"(?:{'|'.join(_data()['ordinals'])}|\d{{1,2}}(?:st|nd|rd|th)?)"
    joint = r"(?:\s*(?:,|and|through|to|-|–|&)\s*)+"
    several = rf"{number}(?:{joint}{number})*"
    ribs = rf"{several}(?:\s+(?:left|right|(?:\w+o)?lateral|anterior|posterior))*\s+ribs?\b|\bribs?\s+{several}"
    vertebrae = rf"\b[CTL]\d{{1,2}}(?:{joint}[CTL]?\d{{1,2}})*\b"
    of = frozenset(("fracture", "bone_lesion", "vertebral_deformity"))
    pattern = re.compile(rf"(?:\b{ribs}|{vertebrae})", re.IGNORECASE)
    return _Group("level", frozenset(("rib", "ribs", *"ctl")), of, REACH, pattern, (), {})
