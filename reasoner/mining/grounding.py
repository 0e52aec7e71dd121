"""Questions about the place of findings, for collections with boxes: where one is, and which there are and where.

A box belongs to the findings that its label names, or kinds of them. The report says side and zone, the box the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from reasoner.boxes import Corners, on_grid, write
from reasoner.findings import concept_class, extract_text, kin
from reasoner.mining.chains import GENERAL, build_chain
from reasoner.mining.drafts import Draft, Read, ask, chain_of, make_key
from reasoner.mining.wording import noun, stable_hash
from reasoner.schema import NO_FINDING, Box, Chain, Finding, Step, present_classes

PLACED = DETECTION, GROUNDING = "detection", "grounding"
#: A question names no number, which might be one of its answer.
_FORM = "[x1, y1, x2, y2] in percent of width and height"
DETECTION_QUESTIONS = (
    f"Where is the {{n}}? Answer with boxes {_FORM}.",
    f"Locate the {{n}} in this chest X-ray. Answer with boxes {_FORM}.",
    f"Draw a box around the {{n}}, one for each place. Answer with boxes {_FORM}.",
)
GROUNDING_QUESTIONS = (
    f"Which abnormalities are present, and where? Give each its box {_FORM}, then list the classes, separated by "
    "commas, or No Finding.",
    f"Point at each abnormality with a box {_FORM}. Then name the classes, separated by commas, or write No Finding.",
)
#: More boxes of one finding are no place that a sentence can tell.
MOST_BOXES = 8
#: Steps that say again what others have said.
_SAID_BEFORE = ("plan", "comparison", "conclusion")


def boxes_of(boxes: Sequence[Box], finding: Finding) -> tuple[Corners, ...]:
    """The boxes of a finding on the grid, from left to right: one reader's; of a finding on one side those in that half
    of the image, if any is. None where there are more than `MOST_BOXES`.

    >>> effusion = Finding("pleural_effusion", "present", "left")
    >>> both = [Box("pleural effusion", 0.1, 0.7, 0.4, 0.9), Box("effusion", 0.62, 0.7, 0.88, 0.92)]
    >>> boxes_of(both, effusion)
    ((62, 70, 88, 92),)
    """
    own = [box for box in boxes if finding.concept in concepts_of(box.label)]
    own = own or [box for box in boxes if not kin(finding.concept).isdisjoint(concepts_of(box.label))]
    first = min((box.reader for box in own), default=1)
    placed = [corners for box in own if box.reader == first and (corners := on_grid(box))]
    inside = [corners for corners in placed if in_half(corners, finding.laterality)]
    found = tuple(sorted(set(inside or placed)))
    return found if len(found) <= MOST_BOXES else ()


def in_half(corners: Sequence[float], side: str | None) -> bool:
    """Whether the centre of a box is in the half of the image that shows this side of the patient."""
    centre = (corners[0] + corners[2]) / 2
    return {"left": centre > 50, "right": centre < 50}.get(side or "", True)


@lru_cache(maxsize=1 << 12)
def concepts_of(label: str) -> frozenset[str]:
    """The concepts that a label of a box names."""
    return frozenset(finding.concept for finding in extract_text(label) if finding.status != "absent")


def sought(question: str) -> str:
    """What a question of `detection` asks for, however it is worded; another question is returned as it is."""
    for frame in DETECTION_QUESTIONS:
        head, tail = frame.split("{n}")
        if question.startswith(head) and question.endswith(tail):
            return question[len(head) : -len(tail)]
    return question


def located(chain: Chain, boxes: Sequence[Box]) -> Chain:
    """The chain with the box of each finding at the end of the step that first states it."""
    return Chain(tuple(_located(step, boxes) for step in chain.steps))


def _located(step: Step, boxes: Sequence[Box]) -> Step:
    there = [finding for finding in step.findings if finding.status != "absent"]
    if step.stage in _SAID_BEFORE or len(there) != 1 or not (found := boxes_of(boxes, there[0])):
        return step
    return replace(step, text=f"{step.text.rstrip('.')} {write(found)}.")


def detection(read: Read, number: int) -> Draft | None:
    """Where one finding is that the report states and that has a box."""
    boxes = read.study.boxes
    there = [f for f in read.findings if f.status == "present" and f.concept not in GENERAL and boxes_of(boxes, f)]
    concepts = list(dict.fromkeys(finding.concept for finding in there))
    if len(concepts) <= number:
        return None
    key = make_key(read, DETECTION, number)
    concept = concepts[(stable_hash(*key[:3]) + number) % len(concepts)]
    own = [finding for finding in there if finding.concept == concept]
    answer = write(dict.fromkeys(corners for finding in own for corners in boxes_of(boxes, finding)))

    def build(attempt: int) -> Chain:
        chain = build_chain(own, style=read.style, key=key, only=True, conclusion=answer, attempt=attempt)
        return located(chain, boxes)

    question = ask(read, DETECTION_QUESTIONS, key).format(n=noun(concept))
    return Draft(question, answer, build, images=read.study.images[:1], classes=(concept_class(concept) or "",))


def grounding(read: Read, number: int) -> Draft | None:
    """The whole film with the box of each finding; of a study with findings only where at least one has a box."""
    boxes = read.study.boxes
    there = [finding for finding in read.findings if finding.status != "absent" and finding.concept not in GENERAL]
    if number > 0 or (there and not any(boxes_of(boxes, finding) for finding in there)):
        return None
    key = make_key(read, GROUNDING, number)
    build = chain_of(read, key, None, None)
    return Draft(
        ask(read, GROUNDING_QUESTIONS, key),
        ", ".join(present_classes(read.mined)),
        lambda attempt: located(build(attempt), boxes),
        images=read.study.images[:1],
        offered=(NO_FINDING,),
    )
