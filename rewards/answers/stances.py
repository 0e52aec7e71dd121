"""What is said of each name of an answer, and what the whole answer asserts, excludes and leaves open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

#: The name of all options, of none of them, and of those that are not named.
ALL, NONE, OTHERS = "*", "-", "+"


class Reading(NamedTuple):
    """The names of an answer. One that is both asserted and excluded stands in both; `nothing`: it says `none`; of the
    `silent` ones nothing is said (`history of A`)."""

    asserted: frozenset[str]
    excluded: frozenset[str]
    open: frozenset[str]
    nothing: bool = False
    silent: frozenset[str] = frozenset()

    @property
    def clear(self) -> frozenset[str]:
        """What is asserted and nowhere taken back."""
        return self.asserted - self.excluded - self.open

    @property
    def vague(self) -> frozenset[str]:
        """What is left open, or asserted and excluded both."""
        return (self.open | (self.asserted & self.excluded)) - self.clear


@dataclass(slots=True)
class Named:
    """A name that was met, and what has been said of it so far.

    `segment` counts commas and sentences before it; `rank` is 1 for what is most likely, -1 for what is only possible,
    `second` for what comes after the most likely; `share` is the probability that it is given, 0 to 1.
    """

    value: str
    segment: int
    excluded: bool = False
    open: bool = False
    excepted: bool = False
    void: bool = False
    rank: int = 0
    share: float | None = None
    second: bool = False

    @property
    def counts(self) -> bool:
        """Whether anything is said of it: what explains an answer may still exclude."""
        return self.excluded or not self.void

    @property
    def chosen(self) -> bool:
        """Whether it is said to hold, or may hold."""
        return not self.excluded and not self.void


def gather(
    names: Iterable[Named], universe: Iterable[str] = (), excepted: bool = False, normal: str | None = None
) -> Reading:
    """The reading of an answer. What was left open and is decided later is no longer open.

    Args:
        universe: all that could be named, for `all` and `none`.
        excepted: whether `except A`, of nothing that is said, asserts A.
        normal: the name of normality: `normal except A` asserts A alone.
    """
    names = list(names)
    silent = {named.value for named in names if not named.counts}
    names = [named for named in names if named.counts]
    if any(named.excepted for named in names) and any(named.value == normal for named in names):
        names, excepted = [named for named in names if named.value != normal], True
    quantified = {value: [n for n in names if n.value == value and not n.open] for value in (ALL, NONE, OTHERS)}
    nothing = any(not n.excluded for n in quantified[NONE])
    if any(named.value == normal and named.chosen for named in names):  # "everything is normal"
        quantified[ALL] = []
    some = any(not n.excluded for n in quantified[ALL])
    turned = some or not (excepted or nothing or quantified[ALL])  # whether `except A` excludes A
    asserted: set[str] = set()
    excluded: set[str] = set()
    left_open: set[str] = set()
    for named in names:
        if named.value not in quantified:
            out = named.excluded != (named.excepted and turned)
            if not out and not named.open and named.value in left_open:
                left_open.clear()
            (excluded if out else left_open if named.open else asserted).add(named.value)
    others = set(universe) - asserted - excluded - left_open
    for named in quantified[OTHERS] + quantified[ALL]:
        (excluded if named.excluded else asserted).update(others)
    silent -= asserted | excluded | left_open
    return Reading(frozenset(asserted), frozenset(excluded), frozenset(left_open), nothing, frozenset(silent))


def ranked(names: Sequence[Named], one: bool) -> list[Named]:
    """The names without those that probabilities, or degrees of likelihood, put behind the others.

    Of one choice the likeliest is left, if there is one; of several (`one` False) those of at least a half.
    """
    chosen = [named for named in names if named.chosen]
    shares = {named.value: named.share for named in chosen if named.share is not None}
    values = {named.value for named in chosen}
    if len(values) < 2:
        return list(names)
    if shares.keys() == values:
        most = max(shares.values())
        kept = {value for value in shares if shares[value] == most} if one else {v for v in shares if shares[v] >= 0.5}
    elif one:
        kept = {named.value for named in chosen if named.rank > 0}
        kept = kept if all(named.rank < 0 or named.value in kept for named in chosen) else set()
    else:
        kept = set()
    if not kept or (one and len(kept) > 1):
        return list(names)
    left = [named for named in names if named.value in kept or not named.chosen]
    return [replace(named, open=False) if named.chosen else named for named in left]
