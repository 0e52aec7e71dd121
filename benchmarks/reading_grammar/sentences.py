"""Sentences of known meaning: the constructions of `sentences.txt` with every finding or organ that fits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import NamedTuple

from benchmarks.reading_grammar.cases import Case, table
from benchmarks.reading_grammar.meaning import Expected, failure, parse_expected
from benchmarks.reading_grammar.words import ORGANS, THINGS, Organ, Thing, apart, draw, fillings, organ_fillings

#: Words that go with findings that have a side.
SIDED = ("{xl}", "{side}", "either side", "both sides", "Bilateral", "neither side", "on the left")
#: What a normal film rules out for certain.
SEEN = ("pleural_effusion", "pneumothorax", "consolidation", "cardiomegaly")


class Construction(NamedTuple):
    """`group/name`, what it says of its slots, and the text with slots."""

    id: str
    says: str
    text: str

    def fits(self, thing: Thing | None, organ: Organ | None) -> bool:
        """Whether the words make sense: sides and severities only where the finding has them, and so on."""
        group = self.id.split("/")[0]
        if organ and not organ.bad and ("{bad}" in self.text or group == "organ_bad"):
            return False
        if not thing:
            return True
        return (
            (thing.sided or not any(words in self.text for words in SIDED))
            and (thing.severities != () or not any(words in self.text for words in ("{xv}", "{sev}")))
            and (thing.moves or group not in ("change", "course"))
            and (thing.concept in SEEN or group != "film")
        )


@cache
def constructions() -> tuple[Construction, ...]:
    """All of `sentences.txt`, in its order."""
    return tuple(Construction(*row) for row in table("sentences.txt", 3))


def fill(construction: Construction, thing: Thing | None, organ: Organ | None) -> tuple[str, tuple[Expected, ...]]:
    """The text and what it says."""
    slots: dict[str, str] = {}
    if thing:
        slots |= fillings(thing, construction.id)
    if organ:
        slots |= organ_fillings(organ)
    text = construction.text.format(**slots)
    concepts = {name[0]: concept for name, concept in slots.items() if len(name) == 2 and name[1] == "c"}
    return text[0].upper() + text[1:], parse_expected(construction.says, concepts, slots)


def sentence_cases() -> Iterator[Case]:
    for construction in constructions():
        group = construction.id.split("/")[0]
        for thing, organ in _fillers(construction.id, group):
            if construction.fits(thing, organ):
                text, expected = fill(construction, thing, organ)
                yield Case("sentence", construction.id, text, partial(_misread, text, expected))


def _fillers(name: str, group: str) -> Iterator[tuple[Thing | None, Organ | None]]:
    if group == "organ_exception":
        organs = {organ.name: organ for organ in ORGANS}
        yield from ((thing, organs[thing.organ]) for thing in THINGS if thing.organ in organs)
    elif group == "organ_and":
        for organ in ORGANS:
            free = [thing for thing in THINGS if apart(thing, organ)]
            yield free[draw(name + organ.name, len(free))], organ
    elif group.startswith("organ"):
        yield from ((None, organ) for organ in ORGANS)
    else:
        yield from ((thing, None) for thing in THINGS)


def _misread(text: str, expected: tuple[Expected, ...]) -> str | None:
    wrong = [words for one in expected if (words := failure(text, one))]
    return "; ".join(wrong) or None
