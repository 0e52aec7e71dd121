"""Answers by the kind of their question: options, yes or no, boxes, texts; shared by the reward and the evaluation.

The kinds are CXRTrek's (arXiv 2505.23143), which words and boxes of other collections fit, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reasoner.prompts import ANSWER_CLOSE, ANSWER_OPEN
from reasoner.sources.cxrtrek import box_list, kind_named
from rewards.answers.boxes import boxes_of, matched, overlap
from rewards.answers.choices import options_of
from rewards.answers.grading import LONGEST, answer_reward
from rewards.answers.written import right_options, written_options
from rewards.answers.yes_no import yes_or_no

YES_NO, SINGLE, MULTI, DETECTION, TEXT = "yes_no", "single-choice", "multi-choice", "detection", "captioning"
CLOSED = (YES_NO, SINGLE, MULTI)
#: A box is found from this intersection over union on.
FOUND = 0.5
#: Counts of boxes.
BOXES = "boxes"
_TASKS = {YES_NO: "binary", SINGLE: "single", MULTI: "multiple"}
_YES_NO = re.compile(r"(?:yes|no)\b", re.IGNORECASE)
_EXPLAINED = re.compile(r"\s*(yes|no)\s*[.,;:!]\s*(?=\S)", re.IGNORECASE)


class Scored(NamedTuple):
    """What an answer is worth. `right` and `exact` are None where the kind has no such verdict."""

    #: As a person reads it.
    right: bool | None
    #: The same words, or letters, as the reference; the measure is accuracy of these.
    exact: bool | None
    values: Mapping[str, float | None] = {}
    counts: Mapping[str, float] = {}
    why: str = ""


def kind_of(names: Sequence[str], options: Sequence[str], answer: str) -> str:
    """The kind of a question by its `qtype` and `task_type`, else by its options and its answer."""
    if named := kind_named(names):
        return named
    if options:
        return SINGLE
    if boxes_of(answer)[0]:
        return DETECTION
    return YES_NO if _YES_NO.match(answer) and len(answer) < 40 else TEXT


def reference(
    kind: str, answer: str, listed: Sequence[str], boxes: object, options: Sequence[str], question: str
) -> str:
    """What an answer is compared with: the labels of the options that are right, `Yes` or `No`, the boxes, or the text;
    the authors' answers go on with explanations, and word an option anew.

    Args:
        listed: `answer_list`.
        boxes: `bbox_list`, or a single box.

    Raises:
        ValueError: boxes are given that are no four numbers each, and the answer names none.
    """
    if kind in (SINGLE, MULTI):
        return ", ".join(right_options(answer, listed, options, question) or listed or (answer,))
    if kind == YES_NO and (said := _YES_NO.match(answer)):
        return said.group().capitalize()
    if kind == DETECTION and boxes and boxes == boxes:  # NaN is an empty cell
        if each := box_list(boxes):
            return ", ".join(map(str, each))
        if not boxes_of(answer)[0]:
            raise ValueError("'bbox_list' must be a list of boxes of four numbers")
    return answer


def grade_kind(kind: str, given: str | None, gold: str, options: Sequence[str], question: str) -> Scored:
    """An answer (None: unreadable) to a question of any kind but a text, against what `reference` made of the row."""
    if kind == DETECTION:
        return _boxes(given or "", gold)
    if given is None:
        return Scored(False, False, why="no answer")
    options = tuple(options) or (options_of(question) if kind != YES_NO else ())
    exact = _same(given, gold, options)
    read = _decided(given, question) if kind == YES_NO else given
    reward = answer_reward(
        f"{ANSWER_OPEN}{read}{ANSWER_CLOSE}", answer=gold, task=_TASKS[kind], question=question, options=options
    )
    if reward.value is None:  # words that no rule knows
        return Scored(exact, exact)
    values = {"f1": reward.value} if kind == MULTI else {}
    return Scored(reward.value == 1.0, exact, values=values, why=str(reward.evidence[0].get("why", "")))


def _same(given: str, gold: str, options: Sequence[str]) -> bool:
    """Whether two answers choose the same by what stands there: the same options and nothing else; "yes" or "no" for
    what follows it; else the same words but for case, blanks and stops."""
    if options and (right := written_options(gold, options)):
        return written_options(given, options) == right
    if (said := _YES_NO.match(given.strip())) and (told := _YES_NO.match(gold)):
        return said.group().casefold() == told.group().casefold()
    return _plain(given) == _plain(gold)


def _decided(given: str, question: str) -> str:
    """The answer; of "Yes. For ..." the first word alone, unless the explanation says the other."""
    first = _EXPLAINED.match(given) if len(given) <= LONGEST else None
    if first and yes_or_no(given[first.end() :], question) in (None, first[1].lower()):
        return first[1]
    return given


def _plain(text: str) -> str:
    return re.sub(r"[\s.,;]+", " ", text).strip().casefold()


def _boxes(given: str, gold: str) -> Scored:
    """Boxes `[x1, y1, x2, y2]` on the 0-100 grid. `iou` is the mean over the larger number of boxes; found are those
    that have a box of their own (paired best first) with an intersection over union of `FOUND` or more. A reference
    without a box wants none."""
    (named, count), (wanted, _) = boxes_of(given), boxes_of(gold)
    most = max(count, len(wanted))
    mean = overlap(named, wanted) / most if most else 1.0
    found = sum(value >= FOUND for value in matched(named, wanted))
    counts = {f"tp:{BOXES}": found, f"fp:{BOXES}": count - found, f"fn:{BOXES}": len(wanted) - found}
    right = found == count == len(wanted)
    return Scored(right, None, values={"iou": mean}, counts={name: float(n) for name, n in counts.items()})
