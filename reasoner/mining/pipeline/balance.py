"""Balanced sampling: no answer is kept much more often than the others that the same question can have.

How many go is counted (`quotas.py`); which ones, is decided by a hash of their ids over the whole run, so it depends on
neither order nor workers.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from reasoner.errors import UserError
from reasoner.mining.grounding import DETECTION, GROUNDING, sought
from reasoner.mining.pipeline.quotas import Key, Rule, quotas
from reasoner.mining.questions import ANOMALY, ASKED
from reasoner.mining.wording import CLASS_CONCEPT, stable_hash
from reasoner.schema import NO_FINDING

#: Answers that a group may have even where none was mined: a question whose answer is always No teaches nothing.
_POSSIBLE = {"binary": ("Yes", "No")}
#: Tasks of level questions whose answers are many, or most of them rare.
_OPEN_ENDED = frozenset({"multiple", "temporal"})
#: Tasks that `counts` may name.
COUNTED = ("binary", "single", "multiple", "anomaly", "temporal")


def answer_key(split: str, task: str, question: str, options: Sequence[str], answer: str) -> Key | None:
    """What an example counts as; None for tasks that are never thinned out (several answers at once, dialogues).

    A binary question is balanced by its wording, that is per class; a lettered one by the words of the right option;
    one that asks for a place by what it asks for.
    """
    if task == "binary":
        return Key(split, task, question, answer)
    if task in ("single", "anomaly"):
        words = next((option.partition(") ")[2] for option in options if option.startswith(f"{answer})")), answer)
        return Key(split, task, "", words)
    if task == "temporal":
        return Key(split, task, "", answer)
    if task == DETECTION:
        return Key(split, task, "", sought(question))
    if task in ("abnormality_list", GROUNDING):
        return Key(split, task, "", NO_FINDING if answer == NO_FINDING else "abnormal")
    return None


def level_key(split: str, task: str, question: str, options: Sequence[str], answer: str) -> Key | None:
    """As `answer_key`, for questions of `level.py`: examples compete within a class (whatever the wording), a menu of
    options, a region or a finding, and each letter counts."""
    if task == "binary":
        return Key(split, task, ASKED.get(question, question), answer)
    if options and task in ("single", "multiple", "anomaly"):
        words = {option[0]: option.partition(") ")[2] for option in options}
        group = question if task == "anomaly" else " | ".join(sorted(words.values()))
        return Key(split, task, group, words[answer], answer, len(options)) if answer in words else None
    if task in ("multiple", "temporal"):
        return Key(split, task, question, answer)
    return answer_key(split, task, question, options, answer)


class Balance:
    """Two passes over the tables of examples: `count` all, then `keep` some.

    Args:
        ratio: an answer is kept at most `ratio` times as often as the lower median of its group, which of two answers
            is the rarer one; None keeps all.
        counts: task -> at most so many of each class and answer (`Key.unit`), in each split.
        level: whether the questions are those of `level.py`.
    """

    def __init__(self, ratio: float | None, counts: Mapping[str, int] | None = None, *, level: bool = False) -> None:
        self.rule = Rule(ratio, counts or {}, _OPEN_ENDED if level else frozenset())
        self.level, self.key = level, level_key if level else answer_key
        self._seen: dict[Key, array[int]] = {}
        self._shares: dict[Key, int] = {}
        self._last: dict[Key, int] | None = None

    def count(self, table: pa.Table) -> None:
        for key, mark in self._keys(table):
            if key is not None:
                self._seen.setdefault(key, array("Q")).append(mark)

    def keep(self, table: pa.Table) -> pa.Table:
        if self._last is None:
            self._last = dict(self._thresholds())
        kept = [key is None or mark <= self._last[key] for key, mark in self._keys(table)]
        return table.filter(pa.array(kept, pa.bool_()))

    def short(self) -> dict[str, dict[str, dict[str, int]]]:
        """After `keep`: task -> split -> class and answer -> how many are missing of what `counts` asks for."""
        kept: dict[tuple[str, str], dict[str, int]] = {}
        for task in self.rule.counts:
            for split in sorted({key.split for key in self._seen}):
                kept[task, split] = dict.fromkeys(_UNITS.get(task, ()), 0)
        for key, n in self._shares.items():
            if key.task in self.rule.counts:
                units = kept[key.task, key.split]
                units[key.unit] = units.get(key.unit, 0) + n
        missing: dict[str, dict[str, dict[str, int]]] = {}
        for (task, split), units in kept.items():
            wanted = self.rule.counts[task]
            missing.setdefault(task, {})[split] = {u: wanted - n for u, n in sorted(units.items()) if n < wanted}
        return missing

    def _thresholds(self) -> Iterator[tuple[Key, int]]:
        """The largest hash that is kept, of each kind."""
        seen = {key: len(marks) for key, marks in self._seen.items()}
        self._shares = quotas(seen, self.rule, {key[:3]: _possible(key) for key in seen})
        for key, marks in self._seen.items():
            share = self._shares[key]
            yield key, sorted(marks)[share - 1] if share else -1

    def _keys(self, table: pa.Table) -> Iterable[tuple[Key | None, int]]:
        """The key of each row and its mark; in level data sets those that rest on words go before those on silence."""
        columns = (table[name].to_pylist() for name in ("split", "task", "question", "options", "answer"))
        marks = [stable_hash("balance", name) for name in table["id"].to_pylist()]
        if self.level:
            marks = [mark // 2 + unsaid * 2**63 for mark, unsaid in zip(marks, _silent(table), strict=True)]
        for *fields, mark in zip(*columns, marks, strict=True):
            yield self.key(*fields), mark


def _silent(table: pa.Table) -> list[bool]:
    """Whether no finding of a row has words of the report behind it."""
    return [not any(f["evidence"] for f in found or ()) for found in table["gold_findings"].to_pylist()]


#: What `counts` is of even where none was mined.
_UNITS = {
    "binary": [f"{name}: {answer}" for name in CLASS_CONCEPT for answer in ("Yes", "No")],
    "single": [*CLASS_CONCEPT, NO_FINDING],
}


def _possible(key: Key) -> Sequence[str]:
    """The answers of the key's group: those of a menu are its options."""
    if key.letters and key.task != "anomaly":
        return key.group.split(" | ")
    return ANOMALY if key.letters else _POSSIBLE.get(key.task, ())


def check_counts(counts: Mapping[str, Any] | None, choices: str) -> None:
    """Raises `UserError` for counts of a task that has none, or of questions that are not level."""
    for task in counts or ():
        if task not in COUNTED:
            raise UserError(f"data.counts: task '{task}' has no classes to count; choose among {', '.join(COUNTED)}")
    if counts and choices != "level":
        raise UserError("data.counts needs data.choices: level, whose options are the same whichever is right")
