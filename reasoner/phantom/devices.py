"""Tubes, lines and pacemakers: metal and plastic, far brighter than bone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reasoner.phantom.body import TOWARD, Body, Canvas, Sign, bezier
from reasoner.phantom.film import Array

#: What may be drawn; those that may end astray, and those that have a side.
KINDS = ("central_line", "pacemaker", "endotracheal_tube", "enteric_tube", "chest_tube")
ASTRAY = ("central_line", "endotracheal_tube", "enteric_tube")
SIDED = ("central_line", "pacemaker", "chest_tube")


def devices(body: Body, signs: Sequence[Sign]) -> Array:
    """All `Support Devices` of the signs; those astray end too deep, an enteric tube too high."""
    canvas = Canvas(body)
    for sign in signs:
        if sign.label == "Support Devices":
            _device(canvas, sign)
    return canvas.map()


def _device(canvas: Canvas, device: Sign) -> None:
    toward = TOWARD.get(device.side or "", 1.0)
    dx, dy = 0.05 * device.spot[0], 0.05 * device.spot[1]
    if device.kind == "endotracheal_tube":
        path = [(0.4 * dx, -1.1), (0.0, dy - 0.36)]
        deep = bezier([[*path, (-0.02, -0.20), (-0.24, -0.06 + dy)]], 16)  # into the right main bronchus
        canvas.lines(deep if device.astray else np.array([path]), 255, 0.055)
    elif device.kind == "central_line":
        neck = (toward * 0.34 + dx, -1.1), (toward * 0.26, -0.62)
        tip = (-0.11, 0.30 + dy) if device.astray else (-0.11, 0.02 + dy)
        canvas.lines(bezier([[*neck, (-0.16, -0.62), tip]], 20), 255, 0.05)
    elif device.kind == "enteric_tube":
        end = [(0.05, 0.05 + dy)] if device.astray else [(0.05, 0.05), (0.06, 0.55), (0.34 + dx, 0.62 + dy)]
        canvas.lines(bezier([[(0.03 + 0.4 * dx, -1.1), (0.03, -0.4), *end]], 20), 255, 0.035)
    elif device.kind == "chest_tube":
        apex = toward * (0.36 + dx), -0.52 + dy
        canvas.lines(
            bezier([[(toward * 1.0, 0.24), (toward * 0.62, 0.16), (toward * 0.55, -0.2), apex]], 20), 255, 0.06
        )
    else:
        box = toward * (0.56 + dx), -0.56 + dy
        t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        corner = np.stack([np.cos(t), np.sin(t)], axis=-1)
        outline = np.sign(corner) * np.sqrt(np.abs(corner)) * (0.125, 0.10) + box
        canvas.pen.polygon(canvas.body.pixels(outline[None])[0], fill=255)
        lead = [[box, (toward * 0.25, -0.85), (-0.22, -0.40), (-0.12, 0.10), (0.22, 0.30 + dy)]]
        canvas.lines(bezier(lead, 26), 255, 0.045)
