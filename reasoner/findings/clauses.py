"""What is done to whole clauses: reversed ("it is false that ..."), doubted ("I cannot say ..."), or void, since they
speak of another person, another time or a world that is not ("would be clear").
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from reasoner.findings.lexicon import Term
from reasoner.findings.text import Token

#: "Since the prior study", "clearer than before": other times that things of now are compared with.
_COMPARED = frozenset(("since", "to", "with", "from", "than", "as", "compared", "versus", "vs", "unlike"))
_RELATIVE = frozenset(("that", "which"))
#: What follows from a finding, or is said of an option, takes nothing back: "no nodule, so option B is wrong".
_VERDICT = frozenset(("option", "options", "choice", "answer", "so", "thus", "therefore", "hence", "meaning", "means"))
_JOINTS = frozenset(("and", "so", "then"))
_PRESENT = frozenset(("is", "are", "has", "have", "appears", "appear", "remains", "remain"))


class Outer(NamedTuple):
    """What is done to the clause around an item: `void` when it asserts nothing, the mark that leaves it open, the
    marks that each reverse it."""

    void: bool = False
    doubt: Term | None = None
    reversals: tuple[Term, ...] = ()


_NOTHING = Outer()
#: Others that are named beside the patient: "unlike his father, he has ...".
_BESIDE = frozenset(("like", "unlike", "whose", "as"))
_NOW = frozenset(("now", "today", "currently", "longer", "anymore", "cannot"))
_PREDICATE = frozenset(("verb", "hedge_forward"))
_ACTING = frozenset(
    ("reversal_forward", "reversal_backward", "doubt_forward", "counterfactual", "elsewhere", "formerly", "known")
)


def outer(tokens: Sequence[Token], items: Sequence[Term], marks: Sequence[Term]) -> list[Outer]:
    """One `Outer` for each item."""
    acting = [mark for mark in marks if mark.roles.keys() & _ACTING]
    found = [_NOTHING] * len(items)
    if not acting:
        return found
    bounds = _bounds(tokens, items, marks)
    commas = [0, *(i for i, token in enumerate(tokens) if token.text == ","), *bounds[1:]]
    commas.sort()
    starts = [item.first for item in items]
    for mark in acting:
        first, last = _around(bounds, mark.first)
        roles = mark.roles
        if "reversal_forward" in roles or "doubt_forward" in roles:
            first = mark.last
        elif "reversal_backward" in roles:
            begin, _ = _around(commas, mark.first)
            if any(token.text in _VERDICT for token in tokens[begin : mark.first]):
                continue
            last = mark.first
        elif "counterfactual" in roles:
            begin, last = _around(commas, mark.first)
            named = any(begin <= item.first < mark.first for item in items)
            first = begin if named else first  # "an effusion, if present, would be ..."
            if mark.first and tokens[mark.first - 1].text in _RELATIVE:  # "no collapse that would confirm it"
                first = mark.first
        elif "elsewhere" in roles and any(token.text in _BESIDE for token in tokens[first : mark.first]):
            first, last = _around(commas, mark.first)
        elif "known" in roles:
            inside = [item for item in items if first <= item.first < last]
            if mark.first > first or any("verb" in item.roles or "change" in item.roles for item in inside):
                continue
            first = mark.last
        elif "formerly" in roles and not _over(tokens, items, marks, mark, first, last):
            continue
        for k in range(bisect_right(starts, first - 1), bisect_right(starts, last - 1)):
            found[k] = _with(found[k], mark)
    return found


def _with(around: Outer, mark: Term) -> Outer:
    if "reversal_forward" in mark.roles or "reversal_backward" in mark.roles:
        return around._replace(reversals=(*around.reversals, mark))
    if "doubt_forward" in mark.roles:
        return around._replace(doubt=mark)
    return around._replace(void=True)


def _around(bounds: Sequence[int], at: int) -> tuple[int, int]:
    n = bisect_right(bounds, at)
    return bounds[n - 1], bounds[n] if n < len(bounds) else 1 << 30


def _bounds(tokens: Sequence[Token], items: Sequence[Term], marks: Sequence[Term]) -> list[int]:
    """The tokens at which clauses begin: 0, what turns against what was said, "and there is", "and the heart is"."""
    found = {0, *(mark.first for mark in marks if "adversative" in mark.roles)}
    found.update(i for i, token in enumerate(tokens) if token.text in (";", "-"))
    for item in items:
        joined = item.first > 0 and tokens[item.first - 1].text in _JOINTS
        if joined and "terminator" in item.roles and tokens[item.first].text == "there":
            found.add(item.first)
    for n, (item, following) in enumerate(pairwise(items)):
        if "conjunction" in item.roles:
            rest = items[n + 2] if n + 2 < len(items) and _PREDICATE.isdisjoint(following.roles) else following
            if not _PREDICATE.isdisjoint(rest.roles):
                found.add(item.first)
    return sorted(found)


def _over(
    tokens: Sequence[Token], items: Sequence[Term], marks: Sequence[Term], mark: Term, first: int, last: int
) -> bool:
    """Whether the clause tells what was so at another time, rather than compares with it."""
    if any(tokens[i].text in _COMPARED for i in range(max(mark.first - 3, first), mark.first)):
        return False
    if any(token.text in _NOW for token in tokens[first:last]):
        return False
    told = [other for other in marks if first <= other.first < last]
    past = any("past" in other.roles or ("showed" in other.roles and other.first > mark.first) for other in told)
    inside = [item for item in items if first <= item.first < last]
    present = any("verb" in item.roles and tokens[item.first].text in _PRESENT for item in inside)
    return not present and (past or (bool(inside) and mark.first < inside[0].first))
