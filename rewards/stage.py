"""The stage reward: the answer to a question of a dialogue, by the measure that fits its kind.

options (one or several), yes or no    the answer reward's rules: 1 or 0; of several the F1 of the sets
boxes                                  as the answer reward has them: mean intersection over union of the best pairs
text that names findings               F1 of the findings (`rewards/claims.py`), the mean of that with side and degree
                                       and that by name; where it tells of changes, the mean of this and their F1
other text                             F1 of its words with the nearest of the wordings that are right; 0 where it
                                       names a finding, since the reference names none

Kinds are those of CXRTrek (arXiv 2505.23143), whose evaluation shares this code. Its authors reward stage 8 alone, by
BERTScore (github.com/guanjinquan/CXRTrekReasoner, `reward_models.py`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from reasoner.dialogues import STAGE
from reasoner.profiles import Form
from reasoner.prompts import parse_completion, read_answer
from reasoner.schema import Target
from rewards.answers.boxes import boxes_of, worth
from rewards.answers.grading import LONGEST
from rewards.answers.kinds import DETECTION, MULTI, TEXT, grade_kind, kind_of, reference
from rewards.claims import DETAILED, NAMED, claims_of, text_counts
from rewards.registry import Score, reward

_WORD = re.compile(r"\w+")


class Worth(NamedTuple):
    """What an answer is worth, 0 to 1, by which measure, and why."""

    value: float
    kind: str
    gold: str
    why: str = ""


@reward("stage", settings=("form", "weights"))
def stage_reward(
    completion: str,
    *,
    question: str | None,
    answer: str | None,
    options: Sequence[str] | None = None,
    task: str | None = None,
    stage: int | None = None,
    target: Target | Mapping[str, Any] | None = None,
    form: Form = "blocks",
    weights: Mapping[int, float] | None = None,
) -> Score:
    """What the answer of a question in a dialogue is worth; abstains on other tasks.

    Args:
        target: what it is graded by, a mapping in training; None is told from options and answer.
        form: of the prompt profile; with `plain` the whole completion is the answer, else it stands in its block.
        weights: stage -> factor of its value, 1 where none is given; a stage of weight 0 is left out.

    >>> row = {"question": "Is there an effusion?", "answer": "Yes. It is small.", "task": "stage", "stage": 2}
    >>> stage_reward("<think>Blunted.</think><answer>Yes</answer>", **row).value
    1.0
    >>> stage_reward("No effusion is seen.", form="plain", **row).value
    0.0
    """
    weight = (weights or {}).get(stage or 0, 1.0)
    if task not in (None, STAGE) or not (answer or "").strip() or not weight:
        return Score.abstained("no question of a dialogue, no reference answer, or a stage of weight 0")
    given = read_answer(completion) if form == "plain" else parse_completion(completion).answer
    known = target if isinstance(target, Target) else Target.from_dict(dict(target or {}))
    worth = grade_turn(given, question or "", answer or "", options or (), known)
    evidence = {"kind": worth.kind, "given": (given or "")[:200], "gold": worth.gold, "why": worth.why}
    return Score(weight * worth.value, (evidence,), {f"{STAGE}_{stage}": worth.value} if stage else {})


def grade_turn(given: str | None, question: str, answer: str, options: Sequence[str], target: Target) -> Worth:
    """The answer `given` (None: unreadable) against the reference `answer`."""
    choices = target.options or tuple(options)
    kind = kind_of([target.kind], choices, answer)
    four = [list(target.boxes[n : n + 4]) for n in range(0, len(target.boxes) - 3, 4)]
    gold = reference(kind, answer, target.chosen, four, choices, question)
    if given is None or len(given) > LONGEST:
        return Worth(0.0, kind, gold, "no answer that can be read")
    if kind == TEXT:
        return Worth(text_worth(given, answer, target.chosen), kind, gold)
    if kind == DETECTION:
        return Worth(worth(*boxes_of(given), boxes_of(gold)[0]), kind, gold)
    graded = grade_kind(kind, given, gold, choices, question)
    value = graded.values.get("f1") if kind == MULTI else None
    return Worth(float(bool(graded.right)) if value is None else value, kind, gold, graded.why)


def text_worth(given: str, answer: str, also: Sequence[str] = ()) -> float:
    """F1 of the findings that a text names, and of how they changed; or of its words where the reference names none.

    >>> round(text_worth("Small left effusion. Cardiomegaly.", "There is a small left pleural effusion."), 2)
    0.67
    >>> text_worth("No acute abnormality.", "Nothing acute.", ["No acute abnormality."])
    1.0
    >>> text_worth("The effusion has decreased.", "The effusion has increased.")
    0.5
    """
    counts = text_counts(given, answer)
    found = [_f1(*(counts.get(f"{count}:{kind}", 0.0) for count in ("tp", "fp", "fn"))) for kind in (DETAILED, NAMED)]
    told = [value for value in found if value is not None]
    parts = [fmean(told)] if told else []
    said, wanted = _changes(given), _changes(answer)
    if wanted:
        parts.append(2 * len(said & wanted) / (len(said) + len(wanted)))
    return fmean(parts) if parts else max(_words_in_common(given, one) for one in (answer, *also))


def _f1(hits: float, extra: float, missed: float) -> float | None:
    return 2 * hits / (2 * hits + extra + missed) if hits + extra + missed else None


def _changes(text: str) -> set[tuple[str, str]]:
    """(concept, change) of what a text says to have changed."""
    facts = (fact for claim in claims_of({"completion": text}) for fact in claim.facts)
    return {(fact.concept, fact.change) for fact in facts if fact.change}


def _words_in_common(given: str, gold: str) -> float:
    """F1 of the words, each as often as it stands, in any case."""
    said, wanted = (Counter(_WORD.findall(text.casefold())) for text in (given, gold))
    both = (said & wanted).total()
    return 2 * both / (said.total() + wanted.total()) if both else 0.0
