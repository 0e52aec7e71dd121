"""How CXRTrek's kinds of answers are scored: choices, boxes on the 0-100 grid, and texts.

Texts are compared by kept libraries, each left out and named where it is not installed: ROUGE-L by rouge-score,
BLEU by sacrebleu, BERTScore by RadEval; and by the findings that they name (`eval/claims.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from eval.claims import DETAILED, NAMED, claim_statistics, claims_of
from reasoner.compat.radeval import import_radeval
from reasoner.prompts import ANSWER_CLOSE, ANSWER_OPEN
from rewards.answers import answer_reward
from rewards.answers.boxes import Box, boxes_of, iou, overlap

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
_LETTER = re.compile(r"\s*\(?([A-Ha-h])(?:[).:]|\s*$)")
_YES_NO = re.compile(r"(?:yes|no)\b", re.IGNORECASE)


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


def score(kind: str, given: str | None, gold: str, options: Sequence[str], question: str) -> Scored:
    """An answer (None: unreadable) against the reference `gold`."""
    if kind == DETECTION:
        return _boxes(given or "", gold)
    if kind == TEXT:
        return _text(given or "", gold)
    exact = given is not None and _same(given, gold)
    if given is None:
        return Scored(False, exact, why="no answer")
    reward = answer_reward(
        f"{ANSWER_OPEN}{given}{ANSWER_CLOSE}", answer=gold, task=_TASKS[kind], question=question, options=options
    )
    if reward.value is None:  # words that no rule knows
        return Scored(exact, exact)
    values = {"f1": reward.value} if kind == MULTI else {}
    return Scored(reward.value == 1.0, exact, values=values, why=str(reward.evidence[0].get("why", "")))


def _same(given: str, gold: str) -> bool:
    """Whether two answers are the same but for case, blanks, stops and an option's letter; letters stand for their
    options, and "yes" or "no" for what follows it."""
    if (said := _YES_NO.match(given)) and (wanted := _YES_NO.match(gold)):
        return said.group().casefold() == wanted.group().casefold()
    if _plain(given) == _plain(gold):
        return True
    letters, wanted_letters = _letters(given), _letters(gold)
    return bool(letters) and letters == wanted_letters


def _plain(text: str) -> str:
    """The words without an option's letter."""
    words = re.sub(r"[\s.,;]+", " ", text).strip().casefold()
    return re.sub(r"^\(?[a-h][).:]?\s+(?=\w{2})", "", words) if _LETTER.match(text) else words


def _letters(text: str) -> set[str]:
    return {match.group(1).upper() for match in map(_LETTER.match, re.split(r"[,;\n]", text)) if match}


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
