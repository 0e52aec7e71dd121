"""Boxes in the steps of a reasoning text, held to those of the reference chain.

A box belongs to the finding that its sentence asserts last before it. A finding that the chain gives a box is less true
without that box: of its credit `ELSEWHERE` is left where no box is right, and all where they are the same. A chain
without boxes asks for none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from reasoner.boxes import box_spans, write
from reasoner.findings import kin
from reasoner.mining.grounding import in_half
from rewards.answers.boxes import Box, boxes_of, matched, worth
from rewards.radrscore.claims import Claim, Fact
from rewards.radrscore.reading import Sentence

#: What is left of a credit where the finding is right and its place is not, as for a wrong degree.
ELSEWHERE = 0.5


class Place(NamedTuple):
    """Boxes that a text gives a finding: those that have an area, and how many it names at all."""

    fact: Fact
    boxes: tuple[Box, ...]
    total: int


class Placement(NamedTuple):
    """How a finding is placed: the boxes of the text and of the reference, and what the former are `worth`."""

    given: tuple[Box, ...]
    wanted: tuple[Box, ...]
    worth: float

    @property
    def factor(self) -> float:
        """What is left of the credit of the finding."""
        return ELSEWHERE + (1 - ELSEWHERE) * self.worth

    def written(self) -> dict[str, Any]:
        """For the evidence."""
        return {"given": write(self.given), "wanted": write(self.wanted), "worth": round(self.worth, 3)}


def places_in(text: str, sentences: Sequence[Sentence]) -> tuple[Place, ...]:
    """The boxes that the sentences of a text give the findings that they assert."""
    if next(box_spans(text), None) is None:
        return ()
    return tuple(place for sentence in sentences if sentence.claims for place in _in_sentence(text, sentence))


def _in_sentence(text: str, sentence: Sentence) -> Iterator[Place]:
    claims = sorted(sentence.claims, key=lambda claim: claim.start)
    starts = [0, *(claim.start for claim in claims[1:]), len(sentence.words)]
    for claim, (start, end) in zip(claims, pairwise(starts), strict=True):
        boxes, count = boxes_of(text[sentence.start + start : sentence.start + end])
        if count and claim.status != "absent":
            yield Place(claim.facts[0], tuple(boxes), count)


def placement(claim: Claim, said: Sequence[Place], reference: Sequence[Place]) -> Placement | None:
    """How the boxes of a text place what a claim asserts; None where it asserts nothing, or the reference has no box
    for it."""
    if claim.status == "absent":
        return None
    return placed(claim.facts[0], said, reference)


def placed(fact: Fact, said: Sequence[Place], reference: Sequence[Place]) -> Placement | None:
    """As `placement`, of a finding."""
    wanted = _boxes(fact, reference)
    if not wanted:
        return None
    own = [place for place in said if alike(place.fact, fact)]
    given = tuple(dict.fromkeys(box for place in own for box in place.boxes))
    repeated = sum(len(place.boxes) for place in own) - len(given)  # a finding that is named again has the same box
    return Placement(given, wanted, worth(given, sum(place.total for place in own) - repeated, wanted))


def _boxes(fact: Fact, places: Sequence[Place]) -> tuple[Box, ...]:
    """The boxes of a finding; of one on one side those in that half of the image, if any is."""
    near = [place for place in places if alike(place.fact, fact)]
    near = [place for place in near if place.fact.concept == fact.concept] or near
    boxes = tuple(dict.fromkeys(box for place in near for box in place.boxes))
    return tuple(box for box in boxes if in_half(box, fact.laterality)) or boxes


def alike(a: Fact, b: Fact) -> bool:
    """Whether two texts may speak of one finding: by name or by a wider or narrower one, and not on opposite sides."""
    return a.concept in kin(b.concept) and {a.laterality, b.laterality} != {"left", "right"}


def place_counts(said: Sequence[Place], reference: Sequence[Place], found: float) -> tuple[float, dict[str, float]]:
    """Of all boxes in the steps of a text, paired with those of the reference of the same finding: the mean
    intersection over union, over the larger number of boxes, and `tp`, `fp`, `fn` of those with `found` or more."""
    given, wanted = ([(place.fact, box) for place in places for box in place.boxes] for places in (said, reference))
    values = matched(
        [box for _, box in given], [box for _, box in wanted], lambda i, j: alike(given[i][0], wanted[j][0])
    )
    count = sum(place.total for place in said)
    most, right = max(count, len(wanted)), sum(value >= found for value in values)
    return sum(values) / most if most else 1.0, {"tp": right, "fp": count - right, "fn": len(wanted) - right}
