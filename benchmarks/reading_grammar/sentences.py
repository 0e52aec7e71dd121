"""Sentences of known meaning: the constructions of `sentences.txt` with every finding or organ that fits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.reading_grammar.cases import Case
from benchmarks.reading_grammar.meaning import Expected, failure, parse_expected
from benchmarks.reading_grammar.words import ORGANS, THINGS, Organ, Thing, fillings, organ_fillings

TABLE = Path(__file__).with_name("sentences.txt")


class Construction(NamedTuple):
    """`group/name`, what it says of its slots, and the text with slots."""

    id: str
    says: str
    text: str

    def fits(self, thing: Thing | None, organ: Organ | None) -> bool:
        """Whether the words make sense: sides and severities only where the finding has them, and so on."""
        slots, group = self.text, self.id.split("/")[0]
        if organ and ("{bad}" in slots or group == "organ_bad") and not organ.bad:
            return False
        if not thing:
            return True
        return not (
            (any(slot in slots for slot in ("{xl}", "{side}", "either side")) and not thing.sided)
            or (any(slot in slots for slot in ("{xv}", "{sev}")) and not thing.severities)
            or (group == "change" and not thing.moves)
        )


@cache
def constructions() -> tuple[Construction, ...]:
    """All of `sentences.txt`, in its order."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    rows = [line.split(" | ", 2) for line in lines if line and not line.startswith("#")]
    return tuple(Construction(name, says, text.replace("\\n", "\n")) for name, says, text in rows)


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
        for thing, organ in _fillers(group):
            if construction.fits(thing, organ):
                text, expected = fill(construction, thing, organ)
                yield Case("sentence", construction.id, text, lambda t=text, e=expected: _misread(t, e))


def _fillers(group: str) -> Iterator[tuple[Thing | None, Organ | None]]:
    if group == "organ_exception":
        organs = {organ.name: organ for organ in ORGANS}
        yield from ((thing, organs[thing.organ]) for thing in THINGS if thing.organ in organs)
    elif group.startswith("organ"):
        yield from ((None, organ) for organ in ORGANS)
    else:
        yield from ((thing, None) for thing in THINGS)


def _misread(text: str, expected: tuple[Expected, ...]) -> str | None:
    wrong = [words for one in expected if (words := failure(text, one))]
    return "; ".join(wrong) or None
