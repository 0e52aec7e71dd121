"""The two rules of RadRBench, side by side, and why they differ where they do.

`official` is the rule of ChestX-Reasoner (arXiv 2504.20930) as it is stated: the answer in the tags contained in the
gold answer, case-folded; what cannot be read leaves the denominator. What that leaves open is settled so:

- tags: `<answer>(.*?)</answer>`, over lines, written as here; of several pairs the first; without the closing tag there
  is no answer;
- both sides are stripped of white space around them, not within, and the gold answer of its own tags;
- an empty answer counts as unreadable, though Python holds it to be contained in everything;
- contained means as characters: `effusion` is right for `Pleural Effusion`, `e` for `Edema`, and `B) edema` wrong
  for `B`.

`strict` is ours: the answer reward must be 1, an unreadable answer is wrong, and prose without tags is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from eval.benchmarks.base import AnswerReader
from reasoner.compat.radeval import import_radeval
from reasoner.prompts import ANSWER_CLOSE, ANSWER_OPEN, TAGS, THINK_CLOSE, THINK_OPEN
from reasoner.schema import Example
from rewards.answers import answer_reward
from rewards.judges.radeval import INSTALL, METRICS

_TAGGED = re.compile(f"{ANSWER_OPEN}(.*?){ANSWER_CLOSE}", re.DOTALL)
_PARAGRAPH = re.compile(r"\n\s*\n")
#: Where prose concludes: in so many paragraphs from its end, the fewest that decide.
_CONCLUSION = 3
#: Of longer texts the end is read.
_LONGEST = 9_000
_SHOWN = 200


class Reading(NamedTuple):
    """An answer under `strict`: the answer reward, the words that it was read from, and why it is not 1."""

    value: float
    words: str | None
    why: str


def tagged(completion: str) -> str | None:
    """The answer in the tags as the authors' rule takes it; None where it is unreadable."""
    match = _TAGGED.search(completion)
    return (match[1].strip() or None) if match else None


def official(completion: str, gold: str) -> bool | None:
    """Whether the answer in the tags is contained in the gold answer; None where it is unreadable.

    >>> official("<answer> Effusion </answer>", "Pleural Effusion"), official("B", "B")
    (True, None)
    """
    said = tagged(completion)
    return None if said is None else said.casefold() in gold.strip().casefold()


def strict(example: Example, completion: str, reader: AnswerReader) -> Reading:
    """The answer reward of what `reader` takes for the answer, else of what prose without tags concludes."""
    said = reader(completion)
    has_tags = any(tag in completion for tag in (ANSWER_OPEN, ANSWER_CLOSE))
    if said is None and has_tags:
        return Reading(0.0, None, "not exactly one answer block")
    if said is not None:  # without tags a profile may take all of the prose for the answer
        return _graded(example, said) if has_tags else _concluded(example, said)
    text = completion.rpartition(THINK_CLOSE)[2]
    if THINK_OPEN in text:
        return Reading(0.0, None, "the reasoning does not end")
    if not text.strip():
        return Reading(0.0, None, "no answer")
    return _concluded(example, text)


def _concluded(example: Example, text: str) -> Reading:
    """What prose says in the end: it weighs every option before it chooses one."""
    for words in _conclusions(text):
        reading = _graded(example, words)
        if not reading.why or reading.why[0].isdigit():  # decided, or several are chosen: more words add more
            return reading
    return _graded(example, text[-_LONGEST:])


def _conclusions(text: str) -> Iterator[str]:
    parts = [part for part in _PARAGRAPH.split(text) if part.strip(" *_#-\n\t")]
    for count in range(1, min(_CONCLUSION, len(parts) - 1) + 1):
        yield "\n\n".join(parts[-count:])[-_LONGEST:]


def _graded(example: Example, words: str) -> Reading:
    for tag in TAGS:
        words = words.replace(tag, " ")
    words = words.strip()
    if not words:
        return Reading(0.0, None, "the answer is empty")
    score = answer_reward(
        f"{ANSWER_OPEN}{words}{ANSWER_CLOSE}",
        answer=example.answer,
        task=example.task,
        question=example.question,
        options=example.options,
    )
    evidence = score.evidence[0]
    return Reading(score.value or 0.0, " ".join(words.split())[:_SHOWN], str(evidence.get("why", "")))


def difference(by_authors: bool | None, reading: Reading, completion: str, gold: str) -> str:
    """Why the rules differ, in one line; "" where they agree."""
    right = reading.value == 1.0
    if by_authors is right:
        return ""
    if by_authors is None:
        blocks = completion.count(ANSWER_OPEN)
        empty = "the answer in the tags is empty" if _TAGGED.search(completion) else "the answer tag is not closed"
        verdict = "read as right" if right else f"wrong, {reading.why}" if reading.why else "read as wrong"
        return f"official cannot read it ({empty if blocks else 'no answer tags'}); strict: {verdict}"
    said = " ".join((tagged(completion) or "").split())[:80]
    if by_authors:
        why = reading.why or "as an answer it says something else, or part of it"
        return f"official: {said!r} is contained in {gold[:80]!r}; strict: {why}"
    return f"official: {said!r} is not contained in {gold[:80]!r}; strict: it says the same"


@cache
def _ratescore() -> tuple[object | None, str]:
    """RaTEScore of the package RadEval, or why it cannot be had."""
    try:
        return import_radeval().RadEval(metrics=["ratescore"], per_sample=True, show_progress=False), ""
    except ImportError:
        return None, f"RaTEScore is missing: {INSTALL}"
    except Exception as error:  # weights that cannot be had
        return None, f"RaTEScore cannot be had: {type(error).__name__}: {error}"


def ratescore(completion: str, gold: str) -> tuple[float | None, str]:
    """RaTEScore (0 to 1) of the answer in the tags against an open list, or None and why there is none."""
    said = tagged(completion)
    if said is None:
        return None, "the answer cannot be read"
    scorer, missing = _ratescore()
    if scorer is None:
        return None, missing
    try:
        (value,) = scorer(refs=[gold], hyps=[said])[METRICS["ratescore"]]  # type: ignore[operator]
    except Exception as error:  # a model on what a model wrote
        return None, f"RaTEScore failed: {type(error).__name__}"
    return (None, "RaTEScore gives none") if value is None else (min(1.0, max(0.0, float(value))), "")
