"""The lungs and the pleural space: air, markings, and what disease adds to them or takes away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reasoner.phantom.body import TOWARD, ZONE_Y, Body, Canvas, Sign, bezier, find, soft
from reasoner.phantom.film import Array, Point


def markings(body: Body, signs: Sequence[Sign], rng: np.random.Generator) -> Array:
    """Vessels that fan out from each hilum, fork, and thin towards the wall; edema fills them and adds Kerley lines."""
    canvas = Canvas(body)
    angle = np.tile(np.linspace(-1.35, 1.25, 9), 2) + rng.normal(0, 0.1, 18)
    toward = np.repeat((-1.0, 1.0), 9)
    reach = rng.uniform(0.30, 0.46, 18)
    edema = find(signs, "Edema")
    for fork, grey in ((0.0, 120), (rng.normal(0, 0.35, 18), 80)):
        tip = np.stack([toward * np.cos(angle + fork), 1.2 * np.sin(angle + fork)], axis=-1) * reach[:, None]
        bend = np.stack([toward * np.cos(angle), 1.2 * np.sin(angle)], axis=-1) * reach[:, None] / 2
        root = np.stack([0.16 * toward, np.full(18, -0.05)], axis=-1)
        paths = bezier(np.stack([root, root + bend, root + tip], axis=1), 7)
        canvas.lines(paths[:, :4], grey + 50 * bool(edema), 0.026)
        canvas.lines(paths[:, 3:], int(grey * 0.7), 0.016)
    if edema:
        canvas.lines(_kerley(body.anatomy.cage_width), 255, 0.022)
    return canvas.map()


def _kerley(width: float) -> NDArray[np.float64]:
    """Kerley B lines: short, level, at the wall of both lower lungs, (lines, 2, 2)."""
    y = np.repeat(np.linspace(-0.02, 0.28, 5), 2)
    out = np.tile((-width, width), 5)
    return np.stack([np.stack([0.76 * out, y + 0.01], axis=-1), np.stack([0.96 * out, y], axis=-1)], axis=1)


def lungs(body: Body, signs: Sequence[Sign], texture: Array) -> tuple[Array, Array, Array]:
    """What the lungs take from the beam (air), what disease adds to it, and where aerated lung shows its markings."""
    air, added, aerated = np.zeros_like(body.x), np.zeros_like(body.x), np.zeros_like(body.x)
    for side, toward in TOWARD.items():
        lateral = toward * body.x
        depth = body.cage(lateral)
        field = soft(depth) * soft(body.dome(side, lateral) - body.y) * (lateral > 0)
        lung, empty = field, np.zeros_like(field)
        if collapse := find(signs, "Pneumothorax", side):
            inside = soft(body.cage(lateral, (0.76, 0.54)[collapse.degree - 1]), 0.014)
            pleural_line = 1.3 * field * inside * (1 - inside)
            lung, empty = field * inside, field * (1 - inside)
            added += pleural_line + 0.05 * (collapse.degree - 1) * lung
        if fluid := find(signs, "Pleural Effusion", side):
            level = _meniscus(body, fluid, side, lateral)
            dry = soft(level - body.y, 0.035)
            added += 0.05 * field * (1 - dry)
            lung, empty = lung * dry, empty * dry
        for sign in signs:
            if side in sign.sides and sign.zone:
                added += _patch(body, sign, toward, texture) * lung
        if airless := find(signs, "Atelectasis", side):
            border = level if fluid else body.dome(side, lateral)
            added += _airless(body, airless, lateral, border) * lung
        if thick := find(signs, "Pleural Other", side):
            added += _thickening(body, thick, depth) * field
        if edema := find(signs, "Edema"):
            added += _bat_wing(body, edema, lateral) * lung
        air += 0.29 * lung + 0.52 * empty
        aerated += lung
    return air, added, aerated


def _meniscus(body: Body, fluid: Sign, side: str, lateral: Array) -> Array:
    """y of the top of the fluid, which climbs along the wall."""
    height = (0.21, 0.38, 0.62)[fluid.degree - 1]
    meniscus = height * (0.55 + 0.9 * np.clip(lateral - 0.15, 0, 1))
    return body.anatomy.top(side) + 0.08 - meniscus


def _patch(body: Body, sign: Sign, toward: float, texture: Array) -> Array:
    """A nodule is round and sharp; a consolidation is large, ragged and fuzzy, in pneumonia with air in its bronchi; an
    opacity is a veil through which the markings are seen."""
    x, y = toward * (0.43 + 0.07 * sign.spot[0]), ZONE_Y[sign.zone or "mid"] + 0.06 * sign.spot[1]
    if sign.label == "Lung Lesion":
        radius = (0.095, 0.135)[sign.degree - 1]
        return 0.36 * soft(body.ellipse((x, y), (radius, radius)))
    radius = (0.20, 0.27)[sign.degree - 1]
    if sign.label == "Lung Opacity":
        return (0.14, 0.17)[sign.degree - 1] * soft(body.ellipse((x, y), (1.2 * radius, 1.1 * radius)), 0.05)
    ragged = body.ellipse((x, y), (1.1 * radius, 0.9 * radius)) + 0.05 * texture
    dense = soft(ragged, 0.07) * (0.27 + 0.03 * texture)
    return dense * (1 - _bronchogram(body, (x, y), toward, radius)) if sign.label == "Pneumonia" else dense


def _bronchogram(body: Body, centre: Point, toward: float, radius: float) -> Array:
    """Air in the bronchi of a consolidation: a dark tree that fans out through it."""
    canvas = Canvas(body)
    root = np.array(centre) - (0.8 * toward * radius, 0.1 * radius)
    angle = np.array([-0.75, 0.0, 0.75])
    tips = root + 1.4 * radius * np.stack([toward * np.cos(angle), np.sin(angle)], axis=-1)
    canvas.lines(np.stack([np.broadcast_to(root, tips.shape), tips], axis=1), 230, 0.045)
    return canvas.map()


def _airless(body: Body, sign: Sign, lateral: Array, border: Array) -> Array:
    """Atelectasis: plates of airless lung above the diaphragm; compressed by fluid, a cap on the fluid."""
    above = border - body.y
    if sign.kind == "compressive":
        return 0.44 * soft(0.12 - above, 0.02) * soft(0.58 - lateral, 0.03)
    plates = np.zeros_like(above)
    for height in (0.10, 0.19)[: sign.degree]:
        plates = np.maximum(plates, soft(0.026 - np.abs(above - height + 0.25 * (lateral - 0.4)), 0.012))
    return 0.30 * plates * soft(0.60 - lateral, 0.02)


def _thickening(body: Body, sign: Sign, depth: Array) -> Array:
    """Pleural thickening: a rind along the wall, lumpy with plaques."""
    thick = (0.075, 0.12)[sign.degree - 1]
    lumps = thick * (0.75 + 0.25 * np.sin(body.y * 22 + 3 * sign.spot[0]))
    inside = soft(0.36 - np.abs(body.y + 0.16 + 0.04 * sign.spot[1]), 0.04)
    return 0.36 * soft(lumps - depth, 0.012) * inside


def _bat_wing(body: Body, sign: Sign, lateral: Array) -> Array:
    """Edema: haze on both sides of the hila that spares the edges."""
    across, along = (lateral - 0.24) / 0.24, (body.y + 0.02) / 0.34
    return (0.13, 0.24)[sign.degree - 1] * np.exp(-across * across - along * along)
