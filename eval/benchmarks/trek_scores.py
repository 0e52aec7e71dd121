"""How CXRTrek's kinds of answers are scored: choices, boxes on the 0-100 grid, and texts.

Texts are compared by kept libraries, each left out and named where it is not installed: ROUGE-L by rouge-score,
BLEU by sacrebleu, BERTScore by RadEval; and by the findings that they name (`eval/claims.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from eval.benchmarks.trek_choices import right_options, written_options
from eval.claims import DETAILED, NAMED, claim_statistics, claims_of
from reasoner.compat.radeval import import_radeval
from reasoner.prompts import ANSWER_CLOSE, ANSWER_OPEN
from rewards.answers import LONGEST, answer_reward
from rewards.answers.boxes import Box, boxes_of, iou, overlap
from rewards.answers.choices import options_of
from rewards.answers.yes_no import yes_or_no

YES_NO, SINGLE, MULTI, DETECTION, TEXT = "yes_no", "single-choice", "multi-choice", "detection", "captioning"
CLOSED = (YES_NO, SINGLE, MULTI)
#: A box is found from this intersection over union on.
FOUND = 0.5
#: Counts of boxes.
BOXES = "boxes"
_TASKS = {YES_NO: "binary", SINGLE: "single", MULTI: "multiple"}
#: What names of kinds contain -> the kind, in the order of trying.
_NAMES = (("yes", YES_NO), ("single", SINGLE), ("multi", MULTI), ("detect", DETECTION), ("ground", DETECTION),
          ("bbox", DETECTION), ("caption", TEXT), ("report", TEXT), ("open", TEXT))  # fmt: skip
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
    for name in names:
        for part, kind in _NAMES:
            if part in name.lower():
                return kind
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
        each = [boxes] if _is_box(boxes) else boxes
        if isinstance(each, list) and all(map(_is_box, each)):
            return ", ".join(str([float(value) for value in box]) for box in each)
        if not boxes_of(answer)[0]:
            raise ValueError("'bbox_list' must be a list of boxes of four numbers")
    return answer


def _is_box(value: object) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(type(one) in (int, float) for one in value)


def score(kind: str, given: str | None, gold: str, options: Sequence[str], question: str) -> Scored:
    """An answer (None: unreadable) against what `reference` made of the row."""
    if kind == DETECTION:
        return _boxes(given or "", gold)
    if kind == TEXT:
        return _text(given or "", gold)
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
    found = _found(named, wanted)
    counts = {f"tp:{BOXES}": found, f"fp:{BOXES}": count - found, f"fn:{BOXES}": len(wanted) - found}
    right = found == count == len(wanted)
    return Scored(right, None, values={"iou": mean}, counts={name: float(n) for name, n in counts.items()})


def _found(named: Sequence[Box], wanted: Sequence[Box]) -> int:
    pairs = sorted(((iou(a, b), i, j) for i, a in enumerate(named) for j, b in enumerate(wanted)), reverse=True)
    used: set[int] = set()
    met: set[int] = set()
    for value, i, j in pairs:
        if value >= FOUND and i not in used and j not in met:
            used.add(i)
            met.add(j)
    return len(met)


def _text(given: str, gold: str) -> Scored:
    row = {"reasoning": gold, "task": "report", "labels": None}
    found = claim_statistics(row, claims_of({"completion": given}))
    counts = {name: count for name, count in found.items() if name.startswith(("tp:", "fp:", "fn:"))}
    values, missing = {}, []
    for name, measure in MEASURES.items():
        compare = measure()
        values[name] = compare(given, gold) if compare else None
        if compare is None:
            missing.append(name)
    return Scored(None, None, values=values, counts=counts, why=f"not installed: {', '.join(missing)}" * bool(missing))


#: (answer, reference) -> 0 to 1.
Compare = Callable[[str, str], float | None]


@cache
def _rouge() -> Compare | None:
    """ROUGE-L, F-measure, without stemming (Lin 2004)."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        return None
    scorer: Any = RougeScorer(["rougeL"])
    return lambda given, gold: float(scorer.score(gold, given)["rougeL"].fmeasure)


@cache
def _bleu() -> Compare | None:
    """Sentence BLEU of up to four words, smoothed (Papineni et al. 2002; sacrebleu's default), 0 to 1."""
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        return None
    scorer: Any = BLEU(effective_order=True)
    return lambda given, gold: float(scorer.sentence_score(given, [gold]).score) / 100


@cache
def _bertscore() -> Compare | None:
    """BERTScore (Zhang et al. 2020) by RadEval, where it and its weights can be had."""
    try:
        scorer: Any = import_radeval().RadEval(metrics=["bertscore"], per_sample=True, show_progress=False)
    except Exception:  # not installed, or weights that cannot be had
        return None

    def compare(given: str, gold: str) -> float | None:
        try:
            (value,) = scorer(refs=[gold], hyps=[given])["bertscore"]
        except Exception:  # a model, on what a model wrote
            return None
        return None if value is None else float(value)

    return compare


#: Name of the value -> what makes the comparison, None where its library is missing.
MEASURES: dict[str, Callable[[], Compare | None]] = {"rouge_l": _rouge, "bleu": _bleu, "bertscore": _bertscore}

__all__ = ["BOXES", "CLOSED", "DETAILED", "DETECTION", "MULTI", "NAMED", "SINGLE", "TEXT", "YES_NO", "kind_of", "score"]
