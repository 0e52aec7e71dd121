"""Random changes to training images, so that a policy does not cling to one film."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import PIL.Image


@dataclass(frozen=True)
class Augment:
    """How far training images are varied; 0 is not at all. Never mirrored: sides carry meaning in a radiograph."""

    film: float = 0.0
    """Film curve: contrast and gamma change by a factor of up to e^film, brightness by up to a quarter of `film`;
    noise of up to a sixteenth of `film` (share of the grey range) is added."""
    geometry: float = 0.0
    """Place: moved, scaled and made wider or narrower by up to this share of the size, turned by up to 30 degrees times
    it."""


def vary(image: PIL.Image.Image, amount: Augment, seed: int) -> PIL.Image.Image:
    """The picture (mode `L` or `RGB`) changed in one way, fixed by `seed` and its pixels."""
    return augmented(image, amount, np.random.default_rng([seed, zlib.crc32(image.tobytes())]))


#: No change at all.
NONE = Augment()


def augmented(image: PIL.Image.Image, amount: Augment, random: np.random.Generator) -> PIL.Image.Image:
    """The image in another pose and on another film, as far as `amount` allows; same size and mode (`L` or `RGB`)."""
    if amount.geometry:
        width, height = image.size
        shift_x, shift_y, scale, stretch, turn = random.uniform(-amount.geometry, amount.geometry, 5)
        scale_x, scale_y, turn = (1 + scale) * (1 + stretch), 1 + scale, np.deg2rad(30 * turn)
        cos_x, sin_x, cos_y, sin_y = (f(turn) * by for by in (scale_x, scale_y) for f in (np.cos, np.sin))
        # Output -> input coordinates, about the centre.
        offset_x = width / 2 * (1 - cos_x) + height / 2 * sin_x + shift_x * width
        offset_y = height / 2 * (1 - cos_y) - width / 2 * sin_y + shift_y * height
        matrix = (cos_x, -sin_x, offset_x, sin_y, cos_y, offset_y)
        image = image.transform(image.size, PIL.Image.Transform.AFFINE, matrix, PIL.Image.Resampling.BILINEAR)
    if amount.film:
        gamma, contrast = np.exp(random.uniform(-amount.film, amount.film, 2))
        brightness = random.uniform(-amount.film, amount.film) / 4
        levels = 0.5 + contrast * (np.linspace(0, 1, 256) ** gamma - 0.5) + brightness
        grey = levels.astype(np.float32)[np.asarray(image)]
        noise = random.standard_normal(grey.shape[:2], dtype=np.float32) * (random.uniform(0, amount.film) / 16)
        grey += noise.reshape(noise.shape + (1,) * (grey.ndim - 2))
        image = PIL.Image.fromarray((np.clip(grey, 0, 1) * 255 + 0.5).astype(np.uint8))
    return image
