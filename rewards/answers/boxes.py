"""Boxes in answers, in the ways that models write them, and their overlap."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from reasoner.boxes import BRACKETED, FOUR, GRID, NAMED

Box = tuple[float, float, float, float]
#: Boxes beyond these are not looked at, though counted: naming many must not take long, and does not pay.
_MOST_BOXES = 50
_BOX = re.compile("|".join((*BRACKETED, NAMED)), re.IGNORECASE)
#: Boxes that overlap less are not of the same place: one around the whole image pays by its size alone.
LEAST = 0.2
#: What stands right before a box that is denied.
_DENIED = re.compile(
    r"\b(?:not|no|never|neither|nor|without|except|but not|rather than|instead of)\b[^.;\n\[\](<]{0,30}$", re.IGNORECASE
)
_BARE = re.compile(r"\s*" + FOUR + r"\s*\.?\s*")
_OR = re.compile(r"\s*,?\s*(?:or|vs\.?|versus)\b\s*", re.IGNORECASE)


def boxes_of(text: str) -> tuple[list[Box], int]:
    """The first boxes that a text asserts and that have an area, and how many it names at all.

    A box that is denied (`not [..]`) is not named; alternatives (`[..] or [..]`) are named and none is asserted.
    """
    if _BARE.fullmatch(text):
        text = f"[{text.strip(' .')}]"
    found: list[Box | None] = []
    end = 0
    for match in _BOX.finditer(text):
        a, b, c, d = (float(value) for value in match.groups() if value is not None)
        before = text[max(end, match.start() - 60) : match.start()]
        either = bool(found) and _OR.fullmatch(before) is not None
        end = match.end()
        if _DENIED.search(before):
            continue
        if either:
            found[-1] = None
        found.append((a, b, c, d) if a < c and b < d and not either else None)
    return [box for box in found if box][:_MOST_BOXES], len(found)


def worth(named: Sequence[Box], count: int, wanted: Sequence[Box]) -> float:
    """What an answer's boxes are worth, 0 to 1: the intersections over union of the pairs that have `LEAST` or more,
    over the larger number of boxes. Off the grid that all the wanted ones are on, a box pays nothing.

    Args:
        named: the boxes that have an area.
        count: how many are named at all.
    """
    if all(map(_on_grid, wanted)):
        named = [box for box in named if _on_grid(box)]
    most = max(count, len(wanted))
    return sum(value for value in matched(named, wanted) if value >= LEAST) / most if most else 1.0


def overlap(named: Sequence[Box], wanted: Sequence[Box]) -> float:
    """The sum of the intersections over union of boxes paired best first."""
    return sum(matched(named, wanted))


def matched(
    named: Sequence[Box], wanted: Sequence[Box], alike: Callable[[int, int], bool] = lambda i, j: True
) -> list[float]:
    """The intersections over union of boxes paired one to one, best first; only `alike` ones, by their numbers."""
    pairs = ((iou(a, b), i, j) for i, a in enumerate(named) for j, b in enumerate(wanted) if alike(i, j))
    found: list[float] = []
    used: set[int] = set()
    met: set[int] = set()
    for value, i, j in sorted(pairs, reverse=True):
        if i not in used and j not in met:
            found.append(value)
            used.add(i)
            met.add(j)
    return found


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes with an area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    return both / (_area(a) + _area(b) - both)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _on_grid(box: Box) -> bool:
    return all(0 <= value <= GRID for value in box)
