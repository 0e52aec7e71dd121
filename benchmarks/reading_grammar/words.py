"""The findings and organs that the constructions are filled with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple, TypeVar

from reasoner.findings import ancestors


class Thing(NamedTuple):
    """A finding: its concept in the lexicon, its name, the article a countable one takes.

    `organ` is the normal statement that it would contradict; `severities` are those that fit the name; `moves` says
    that it may come, grow and go within days.
    """

    concept: str
    name: str
    article: str = ""
    organ: str = ""
    sided: bool = False
    severities: tuple[str, ...] = ()
    moves: bool = True


class Organ(NamedTuple):
    """What is normal (`good`) or not (`bad`), and the concepts that the one denies and the other asserts."""

    name: str
    good: str
    denied: str
    bad: str = ""
    asserted: str = ""

    @property
    def plural(self) -> bool:
        return self.name.endswith(("s", "hila"))


MILD, SIZED = ("mild", "moderate", "severe"), ("small", "moderate", "large")
THINGS = (
    Thing("pleural_effusion", "pleural effusion", "a", "pleural spaces", True, SIZED),
    Thing("pneumothorax", "pneumothorax", "a", "pleural spaces", True, SIZED),
    Thing("consolidation", "consolidation", "", "lungs", True),
    Thing("cardiomegaly", "cardiomegaly", "", "heart", False, MILD),
    Thing("atelectasis", "atelectasis", "", "lungs", True, MILD),
    Thing("fracture", "rib fracture", "a", "bones", True, moves=False),
    Thing("pulmonary_edema", "pulmonary edema", "", "lungs", False, MILD),
    Thing("lung_nodule", "lung nodule", "a", "lungs", True),
    Thing("hiatal_hernia", "hiatal hernia", "a", "", False, SIZED, moves=False),
    Thing("pneumonia", "pneumonia", "", "lungs", True),
    Thing("scoliosis", "scoliosis", "", "", False, MILD, moves=False),
    Thing("lung_mass", "lung mass", "a", "lungs", True),
    Thing("emphysema", "emphysema", "", "", False, MILD, moves=False),
    Thing("pleural_thickening", "pleural thickening", "", "", True, MILD, moves=False),
)
ORGANS = (
    Organ("lungs", "clear", "consolidation"),
    Organ("heart", "normal in size", "cardiomegaly", "enlarged", "cardiomegaly"),
    Organ("cardiac silhouette", "normal", "cardiomegaly", "enlarged", "cardiomegaly"),
    Organ("mediastinum", "normal", "enlarged_cardiomediastinum", "widened", "enlarged_cardiomediastinum"),
    Organ("pleural spaces", "clear", "pleural_effusion"),
    Organ("costophrenic angles", "sharp", "pleural_effusion", "blunted", "costophrenic_blunting"),
    Organ("ribs", "intact", "fracture", "fractured", "fracture"),
    Organ("hila", "normal", "hilar_enlargement", "enlarged", "hilar_enlargement"),
    Organ("bones", "intact", "fracture"),
)
#: What an organ is part of, or has as a part, in `Thing.organ`.
AROUND = {
    "cardiac silhouette": "heart",
    "mediastinum": "heart",
    "costophrenic angles": "pleural spaces",
    "ribs": "bones",
}
SIDES = ("left", "right")


def draw(key: str, n: int) -> int:
    """A fixed number below `n` for a key: the same in every process."""
    return int.from_bytes(sha256(key.encode("utf-8")).digest()[1:5], "big") % n


T = TypeVar("T")


def shuffled(items: Iterable[T], key: str) -> list[T]:
    """In an order fixed by the key and the items: an item more or less leaves that of the others."""
    return sorted(items, key=lambda item: draw(f"{key}{item}", 1 << 30))


def unrelated(thing: Thing, taken: tuple[Thing, ...], key: str) -> Thing:
    """Another finding, drawn by `key`, that implies or excludes none of those taken."""
    families = {concept for other in (thing, *taken) for concept in family(other)}
    free = [other for other in THINGS if not families & set(family(other))]
    return free[draw(key, len(free))]


def family(thing: Thing) -> Iterator[str]:
    yield thing.concept
    yield from ancestors(thing.concept)
    if thing.organ:
        yield thing.organ


def apart(thing: Thing, organ: Organ) -> bool:
    """Whether a finding leaves an organ normal."""
    return not {organ.name, organ.denied, organ.asserted} & set(family(thing)) and thing.organ != AROUND.get(organ.name)


def fillings(thing: Thing, key: str) -> dict[str, str]:
    """The slots of a construction about findings: `x` with its article, `xn` without, `X` in capitals first, `xl` with
    its side, `xv` with a severity; the same for other findings `y` and `z`; `side`, `other`, `sev`, and the organ's."""
    y = unrelated(thing, (), key + "y")
    z = unrelated(thing, (y,), key + "z")
    side = SIDES[draw(key + "side", 2)]
    slots = {"side": side, "other": SIDES[side == "left"]}
    for letter, one in zip("xyz", (thing, y, z), strict=True):
        sev = one.severities[draw(key + letter, len(one.severities))] if one.severities else ""
        slots |= {
            letter: f"{one.article} {one.name}".strip(),
            letter + "n": one.name,
            letter.upper(): one.name[0].upper() + one.name[1:],
            letter + "l": f"{one.article} {side} {one.name}".strip(),
            letter + "v": f"{one.article} {sev} {one.name}".strip(),
            letter + "c": one.concept,
        }
        if letter == "x":
            slots["sev"] = sev
    return slots


def organ_fillings(organ: Organ) -> dict[str, str]:
    """The slots of a construction about organs: `o` with its article, `on` without, `good`, `bad`, and verbs."""
    many = organ.plural
    return {
        "o": f"the {organ.name}", "on": organ.name, "good": organ.good, "bad": organ.bad,
        "be": "are" if many else "is", "was": "were" if many else "was", "s": "" if many else "s",
        "have": "have" if many else "has", "do": "do" if many else "does", "it": "they" if many else "it",
        "ON": organ.name[0].upper() + organ.name[1:], "GOOD": organ.good[0].upper() + organ.good[1:],
        "Be": "Are" if many else "Is", "dc": organ.denied, "bc": organ.asserted or organ.denied,
    }  # fmt: skip
