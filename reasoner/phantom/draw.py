"""Draws frontal chest radiographs in miniature.

Body coordinates: x and y run from -1 to 1 over the frame, x to the image's right, y down. By radiographic convention
the patient's right lies on the image's left, so `lateral = toward * x` with `toward` = -1 for the right side and
+1 for the left. Soft shapes are numpy masks over a (size, size) grid; thin ones (ribs, vessels, lines) are drawn with
PIL on a canvas three times as fine. All add up to an attenuation map, which `film` turns into grey levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from reasoner.phantom.film import Array, Exposure, Point, cloud, expose

TOWARD = {"right": -1.0, "left": 1.0}
ZONE_Y = {"upper": -0.40, "mid": -0.08, "lower": 0.20}
FINE = 3  # canvas pixels per image pixel


@dataclass(frozen=True)
class Sign:
    """One finding as it is drawn. `label` is its CheXpert class; `degree` counts from 1 (mild, small) to
    `MAX_DEGREE[label]`; `spot` holds two numbers in [-1, 1] that fix its exact place."""

    label: str
    side: str | None = None  # left | right | bilateral
    degree: int = 1
    zone: str | None = None  # upper | mid | lower
    kind: str = ""  # of a device: central_line | pacemaker | endotracheal_tube
    spot: Point = (0.0, 0.0)

    @property
    def sides(self) -> tuple[str, ...]:
        return ("left", "right") if self.side == "bilateral" else (self.side,) if self.side else ()


#: The classes that can be drawn, and how many degrees each has.
MAX_DEGREE: dict[str, int] = {
    "Cardiomegaly": 2,
    "Consolidation": 2,
    "Fracture": 1,
    "Lung Lesion": 2,
    "Pleural Effusion": 3,
    "Pneumothorax": 2,
    "Support Devices": 1,
}


@dataclass(frozen=True)
class Anatomy:
    """One patient's build, shared by all of their studies."""

    cage_width: float
    cage_height: float
    heart_width: float  # cardiothoracic ratio
    domes: dict[str, float]  # y of the top of each hemidiaphragm
    rib_pitch: float
    rib_tilt: float
    body_width: float
    tissue: float  # attenuation of the chest wall

    @classmethod
    def sample(cls, rng: np.random.Generator, site: str) -> Anatomy:
        stout = {"b": 1.0, "c": -0.6}.get(site, 0.0)  # of the site's patients
        dome = rng.uniform(0.36, 0.46) - 0.06 * stout
        return cls(
            cage_width=rng.uniform(0.68, 0.76) + 0.03 * stout,
            cage_height=rng.uniform(0.76, 0.84),
            heart_width=rng.uniform(0.40, 0.46),
            domes={"right": dome, "left": dome + rng.uniform(0.02, 0.06)},
            rib_pitch=rng.uniform(0.165, 0.180),
            rib_tilt=rng.uniform(0.16, 0.26),
            body_width=rng.uniform(0.88, 0.95) + 0.05 * stout,
            tissue=rng.uniform(0.48, 0.54) + 0.04 * stout,
        )


@lru_cache
def _grid(size: int) -> NDArray[np.complex64]:
    """The pixel centres of the frame, x + iy."""
    line = (np.arange(size) + 0.5) * 2 / size - 1
    return (line[None, :] + 1j * line[:, None]).astype(np.complex64)


def _soft(distance: Array, width: float = 0.02) -> Array:
    """1 inside (distance > 0), 0 outside, with an edge about `width` wide."""
    return 0.5 + 0.5 * np.tanh(distance / width)


