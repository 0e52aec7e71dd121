"""The heart and the great vessels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reasoner.phantom.body import Body, Sign, find, soft
from reasoner.phantom.film import Array


def heart_shadow(body: Body, signs: Sequence[Sign]) -> Array:
    """The cardiac silhouette; its width is the cardiothoracic ratio, above one half when enlarged."""
    a = body.anatomy
    enlarged = find(signs, "Cardiomegaly")
    ratio = a.heart_width + (0.10 + 0.07 * enlarged.degree if enlarged else 0.0)
    reach = ratio * a.cage_width  # half of the heart's width
    x, y = 0.30 * reach, min(a.domes.values()) - 0.12
    ventricles = soft(body.ellipse((x + a.midline, y), (reach, 0.26 + 0.35 * (ratio - 0.40))), 0.025)
    base = soft(body.ellipse((0.6 * x + a.midline, y - 0.22), (0.62 * reach, 0.30)), 0.03)
    return np.maximum(ventricles, base)


def great_vessels(body: Body, signs: Sequence[Sign]) -> Array:
    """The upper mediastinum with the aortic knob; when enlarged, it bulges to both sides."""
    x, y = body.x - np.float32(body.anatomy.midline), body.y
    half = 0.125 + 0.05 * np.clip(-y - 0.3, 0, 1)
    if wide := find(signs, "Enlarged Cardiomediastinum"):
        half = half + 0.05 * (1 + wide.degree) * np.exp(-(((y + 0.44) / 0.24) ** 2))
    knob = soft(body.ellipse((0.12 + body.anatomy.midline, -0.34), (0.10, 0.11)))
    return np.maximum(soft(half - np.abs(x), 0.025), knob)
