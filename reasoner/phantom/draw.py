"""Draws frontal chest radiographs in miniature.

Soft shapes are numpy masks over a (size, size) grid; thin ones (ribs, vessels, lines) are drawn with PIL on a canvas
three times as fine. All add up to an attenuation map, which `film` turns into grey levels. The signs of each part of
the body are in the module of its name.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reasoner.phantom.body import Anatomy, Body, Sign, find, soft
from reasoner.phantom.bones import ribs
from reasoner.phantom.devices import devices
from reasoner.phantom.film import Array, Exposure, cloud, expose
from reasoner.phantom.lungs import lungs, markings
from reasoner.phantom.mediastinum import great_vessels, heart_shadow


def attenuation(body: Body, signs: Sequence[Sign], rng: np.random.Generator) -> Array:
    """The sum of all that lies in the beam, (size, size): 0 in air, about 1 in metal."""
    a, x, y = body.anatomy, body.x, body.y
    rise = np.clip((y + 1.0) / 0.40, 0, 1)
    skin = 0.26 + (a.body_width - 0.26) * rise * rise * (3 - 2 * rise) - 0.05 * (y + 0.4) - np.abs(x)
    trunk = soft(skin, 0.03)
    total = a.tissue * trunk * (0.86 + 0.14 * np.clip(skin / 0.25, 0, 1))

    heart = heart_shadow(body, signs)
    middle = np.maximum(heart, great_vessels(body, signs))
    air, added, aerated = lungs(body, signs, cloud(rng, body.size, body.size / 14))
    hila = soft(np.maximum(*(body.ellipse((side * 0.17, -0.06), (0.09, 0.13)) for side in (-1, 1))), 0.06)
    total += (added - air + 0.12 * markings(body, signs, rng) * aerated + 0.09 * hila) * (1 - middle)
    total += 0.10 * middle * trunk + 0.10 * heart

    dome = np.where(x > 0, body.dome("left", np.abs(x)), body.dome("right", np.abs(x)))
    abdomen = soft(y - dome, 0.03)
    total += 0.10 * abdomen * trunk
    vertebrae = 0.055 + 0.03 * np.tanh(3 * np.sin(y * 2 * np.pi / 0.19))
    total += vertebrae * soft(0.085 - np.abs(x))
    total -= 0.13 * soft(0.048 - np.abs(x + np.float32(0.01 - a.midline))) * soft(-0.32 - y, 0.03)  # trachea
    total += 0.32 * ribs(body, signs) * trunk * (1 - 0.6 * middle) * (1 - 0.45 * abdomen)
    return total + 0.55 * devices(body, signs) if find(signs, "Support Devices") else total


def draw(anatomy: Anatomy, signs: Sequence[Sign], site: str, size: int, key: Sequence[int]) -> NDArray[np.uint8]:
    """One image, (size, size) grey levels; `key` seeds its pose, markings and noise, `site` is one of `film.SITES`."""
    rng = np.random.default_rng(list(key))
    exposure = Exposure.sample(rng, site)
    body = Body(anatomy.with_volume_loss(signs), exposure, size)
    return expose(attenuation(body, signs, rng), exposure, rng)
