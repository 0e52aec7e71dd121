"""What each token of a reference completion weighs in the loss of SFT.

Most words of a chain are its template; what depends on the image hangs on few of them: how a sentence opens ("There is
no ..." or "There is a ..."), the words that name a finding, and the answer. Weighing these more lets small models learn
the rare findings too, in the same steps (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from reasoner.boxes import box_spans
from reasoner.prompts import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN
from reasoner.settings import Float, Section


class TokenWeights(Section):
    """How much the words that depend on the image weigh in the loss of SFT, where all others weigh 1. Of several
    weights of one token the largest counts."""

    openings: Float = Field(1.0, ge=0, le=1000)
    """The first word of each sentence of the reasoning, which often decides what it says."""
    findings: Float = Field(1.0, ge=0, le=1000)
    """The words of findings that are present or uncertain, and their boxes."""
    answers: Float = Field(1.0, ge=0, le=1000)
    """The words of the answer."""

    @property
    def even(self) -> bool:
        """Whether all tokens weigh the same."""
        return self == TokenWeights()


def token_weights(tokenizer: Any, completion: str, weights: TokenWeights) -> list[float]:
    """One weight for each token of `completion`, as `tokenizer` (a fast one) divides it without special tokens."""
    offsets = tokenizer(completion, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    found = list(_weighed(completion, weights))
    return [
        max((weight for first, last, weight in found if start < last and first < end), default=1.0)
        for start, end in offsets
    ]


def _weighed(completion: str, weights: TokenWeights) -> Iterator[tuple[int, int, float]]:
    """The stretches `completion[first:last]` that have a weight of their own; a text without tags counts as
    reasoning."""
    from reasoner.findings import extract_text, split_sentences  # not above: recipes are checked without the lexicon

    tagged = ANSWER_OPEN in completion
    first, last = _inside(completion, THINK_OPEN, THINK_CLOSE) if tagged else (0, len(completion))
    for start, end in split_sentences(completion, first, last):
        yield start, start + len(completion[start:end].split(maxsplit=1)[0]), weights.openings
    for finding in extract_text(completion[first:last]):
        if finding.evidence and finding.status != "absent":
            yield first + finding.evidence.start, first + finding.evidence.end, weights.findings
    for start, end in box_spans(completion[first:last]):
        yield first + start, first + end, weights.findings
    if tagged:
        yield *_inside(completion, ANSWER_OPEN, ANSWER_CLOSE), weights.answers


def _inside(completion: str, opening: str, closing: str) -> tuple[int, int]:
    """The place of the block's words; (0, 0) where the completion has no such block."""
    if opening not in completion:
        return 0, 0
    return completion.index(opening) + len(opening), completion.index(closing)
