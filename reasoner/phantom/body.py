"""A patient in the beam: what is drawn (`Sign`), the build that all of their studies share, and the canvas for lines.

Body coordinates: x and y run from -1 to 1 over the frame, x to the image's right, y down. By radiographic convention
the patient's right lies on the image's left, so `lateral = toward * x` with `toward` = -1 for the right side and
+1 for the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from reasoner.phantom.film import Array, Exposure, Point

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
    #: Of a device, one of `devices.KINDS`; of atelectasis, compressive or none.
    kind: str = ""
    spot: Point = (0.0, 0.0)
    #: Whether a device ends where it should not.
    astray: bool = False
    #: The `key` of the finding that brought this one about.
    cause: str = ""

    @property
    def key(self) -> str:
        """What a study has at most one of."""
        return self.kind or self.label

    @property
    def classes(self) -> tuple[str, ...]:
        """The CheXpert classes that it is: a pneumonia is seen as a consolidation."""
        return ("Pneumonia", "Consolidation") if self.label == "Pneumonia" else (self.label,)

    @property
    def sides(self) -> tuple[str, ...]:
        return ("left", "right") if self.side == "bilateral" else (self.side,) if self.side else ()


#: The classes that can be drawn, and how many degrees each has.
MAX_DEGREE: dict[str, int] = {
    "Atelectasis": 2,
    "Cardiomegaly": 2,
    "Consolidation": 2,
    "Edema": 2,
    "Enlarged Cardiomediastinum": 2,
    "Fracture": 1,
    "Lung Lesion": 2,
    "Lung Opacity": 2,
    "Pleural Effusion": 3,
    "Pleural Other": 2,
    "Pneumonia": 2,
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
    midline: float = 0.0  # x of the heart, the great vessels and the trachea
    lift: float = 0.0  # how far the half of the diaphragm on the side `lifted` has risen
    lifted: str = ""

    @classmethod
    def sample(cls, rng: np.random.Generator, site: str) -> Anatomy:
        stout = {"b": 1.0, "c": -0.6, "d": 0.5, "e": -0.3}.get(site, 0.0)  # of the site's patients
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

    def with_volume_loss(self, signs: Sequence[Sign]) -> Anatomy:
        """Where a lung has lost air, its half of the diaphragm rises, and what lies between the lungs moves over."""
        lost = next((s for s in signs if s.label == "Atelectasis" and s.kind != "compressive"), None)
        if lost is None or lost.side is None:
            return self
        shift = 0.08 * TOWARD[lost.side] * (lost.degree - 1)
        return replace(self, midline=shift, lift=0.04 + 0.10 * lost.degree, lifted=lost.side)

    def top(self, side: str) -> float:
        """y of the top of a hemidiaphragm."""
        return self.domes[side] - self.lift if side == self.lifted else self.domes[side]


@lru_cache
def _grid(size: int) -> NDArray[np.complex64]:
    """The pixel centres of the frame, x + iy."""
    line = (np.arange(size) + 0.5) * 2 / size - 1
    return (line[None, :] + 1j * line[:, None]).astype(np.complex64)


def soft(distance: Array, width: float = 0.02) -> Array:
    """1 inside (distance > 0), 0 outside, with an edge about `width` wide."""
    return 0.5 + 0.5 * np.tanh(distance / width)


class Body:
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
        return self.anatomy.top(side) + 0.9 * (lateral - 0.30) ** 2 + 0.06 * np.clip(lateral - 0.35, 0, None)

    def ellipse(self, centre: Point, radii: Point) -> Array:
        """Signed depth inside an ellipse."""
        across, along = (self.x - centre[0]) / radii[0], (self.y - centre[1]) / radii[1]
        return (1 - np.sqrt(across * across + along * along)) * min(radii)


def find(signs: Sequence[Sign], label: str, side: str | None = None) -> Sign | None:
    return next((s for s in signs if s.label == label and (side is None or side in s.sides)), None)


class Canvas:
    """A fine canvas for lines; `map` shrinks it to image size, 0 to 1."""

    def __init__(self, body: Body) -> None:
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


def bezier(control: object, steps: int) -> NDArray[np.float64]:
    """Control points (..., degree + 1, 2) -> points on the Bezier curve (..., steps, 2)."""
    points = np.asarray(control, dtype=np.float64)
    return _bernstein(points.shape[-2] - 1, steps) @ points


@lru_cache
def _bernstein(degree: int, steps: int) -> NDArray[np.float64]:
    t = np.linspace(0, 1, steps)
    return np.stack([comb(degree, k) * t**k * (1 - t) ** (degree - k) for k in range(degree + 1)], axis=1)
