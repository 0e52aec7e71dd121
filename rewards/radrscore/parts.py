"""The three parts of RadRScore, and the evidence for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple, TypedDict, cast

from rewards.radrscore.claims import Claim
from rewards.radrscore.gold import Gold, read_gold
from rewards.radrscore.reading import Sentence, read_reasoning
from rewards.radrscore.recall import recall
from rewards.radrscore.verdicts import Match, Verdict
from rewards.registry import Deferred, Score

PARTS = ("factuality", "completeness", "effectiveness")


class Entry(TypedDict):
    """The evidence for one claim (factuality), sentence of the reference (completeness) or step (effectiveness).

    `credit` is from 0 to 1, None where the claim counts for nothing because it only repeats. `words`, at `start` to
    `end`, are of the completion, or of the reference for completeness; `against` are those of the other side, empty
    where it is silent.
    """

    part: str
    verdict: Verdict
    credit: float | None
    weight: float
    words: str
    against: str
    start: int
    end: int


class Item(NamedTuple):
    """What counts in a part: its words, their offset in the text, and how it fared."""

    words: str
    start: int
    verdict: Verdict
    credit: float | None
    against: str = ""
    weight: float = 1.0


class Step(NamedTuple):
    """Claims of a sentence that assert one thing, and the words that do."""

    words: str
    start: int
    claims: Sequence[Claim]


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
    claims, steps = _judge(sentences, gold)
    counted = dict(zip(PARTS, (claims, _recalled(sentences, gold), steps), strict=True))
    parts = {part: _share(items) for part, items in counted.items()}
    return Score(fmean(parts.values()), Deferred(partial(_write, counted)), parts)


def steps_of(sentence: Sentence) -> Sequence[Step]:
    """The steps of a sentence, whose words share it out among them.

    Each claim is a step of its own, so that joining sentences with "and" changes nothing. Denials of one list ("no
    effusion, nodule or fracture") are one: their words overlap in what denies them.
    """
    claims = sentence.claims
    if len(claims) < 2:
        return [Step(sentence.words, sentence.start, claims)] if claims else []
    groups: list[list[Claim]] = []
    for claim in sorted(claims, key=lambda claim: claim.start):
        last = groups[-1][-1] if groups else None
        if last and claim.start < last.end and claim.status == last.status == "absent":
            groups[-1].append(claim)
        else:
            groups.append([claim])
    cuts = [0, *(group[0].start for group in groups[1:]), len(sentence.words)]
    return [
        Step(sentence.words[start:end], sentence.start + start, group)
        for (start, end), group in zip(pairwise(cuts), groups, strict=True)
    ]


def _judge(sentences: Sequence[Sentence], gold: Gold) -> tuple[list[Item], list[Item]]:
    """The claims for factuality, and the steps for effectiveness."""
    claims: list[Item] = []
    steps: list[Item] = []
    heard: set[str] = set()
    left = gold.times()  # what the reference says twice may be said twice
    for sentence in sentences:
        for step in steps_of(sentence):
            backed = []
            for claim in step.claims:
                meaning = claim.meaning
                left[meaning.subject] -= 1
                start = sentence.start + claim.start
                if heard.isdisjoint(meaning.implied_by):
                    heard |= meaning.implies
                elif left[meaning.subject] < 0:
                    claims.append(Item(claim.words, start, "repeated", None))
                    continue
                fact, match = gold.judge(claim)
                claims.append(Item(claim.words, start, fact.verdict, fact.credit, fact.words))
                backed.append(match)
            if backed:
                match = backed[0] if len(backed) == 1 else _together(backed)
                steps.append(Item(step.words, step.start, match.verdict, match.credit, match.words))
            else:
                steps.append(Item(step.words, step.start, "repeated", 0.0))
    return claims, steps


def _together(matches: Sequence[Match]) -> Match:
    words = " | ".join(dict.fromkeys(match.words for match in matches if match.words))
    other = next((match.other for match in matches if match.other), None)
    return Match(fmean(match.credit for match in matches), words, other)


def _recalled(sentences: Sequence[Sentence], gold: Gold) -> list[Item]:
    """The sentences of the reference, for completeness."""
    items = []
    for sentence, share, weight, best in recall(sentences, gold.reference, gold.labels):
        match = Match(share, best.words, best.other)
        verdict: Verdict = match.verdict if best.other else "partial" if share else "missed"
        items.append(Item(sentence.words, sentence.start, verdict, share, best.words, weight))
    return items


def _share(items: Sequence[Item]) -> float:
    """The mean credit by weight; what only repeats (credit None) does not count."""
    earned = total = 0.0
    for item in items:
        if item.credit is not None:
            earned += item.credit * item.weight
            total += item.weight
    return earned / total if total else 0.0


def _write(counted: Mapping[str, Sequence[Item]]) -> Iterator[dict[str, Any]]:
    for part, items in counted.items():
        for item in items:
            entry = Entry(
                part=part,
                verdict=item.verdict,
                credit=item.credit,
                weight=item.weight,
                words=item.words,
                against=item.against,
                start=item.start,
                end=item.start + len(item.words),
            )
            yield cast(dict[str, Any], entry)