class _Body:
    """One patient in the beam: every pixel's place in the body, and the pose that maps the body onto the canvas."""

    def __init__(self, anatomy: Anatomy, exposure: Exposure, size: int) -> None:
        self.anatomy, self.size = anatomy, size
        self.pose = exposure.scale * complex(np.cos(exposure.angle), np.sin(exposure.angle))
        self.shift = complex(*exposure.shift)
        place = (_grid(size) - np.complex64(self.shift)) / np.complex64(self.pose)
        self.x: Array = place.real.copy()
        self.y: Array = place.imag.copy()

    def pixels(self, points: NDArray[np.float64]) -> list:
        """Body points (..., n, 2) -> flat canvas coordinates, as nested lists (..., 2n)."""
        place = points @ [1, 1j] * self.pose + self.shift
        half = self.size * FINE / 2
        flat = np.stack([(place.real + 1) * half, (place.imag + 1) * half], axis=-1)
        return flat.reshape(*points.shape[:-2], -1).tolist()

    def width(self, width: float) -> int:
        """A line width in body units -> canvas pixels."""
        return max(1, round(width * abs(self.pose) * self.size * FINE / 2))

    def cage(self, lateral: Array, keep: float = 1.0) -> Array:
        """Signed depth inside the rib cage; `keep` < 1 shrinks it towards the hilum, as a collapsed lung does."""
        a = self.anatomy
        lateral = (lateral - 0.16) / keep + 0.16
        y = (self.y - 0.04) / keep
        across, along = np.abs(lateral / (a.cage_width * (0.93 + 0.10 * y))), np.abs(y / a.cage_height)
        return (1 - np.cbrt(across * across * across + along * along * along)) * (a.cage_width * keep)

    def dome(self, side: str, lateral: Array) -> Array:
        """y of the diaphragm: highest over the middle of the lung, falling to the costophrenic angle."""
        return self.anatomy.domes[side] + 0.9 * (lateral - 0.30) ** 2 + 0.06 * np.clip(lateral - 0.35, 0, None)

    def ellipse(self, centre: Point, radii: Point) -> Array:
        """Signed depth inside an ellipse."""
        across, along = (self.x - centre[0]) / radii[0], (self.y - centre[1]) / radii[1]
        return (1 - np.sqrt(across * across + along * along)) * min(radii)


def _find(signs: Sequence[Sign], label: str, side: str | None = None) -> Sign | None:
    return next((s for s in signs if s.label == label and (side is None or side in s.sides)), None)


# -- thin structures, drawn as lines --------------------------------------------------------------------------


class _Canvas:
    """A fine canvas for lines; `map` shrinks it to image size, 0 to 1."""

    def __init__(self, body: _Body) -> None:
        self.body = body
        self.image = Image.new("L", (body.size * FINE, body.size * FINE))
        self.pen = ImageDraw.Draw(self.image)

    def lines(self, paths: NDArray[np.float64], grey: int, width: float) -> None:
        """Strokes of body points, (paths, points, 2)."""
        pixels = self.body.width(width)
        for path in self.body.pixels(paths):
            self.pen.line(path, fill=grey, width=pixels)

    def bones(self, paths: NDArray[np.float64], grey: int, width: float) -> None:
        """Strokes with a bright cortex and a darker marrow."""
        outer, inner = self.body.width(width), self.body.width(width * 0.45)
        for path in self.body.pixels(paths):
            self.pen.line(path, fill=grey, width=outer)
            self.pen.line(path, fill=int(grey * 0.62), width=inner)

    def map(self) -> Array:
        return np.asarray(self.image.reduce(FINE), dtype=np.float32) / 255


def _bezier(control: object, steps: int) -> NDArray[np.float64]:
    """Control points (..., degree + 1, 2) -> points on the Bezier curve (..., steps, 2)."""
    points = np.asarray(control, dtype=np.float64)
    return _bernstein(points.shape[-2] - 1, steps) @ points


@lru_cache
def _bernstein(degree: int, steps: int) -> NDArray[np.float64]:
    t = np.linspace(0, 1, steps)
    return np.stack([comb(degree, k) * t**k * (1 - t) ** (degree - k) for k in range(degree + 1)], axis=1)


RIB_COUNT = 8
BREAKABLE = (2, 3, 4, 5)  # the ribs that are seen over lung from end to end


def _ribs(body: _Body, signs: Sequence[Sign]) -> Array:
    """Posterior ribs, fainter anterior ribs, and clavicles; a broken rib stands out by its step."""
    canvas, a = _Canvas(body), body.anatomy
    y = -0.78 + np.arange(RIB_COUNT) * a.rib_pitch
    wall = a.cage_width * np.cbrt(np.maximum(0.05, 1 - np.abs((y + 0.14) / a.cage_height) ** 3))
    low = y + a.rib_tilt

    def path(*control: tuple[Any, Any], steps: int) -> NDArray[np.float64]:
        columns = [np.stack(np.broadcast_arrays(cx, cy, y)[:2], axis=-1) for cx, cy in control]
        return _bezier(np.stack(columns, axis=1), steps)

    front = path((wall, low), (wall * 0.98, low + 0.16), (0.30, low + 0.20), steps=8)
    back = path((0.07, y), (wall * 0.55, y - 0.10), (wall, low), steps=20)
    clavicle = _bezier([[(0.06, -0.70), (0.30, -0.66), (0.45, -0.86), (0.85, -0.80)]], 14)
    for side, toward in TOWARD.items():
        mirror = (toward, 1.0)
        canvas.bones(front * mirror, 22, 0.055)
        fracture = _find(signs, "Fracture", side)
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


