"""RadRScore by a language model, in the steps of ChestX-Reasoner's protocol (arXiv 2504.20930, section 3.4).

(a) The key findings of the reference and of the prediction, each with its status, are listed by the model, each text by
itself; then it is asked (b) which of the reference are recalled by the prediction, (c) which of the prediction agree
with the report, where general statements count as correct, and (d) which steps of the prediction are effective. What is
listed is numbered and the model answers by numbers, so that a share cannot be above 1:

    completeness   recalled / findings of the reference; None where it has none
    factuality     correct / findings of the prediction; 0 where it has none
    effectiveness  effective / steps of the prediction (its sentences); 0 where it has none

All replies are cached, a reference is read once for all models, and what fails is counted and never dropped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eval.benchmarks.base import Item
from reasoner.findings.text import split_sentences
from reasoner.llm import Llm, ask, check, json_object
from reasoner.prompts import parse_completion

_FINDINGS = (
    "You read a text that reasons about a chest X-ray. List its key findings: each observation that it asserts, denies "
    'or holds possible, with its status. Answer with one JSON object and nothing else: {"findings": [{"observation": '
    '"...", "status": "present|absent|uncertain"}]}. Plans, and knowledge about diseases in general, are no findings.'
)
_RECALLED = (
    "You compare the findings on a chest X-ray. Which of the numbered REFERENCE findings does the PREDICTION state, "
    'with the same status? Answer with one JSON object and nothing else: {"numbers": [1, 3]}.'
)
_CORRECT = (
    "You check numbered FINDINGS against the radiologist's REPORT of a chest X-ray. Which are correct? What the report "
    "does not mention is taken to be normal: denied it is correct, asserted it is not. General statements count as "
    'correct. Answer with one JSON object and nothing else: {"numbers": [1, 3]}.'
)
_EFFECTIVE = (
    "You check the numbered STEPS of a reasoning about a chest X-ray against the REFERENCE reasoning and the QUESTION. "
    "Which are effective: they help to answer the question, the reference supports them, and they repeat no earlier "
    'one? Answer with one JSON object and nothing else: {"numbers": [1, 3]}.'
)
_MOST_TOKENS = 2048


class JudgeScore(NamedTuple):
    """What the model said of one completion; the lists are what was counted."""

    radrscore: float
    factuality: float
    completeness: float | None
    effectiveness: float
    reference_findings: tuple[str, ...]
    completion_findings: tuple[str, ...]
    recalled_findings: tuple[str, ...]
    correct_findings: tuple[str, ...]
    effective_steps: tuple[str, ...]
    steps: tuple[str, ...]


class Judged(NamedTuple):
    """A score or None for each completion, and how often each thing failed."""

    scores: list[JudgeScore | None]
    #: `no reference`, and step and reason of what the model did not answer: `recalled: not the JSON asked for`.
    failures: dict[str, int]


def judge(pairs: Sequence[tuple[Item, str]], url: str, model: str, cache: Path, concurrency: int = 16) -> Judged:
    """Asks `model` at `url` about each (item, completion).

    Args:
        cache: the SQLite file that keeps the replies; a run that was stopped goes on from it.

    Raises:
        UserError: no server answers there, it does not serve the model, or it stopped answering.
    """
    llm = Llm(url, model, concurrency=concurrency)
    check(llm)
    cache.parent.mkdir(parents=True, exist_ok=True)
    return _Asking(llm, cache).run(pairs)


class _Asking:
    def __init__(self, llm: Llm, cache: Path) -> None:
        self.llm, self.cache, self.failures = llm, cache, Counter[str]()

    def run(self, pairs: Sequence[tuple[Item, str]]) -> Judged:
        texts = [parse_completion(completion).reasoning for _, completion in pairs]
        ours = [bool(item.example.reasoning and item.example.report) for item, _ in pairs]
        self.failures["no reference"] = ours.count(False)
        known = [(item, text) for (item, _), text, there in zip(pairs, texts, ours, strict=True) if there]
        # Nothing is said in an empty text, whatever a model finds there.
        said = dict.fromkeys(
            [text for item, words in known for text in (item.example.reasoning, words) if text.strip()]
        )
        listed = dict(zip(said, self._findings(list(said)), strict=True))
        judged = iter(self._judged(known, {**listed, "": ()}))
        scores = [next(judged) if there else None for there in ours]
        return Judged(scores, {why: times for why, times in self.failures.items() if times})

    def _findings(self, texts: Sequence[str]) -> list[tuple[str, ...] | None]:
        return [
            self._read("findings", reply, _listed) for reply in self._ask([(_FINDINGS, f"TEXT:\n{t}") for t in texts])
        ]

    def _judged(
        self, known: Sequence[tuple[Item, str]], listed: dict[str, tuple[str, ...] | None]
    ) -> list[JudgeScore | None]:
        """One request a share; none where there is nothing to count."""
        asked: list[tuple[str, str]] = []
        plans: list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] | None] = []
        for item, text in known:
            wanted, found = listed[item.example.reasoning], listed[text if text.strip() else ""]
            steps = tuple(text[start:end] for start, end in split_sentences(text))
            plans.append(None if wanted is None or found is None else (wanted, found, steps))
            if wanted is None or found is None:
                continue
            example = item.example
            if wanted and found:
                asked.append((_RECALLED, f"REFERENCE:\n{_numbered(wanted)}\n\nPREDICTION:\n{_numbered(found)}"))
            if found:
                asked.append((_CORRECT, f"REPORT:\n{example.report}\n\nFINDINGS:\n{_numbered(found)}"))
            if steps:
                question = "\n".join((example.question, *example.options))
                shown = f"QUESTION:\n{question}\n\nREFERENCE:\n{example.reasoning}\n\nSTEPS:\n{_numbered(steps)}"
                asked.append((_EFFECTIVE, shown))
        replies = iter(self._ask(asked))

        def chosen(name: str, among: tuple[str, ...], needed: bool) -> tuple[str, ...] | None:
            if not needed:
                return ()
            numbers = self._read(name, next(replies), lambda said: _numbers(said, len(among)))
            return None if numbers is None else tuple(among[number - 1] for number in numbers)

        scores: list[JudgeScore | None] = []
        for plan in plans:
            if plan is None:
                scores.append(None)
                continue
            wanted, found, steps = plan
            recalled = chosen("recalled", wanted, bool(wanted and found))
            correct = chosen("correct", found, bool(found))
            effective = chosen("effective", steps, bool(steps))
            if recalled is None or correct is None or effective is None:
                scores.append(None)
                continue
            completeness = len(recalled) / len(wanted) if wanted else None
            factuality, effectiveness = len(correct) / max(len(found), 1), len(effective) / max(len(steps), 1)
            parts = [part for part in (factuality, completeness, effectiveness) if part is not None]
            mean = sum(parts) / len(parts)
            scores.append(
                JudgeScore(
                    mean, factuality, completeness, effectiveness, wanted, found, recalled, correct, effective, steps
                )
            )
        return scores

    def _ask(self, asked: Sequence[tuple[str, str]]) -> list[str | None]:
        bodies = [
            {
                "model": self.llm.model,
                "messages": [{"role": "system", "content": system}, {"role": "user", "content": shown}],
                "temperature": 0,
                "seed": 0,
                "max_tokens": _MOST_TOKENS,
            }
            for system, shown in asked
        ]
        return ask(bodies, self.llm, self.cache) if bodies else []

    def _read(self, name: str, reply: str | None, form: Any) -> Any:
        """What a reply says; None, counted, where there is none or it has another form."""
        if reply is None:
            self.failures[f"{name}: no reply"] += 1
            return None
        try:
            return form(json_object(reply))
        except (ValueError, KeyError, TypeError):
            self.failures[f"{name}: not the JSON asked for"] += 1
            return None


def _numbered(texts: Sequence[str]) -> str:
    return "\n".join(f"{number}. {' '.join(text.split())}" for number, text in enumerate(texts, 1))


def _listed(said: Any) -> tuple[str, ...]:
    """The findings of a reply, as `observation: status`, each once."""
    return tuple(
        dict.fromkeys(f"{str(f['observation']).strip()}: {str(f['status']).strip()}" for f in said["findings"])
    )


def _numbers(said: Any, most: int) -> list[int]:
    """The numbers of a reply, each once, in order. Raises ValueError for one that was not on the list."""
    numbers = sorted({int(json.dumps(number)) for number in said["numbers"]})
    if numbers and not 1 <= numbers[0] <= numbers[-1] <= most:
        raise ValueError("a number that was not on the list")
    return numbers
