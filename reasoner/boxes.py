"""Boxes as words: `[x0, y0, x1, y1]` in whole percent of the picture's width and height, from its upper left corner.

That is CXRTrek's grid of 0 to 100 (arXiv 2505.23143). x0 < x1 and y0 < y1; x grows to the image's right, which is the
patient's left. Other ways to write a box are read, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from reasoner.schema import Box

#: Where the grid ends.
GRID = 100
#: x0, y0, x1, y1 on the grid.
Corners = tuple[int, int, int, int]

_NUMBER = r"(-?\d{1,6}(?:\.\d{1,6})?)\s?%?"
_GAP = r"(?:\s{0,3},\s{0,3}|\s{1,3})"
#: Four numbers with blanks or commas between.
FOUR = _GAP.join([_NUMBER] * 4)
#: [x1, y1, x2, y2] in any brackets; (x1, y1), (x2, y2).
BRACKETED = (
    r"[\[(<{]\s{0,3}" + FOUR + r"\s{0,3}[\])>}]",
    r"[\[(]\s{0,3}" + _NUMBER + _GAP + _NUMBER + r"\s{0,3}[\])]\s{0,3}(?:,|;|-|–)?[a-z :-]{0,24}"
    r"[\[(]\s{0,3}" + _NUMBER + _GAP + _NUMBER + r"\s{0,3}[\])]",
)
#: x1=.., y1: .., x2 .., y2 ..
NAMED = r"[\"']?,?\s{0,3}[\"']?".join(
    rf"\b{name}[\"']?\s{{0,3}}[=:]?\s{{0,3}}{_NUMBER}"
    for name in ("x_?(?:1|min)", "y_?(?:1|min)", "x_?(?:2|max)", "y_?(?:2|max)")
)
_WRITTEN = re.compile("|".join(BRACKETED), re.IGNORECASE)
_OPENING = re.compile(r"[\[(<{]\s{0,3}-?\d")


def on_grid(box: Box) -> Corners | None:
    """The nearest corners on the grid, at least one step apart; None for a box without an area."""
    if not (box.x0 < box.x1 and box.y0 < box.y1):  # nan is neither
        return None
    x0, x1 = _steps(box.x0, box.x1)
    y0, y1 = _steps(box.y0, box.y1)
    return x0, y0, x1, y1


def _steps(low: float, high: float) -> tuple[int, int]:
    first, last = (round(min(max(value, 0.0), 1.0) * GRID) for value in (low, high))
    return (first, last) if first < last else (min(first, GRID - 1), min(first, GRID - 1) + 1)


def write(boxes: Iterable[Sequence[float]]) -> str:
    """The boxes as models write them.

    >>> write([(62, 70, 88, 92), (12, 71, 40, 93)])
    '[62, 70, 88, 92], [12, 71, 40, 93]'
    """
    return ", ".join(f"[{', '.join(f'{value:g}' for value in corners)}]" for corners in boxes)


def without_boxes(text: str) -> str:
    """The text with blanks in the place of its boxes, so that their numbers are read as nothing else.

    >>> without_boxes("A left effusion [62, 70, 88, 92].")
    'A left effusion                 .'
    """
    return _WRITTEN.sub(lambda match: " " * len(match.group()), text) if _OPENING.search(text) else text


def box_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where boxes are written: `text[start:end]` of each."""
    if _OPENING.search(text):
        yield from (match.span() for match in _WRITTEN.finditer(text))
