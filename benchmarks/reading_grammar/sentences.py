"""Sentences of known meaning: the constructions of `sentences.txt` with every finding or organ that fits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import NamedTuple

from benchmarks.reading_grammar.cases import Case, table
from benchmarks.reading_grammar.meaning import Expected, failure, parse_expected, says
from benchmarks.reading_grammar.split import held_back
from benchmarks.reading_grammar.words import (
    ORGANS,
    THINGS,
    Organ,
    Thing,
    apart,
    draw,
    family,
    fillings,
    organ_fillings,
    shuffled,
)

#: Words that go with findings that have a side.
SIDED = ("{xl}", "{side}", "either side", "both sides", "Bilateral", "neither side", "on the left")
#: What a normal film rules out for certain.
SEEN = ("pleural_effusion", "pneumothorax", "consolidation", "cardiomegaly")


#: Texts of so many sentences, of the constructions that say one thing of one finding.
TEXTS, SENTENCES = 400, 4
ALONE = ("x present", "x absent", "x none", "x uncertain", "x none|absent")
#: Groups about an organ or the whole film, which say something of other findings, too.
WHOLE = ("exception", "organ_exception", "film")


class Construction(NamedTuple):
    """`group/name`, what it says of its slots, and the text with slots."""

    id: str
    says: str
    text: str

    @property
    def held_back(self) -> bool:
        return held_back(self.id)

    @property
    def alone(self) -> bool:
        """Whether it says one thing of one finding and nothing of anything else."""
        return self.says in ALONE and self.id.split("/")[0] not in WHOLE

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


def text_cases() -> Iterator[Case]:
    """Sentences of one half side by side: each must say what it says alone."""
    alone = [one for one in constructions() if one.alone]
    for number in range(TEXTS):
        name = f"text/{number}"
        sentences: list[tuple[str, str]] = []
        taken: set[str] = set()
        for construction in shuffled([one for one in alone if one.held_back == held_back(name)], name)[:SENTENCES]:
            fit = [thing for thing in THINGS if construction.fits(thing, None) and not taken & set(family(thing))]
            if fit:
                thing = fit[draw(name + construction.id, len(fit))]
                taken |= set(family(thing))
                sentences.append((fill(construction, thing, None)[0], thing.concept))
        text = " ".join(words if words[-1] in ".?!" else f"{words}." for words, _ in sentences)
        yield Case("text", name, text, partial(_disturbed, text, sentences))


def _disturbed(text: str, sentences: list[tuple[str, str]]) -> str | None:
    """What one sentence is read to say beside the others and not alone."""
    for words, concept in sentences:
        alone, beside = says(words, concept), says(text, concept)
        if alone != beside:
            return f"{concept}: {sorted(beside)}, alone {sorted(alone)} ({words!r})"
    return None


def _fillers(name: str, group: str) -> Iterator[tuple[Thing | None, Organ | None]]:
    if group == "organ_exception":
        organs = {organ.name: organ for organ in ORGANS if organ.name != "heart"}
        yield from ((thing, organs[thing.organ]) for thing in THINGS if thing.organ in organs)
    elif group == "organ_and":
        for organ in ORGANS:
            free = [thing for thing in THINGS if apart(thing, organ)]
            yield free[draw(name + organ.name, len(free))], organ
    elif group == "words":
        yield None, None
    elif group.startswith("organ"):
        yield from ((None, organ) for organ in ORGANS)
    else:
        yield from ((thing, None) for thing in THINGS)


def _misread(text: str, expected: tuple[Expected, ...]) -> str | None:
    wrong = [words for one in expected if (words := failure(text, one))]
    return "; ".join(wrong) or None
