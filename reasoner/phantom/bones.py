"""Ribs and clavicles, and what is broken of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reasoner.phantom.body import TOWARD, Body, Canvas, Sign, bezier, find
from reasoner.phantom.film import Array

RIB_COUNT = 8
BREAKABLE = (2, 3, 4, 5)  # the ribs that are seen over lung from end to end


def ribs(body: Body, signs: Sequence[Sign]) -> Array:
    """Posterior ribs, fainter anterior ribs, and clavicles; a broken rib stands out by its step."""
    canvas, a = Canvas(body), body.anatomy
    y = -0.78 + np.arange(RIB_COUNT) * a.rib_pitch
    wall = a.cage_width * np.cbrt(np.maximum(0.05, 1 - np.abs((y + 0.14) / a.cage_height) ** 3))
    low = y + a.rib_tilt

    def path(*control: tuple[Any, Any], steps: int) -> NDArray[np.float64]:
        columns = [np.stack(np.broadcast_arrays(cx, cy, y)[:2], axis=-1) for cx, cy in control]
        return bezier(np.stack(columns, axis=1), steps)

    front = path((wall, low), (wall * 0.98, low + 0.16), (0.30, low + 0.20), steps=8)
    back = path((0.07, y), (wall * 0.55, y - 0.10), (wall, low), steps=20)
    clavicle = bezier([[(0.06, -0.70), (0.30, -0.66), (0.45, -0.86), (0.85, -0.80)]], 14)
    for side, toward in TOWARD.items():
        mirror = (toward, 1.0)
        canvas.bones(front * mirror, 22, 0.055)
        fracture = find(signs, "Fracture", side)
        broken = BREAKABLE[round(1.5 + 1.5 * fracture.spot[0])] if fracture else -1
        canvas.bones(np.delete(back, broken, axis=0) * mirror if fracture else back * mirror, 58, 0.065)
        if fracture:
            for fragment in _break(back[broken], fracture.spot[1]):
                canvas.bones(fragment[None] * mirror, 255, 0.125)
        canvas.bones(clavicle * mirror, 72, 0.06)
    return canvas.map()


def _break(rib: NDArray[np.float64], spot: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A displaced fracture: the two ends stand apart, the outer one a rib's width and more below the inner one."""
    cut = 11 + round(2 * spot)
    inner, outer = rib[:cut].copy(), rib[cut + 1 :].copy()
    inner[:, 1] -= 0.06 * np.linspace(0, 1, len(inner)) ** 3
    outer[:, 1] += 0.13 * np.linspace(1, 0.1, len(outer))
    return inner, outer
