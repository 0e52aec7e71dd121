"""The few findings of a phantom that is learned in minutes: sampled by site, placed where they can be seen, and changed
since a prior. `causes.py` samples all there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reasoner.phantom.body import MAX_DEGREE, Sign
from reasoner.phantom.case import Case

ORDER = ("Pleural Effusion", "Pneumothorax", "Support Devices", "Fracture", "Cardiomegaly", "Consolidation",
         "Lung Lesion")  # fmt: skip
TRANSIENT = ("Pleural Effusion", "Pneumothorax", "Support Devices", "Consolidation")  # what a later image may lack
PATCHES = ("Consolidation", "Lung Lesion")
#: Probability of 0, 1, 2, 3 findings, and the relative frequency of each class in `ORDER`.
COUNTS = {"a": (0.27, 0.29, 0.27, 0.17), "b": (0.15, 0.30, 0.30, 0.25), "c": (0.35, 0.35, 0.20, 0.10)}
WEIGHTS = {
    "a": (1.15, 1.0, 1.0, 0.9, 1.05, 1.0, 0.95),
    "b": (1.9, 0.7, 1.9, 0.7, 1.2, 0.9, 0.7),
    "c": (0.8, 1.2, 0.6, 1.5, 0.9, 1.3, 1.3),
}


def _free_places(signs: Sequence[Sign]) -> list[tuple[str, str]]:
    """The (side, zone) of the lungs where a nodule or consolidation would be in plain sight."""
    free = {(side, zone) for side in ("left", "right") for zone in ("upper", "mid", "lower")}
    for sign in signs:
        for side in sign.sides:
            if sign.label == "Pleural Effusion":
                free -= {(side, zone) for zone in ("lower", "mid", "upper")[: sign.degree]}
            elif sign.label == "Pneumothorax":
                free -= {(side, zone) for zone in ("upper", "lower", "mid")[: 1 + sign.degree]}
            elif sign.kind == "pacemaker":
                free.discard((side, "upper"))
            elif sign.label in PATCHES:
                free -= {(side, zone) for zone in ("upper", "mid", "lower")}
        if sign.label == "Cardiomegaly":
            free -= {("left", "lower"), ("left", "mid")}
    return sorted(free)


def _sample_sign(rng: np.random.Generator, label: str, others: Sequence[Sign]) -> Sign | None:
    """One finding that hides none of `others` and is not hidden by them; None when there is no room."""
    side = str(rng.choice(["left", "right"]))
    sign = Sign(label, side, 1 + int(rng.integers(MAX_DEGREE[label])), spot=(rng.uniform(-1, 1), rng.uniform(-1, 1)))
    taken = {other.label: other for other in others}
    if label == "Pleural Effusion" and rng.random() < 0.2:
        return replace(sign, side="bilateral", degree=min(sign.degree, 2))
    if label == "Pneumothorax" and (fluid := taken.get("Pleural Effusion")):
        opposite = {"left": "right", "right": "left"}.get(fluid.side or "")
        return replace(sign, side=opposite or side, degree=1)
    if label == "Support Devices":
        kind = str(rng.choice(["central_line", "pacemaker", "endotracheal_tube"], p=[0.4, 0.35, 0.25]))
        return replace(sign, kind=kind, side=None if kind == "endotracheal_tube" else side)
    if label == "Cardiomegaly":
        return replace(sign, side=None)
    if label in PATCHES:
        free = _free_places(others)
        if not free:
            return None
        side, zone = free[int(rng.integers(len(free)))]
        return replace(sign, side=side, zone=zone)
    return sign


def _sample_signs(rng: np.random.Generator, site: str) -> tuple[Sign, ...]:
    count = int(rng.choice(4, p=COUNTS[site]))
    weights = np.array(WEIGHTS[site])
    chosen = set(rng.choice(ORDER, count, replace=False, p=weights / weights.sum()).tolist())
    signs: list[Sign] = []
    for label in ORDER:
        if label in chosen and (sign := _sample_sign(rng, label, signs)):
            signs.append(sign)
    return tuple(signs)


def _sample_prior(rng: np.random.Generator, signs: Sequence[Sign]) -> tuple[Sign, ...]:
    """The findings of an earlier study: each of today's absent, milder, worse or the same; perhaps one more."""
    prior: list[Sign] = []
    for sign in signs:
        turn = str(rng.choice(["new", "worse", "improved", "stable"], p=[0.25, 0.2, 0.2, 0.35]))
        step = {"worse": -1, "improved": 1}.get(turn, 0)
        degree = min(max(sign.degree + step, 1), 2 if sign.side == "bilateral" else MAX_DEGREE[sign.label])
        if turn != "new":
            prior.append(replace(sign, degree=degree))
    absent = [label for label in TRANSIENT if label not in {sign.label for sign in signs}]
    if absent and len(prior) < 3 and rng.random() < 0.35:
        gone = _sample_sign(rng, str(rng.choice(absent)), prior)
        prior += [gone] if gone else []
    hidden = any(
        (sign.side, sign.zone) not in _free_places([other for other in prior if other is not sign])
        for sign in prior
        if sign.zone
    )
    return tuple(signs if hidden else prior)


def sample_case(rng: np.random.Generator, site: str, prior_rate: float) -> Case:
    signs = _sample_signs(rng, site)
    return Case(signs, _sample_prior(rng, signs) if rng.random() < prior_rate else None)
