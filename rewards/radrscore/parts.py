"""The three parts of RadRScore, and the evidence for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict, cast, get_args

from rewards.radrscore.claims import Claim
from rewards.radrscore.gold import Gold, read_gold
from rewards.radrscore.places import places_in
from rewards.radrscore.reading import Sentence, read_reasoning
from rewards.radrscore.recall import recall
from rewards.radrscore.verdicts import Match, Verdict
from rewards.registry import Deferred, Score

COMPLETENESS = "completeness"
Part = Literal["factuality", "completeness", "effectiveness"]
PARTS: tuple[str, ...] = get_args(Part)


class Entry(TypedDict):
    """The evidence for one claim (factuality), sentence of the reference (completeness) or step (effectiveness).

    `credit` is from 0 to 1, None where the claim counts for nothing because it only repeats. `words`, at `start` to
    `end`, are of the completion, or of the reference for completeness; `against` are those of the other side, empty
    where it is silent. `box`, where boxes are asked for: the `given` and the `wanted` ones, and what those are `worth`.
    """

    part: str
    verdict: Verdict
    credit: float | None
    weight: float
    words: str
    against: str
    start: int
    end: int
    box: NotRequired[dict[str, Any]]


class Step(NamedTuple):
    """Claims of a sentence that assert one thing, and the words that do; `start` is in the sentence."""

    start: int
    words: str
    claims: Sequence[Claim]


#: What counts in a part: a claim, step or sentence, the place in the text that its `start` counts from, its credit,
#: what it was matched with (both None where it only repeats), its weight. A plain tuple: many are made, few are read.
Item = tuple[Claim | Step | Sentence, int, float | None, Match | None, float]


def radrscore(text: str, reference: str, report: str, labels: Mapping[str, str | None] | None = None) -> Score:
    """RadRScore of a reasoning text, with its parts and with an `Entry` of evidence for all that was counted.

    Args:
        text: the reasoning of a completion.
        reference: the reference chain of its row.
        report: the row's radiology report.
        labels: verified ones, class to status; they outweigh the report and the reference.

    Returns:
        A Score from 0 to 1 that never abstains: a text that asserts nothing earns 0 in every part.
    """
    gold = read_gold(reference, report, tuple(labels.items()) if labels else ())
    sentences = read_reasoning(text)
    claims, steps = _judge(text, sentences, gold)
    counted = dict(zip(PARTS, (claims, _recalled(sentences, gold), steps), strict=True))
    parts = {part: _share(items) for part, items in counted.items()}
    return Score(sum(parts.values()) / len(PARTS), Deferred(partial(_write, counted)), parts)


@lru_cache(maxsize=1 << 15)
def steps_of(sentence: str, claims: tuple[Claim, ...]) -> tuple[Step, ...]:
    """The steps of a sentence that makes these claims; its words are shared out among them.

    Each claim is a step of its own, so that joining sentences with "and" changes nothing. Denials of one list ("no
    effusion, nodule or fracture") are one: their words overlap in what denies them.
    """
    groups: list[list[Claim]] = []
    last: Claim | None = None
    for claim in sorted(claims, key=lambda claim: claim.start):
        if last and claim.start < last.end and claim.status == last.status == "absent":
            groups[-1].append(claim)
        else:
            groups.append([claim])
        last = claim
    cuts = [0]
    for before, group in pairwise(groups):
        cuts.append(max(group[0].start, before[-1].end))  # "may be edema and pneumonia": one hedge, two steps
    steps = []
    for group, start, end in zip(groups, cuts, [*cuts[1:], len(sentence)], strict=True):
        own = start < end  # "this is confirmed" may answer for several findings
        steps.append(Step(start, sentence[start:end], group) if own else Step(0, sentence, group))
    return tuple(steps)


def _judge(text: str, sentences: Sequence[Sentence], gold: Gold) -> tuple[list[Item], list[Item]]:
    """The claims for factuality, and the steps for effectiveness."""
    places = places_in(text, sentences) if gold.reference.places else ()
    claims: list[Item] = []
    steps: list[Item] = []
    heard: set[str] = set()
    left = dict(gold.reference.times)  # what the reference says twice may be said twice
    for sentence in sentences:
        if not sentence.claims:
            continue
        offset = sentence.start
        for step in steps_of(sentence.words, sentence.claims):
            backed = []
            for claim in step.claims:
                _, subject, implies, implied_by = claim.meaning
                left[subject] = spare = left.get(subject, 0) - 1
                if heard.isdisjoint(implied_by):
                    heard |= implies
                elif spare < 0:
                    claims.append((claim, offset, None, None, 1.0))
                    continue
                judged = gold.judge(claim)
                fact, match = gold.place(claim, judged, places) if gold.reference.places else judged
                claims.append((claim, offset, fact.credit, fact, 1.0))
                backed.append(match)
            if backed:
                match = backed[0] if len(backed) == 1 else _together(backed)
                steps.append((step, offset, match.credit, match, 1.0))
            else:
                steps.append((step, offset, 0.0, None, 1.0))
    return claims, steps


def _together(matches: Sequence[Match]) -> Match:
    words = " | ".join(dict.fromkeys(match.words for match in matches if match.words))
    other = next((match.other for match in matches if match.other), None)
    place = next((match.place for match in matches if match.place), None)
    return Match(sum(match.credit for match in matches) / len(matches), words, other, place)


def _recalled(sentences: Sequence[Sentence], gold: Gold) -> list[Item]:
    """The sentences of the reference, for completeness."""
    return [
        (sentence, 0, share, best, weight)
        for sentence, share, weight, best in recall(sentences, gold.reference, gold.labels)
    ]


def _share(items: Sequence[Item]) -> float:
    """The mean credit by weight; what only repeats (credit None) does not count."""
    earned = total = 0.0
    for _, _, credit, _, weight in items:
        if credit is not None:
            earned += credit * weight
            total += weight
    return earned / total if total else 0.0


def _verdict(part: str, credit: float | None, match: Match | None) -> Verdict:
    if credit is None or match is None:
        return "repeated"
    if part != COMPLETENESS:
        return match.verdict
    if match.other:  # the share that is recalled counts, not how well the best of its claims does
        return Match(credit, match.words, match.other).verdict
    return "partial" if credit else "missed"


def _write(counted: Mapping[str, Sequence[Item]]) -> Iterator[dict[str, Any]]:
    for part, items in counted.items():
        for said, offset, credit, match, weight in items:
            start = offset + said.start
            entry = Entry(
                part=part,
                verdict=_verdict(part, credit, match),
                credit=credit,
                weight=weight,
                words=said.words,
                against=match.words if match else "",
                start=start,
                end=start + len(said.words),
            )
            if match and match.place:
                entry["box"] = match.place.written()
            yield cast(dict[str, Any], entry)
