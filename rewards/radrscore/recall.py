"""Completeness: what a completion recalls of the sentences of a reference chain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from reasoner.findings import ancestors, kin
from rewards.radrscore.claims import Claim, Fact
from rewards.radrscore.places import Place, places_in
from rewards.radrscore.reading import Sentence, read_reasoning
from rewards.radrscore.terms import Spoken, spoken, terms
from rewards.radrscore.verdicts import SILENT, Facts, Labels, Match, best_of

#: What a pair of words weighs beside a word: its two.
PAIR = 2.0
#: A completion may speak of this many more terms than the reference before recall is diluted.
SPARE = 5.0


class Topic(NamedTuple):
    """A sentence of the reference: its stems and pairs, each with its weight and the concept that it (each of the two)
    helps to name; those concepts; the sum of the weights."""

    sentence: Sentence
    stems: tuple[tuple[str, float, str | None], ...]
    pairs: tuple[tuple[tuple[str, str], float, str | None, str | None], ...]
    named: frozenset[str]
    weight: float


class Reference(NamedTuple):
    """A reference chain, read once for all completions of its row.

    `about` holds the concepts that bear on its claims, each with those of its ancestors that it makes claims about;
    `terms` counts its terms; `times` says how often it makes claims of each subject; `places` are its boxes.
    """

    facts: Facts
    topics: tuple[Topic, ...]
    terms: int
    about: dict[str, tuple[str, ...]]
    times: Counter[str]
    places: tuple[Place, ...] = ()


class Recalled(NamedTuple):
    """A sentence of the reference in a completion: the share of its `weight` that is recalled, and the best match."""

    sentence: Sentence
    share: float
    weight: float
    best: Match


class _Recall(NamedTuple):
    """How a reference claim fares in the completion: `factor` of what its words are worth there."""

    factor: float
    match: Match


_MISSED = _Recall(0.0, SILENT)


@lru_cache(maxsize=4096)
def read_reference(text: str) -> Reference:
    sentences = read_reasoning(text)
    times: Counter[str | tuple[str, str]] = Counter()
    known: set[str] = set()
    topics = []
    for sentence in sentences:
        found = terms(sentence.words)
        times.update((*found.stems, *found.pairs))
        stems = tuple((stem, _another(times[stem]), name) for stem, name in found.stems.items())
        pairs = tuple((p, PAIR * _another(times[p]), found.stems[p[0]], found.stems[p[1]]) for p in sorted(found.pairs))
        if sentence.claims or stems:
            weight = sum(worth for _, worth, _ in stems) + sum(worth for _, worth, _, _ in pairs)
            named = frozenset(name.removeprefix("concept:") for _, _, name in stems if name)
            topics.append(Topic(sentence, stems, pairs, named, weight))
        known |= found.single
    said = [claim for sentence in sentences for claim in sentence.claims]
    concepts = {concept for claim in said for concept in claim.concepts}
    return Reference(
        Facts(said),
        tuple(topics),
        len(known),
        {name: tuple(a for a in ancestors(name) if a in concepts) for name in set().union(*map(kin, concepts))},
        Counter(claim.meaning.subject for claim in said),
        places_in(text, sentences),
    )


def recall(sentences: Sequence[Sentence], reference: Reference, labels: Labels) -> Iterator[Recalled]:
    """How much of what each sentence of the reference adds a completion recalls, and rightly."""
    claims = [claim for sentence in sentences for claim in sentence.claims]
    facts, said = Facts(claims, reference.about, strict=True), spoken(sentences)
    asked: list[Sequence[Claim]] = [topic.sentence.claims for topic in reference.topics]
    if labels.labels:
        asked = [[claim for claim in some if not labels.refute(claim)] for some in asked]
    recalls = [[_recall(claim, facts) for claim in some] for some in asked]
    # Who recalls no claim at all earns nothing by naming what the reference says besides.
    heard = any(each.factor for some in recalls for each in some) if any(asked) else bool(claims)
    focus = min(1.0, ((reference.terms + SPARE) / max(1, len(said.single))) ** 0.5)
    for topic, some, found in zip(reference.topics, asked, recalls, strict=True):
        if topic.sentence.claims and not some:  # nobody should be asked to recall what verified labels deny
            continue
        weight, got = _weigh(topic, some, found, said)
        if weight:
            best = best_of([each.match for each in found]) if found else SILENT
            share = min(focus * got / weight, 1.0) if heard else 0.0  # the same terms, summed in another order
            yield Recalled(topic.sentence, share, weight, best)


def _another(times: int) -> float:
    """What the n-th sentence with a term adds to the term's weight: n sentences weigh sqrt(n) in all."""
    return float(times**0.5 - (times - 1) ** 0.5)


def _weigh(topic: Topic, asked: Sequence[Claim], recalls: Sequence[_Recall], said: Spoken) -> tuple[float, float]:
    """What a reference sentence weighs, and how much of that the completion earns.

    Words that name a finding earn what its claim earns; other words what the best claim of the sentence earns; a pair
    what the worse of its two words earns. A claim recalled in full needs none of its words. Otherwise a word counts if
    it or another name of the finding is said, a pair if one sentence holds both words.
    """
    best = max([each.factor for each in recalls], default=1.0)
    places = got = 0.0
    own: dict[str | None, float] = {}
    for claim, each in zip(asked, recalls, strict=True):
        for concept in claim.concepts & topic.named:
            term = f"concept:{concept}"
            own[term] = max(own.get(term, 0.0), each.factor)
        if claim.general:
            places, got = places + 1.0, got + each.factor
    if best:
        single = said.single
        for stem, worth, name in topic.stems:
            if stem in single or name in single or own.get(name) == 1.0:
                got += worth * own.get(name, best)
        for (a, b), worth, name, other in topic.pairs:
            if (name == other and own.get(name) == 1.0) or said.together(a, b):
                got += worth * min(own.get(name, best), own.get(other, best))
    return topic.weight + places, got


def _recall(claim: Claim, facts: Facts) -> _Recall:
    """A detail that differs is missed among the terms as well. What is named without a claim is not recalled."""
    if len(claim.facts) == 1:
        credit, best = _credit(claim.facts[0], facts)
        return _Recall(credit ** (1 / 3), best) if best.other else _MISSED
    if restated := facts.restates(claim):
        return _Recall(restated.credit ** (1 / 3), restated)
    credits, matches = zip(*(_credit(fact, facts) for fact in claim.facts), strict=True)
    best = best_of(matches)
    if claim.general:
        return _Recall(sum(credits) / len(credits), best)
    return _Recall(max(credits) ** (1 / 3), best) if best.other else _MISSED


def _credit(fact: Fact, facts: Facts) -> tuple[float, Match]:
    """Half of the credit where the completion contradicts itself."""
    match = facts.match(fact)
    return (match.credit / 2 if match.credit and facts.opposes(fact) else match.credit), match