def _vessels(body: _Body, rng: np.random.Generator) -> Array:
    """Lung markings: branches that fan out from each hilum, fork, and thin towards the wall."""
    canvas = _Canvas(body)
    angle = np.tile(np.linspace(-1.35, 1.25, 9), 2) + rng.normal(0, 0.1, 18)
    toward = np.repeat((-1.0, 1.0), 9)
    reach = rng.uniform(0.30, 0.46, 18)
    for fork, grey in ((0.0, 120), (rng.normal(0, 0.35, 18), 80)):
        tip = np.stack([toward * np.cos(angle + fork), 1.2 * np.sin(angle + fork)], axis=-1) * reach[:, None]
        bend = np.stack([toward * np.cos(angle), 1.2 * np.sin(angle)], axis=-1) * reach[:, None] / 2
        root = np.stack([0.16 * toward, np.full(18, -0.05)], axis=-1)
        paths = _bezier(np.stack([root, root + bend, root + tip], axis=1), 7)
        canvas.lines(paths[:, :4], grey, 0.026)
        canvas.lines(paths[:, 3:], int(grey * 0.7), 0.016)
    return canvas.map()


def _devices(body: _Body, device: Sign) -> Array:
    """Metal and plastic: far brighter than bone."""
    canvas = _Canvas(body)
    toward = TOWARD.get(device.side or "", 1.0)
    dx, dy = 0.05 * device.spot[0], 0.05 * device.spot[1]
    if device.kind == "endotracheal_tube":
        canvas.lines(np.array([[(0.4 * dx, -1.1), (0.0, dy - 0.36)]]), 255, 0.055)
    elif device.kind == "central_line":
        neck = (toward * 0.34 + dx, -1.1), (toward * 0.26, -0.62)
        canvas.lines(_bezier([[*neck, (-0.16, -0.62), (-0.11, 0.02 + dy)]], 20), 255, 0.05)
    else:
        box = toward * (0.56 + dx), -0.56 + dy
        t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        corner = np.stack([np.cos(t), np.sin(t)], axis=-1)
        outline = np.sign(corner) * np.sqrt(np.abs(corner)) * (0.125, 0.10) + box
        canvas.pen.polygon(body.pixels(outline[None])[0], fill=255)
        lead = [[box, (toward * 0.25, -0.85), (-0.22, -0.40), (-0.12, 0.10), (0.22, 0.30 + dy)]]
        canvas.lines(_bezier(lead, 26), 255, 0.045)
    return canvas.map()


# -- soft structures, as masks of the grid --------------------------------------------------------------------


def _heart(body: _Body, signs: Sequence[Sign]) -> Array:
    """The cardiac silhouette; its width is the cardiothoracic ratio, above one half when enlarged."""
    a = body.anatomy
    enlarged = _find(signs, "Cardiomegaly")
    ratio = a.heart_width + (0.10 + 0.07 * enlarged.degree if enlarged else 0.0)
    reach = ratio * a.cage_width  # half of the heart's width
    x, y = 0.30 * reach, min(a.domes.values()) - 0.12
    ventricles = _soft(body.ellipse((x, y), (reach, 0.26 + 0.35 * (ratio - 0.40))), 0.025)
    base = _soft(body.ellipse((0.6 * x, y - 0.22), (0.62 * reach, 0.30)), 0.03)
    return np.maximum(ventricles, base)


