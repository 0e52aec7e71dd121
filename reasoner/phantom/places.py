"""Where findings are on the film of a phantom: what of the picture would be another without them.

The heart and whatever else is abnormal by its size alone has the box of the whole organ. A finding on both sides, and
edema, has a box in each half of the chest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from reasoner.phantom.body import TOWARD, Anatomy, Body, Sign
from reasoner.phantom.draw import attenuation
from reasoner.phantom.film import Array, Exposure
from reasoner.phantom.mediastinum import heart_shadow
from reasoner.schema import Box

#: What the boxes are called, where that is not the class: a name that the lexicon knows, and wide enough for the words
#: of every report.
NAMES = {
    "Edema": "pulmonary edema",
    "Enlarged Cardiomediastinum": "mediastinal widening",
    "Lung Opacity": "opacity",
    "Pleural Other": "pleural thickening",
    "central_line": "central venous catheter",
}
#: The outline of a soft shape is where it has this share of its greatest effect; what has less than `SEEN` in all of
#: the picture is not seen.
OUTLINE, SEEN = 0.4, 0.02
#: Fewer pixels than this share of an edge are no shape but noise of rounding.
SMALLEST = 0.01
Mask = NDArray[np.bool_]


def locate(anatomy: Anatomy, signs: Sequence[Sign], site: str, size: int, key: Sequence[int]) -> tuple[Box, ...]:
    """The boxes of all signs on the image that `draw` makes of the same arguments, in the order of the signs; what
    cannot be seen has none."""
    rng = np.random.default_rng(list(key))
    body = Body(anatomy.with_volume_loss(signs), Exposure.sample(rng, site), size)
    state = rng.bit_generator.state

    def drawn(some: Sequence[Sign]) -> Array:
        rng.bit_generator.state = state  # the same lungs each time
        return attenuation(body, some, rng)

    whole = drawn(signs) if signs else body.x
    boxes: list[Box] = []
    for sign in signs:
        if sign.label == "Cardiomegaly":
            seen = heart_shadow(body, signs) > 0.5
        else:
            effect = np.abs(whole - drawn([other for other in signs if other is not sign]))
            seen = effect > max(SEEN, OUTLINE * float(effect.max()))
        boxes += _around(sign, body, seen)
    return tuple(boxes)


def _around(sign: Sign, body: Body, seen: Mask) -> Iterator[Box]:
    """One box, or one in each half of the chest that the sign is in."""
    name = NAMES.get(sign.key, sign.key.replace("_", " ").lower() if sign.key != "compressive" else "atelectasis")
    both = sign.side == "bilateral" or sign.label == "Edema"
    for side in TOWARD if both else (None,):
        half = seen if side is None else seen & (TOWARD[side] * body.x > 0)
        across, along = (np.flatnonzero(half.any(axis=axis)) for axis in (0, 1))
        if len(across) > SMALLEST * body.size and len(along) > SMALLEST * body.size:
            x0, y0, x1, y1 = (float(n) / body.size for n in (across[0], along[0], across[-1] + 1, along[-1] + 1))
            yield Box(name, x0, y0, x1, y1)
