"""The film of a phantom: pose, curve, noise and marks of a site; attenuation in, grey levels out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Array = NDArray[np.floating[Any]]
Point = tuple[float, float]


#: The drawing styles. `b` and `c` are those of the sites of these names and are never trained on.
SITES = ("a", "b", "c", "d", "e")


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
    grain: float  # share of each pixel's noise in its neighbours
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
                angle=rng.uniform(0.02, 0.07) * rng.choice([-1, 1]),
                low=rng.uniform(0.00, 0.06),
                high=rng.uniform(0.86, 0.98),
                gamma=rng.uniform(0.70, 0.88),
                noise=rng.uniform(0.018, 0.030),
                grain=0.45,
                cloud=0.04,
                grid_lines=rng.uniform(0.005, 0.02),
                collimation=tuple(rng.uniform(0.01, 0.06, size=4)),
                marker=str(rng.choice(["L", "R"])),
            )
        if site == "c":  # a flat, dark scan of a film, a little turned
            return cls(
                shift=(rng.uniform(-0.07, 0.07), rng.uniform(-0.06, 0.06)),
                scale=rng.uniform(0.94, 1.08),
                angle=rng.uniform(-0.07, 0.07),
                low=rng.uniform(0.06, 0.14),
                high=rng.uniform(0.98, 1.12),
                gamma=rng.uniform(1.10, 1.45),
                noise=rng.uniform(0.012, 0.022),
                grain=0.6,
                cloud=0.05,
                marker=str(rng.choice(["L", "R"])),
            )
        if site == "d":  # a bedside film: near, crooked, soft and grey
            return cls(
                shift=(rng.uniform(-0.08, 0.08), rng.uniform(-0.08, 0.04)),
                scale=rng.uniform(1.02, 1.12),
                angle=rng.uniform(-0.09, 0.09),
                low=rng.uniform(0.00, 0.06),
                high=rng.uniform(1.00, 1.14),
                gamma=rng.uniform(0.75, 0.95),
                noise=rng.uniform(0.022, 0.034),
                grain=0.3,
                cloud=0.06,
                marker=str(rng.choice(["L", "R"])),
            )
        if site == "e":  # a hard, clean detector image with a shutter
            return cls(
                shift=(rng.uniform(-0.04, 0.04), rng.uniform(-0.04, 0.04)),
                scale=rng.uniform(0.88, 0.98),
                angle=rng.uniform(-0.03, 0.03),
                low=rng.uniform(0.10, 0.16),
                high=rng.uniform(0.82, 0.92),
                gamma=rng.uniform(1.00, 1.30),
                noise=rng.uniform(0.008, 0.016),
                grain=0.05,
                cloud=0.02,
                collimation=tuple(rng.uniform(0.01, 0.05, size=4)),
            )
        return cls(
            shift=(rng.uniform(-0.06, 0.06), rng.uniform(-0.05, 0.05)),
            scale=rng.uniform(0.92, 1.06),
            angle=rng.uniform(-0.04, 0.04),
            low=rng.uniform(0.04, 0.10),
            high=rng.uniform(0.86, 0.96),
            gamma=rng.uniform(0.85, 1.20),
            noise=rng.uniform(0.015, 0.030),
            grain=0.15,
            cloud=0.03,
        )


def cloud(rng: np.random.Generator, size: int, feature: float) -> Array:
    """Smooth noise of unit variance, with features about `feature` pixels wide."""
    cells = max(4, round(size / feature))
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
    return smooth / smooth.std()


def _grain(rng: np.random.Generator, size: int, spread: float) -> Array:
    """Film grain of unit variance: white noise in which each pixel shares `spread` of itself with its neighbours."""
    noise = rng.standard_normal((size + 2, size + 2), dtype=np.float32)
    noise = noise[1:-1] + spread * (noise[:-2] + noise[2:])
    noise = noise[:, 1:-1] + spread * (noise[:, :-2] + noise[:, 2:])
    return noise / (1 + 2 * spread**2)


def expose(total: Array, exposure: Exposure, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Attenuation -> grey levels: slow shading, noise, film curve, then the marks of the site."""
    size = total.shape[0]
    total = total + exposure.cloud * cloud(rng, size, size / 4)
    total = total + exposure.noise * _grain(rng, size, exposure.grain)
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
    at = ((0.84 if letter == "L" else 0.10) * size, 0.10 * size)
    font = ImageFont.load_default(size * 0.09)
    ImageDraw.Draw(image).text(at, letter, fill=245, font=font, stroke_width=size / 250)
    return np.asarray(image, dtype=np.float32) / 255
