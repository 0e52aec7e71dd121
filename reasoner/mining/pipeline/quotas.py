"""How many examples of each kind are kept: pure counting, so that which ones is a matter of hashes alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from reasoner.mining.wording import stable_hash

#: No letter is the right one more often than this many times its even share: 27% of four letters, 54% of two.
LETTER_SHARE = 1.08
Name = TypeVar("Name", bound=tuple[object, ...])
#: Split, task, group and answer.
Cell = tuple[str, str, str, str]


class Key(NamedTuple):
    """Examples with one `group` compete; those with one `answer` besides are the same to the balance.

    `letter` is the one that is right, where letters are to be even, and `letters` how many there are.
    """

    split: str
    task: str
    group: str
    answer: str
    letter: str = ""
    letters: int = 0

    @property
    def unit(self) -> str:
        """The class and answer that `counts` are of: a class that is right by a letter, or `GROUP: ANSWER`."""
        return self.answer if self.letters > 2 else f"{self.group}: {self.answer}" if self.group else self.answer


class Rule(NamedTuple):
    """What is kept. `ratio`: no answer more than so many times as often as the lower median of its group; `counts`:
    task -> at most so many of each `Key.unit`, in each split; `open_ended`: tasks with many rare answers, of which none
    is kept more than `ratio` times as often as the second most frequent of its group."""

    ratio: float | None = None
    counts: Mapping[str, int] = {}
    open_ended: frozenset[str] = frozenset()


def quotas(
    seen: Mapping[Key, int], rule: Rule, possible: Mapping[tuple[str, str, str], Sequence[str]]
) -> dict[Key, int]:
    """How many examples of each key are kept.

    Args:
        seen: how many there are.
        rule: what is asked for.
        possible: answers that a group (split, task, group) may have even where none is there.
    """
    cells: dict[Cell, dict[Key, int]] = defaultdict(dict)
    for key in sorted(seen):
        cells[key[:4]][key] = seen[key]
    keep = {cell: sum(letters.values()) for cell, letters in cells.items()}
    if rule.ratio is not None:
        _level_answers(keep, rule, possible)
    if rule.counts:
        _cap_units(keep, cells, rule.counts)
    shares = {key: n for cell, letters in cells.items() for key, n in _poured(letters, keep[cell]).items()}
    _cap_letters(shares)
    return shares


def _level_answers(
    keep: dict[Cell, int],
    rule: Rule,
    possible: Mapping[tuple[str, str, str], Sequence[str]],
) -> None:
    """Lowers `keep` to what `rule.ratio` allows within each group."""
    assert rule.ratio is not None
    groups: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in keep:
        groups[cell[:3]].append(cell)
    for group, members in groups.items():
        open_ended = group[1] in rule.open_ended
        absent = [0] if open_ended else [0] * len({*possible.get(group, ())} - {cell[3] for cell in members})
        counts = sorted([*absent, *(keep[cell] for cell in members)])
        most = math.floor(rule.ratio * counts[-2 if open_ended else (len(counts) - 1) // 2])
        for cell in members:
            keep[cell] = min(keep[cell], most)


def _cap_units(
    keep: dict[Cell, int],
    cells: Mapping[Cell, Mapping[Key, int]],
    counts: Mapping[str, int],
) -> None:
    """A class that is asked about in several groups gives up most where it has most."""
    units: dict[tuple[str, str, str], dict[Cell, int]] = defaultdict(dict)
    for cell, n in keep.items():
        if cell[1] in counts:
            units[cell[0], cell[1], next(iter(cells[cell])).unit][cell] = n
    for (_, task, _), members in units.items():
        keep.update(_poured(members, counts[task]))


def _poured(sizes: Mapping[Name, int], total: int) -> dict[Name, int]:
    """`total` spread over vessels of these sizes, each filled to one level; what is left over goes by hash."""
    level = _level(sizes.values(), total)
    poured = {name: min(size, level) for name, size in sizes.items()}
    left = total - sum(poured.values())
    for name in sorted((n for n, size in sizes.items() if size > level), key=lambda n: stable_hash("poured", *n))[
        :left
    ]:
        poured[name] += 1
    return poured


def _level(sizes: Iterable[int], total: int) -> int:
    """The highest level at which vessels of these sizes hold no more than `total`."""
    left, level = total, 0
    rest = sorted(sizes)
    for n, size in enumerate(rest):
        step = min(size - level, left // (len(rest) - n))
        level += step
        left -= step * (len(rest) - n)
        if level < size:
            break
    return level


def _cap_letters(shares: dict[Key, int]) -> None:
    """Takes from letters that are right too often, from the largest cells first."""
    questions: dict[tuple[str, str, int], list[Key]] = defaultdict(list)
    for key in shares:
        if key.letters:
            questions[key.split, key.task, key.letters].append(key)
    for (_, _, letters), keys in questions.items():
        totals: dict[str, int] = defaultdict(int)
        for key in keys:
            totals[key.letter] += shares[key]
        most = _even(sorted(totals.values()), letters)
        for letter, total in totals.items():
            own = {key: shares[key] for key in keys if key.letter == letter}
            if total > most:
                shares.update(_poured(own, most))


def _even(totals: Sequence[int], letters: int) -> int:
    """The most that a letter may be right for none to have more than its share; no limit where a letter never is."""
    if len([n for n in totals if n]) < letters:
        return max(totals, default=0)
    fits, beyond = totals[0], totals[-1] + 1  # what fits is an interval that begins below the rarest letter
    while beyond - fits > 1:
        middle = (fits + beyond) // 2
        if middle <= LETTER_SHARE / letters * sum(min(middle, total) for total in totals):
            fits = middle
        else:
            beyond = middle
    return fits
