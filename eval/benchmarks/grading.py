"""Answers to the rows of `items.jsonl`, `evidence.jsonl` and `samples.jsonl`, some at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from math import comb
from typing import Any, NamedTuple, TextIO

from eval.benchmarks.answers import Answer, Answers
from eval.benchmarks.base import Benchmark, Grade, Item
from eval.benchmarks.judge import Judged
from eval.benchmarks.store import Store
from eval.best_of import agreement, majority, quality, vote
from reasoner.errors import one_line
from reasoner.profiles import Profile, own_words
from reasoner.scores import BY_AGREEMENT, BY_REWARD, BY_VOTE
from reasoner.training.dataset import REWARD_COLUMNS
from rewards.claims import claims_of
from rewards.radrscore import PARTS
from rewards.score import Scorer, Scores

_CHUNK = 500


class Sinks(NamedTuple):
    """The files that rows go to."""

    items: TextIO
    evidence: TextIO
    samples: TextIO


class Graded(NamedTuple):
    """One completion with its grade, and its scores or why there are none."""

    text: str
    grade: Grade
    scores: Scores | str


#: What a language model says of items and completions.
Judge = Callable[[Sequence[tuple[Item, str]]], Judged]


class Grader:
    """Grades the answers of one label after another; `counts` says what failed, by label and kind."""

    def __init__(
        self,
        benchmark: Benchmark,
        store: Store,
        sinks: Sinks,
        advance: Callable[[int], None],
        judge: Judge | None = None,
    ) -> None:
        self.benchmark, self.store, self.sinks, self.advance = benchmark, store, sinks, advance
        self.judge = judge
        self.counts: dict[str, Counter[str]] = {}

    def add(self, label: str, answers: Answers, tables: Sequence[str], profile: Profile, scorer: Scorer) -> None:
        """Writes the rows of a label. Where there is no answer the empty text is graded, and the note says why."""
        self.counts[label] = Counter()
        waiting = ((position, answer) for table in tables for position, answer in answers.read(table))
        while chunk := list(islice(waiting, _CHUNK)):
            items = [self.store[position] for position, _ in chunk]
            texts = [answer.texts or ("",) for _, answer in chunk]
            scores = _scores(items, texts, scorer)
            judged = self._judged(label, [(item, own_words(text[0])) for item, text in zip(items, texts, strict=True)])
            for item, (_, answer), written, more in zip(items, chunk, texts, judged, strict=True):
                graded = [
                    Graded(text, self._grade(label, item, text, profile), scores[item.key, text]) for text in written
                ]
                self._write(label, item, answer, graded, more)
            self.advance(len(chunk))

    def _grade(self, label: str, item: Item, text: str, profile: Profile) -> Grade:
        try:
            return self.benchmark.grade(item, text, profile.read_answer)
        except Exception as error:  # whatever a wild text does, it costs this row alone
            self.counts[label]["grades"] += 1
            return Grade(None, False, note=one_line(f"could not be graded: {type(error).__name__}: {error}"))

    def _judged(self, label: str, pairs: Sequence[tuple[Item, str]]) -> list[dict[str, float | None]]:
        """The judge's RadRScore and its parts as `values`; nothing without a judge."""
        if self.judge is None:
            return [{} for _ in pairs]
        scores, failures = self.judge(pairs)
        self.counts[label].update({f"judge, {why}": times for why, times in failures.items()})
        self.counts[label]["judged"] += scores.count(None)
        names = ("radrscore", *PARTS)
        return [{f"judge_{name}": getattr(one, name) for name in names} if one else {} for one in scores]

    def _write(
        self, label: str, item: Item, answer: Answer, graded: Sequence[Graded], more: Mapping[str, float | None]
    ) -> None:
        first = graded[0]
        where = {"label": label, "table": item.table, "index": item.index}
        scores, broken = ({}, first.scores) if isinstance(first.scores, str) else (first.scores, "")
        self.counts[label]["answers"] += bool(answer.failure)
        self.counts[label]["scores"] += bool(broken)
        process = scores.get("process")
        values = {name: scores[name].value if scores else None for name in ("answer", "format")}
        values = {"answer_reward": values["answer"], "format": values["format"], **first.grade.values, **more}
        if len(graded) > 1:
            measured, chosen = of_samples(item, answer, graded)
            values |= measured
            _line(self.sinks.samples, {**where, **_sampled(answer, graded), "chosen": chosen})
        failure = f"no answer: {answer.failure}" if answer.failure else ""
        row = {
            **where,
            "id": item.example.id,
            "study": item.example.study_id,
            "official": first.grade.official,
            "strict": first.grade.strict,
            "radrscore": process.value if process else None,
            **{name: process.parts.get(name) if process else None for name in PARTS},
            "skill": scores["skill"].value if scores else None,
            "completion": first.text,
            "read": first.grade.read,
            "note": "; ".join(filter(None, (first.grade.note, failure, broken))),
            "values": values,
            "counts": dict(first.grade.counts),
            "tokens": answer.tokens[0] if answer.tokens else None,
        }
        _line(self.sinks.items, row)
        _line(self.sinks.evidence, {**where, "evidence": list(process.evidence) if process else []})


