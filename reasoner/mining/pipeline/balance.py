"""Balanced sampling: no answer is kept much more often than the others that the same question can have.

Which examples go is decided by a hash of their ids over the whole run, so it depends on neither order nor workers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from reasoner.mining.wording import stable_hash
from reasoner.schema import NO_FINDING

#: Answers that a group may have even where none was mined: a question whose answer is always No teaches nothing.
_POSSIBLE = {"binary": ("Yes", "No")}


class Key(NamedTuple):
    """Examples with one `group` compete; those with one `answer` besides are the same to the balance."""

    split: str
    task: str
    group: str
    answer: str


def answer_key(split: str, task: str, question: str, options: Sequence[str], answer: str) -> Key | None:
    """What an example counts as; None for tasks that are never thinned out (several answers at once, dialogues).

    A binary question is balanced by its wording, that is per class; a lettered one by the words of the right option.
    """
    if task == "binary":
        return Key(split, task, question, answer)
    if task in ("single", "anomaly"):
        words = next((option.partition(") ")[2] for option in options if option.startswith(f"{answer})")), answer)
        return Key(split, task, "", words)
    if task == "temporal":
        return Key(split, task, "", answer)
    if task == "abnormality_list":
        return Key(split, task, "", NO_FINDING if answer == NO_FINDING else "abnormal")
    return None


class Balance:
    """Two passes over the tables of examples: `count` all, then `keep` some.

    Args:
        ratio: an answer is kept at most `ratio` times as often as the lower median of its group, which of two answers
            is the rarer one.
    """

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        self._seen: dict[Key, list[int]] = {}
        self._last: dict[Key, int] | None = None

    def count(self, table: pa.Table) -> None:
        for key, mark in _keys(table):
            if key is not None:
                self._seen.setdefault(key, []).append(mark)

    def keep(self, table: pa.Table) -> pa.Table:
        if self._last is None:
            self._last = dict(self._thresholds())
        kept = [key is None or mark <= self._last[key] for key, mark in _keys(table)]
        return table.filter(pa.array(kept, pa.bool_()))

    def _thresholds(self) -> Iterator[tuple[Key, int]]:
        """The largest hash that is kept, of each answer."""
        groups: dict[tuple[str, str, str], dict[str, list[int]]] = {}
        for key, marks in self._seen.items():
            possible = dict.fromkeys(_POSSIBLE.get(key.task, ()))
            groups.setdefault(key[:3], {answer: [] for answer in possible})[key.answer] = sorted(marks)
        for (split, task, group), answers in groups.items():
            counts = sorted(map(len, answers.values()))
            most = math.floor(self.ratio * counts[(len(counts) - 1) // 2])
            for answer, marks in answers.items():
                if marks:
                    yield Key(split, task, group, answer), marks[min(most, len(marks)) - 1] if most else -1


def _keys(table: pa.Table) -> Iterable[tuple[Key | None, int]]:
    columns = (table[name].to_pylist() for name in ("split", "task", "question", "options", "answer", "id"))
    for *fields, name in zip(*columns, strict=True):
        yield answer_key(*fields), stable_hash("balance", name)
