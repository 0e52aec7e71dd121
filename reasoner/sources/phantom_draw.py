"""Draws frontal chest radiographs in miniature.

Body coordinates: x and y run from -1 to 1 over the frame, x to the image's right, y down. By radiographic convention
the patient's right lies on the image's left, so `lateral = toward * x` with `toward` = -1 for the right side and
+1 for the left. Soft shapes are numpy masks over a (size, size) grid; thin ones (ribs, vessels, lines) are drawn with
PIL on a canvas three times as fine. All of them add up to an attenuation map, which a film curve turns into grey levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Array = NDArray[np.float32]
Point = tuple[float, float]

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
        stout = site == "b"
        dome = rng.uniform(0.36, 0.46) - 0.06 * stout
        return cls(
            cage_width=rng.uniform(0.68, 0.76) + 0.03 * stout,
            cage_height=rng.uniform(0.76, 0.84),
            heart_width=rng.uniform(0.40, 0.46),
            domes={"right": dome, "left": dome + rng.uniform(0.02, 0.06)},
            rib_pitch=rng.uniform(0.150, 0.165),
            rib_tilt=rng.uniform(0.16, 0.26),
            body_width=rng.uniform(0.88, 0.95) + 0.05 * stout,
            tissue=rng.uniform(0.48, 0.54) + 0.04 * stout,
        )


@dataclass(frozen=True)
class Exposure:
    """How one image is taken: the pose in the frame, the film curve, the noise and the marks of the site."""

    shift: Point
    scale: float
    angle: float  # radians
    low: float
    high: float
    gamma: float
    noise: float
    grain: float  # pixels
    cloud: float  # strength of slow shading
    grid_lines: float = 0.0
    collimation: tuple[float, float, float, float] | None = None  # width at left, top, right, bottom
    marker: str = ""

    @classmethod
    def sample(cls, rng: np.random.Generator, site: str) -> Exposure:
        if site == "b":
            return cls(
                shift=(rng.uniform(-0.06, 0.06), rng.uniform(-0.05, 0.05)),
                scale=rng.uniform(0.90, 1.0),
                angle=rng.uniform(0.02, 0.10) * rng.choice([-1, 1]),
                low=rng.uniform(0.00, 0.06),
                high=rng.uniform(0.86, 0.98),
                gamma=rng.uniform(0.62, 0.80),
                noise=rng.uniform(0.020, 0.035),
                grain=1.1,
                cloud=0.05,
                grid_lines=rng.uniform(0.005, 0.02),
                collimation=tuple(rng.uniform(0.01, 0.09, size=4)),
                marker=str(rng.choice(["L", "R"])),
            )
        return cls(
            shift=(rng.uniform(-0.06, 0.06), rng.uniform(-0.05, 0.05)),
            scale=rng.uniform(0.94, 1.06),
            angle=rng.uniform(-0.03, 0.03),
            low=rng.uniform(0.04, 0.10),
            high=rng.uniform(0.86, 0.96),
            gamma=rng.uniform(0.90, 1.20),
            noise=rng.uniform(0.015, 0.030),
            grain=0.5,
            cloud=0.03,
        )


@lru_cache
def _grid(size: int) -> tuple[Array, Array]:
    line = ((np.arange(size) + 0.5) * 2 / size - 1).astype(np.float32)
    return line[None, :].repeat(size, 0), line[:, None].repeat(size, 1)


@lru_cache
def _blur_matrix(size: int, sigma: float) -> Array:
    """Row-stochastic Gaussian smoothing as a (size, size) matrix: two small products blur a whole image."""
    step = np.arange(size)[:, None] - np.arange(size)[None, :]
    weights = np.exp(-0.5 * (step / sigma) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _blur(image: Array, sigma: float) -> Array:
    matrix = _blur_matrix(image.shape[0], round(sigma, 2))
    return matrix @ image @ matrix.T


def _cloud(rng: np.random.Generator, size: int, sigma: float) -> Array:
    """Smooth noise of unit variance, with features about `sigma` pixels wide."""
    noise = _blur(rng.standard_normal((size, size), dtype=np.float32), sigma)
    return noise / noise.std()


def _soft(distance: Array, width: float = 0.02) -> Array:
    """1 inside (distance > 0), 0 outside, with an edge about `width` wide."""
    return 0.5 + 0.5 * np.tanh(distance / width)


class _Painter:
    """One image in the making: the grid in body coordinates and the pose that maps points onto the canvas."""

    def __init__(self, anatomy: Anatomy, exposure: Exposure, size: int) -> None:
        self.anatomy, self.size = anatomy, size
        self.cos, self.sin = np.cos(exposure.angle), np.sin(exposure.angle)
        self.shift, self.scale = exposure.shift, exposure.scale
        frame_x, frame_y = _grid(size)
        dx, dy = (frame_x - self.shift[0]) / self.scale, (frame_y - self.shift[1]) / self.scale
        self.x: Array = (self.cos * dx + self.sin * dy).astype(np.float32)
        self.y: Array = (self.cos * dy - self.sin * dx).astype(np.float32)

    # -- thin things ------------------------------------------------------------------------------------------
    def canvas(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        image = Image.new("L", (self.size * FINE, self.size * FINE))
        return image, ImageDraw.Draw(image)

    def place(self, points: Sequence[Point] | NDArray[np.floating]) -> list[Point]:
        """Body coordinates -> canvas pixels."""
        xy = np.asarray(points, dtype=np.float64) * self.scale
        x = self.cos * xy[:, 0] - self.sin * xy[:, 1] + self.shift[0]
        y = self.sin * xy[:, 0] + self.cos * xy[:, 1] + self.shift[1]
        half = self.size * FINE / 2
        return list(zip(((x + 1) * half).tolist(), ((y + 1) * half).tolist(), strict=True))

    def width(self, body: float) -> int:
        """A line width in body units -> canvas pixels."""
        return max(1, round(body * self.scale * self.size * FINE / 2))

    @staticmethod
    def merge(image: Image.Image) -> Array:
        return np.asarray(image.reduce(FINE), dtype=np.float32) / 255

    # -- shapes -----------------------------------------------------------------------------------------------
    def cage(self, lateral: Array, keep: float = 1.0) -> Array:
        """Signed depth inside the rib cage; `keep` < 1 shrinks it towards the hilum, as a collapsed lung does."""
        a = self.anatomy
        lateral = (lateral - 0.16) / keep + 0.16
        y = (self.y - 0.04) / keep
        wide = a.cage_width * (0.93 + 0.10 * y)
        radius = (np.abs(lateral / wide) ** 2.6 + np.abs(y / a.cage_height) ** 2.6) ** (1 / 2.6)
        return (1 - radius) * a.cage_width * keep

    def dome(self, side: str, lateral: Array) -> Array:
        """y of the diaphragm: highest at the middle of the lung, falling to the costophrenic angle."""
        return self.anatomy.domes[side] + 0.9 * (lateral - 0.30) ** 2 + 0.06 * np.clip(lateral - 0.35, 0, None)

    def ellipse(self, centre: Point, radii: Point) -> Array:
        """Signed depth inside an ellipse."""
        radius = np.hypot((self.x - centre[0]) / radii[0], (self.y - centre[1]) / radii[1])
        return (1 - radius) * min(radii)


def _curve(*control: Point, steps: int = 14) -> NDArray[np.float64]:
    """`steps` points on the Bezier curve of the control points."""
    return _bernstein(len(control) - 1, steps) @ np.asarray(control, dtype=np.float64)


@lru_cache
def _bernstein(degree: int, steps: int) -> NDArray[np.float64]:
    t = np.linspace(0, 1, steps)
    return np.stack([comb(degree, k) * t**k * (1 - t) ** (degree - k) for k in range(degree + 1)], axis=1)


def _find(signs: Sequence[Sign], label: str, side: str | None = None) -> Sign | None:
    return next((s for s in signs if s.label == label and (side is None or side in s.sides)), None)


RIB_COUNT = 9


def _ribs(painter: _Painter, signs: Sequence[Sign]) -> Array:
    """Posterior ribs with bright cortex, fainter anterior ribs, and clavicles."""
    image, draw = painter.canvas()
    a = painter.anatomy
    fracture = _find(signs, "Fracture")

    def bone(path: NDArray[np.float64], grey: int, width: float) -> None:
        points = painter.place(path)
        draw.line(points, fill=grey, width=painter.width(width))
        draw.line(points, fill=int(grey * 0.62), width=painter.width(width * 0.45))

    for side, toward in TOWARD.items():
        broken = 3 + round(1.5 + 1.5 * fracture.spot[0]) if fracture and fracture.side == side else -1
        for i in range(RIB_COUNT):
            y = -0.80 + i * a.rib_pitch
            wall = a.cage_width * max(0.35, 1 - abs((y + 0.16) / a.cage_height) ** 2.6) ** (1 / 2.6)
            end = (wall, y + a.rib_tilt)
            front = _curve((wall, end[1]), (wall * 0.98, end[1] + 0.16), (0.30, end[1] + 0.20), steps=8)
            bone(front * (toward, 1), 62, 0.055)
            path = _curve((0.07, y), (wall * 0.55, y - 0.10), end, steps=20)
            if i != broken:
                bone(path * (toward, 1), 120, 0.065)
                continue
            cut = 10 + round(2 * fracture.spot[1]) if fracture else 10
            inner, outer = path[:cut].copy(), path[cut + 2 :].copy()
            outer[:, 1] += 0.11 * np.linspace(1, 0.25, len(outer))
            for part, tip in ((inner, -1), (outer, 0)):
                bone(part * (toward, 1), 175, 0.075)
                (cx, cy), r = painter.place([part[tip] * (toward, 1)])[0], painter.width(0.05)
                draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=190)
        bone(_curve((0.06, -0.70), (0.30, -0.66), (0.45, -0.86), (0.85, -0.80)) * (toward, 1), 105, 0.06)
    return painter.merge(image)


def _vessels(painter: _Painter, rng: np.random.Generator) -> Array:
    """Lung markings: branches that fan out from each hilum and thin towards the wall."""
    image, draw = painter.canvas()
    for toward in TOWARD.values():
        for angle in np.linspace(-1.35, 1.25, 9) + rng.normal(0, 0.1, 9):
            reach = rng.uniform(0.30, 0.46)
            root, bend = np.array([0.16, -0.05]), rng.normal(0, 0.35)
            for part, grey in ((angle, 120), (angle + bend, 80)):
                tip = root + reach * np.array([np.cos(part), 1.2 * np.sin(part)])
                middle = root + 0.5 * reach * np.array([np.cos(angle), 1.2 * np.sin(angle)])
                path = painter.place(_curve(tuple(root), tuple(middle), tuple(tip), steps=7) * (toward, 1))
                draw.line(path[:4], fill=grey, width=painter.width(0.026))
                draw.line(path[3:], fill=int(grey * 0.7), width=painter.width(0.016))
    return painter.merge(image)


def _devices(painter: _Painter, signs: Sequence[Sign]) -> Array:
    """Metal and plastic: far brighter than bone."""
    image, draw = painter.canvas()
    device = _find(signs, "Support Devices")
    if device is None:
        return painter.merge(image)
    toward = TOWARD.get(device.side or "", 1.0)
    dx, dy = 0.05 * device.spot[0], 0.05 * device.spot[1]
    if device.kind == "endotracheal_tube":
        tip = -0.36 + dy
        draw.line(painter.place([(dx * 0.4, -1.1), (0.0, tip)]), fill=255, width=painter.width(0.055))
    elif device.kind == "central_line":
        path = _curve((toward * 0.34 + dx, -1.1), (toward * 0.26, -0.62), (-0.16, -0.62), (-0.11, 0.02 + dy), steps=20)
        draw.line(painter.place(path), fill=255, width=painter.width(0.036))
    else:
        cx, cy = toward * (0.56 + dx), -0.56 + dy
        box = _rounded_box(cx, cy, 0.125, 0.10)
        draw.polygon(painter.place(box), fill=255)
        lead = _curve((cx, cy), (toward * 0.25, -0.85), (-0.22, -0.40), (-0.12, 0.10), (0.22, 0.30 + dy), steps=26)
        draw.line(painter.place(lead), fill=255, width=painter.width(0.034))
    return painter.merge(image)


def _rounded_box(cx: float, cy: float, half_width: float, half_height: float) -> NDArray[np.float64]:
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    c, s = np.cos(t), np.sin(t)
    x, y = np.sign(c) * np.abs(c) ** 0.5 * half_width, np.sign(s) * np.abs(s) ** 0.5 * half_height
    return np.stack([cx + x, cy + y], axis=1)


def attenuation(anatomy: Anatomy, exposure: Exposure, signs: Sequence[Sign], size: int, seed: int) -> Array:
    """The sum of all that lies in the beam, (size, size), about 0 in air and 1 in metal."""
    rng = np.random.default_rng(seed)
    p = _Painter(anatomy, exposure, size)
    x, y = p.x, p.y
    shoulders = np.clip((y + 1.0) / 0.40, 0, 1)
    half_width = 0.26 + (anatomy.body_width - 0.26) * shoulders * shoulders * (3 - 2 * shoulders) - 0.05 * (y + 0.4)
    body = _soft(half_width - np.abs(x), 0.03)
    total = anatomy.tissue * body * (0.86 + 0.14 * np.clip((half_width - np.abs(x)) / 0.25, 0, 1))

    enlarged = _find(signs, "Cardiomegaly")
    ratio = anatomy.heart_width + (0.10 + 0.07 * enlarged.degree if enlarged else 0.0)
    reach = ratio * anatomy.cage_width  # half of the heart's width
    heart_y = min(anatomy.domes.values()) - 0.12
    centre = 0.30 * reach
    heart = np.maximum(
        _soft(p.ellipse((centre, heart_y), (reach, 0.26 + 0.35 * (ratio - 0.40))), 0.025),
        _soft(p.ellipse((centre * 0.6, heart_y - 0.22), (reach * 0.62, 0.30)), 0.03),
    )
    knob = _soft(p.ellipse((0.12, -0.34), (0.10, 0.11)), 0.02)
    middle = np.maximum(_soft(0.125 + 0.05 * np.clip(-y - 0.3, 0, 1) - np.abs(x), 0.025), np.maximum(heart, knob))

    markings = _vessels(p, rng)
    air = np.zeros_like(x)
    extra = np.zeros_like(x)
    texture = _cloud(rng, size, size / 28)
    for side, toward in TOWARD.items():
        lateral = toward * x
        dome = p.dome(side, lateral)
        field = _soft(p.cage(lateral)) * _soft(dome - y) * (lateral > 0)
        lung, rim = field, np.zeros_like(x)
        if collapse := _find(signs, "Pneumothorax", side):
            keep = (0.80, 0.58)[collapse.degree - 1]
            inside = _soft(p.cage(lateral, keep), 0.014)
            lung, rim = field * inside, field * (1 - inside)
            extra += field * inside * (1 - inside) * 1.3 * (1 - middle) + 0.05 * (collapse.degree - 1) * lung
        if fluid := _find(signs, "Pleural Effusion", side):
            height = (0.16, 0.34, 0.62)[fluid.degree - 1]
            level = anatomy.domes[side] + 0.08 - height * (0.55 + 0.9 * np.clip(lateral - 0.15, 0, 1))
            dry = _soft(level - y, 0.035)
            extra += 0.05 * field * (1 - dry)
            lung, rim = lung * dry, rim * dry
        air += 0.33 * lung + 0.42 * rim
        markings = markings * np.where(lateral > 0, lung, 1)
        for sign in signs:
            if side in sign.sides and sign.label in ("Consolidation", "Lung Lesion"):
                extra += _patch(p, sign, toward, texture) * lung
    lung_seen = 1 - middle
    total -= air * lung_seen
    total += (extra + 0.20 * markings) * lung_seen
    total += 0.10 * middle * body + 0.10 * heart
    below = _soft(y - np.where(x > 0, p.dome("left", np.abs(x)), p.dome("right", np.abs(x))), 0.03)
    total += 0.10 * below * body

    spine = _soft(0.085 - np.abs(x), 0.02)
    total += spine * (0.055 + 0.03 * np.tanh(3 * np.sin(y * 2 * np.pi / 0.19)))
    trachea = _soft(0.048 - np.abs(x + 0.01), 0.02) * _soft(-0.32 - y, 0.03)
    total -= 0.13 * trachea
    for toward in TOWARD.values():
        total += 0.09 * _soft(p.ellipse((toward * 0.17, -0.06), (0.09, 0.13)), 0.06) * lung_seen
    total += 0.22 * _ribs(p, signs) * body * (1 - 0.6 * middle) * (1 - 0.45 * below)
    return total + 0.55 * _devices(p, signs)


def _patch(p: _Painter, sign: Sign, toward: float, texture: Array) -> Array:
    """A nodule is round and sharp; a consolidation is large, ragged and fuzzy."""
    assert sign.zone is not None
    centre = (toward * (0.42 + 0.07 * sign.spot[0]), ZONE_Y[sign.zone] + 0.06 * sign.spot[1])
    if sign.label == "Lung Lesion":
        radius = (0.085, 0.125)[sign.degree - 1]
        return 0.30 * _soft(p.ellipse(centre, (radius, radius)), 0.02)
    radius = (0.20, 0.27)[sign.degree - 1]
    depth = p.ellipse(centre, (radius * 1.1, radius * 0.9)) + 0.05 * texture
    return _soft(depth, 0.09) * (0.21 + 0.035 * texture)


def expose(total: Array, exposure: Exposure, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Attenuation -> grey levels: slow shading, noise, film curve, then the marks of the site."""
    size = total.shape[0]
    total = total + exposure.cloud * _cloud(rng, size, size / 5)
    grain = _blur(rng.standard_normal((size, size), dtype=np.float32), exposure.grain)
    total = total + exposure.noise * grain / grain.std()
    if exposure.grid_lines:
        total = total + exposure.grid_lines * np.sin(np.arange(size) * 2.1)[:, None]
    film = np.clip((total - exposure.low) / (exposure.high - exposure.low), 0, 1) ** exposure.gamma
    if exposure.marker:
        film = np.maximum(film, _marker(exposure.marker, size))
    if exposure.collimation:
        left, top, right, bottom = (max(1, round(edge * size)) for edge in exposure.collimation)
        shutter = np.full_like(film, 0.0)
        shutter[top:-bottom, left:-right] = film[top:-bottom, left:-right]
        film = shutter
    return (film * 255 + 0.5).astype(np.uint8)


@lru_cache
def _marker(letter: str, size: int) -> Array:
    """The lead letter that names the side, at the image's top on that side, with its edge on the skin."""
    image = Image.new("L", (size, size))
    at = (0.80 if letter == "L" else 0.15) * size
    ImageDraw.Draw(image).text((at, 0.14 * size), letter, fill=245, font=ImageFont.load_default(size * 0.10))
    return np.asarray(image, dtype=np.float32) / 255


def draw(anatomy: Anatomy, signs: Sequence[Sign], site: str, size: int, key: Sequence[int]) -> NDArray[np.uint8]:
    """One image, (size, size) grey levels; `key` seeds its pose, markings and noise, `site` is `a` or `b`."""
    rng = np.random.default_rng(list(key))
    exposure = Exposure.sample(rng, site)
    return expose(attenuation(anatomy, exposure, signs, size, int(rng.integers(2**31))), exposure, rng)