def pass_at(k: int, samples: int, right: int) -> float:
    """The unbiased estimate of the chance that one of `k` samples is right, of which `right` of `samples` are:
    1 - C(n - c, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374, equation 1).

    >>> pass_at(1, 4, 1), pass_at(4, 4, 1), pass_at(2, 4, 1)
    (0.25, 1.0, 0.5)
    """
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def of_samples(item: Item, answer: Answer, graded: Sequence[Graded]) -> tuple[dict[str, float | None], dict[str, int]]:
    """Measures of several samples, and which of them was chosen by each rule.

    `pass@k` for k = 1, 2, 4, ... and n; `best_by_vote` (on the answer as read), `best_by_agreement` (of the claims) and
    `best_by_reward` are `strict` of the sample that is chosen; `tokens@k` is what k samples cost.
    """
    n = len(graded)
    sizes = sorted({n, *(1 << power for power in range(n.bit_length()) if 1 << power <= n)})
    found: dict[str, float | None] = {}
    if all(one.grade.strict is not None for one in graded):
        right = sum(bool(one.grade.strict) for one in graded)
        found |= {f"pass@{k}": pass_at(k, n, right) for k in sizes}
    if answer.cost is not None:
        found |= {f"tokens@{k}": answer.cost * k / n for k in sizes}
    worth: dict[str, Sequence[float]] = {
        BY_AGREEMENT: agreement([vote(claims_of({"completion": own_words(one.text)})) for one in graded]),
        BY_VOTE: majority([" ".join((one.grade.read or "").casefold().split()) for one in graded]),
        BY_REWARD: [0.0 if isinstance(one.scores, str) else quality(one.scores) for one in graded],
    }
    chosen = {rule: values.index(max(values)) for rule, values in worth.items()}
    for rule, index in chosen.items():
        best = graded[index]
        found[rule] = None if best.grade.strict is None else float(best.grade.strict)
        found[f"{rule}/radrscore"] = None if isinstance(best.scores, str) else best.scores["process"].value
    return found, chosen


def _sampled(answer: Answer, graded: Sequence[Graded]) -> dict[str, Any]:
    return {
        "official": [one.grade.official for one in graded],
        "strict": [one.grade.strict for one in graded],
        "read": [one.grade.read for one in graded],
        "radrscore": [None if isinstance(one.scores, str) else one.scores["process"].value for one in graded],
        "cost": answer.cost,
    }


def _scores(
    items: Sequence[Item], texts: Sequence[Sequence[str]], scorer: Scorer
) -> Mapping[tuple[tuple[str, int], str], Scores | str]:
    """By item and text; equal samples are scored once."""
    rows = {
        (item.key, text): _reward_row(item, text)
        for item, written in zip(items, texts, strict=True)
        for text in dict.fromkeys(written)
    }
    return dict(zip(rows, scorer(list(rows.values())), strict=True))


def _reward_row(item: Item, text: str) -> dict[str, Any]:
    """What rewards are told; of a text that repeats the prompt the model's own words."""
    row = {name: getattr(item.example, name) for name in REWARD_COLUMNS}
    return {**row, "options": list(item.example.options), "completion": own_words(text)}


def _line(file: TextIO, row: Mapping[str, Any]) -> None:
    file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def questions(store: Store) -> Iterator[dict[str, Any]]:
    """The rows of `questions.jsonl`, one an item, in order."""
    for position in range(len(store)):
        item = store[position]
        asked = item.example
        yield {
            "table": item.table,
            "index": item.index,
            "id": asked.id,
            "task": asked.task,
            "question": asked.question,
            "options": list(asked.options),
            "images": list(asked.images),
            "answer": asked.answer,
            "reasoning": asked.reasoning,
            "report": asked.report,
            "labels": asked.labels,
            "about": dict(item.about),
            "conversation": item.conversation,
            "stage": asked.stage,
            "gold": dict(item.gold),
        }
