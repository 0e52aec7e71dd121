"""How CXRTrek's kinds of answers are scored: as their reward has them (`rewards/answers/kinds.py`), and texts by more.

Texts are compared by kept libraries, each left out and named where it is not installed: ROUGE-L by rouge-score,
BLEU by sacrebleu, BERTScore by RadEval; and by the findings that they name (`rewards/claims.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from reasoner.compat.radeval import import_radeval
from rewards.answers.kinds import (
    BOXES,
    CLOSED,
    DETECTION,
    MULTI,
    SINGLE,
    TEXT,
    YES_NO,
    Scored,
    grade_kind,
    kind_of,
    reference,
)
from rewards.claims import DETAILED, NAMED, text_counts


def score(kind: str, given: str | None, gold: str, options: Sequence[str], question: str) -> Scored:
    """An answer (None: unreadable) against what `reference` made of the row."""
    if kind == TEXT:
        return _text(given or "", gold)
    return grade_kind(kind, given, gold, options, question)


def _text(given: str, gold: str) -> Scored:
    counts = text_counts(given, gold)
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

__all__ = [
    "BOXES",
    "CLOSED",
    "DETAILED",
    "DETECTION",
    "MULTI",
    "NAMED",
    "SINGLE",
    "TEXT",
    "YES_NO",
    "kind_of",
    "reference",
    "score",
]