def _lungs(body: _Body, signs: Sequence[Sign], texture: Array) -> tuple[Array, Array, Array]:
    """What the lungs take from the beam (air), what disease adds to it, and where aerated lung shows its markings."""
    air, added, aerated = np.zeros_like(body.x), np.zeros_like(body.x), np.zeros_like(body.x)
    for side, toward in TOWARD.items():
        lateral = toward * body.x
        field = _soft(body.cage(lateral)) * _soft(body.dome(side, lateral) - body.y) * (lateral > 0)
        lung, empty = field, np.zeros_like(field)
        if collapse := _find(signs, "Pneumothorax", side):
            inside = _soft(body.cage(lateral, (0.76, 0.54)[collapse.degree - 1]), 0.014)
            pleural_line = 1.3 * field * inside * (1 - inside)
            lung, empty = field * inside, field * (1 - inside)
            added += pleural_line + 0.05 * (collapse.degree - 1) * lung
        if fluid := _find(signs, "Pleural Effusion", side):
            height = (0.21, 0.38, 0.62)[fluid.degree - 1]
            meniscus = height * (0.55 + 0.9 * np.clip(lateral - 0.15, 0, 1))  # climbs along the wall
            dry = _soft(body.anatomy.domes[side] + 0.08 - meniscus - body.y, 0.035)
            added += 0.05 * field * (1 - dry)
            lung, empty = lung * dry, empty * dry
        for sign in signs:
            if side in sign.sides and sign.zone:
                added += _patch(body, sign, toward, texture) * lung
        air += 0.29 * lung + 0.52 * empty
        aerated += lung
    return air, added, aerated


def _patch(body: _Body, sign: Sign, toward: float, texture: Array) -> Array:
    """A nodule is round and sharp; a consolidation is large, ragged and fuzzy."""
    x, y = toward * (0.43 + 0.07 * sign.spot[0]), ZONE_Y[sign.zone or "mid"] + 0.06 * sign.spot[1]
    if sign.label == "Lung Lesion":
        radius = (0.095, 0.135)[sign.degree - 1]
        return 0.36 * _soft(body.ellipse((x, y), (radius, radius)))
    radius = (0.20, 0.27)[sign.degree - 1]
    ragged = body.ellipse((x, y), (1.1 * radius, 0.9 * radius)) + 0.05 * texture
    return _soft(ragged, 0.07) * (0.27 + 0.03 * texture)


def attenuation(body: _Body, signs: Sequence[Sign], rng: np.random.Generator) -> Array:
    """The sum of all that lies in the beam, (size, size): 0 in air, about 1 in metal."""
    a, x, y = body.anatomy, body.x, body.y
    rise = np.clip((y + 1.0) / 0.40, 0, 1)
    skin = 0.26 + (a.body_width - 0.26) * rise * rise * (3 - 2 * rise) - 0.05 * (y + 0.4) - np.abs(x)
    trunk = _soft(skin, 0.03)
    total = a.tissue * trunk * (0.86 + 0.14 * np.clip(skin / 0.25, 0, 1))

    heart = _heart(body, signs)
    vessels = np.maximum(
        _soft(0.125 + 0.05 * np.clip(-y - 0.3, 0, 1) - np.abs(x), 0.025),
        _soft(body.ellipse((0.12, -0.34), (0.10, 0.11))),
    )  # the great vessels with the aortic knob
    middle = np.maximum(heart, vessels)
    air, added, aerated = _lungs(body, signs, cloud(rng, body.size, body.size / 14))
    hila = _soft(np.maximum(*(body.ellipse((side * 0.17, -0.06), (0.09, 0.13)) for side in (-1, 1))), 0.06)
    total += (added - air + 0.12 * _vessels(body, rng) * aerated + 0.09 * hila) * (1 - middle)
    total += 0.10 * middle * trunk + 0.10 * heart

    dome = np.where(x > 0, body.dome("left", np.abs(x)), body.dome("right", np.abs(x)))
    abdomen = _soft(y - dome, 0.03)
    total += 0.10 * abdomen * trunk
    vertebrae = 0.055 + 0.03 * np.tanh(3 * np.sin(y * 2 * np.pi / 0.19))
    total += vertebrae * _soft(0.085 - np.abs(x))
    total -= 0.13 * _soft(0.048 - np.abs(x + 0.01)) * _soft(-0.32 - y, 0.03)  # trachea
    total += 0.32 * _ribs(body, signs) * trunk * (1 - 0.6 * middle) * (1 - 0.45 * abdomen)
    device = _find(signs, "Support Devices")
    return total + 0.55 * _devices(body, device) if device else total


def draw(anatomy: Anatomy, signs: Sequence[Sign], site: str, size: int, key: Sequence[int]) -> NDArray[np.uint8]:
    """One image, (size, size) grey levels; `key` seeds its pose, markings and noise, `site` is `a`, `b` or `c`."""
    rng = np.random.default_rng(list(key))
    exposure = Exposure.sample(rng, site)
    return expose(attenuation(_Body(anatomy, exposure, size), signs, rng), exposure, rng)
