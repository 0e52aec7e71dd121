"""All the findings of a phantom, for questions that ask for reasoning: what brings what about, and what hides what.

First some findings are drawn by the weights of the site, then what follows from them (`EFFECTS`), then the prior. Each
finding `needs` places of the lungs in plain sight and `covers` others; none is put where another would spoil it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from reasoner.phantom.body import MAX_DEGREE, ZONE_Y, Sign
from reasoner.phantom.case import Case
from reasoner.phantom.devices import ASTRAY, KINDS, SIDED

Place = tuple[str, str]  # side and zone of the lungs
Rng = np.random.Generator

SIDES = ("left", "right")
LUNG = {side: frozenset((side, zone) for zone in ZONE_Y) for side in SIDES}
PATCHES = ("Consolidation", "Pneumonia", "Lung Opacity")
#: Classes that have a side and no zone.
ONE_SIDED = ("Atelectasis", "Fracture", "Pleural Effusion", "Pleural Other", "Pneumothorax")
#: Probability of 0, 1, 2, 3 findings that nothing brings about, and the relative frequency of each of `ABNORMAL`.
COUNTS = {"a": (0.14, 0.36, 0.32, 0.18), "b": (0.08, 0.30, 0.36, 0.26), "c": (0.22, 0.42, 0.26, 0.10)}
ABNORMAL = tuple(MAX_DEGREE)
WEIGHTS = {
    "a": (0.9, 0.9, 0.6, 0.7, 1.0, 1.0, 1.1, 1.1, 0.9, 1.0, 1.0, 0.7, 1.1),
    "b": (1.2, 0.8, 0.8, 1.1, 0.7, 0.6, 0.8, 1.1, 1.4, 0.7, 0.9, 0.6, 1.8),
    "c": (0.7, 0.6, 0.6, 0.5, 1.3, 1.4, 1.5, 1.0, 0.7, 1.3, 1.1, 0.9, 0.7),
}
#: `Sign.key` -> what it may bring about, and how often.
EFFECTS: dict[str, tuple[tuple[str, float], ...]] = {
    "Cardiomegaly": (("Edema", 0.45), ("Pleural Effusion", 0.4)),
    "Fracture": (("Pneumothorax", 0.25),),
    "Pleural Effusion": (("compressive", 0.6),),
    "Pneumonia": (("Pleural Effusion", 0.35),),
    "Pneumothorax": (("chest_tube", 0.35),),
    "central_line": (("Pneumothorax", 0.35),),
    "endotracheal_tube": (("Atelectasis", 0.7),),
}
#: How often each of `KINDS` is there by itself.
KIND_SHARES = (0.3, 0.2, 0.25, 0.15, 0.1)
#: What a later image may lack.
TRANSIENT = ("Atelectasis", "Consolidation", "Edema", "Lung Opacity", "Pleural Effusion", "Pneumonia", "Pneumothorax",
             "Support Devices")  # fmt: skip
#: Share of the studies with a prior and much fluid in which the fluid hides a nodule of the prior.
HIDING = 0.5


def needs(sign: Sign) -> frozenset[Place]:
    """The places that must be seen for the sign to be seen."""
    if sign.side not in SIDES:
        return frozenset()
    if sign.zone:
        return frozenset({(sign.side, sign.zone)})
    if sign.label == "Atelectasis" and not sign.kind:
        return frozenset({(sign.side, "lower")})
    if sign.label in ("Pneumothorax", "Pleural Other"):
        return frozenset({(sign.side, "upper"), (sign.side, "mid")})
    return frozenset()


def covers(sign: Sign) -> frozenset[Place]:
    """The places in which nothing else is seen."""
    if sign.label == "Pleural Effusion":
        hidden = ("lower", "mid", "upper")[: sign.degree]
        return frozenset((side, zone) for side in sign.sides for zone in hidden)
    if sign.label == "Pneumothorax" or sign.label in PATCHES:
        return LUNG[sign.side or "left"]
    if sign.label == "Atelectasis":
        return frozenset((side, zone) for side in sign.sides for zone in ("lower", "mid"))
    if sign.label == "Cardiomegaly":
        return frozenset({("left", "lower"), ("left", "mid")})
    if sign.label == "Edema":
        return frozenset((side, zone) for side in SIDES for zone in ("lower", "mid"))
    return frozenset({(sign.side or "", "upper")} if sign.kind == "pacemaker" else ())


def fits(sign: Sign, others: Sequence[Sign]) -> bool:
    """Whether the sign hides none of the others and is not hidden by them."""
    return all(needs(sign).isdisjoint(covers(other)) and covers(sign).isdisjoint(needs(other)) for other in others)


def _places(label: str, kind: str) -> Iterator[tuple[str | None, str | None]]:
    """Where a finding may be: side and zone."""
    if label in (*PATCHES, "Lung Lesion"):
        yield from ((side, zone) for side in SIDES for zone in ZONE_Y)
    elif label in ONE_SIDED or kind in SIDED:
        yield from ((side, None) for side in SIDES)
    else:
        yield None, None


def _place(
    rng: Rng, label: str, others: Sequence[Sign], kind: str = "", side: str | None = None, degree: int = 0
) -> Sign | None:
    """One finding where it fits, on `side` if that is given; None when there is no room or it is there already."""
    degree = degree or 1 + int(rng.integers(MAX_DEGREE[label]))
    astray = kind in ASTRAY and rng.random() < 0.4
    sign = Sign(label, None, degree, kind=kind, spot=(rng.uniform(-1, 1), rng.uniform(-1, 1)), astray=astray)
    if any(other.key == sign.key for other in others):
        return None
    places = list(_places(label, kind))
    for n in rng.permutation(len(places)):
        at, zone = places[n]
        placed = replace(sign, side=at, zone=zone)
        if side in (None, at) and fits(placed, others):
            return placed
    return None


def _sample(rng: Rng, label: str, others: Sequence[Sign]) -> Sign | None:
    """One finding of the class; None when there is no room."""
    if label == "Pleural Effusion" and rng.random() < 0.2:
        return _both_sides(rng, others)
    kind = str(rng.choice(KINDS, p=KIND_SHARES)) if label == "Support Devices" else ""
    return _place(rng, label, others, kind)


def _both_sides(rng: Rng, others: Sequence[Sign]) -> Sign | None:
    sign = Sign("Pleural Effusion", "bilateral", 1 + int(rng.integers(2)))
    return sign if fits(sign, others) and all(other.key != sign.key for other in others) else None


def _effect(rng: Rng, cause: Sign, effect: str, others: Sequence[Sign]) -> Sign | None:
    """What the cause brings about, where there is room for it."""
    sign: Sign | None = None
    if cause.label == "Cardiomegaly" and effect == "Pleural Effusion":
        sign = _both_sides(rng, others)
    elif effect == "compressive":
        if cause.degree > 1 and cause.side in SIDES and not any(s.label == "Atelectasis" for s in others):
            sign = Sign("Atelectasis", cause.side, 1, kind=effect)
    elif effect == "chest_tube":
        sign = _place(rng, "Support Devices", others, effect, cause.side)
    elif cause.kind == "endotracheal_tube":
        if cause.astray and not any(s.label == "Atelectasis" for s in others):
            sign = _place(rng, effect, others, side="left", degree=2)
    elif cause.label == "Pneumonia":
        sign = _place(rng, effect, others, side=cause.side, degree=1)
    else:
        sign = _place(rng, effect, others, side=cause.side)
    return sign


def _brings_about(cause: Sign, effect: Sign) -> bool:
    """Whether the one, where it is, explains the other; what is seen decides, not how it was sampled."""
    if effect.key not in dict(EFFECTS.get(cause.key, ())):
        return False
    if cause.kind == "endotracheal_tube":
        return cause.astray and effect.side == "left"
    return effect.side in ((None, "bilateral") if cause.label == "Cardiomegaly" else (cause.side,))


def _sample_signs(rng: Rng, site: str) -> tuple[Sign, ...]:
    weights = np.array(WEIGHTS[site])
    count = int(rng.choice(4, p=COUNTS[site]))
    signs: list[Sign] = []
    for label in rng.choice(ABNORMAL, count, replace=False, p=weights / weights.sum()):
        if sign := _sample(rng, str(label), signs):
            signs.append(sign)
    for cause in signs:  # grows meanwhile: effects have effects
        for effect, chance in EFFECTS.get(cause.key, ()):
            if rng.random() < chance and (sign := _effect(rng, cause, effect, signs)):
                signs.append(sign)
    return tuple(
        replace(sign, cause=next((other.key for other in signs if _brings_about(other, sign)), "")) for sign in signs
    )


def _sample_prior(rng: Rng, signs: Sequence[Sign]) -> tuple[tuple[Sign, ...], tuple[Sign, ...]]:
    """The findings of an earlier study, and those of them that are hidden today.

    Each finding of today is absent, milder, worse or the same there; what it brought about is not older than itself.
    """
    prior: list[Sign] = []
    for sign in signs:
        turn = str(rng.choice(["new", "worse", "improved", "stable"], p=[0.25, 0.3, 0.3, 0.15]))
        if turn == "new" or (sign.cause and all(other.key != sign.cause for other in prior)):
            continue
        most = 2 if sign.side == "bilateral" else 1 if sign.kind else MAX_DEGREE[sign.label]
        step = {"worse": -1, "improved": 1}.get(turn, 0)
        step = step if 1 <= sign.degree + step <= most else -step if most > 1 else 0
        prior.append(replace(sign, degree=sign.degree + step))
    fluid = next((s for s in signs if s.label == "Pleural Effusion" and s.degree > 1 and s.side in SIDES), None)
    if fluid and rng.random() < HIDING and all(s.label != "Lung Lesion" for s in signs):
        lesion = Sign("Lung Lesion", fluid.side, 1 + int(rng.integers(2)), "lower", spot=fluid.spot)
        before = (*(sign for sign in prior if sign.key not in (fluid.key, "compressive")), lesion)
        if _in_sight(before):
            return before, (lesion,)
    there = {name for sign in signs for name in sign.classes}
    absent = [label for label in TRANSIENT if there.isdisjoint(Sign(label).classes)]
    if absent and rng.random() < 0.4:
        gone = _sample(rng, str(rng.choice(absent)), prior)
        prior += [gone] if gone else []
    return tuple(prior if _in_sight(prior) else signs), ()


def _in_sight(signs: Sequence[Sign]) -> bool:
    return all(fits(sign, signs[:n]) for n, sign in enumerate(signs))


def sample_full_case(rng: Rng, site: str, prior_rate: float) -> Case:
    """A study of a site (`a`, `b` or `c`), with a prior at `prior_rate`."""
    signs = _sample_signs(rng, site)
    if rng.random() >= prior_rate:
        return Case(signs)
    prior, hidden = _sample_prior(rng, signs)
    return Case(signs, prior, hidden)
