"""The answer reward and its rule for each task.

abnormality_list    Jaccard (or F1) of the named CheXpert classes, each with its weight (NV-Reason-CXR, 2510.23968)
single              one option: its letter, its words, or both
binary              yes or no
anomaly             one option; without options yes or no: whether anything is abnormal
temporal            new, worsening, stable, improving, resolved
multiple            several letters, else open names: F1 of the sets
detection           boxes [x1, y1, x2, y2]: intersection over union of the best pairs
grounding           as abnormality_list; its boxes stand in the reasoning
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from reasoner.errors import UserError
from reasoner.findings.answers import words_of
from reasoner.mining.grounding import GROUNDING
from reasoner.prompts import parse_completion
from reasoner.schema import NO_FINDING
from rewards.answers.boxes import boxes_of, matched, worth
from rewards.answers.choices import change, chosen, options_of
from rewards.answers.lists import GoldList, gold_list, parse_class_list, plain_list
from rewards.answers.text import plain
from rewards.answers.yes_no import asks, yes_or_no
from rewards.registry import Score, reward

LIST_TASK = "abnormality_list"
#: More characters are no answer.
LONGEST = 10_000
#: What a row asks that has no question about anything.
ANY_ABNORMALITY = "Is there any abnormality?"
#: What a name that is no class counts as in a list.
Unknown = Literal["wrong", "ignore"]


@reward("answer", settings=("metric", "class_weights", "unknown"))
def answer_reward(
    completion: str,
    *,
    answer: str | None,
    task: str | None = None,
    question: str | None = None,
    options: Sequence[str] | None = None,
    labels: Mapping[str, str | None] | None = None,
    label_source: str | None = None,
    metric: str = "jaccard",
    class_weights: Mapping[str, float] | None = None,
    unknown: Unknown = "wrong",
) -> Score:
    """1 for the right answer, a share for a list that is partly right, 0 for a wrong or unreadable one.

    Abstains (None) without reference and on tasks whose answer is prose. `task` None: told from the question and the
    reference. A list is graded by `gold_list`.

    >>> text = "<think>Wide heart, old clips.</think><answer>Cardiomegaly, Surgical clips</answer>"
    >>> answer_reward(text, answer="Cardiomegaly", unknown="wrong").value
    0.5
    >>> answer_reward(text, answer="Cardiomegaly", unknown="ignore").value
    1.0
    """
    question = question or ""
    options = tuple(options or ()) or options_of(question)
    kind = LIST_TASK if task == GROUNDING else task or _kind(answer, options)
    wanted = gold_list(answer, labels, label_source) if kind == LIST_TASK else None
    gold = wanted.text if wanted else (answer or "").strip() if kind != LIST_TASK else ""
    if not gold:
        return _abstain("the row has no reference answer")
    given = parse_completion(completion).answer
    if kind not in _GRADERS and kind != LIST_TASK:
        return _abstain(f"no rule grades the answers of task {kind!r}")
    if given is None:
        return _score(0.0, "", gold, "unreadable", why="not exactly one answer block")
    if len(given) > LONGEST:
        return _score(0.0, given[:80], gold, "unreadable", why=f"longer than {LONGEST} characters")
    if wanted:
        return grade_list(given, wanted, metric, class_weights or {}, unknown)
    return _GRADERS[kind](given, gold, options, question)


def _abstain(why: str) -> Score:
    return Score(None, ({"verdict": "abstained", "why": why},))


def _score(value: float, given: str, gold: str, verdict: str | None = None, **more: Any) -> Score:
    verdict = verdict or ("right" if value == 1.0 else "partial" if value else "wrong")
    return Score(value, ({"verdict": verdict, "given": given, "gold": gold, **more},))


def _kind(answer: str | None, options: Sequence[str]) -> str | None:
    """The task of a row that does not name it."""
    reference = (answer or "").strip()
    if re.fullmatch(r"[A-H]\b.{0,80}", reference) and (options or len(reference) == 1):
        return "single"
    if re.fullmatch(r"(yes|no)\.?", reference, re.IGNORECASE):
        return "binary"
    if options and re.fullmatch(r"[A-H](\s*[,;&]\s*[A-H])+", reference):
        return "multiple"
    return LIST_TASK if plain_list(reference) else None


def grade_list(
    given: str,
    gold: GoldList,
    metric: str = "jaccard",
    weights: Mapping[str, float] = MappingProxyType({}),
    unknown: Unknown = "wrong",
) -> Score:
    """The overlap of the classes that an answer names with the gold ones, of 1 where they are the same. A name that is
    no class is one wrong name, or with `unknown="ignore"` nothing, as NV-Reason-CXR's code has it
    (`train/vlm_rewards.py`, `accuracy_reward`). `No Finding` beside another that counts is worth nothing.

    Raises:
        UserError: an unknown `metric`.
    """
    if metric not in ("jaccard", "f1"):
        raise UserError(
            f"option `metric` of reward 'answer' is 'jaccard' or 'f1', found {metric!r}; mend `grpo.reward_options`"
        )
    named, others = parse_class_list(given)
    strange = [name for name in others if unknown == "wrong" or plain_list(name)]  # a class left open counts

    def weight(names: set[str]) -> float:
        return sum(weights.get(name, 1.0) for name in names)

    if NO_FINDING in named and (len(named) > 1 or strange):  # it says that there is nothing, and something
        return _score(0.0, given, gold.text, why=f"{NO_FINDING!r} stands beside another name")
    counted, wanted = gold.counted(named), set(gold.classes)
    hits, extra, missed = counted & wanted, counted - wanted, wanted - counted
    wrong = weight(extra) + weight(missed) + len(strange)
    right = weight(hits) * (2.0 if metric == "f1" else 1.0)
    return _score(
        right / (right + wrong) if right else 0.0,
        given,
        gold.text,
        hits=sorted(hits),
        extra=[*sorted(extra), *strange],
        missed=sorted(missed),
    )


def _grade_option(given: str, gold: str, options: tuple[str, ...], question: str) -> Score:
    """1 where the one option chosen is the right one; without options to choose from, the one thing named."""
    wanted = chosen(gold, options, question).clear
    if not options and not wanted:
        return _grade_names(given, gold, options, question, whole=True)
    reading = chosen(given, options, question, True)
    right = reading.clear == wanted and len(wanted) == 1 and not reading.vague
    found = len(reading.asserted | reading.open)
    why = {} if found == 1 else {"why": f"{found or 'no'} options chosen"}
    return _score(float(right), given, gold, **why)


def _grade_binary(given: str, gold: str, options: tuple[str, ...], question: str) -> Score:
    if options and chosen(gold, options, question).clear:
        return _grade_option(given, gold, options, question)
    said = yes_or_no(given, question)
    why = {} if said else {"why": "neither yes nor no, or both"}
    return _score(float(said is not None and said == yes_or_no(gold, question)), given, gold, **why)


def _grade_anomaly(given: str, gold: str, options: tuple[str, ...], question: str) -> Score:
    question = question if asks(question) else ANY_ABNORMALITY
    grade = _grade_option if options or not yes_or_no(gold, question) else _grade_binary
    return grade(given, gold, options, question)


def _grade_temporal(given: str, gold: str, options: tuple[str, ...], question: str) -> Score:
    if options:
        return _grade_option(given, gold, options, question)
    said = change(given)
    why = {} if said else {"why": "no change told, or more than one"}
    return _score(float(said is not None and said == change(gold)), given, gold, **why)


def _grade_several(given: str, gold: str, options: tuple[str, ...], question: str) -> Score:
    """F1 of the sets of letters where there are options, else of the names."""
    if not options:
        return _grade_names(given, gold, options, question)
    wanted, reading = chosen(gold, options, question).clear, chosen(given, options, question)
    return _f1(given, gold, set(wanted), set(reading.clear), set(reading.vague))


def _grade_names(given: str, gold: str, options: tuple[str, ...], question: str, whole: bool = False) -> Score:
    """F1 of the names: classes by any synonym, others as written; `whole`: all of them or nothing."""
    wanted, named = ({name for part in parse_class_list(text) for name in part} for text in (gold, given))
    if not wanted:  # a place, say: as it is written
        return _score(float(words_of(plain(given)) == words_of(plain(gold))), given, gold)
    score = _f1(given, gold, wanted, named, set())
    return score if not whole or score.value == 1.0 else _score(0.0, given, gold)


def _f1(given: str, gold: str, wanted: set[str], named: set[str], vague: set[str]) -> Score:
    hits, extra = wanted & named, (named - wanted) | vague
    value = 2 * len(hits) / (len(wanted) + len(named | vague)) if hits else 0.0
    return _score(value, given, gold, hits=sorted(hits), extra=sorted(extra), missed=sorted(wanted - named))


def _grade_boxes(given: str, gold: str, options: tuple[str, ...], question: str) -> Score:
    """The intersections over union of the boxes paired best first, over the larger number of boxes (`worth`)."""
    (named, count), (wanted, _) = boxes_of(given), boxes_of(gold)
    if not wanted:
        return _abstain("the reference answer holds no box [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
    each = [round(value, 3) for value in matched(named, wanted)]
    return _score(worth(named, count, wanted), given, gold, boxes=count, wanted=len(wanted), iou=each)


_GRADERS = {
    "detection": _grade_boxes,
    "single": _grade_option,
    "anomaly": _grade_anomaly,
    "binary": _grade_binary,
    "temporal": _grade_temporal,
    "multiple": _grade_several,
}
