"""The embedded default source: procedurally drawn chest phantoms with free-text reports.

Two sites: `train`, `val` and `test` share one drawing style; `site_b` has another habitus, film, noise and label prior,
to measure generalisation. The drawing lives in `phantom_draw`, the wording in `phantom_report`; here findings are
sampled. Everything follows from `seed`; each study has a random stream of its own, so partitions are independent.

    python -m reasoner.sources.phantom docs/img/phantoms.png      # draw the contact sheet
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from reasoner.errors import UserError
from reasoner.schema import CLASSES, NO_FINDING, SPLITS, Change, Rejected, Study
from reasoner.sources.base import Partition
from reasoner.sources.phantom_draw import MAX_DEGREE, Anatomy, Sign, draw
from reasoner.sources.phantom_report import Reading, write_report

CHUNK = 200  # studies per partition
ORDER = ("Pleural Effusion", "Pneumothorax", "Support Devices", "Fracture", "Cardiomegaly", "Consolidation",
         "Lung Lesion")  # fmt: skip
TRANSIENT = ("Pleural Effusion", "Pneumothorax", "Support Devices", "Consolidation")  # what a later image may lack
PATCHES = ("Consolidation", "Lung Lesion")
#: Probability of 0, 1, 2, 3 findings, and the relative frequency of each class in `ORDER`.
COUNTS = {"a": (0.27, 0.29, 0.27, 0.17), "b": (0.15, 0.30, 0.30, 0.25)}
WEIGHTS = {"a": (1.15, 1.0, 1.0, 0.9, 1.05, 1.0, 0.95), "b": (1.9, 0.7, 1.9, 0.7, 1.2, 0.9, 0.7)}


@dataclass(frozen=True)
class Case:
    """What is drawn for one study: its findings and, with a prior, those of the prior."""

    signs: tuple[Sign, ...]
    prior: tuple[Sign, ...] | None = None

    @property
    def changes(self) -> dict[str, Change] | None:
        """Class -> its change since the prior, for the findings of this study."""
        if self.prior is None:
            return None
        before = {sign.label: sign.degree for sign in self.prior}
        return {sign.label: _change(before.get(sign.label), sign.degree) for sign in self.signs}

    @property
    def resolved(self) -> tuple[Sign, ...]:
        now = {sign.label for sign in self.signs}
        return tuple(sign for sign in self.prior or () if sign.label not in now)

    @property
    def labels(self) -> dict[str, str | None]:
        """The complete truth over the 14 classes."""
        found = {sign.label for sign in self.signs} or {NO_FINDING}
        return {name: "present" if name in found else "absent" for name in CLASSES}


def _change(before: int | None, now: int) -> Change:
    if before is None:
        return "new"
    return "worse" if now > before else "improved" if now < before else "stable"


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


class PhantomSource:
    """Draws studies instead of reading them.

    Args:
        input: unused; the source makes its own data.
        output: folder that receives `images/{split}/{study_id}.png` (8-bit grey).
        train, val, test, site_b: how many studies of each split.
        image_size: pixels along each edge.
        seed: fixes everything.
        omit_rate, hedge_rate: share of the findings that reports of `train` and `val` leave out, or hedge; reports of
            `test` and `site_b` are complete, as if read twice. Labels are complete everywhere.
        prior_rate: share of the studies that come with an earlier image of the same patient.
    """

    name = "phantom"

    def __init__(
        self,
        input: str | Path | None,
        output: str | Path,
        *,
        train: int = 10_000,
        val: int = 200,
        test: int = 1_000,
        site_b: int = 1_000,
        image_size: int = 112,
        seed: int = 0,
        omit_rate: float = 0.25,
        hedge_rate: float = 0.08,
        prior_rate: float = 0.15,
    ) -> None:
        self.output = Path(output)
        self.counts = {"train": train, "val": val, "test": test, "site_b": site_b}
        self.image_size, self.seed = image_size, seed
        self.omit_rate, self.hedge_rate, self.prior_rate = omit_rate, hedge_rate, prior_rate
        for name, value in (("omit_rate", omit_rate), ("hedge_rate", hedge_rate), ("prior_rate", prior_rate)):
            if not 0 <= value <= 1:
                raise UserError(f"phantom source: {name} = {value} is no probability; give a number from 0 to 1")
        for name, number in self.counts.items():
            if number < 0:
                raise UserError(f"phantom source: {name} = {number} is no count; give 0 or more")
        if image_size < 32:
            raise UserError(f"phantom source: image_size = {image_size} is too small to draw on; give 32 or more")

    def partitions(self) -> Sequence[Partition]:
        """Chunks of `CHUNK` studies: `{split, start, stop}`."""
        return [
            {"split": split, "start": start, "stop": min(start + CHUNK, number)}
            for split, number in self.counts.items()
            for start in range(0, number, CHUNK)
        ]

    def read(self, partition: Partition) -> Iterator[Study | Rejected]:
        """Draws the studies of one chunk, writes their images and yields them."""
        split = partition["split"]
        (self.output / "images" / split).mkdir(parents=True, exist_ok=True)
        for index in range(partition["start"], partition["stop"]):
            yield self._study(split, index)

    def case(self, split: str, index: int) -> tuple[Case, Reading, np.random.Generator]:
        """The findings and the report of one study, without its image."""
        rng = np.random.default_rng(self._key(split, index))
        site = _site(split)
        case = sample_case(rng, site, self.prior_rate)
        complete = split in ("test", "site_b")
        reading = write_report(
            rng,
            case.signs,
            case.changes,
            case.resolved,
            omit_rate=0.0 if complete else self.omit_rate,
            hedge_rate=0.0 if complete else self.hedge_rate,
        )
        return case, reading, rng

    def _key(self, split: str, index: int) -> list[int]:
        return [self.seed, SPLITS.index(split), index]

    def draw(self, split: str, index: int) -> tuple[Case, Reading, NDArray[np.uint8], NDArray[np.uint8] | None]:
        """One study and its images: today's and, where there is one, the prior."""
        case, reading, rng = self.case(split, index)
        site, key = _site(split), self._key(split, index)
        anatomy = Anatomy.sample(rng, site)
        today = draw(anatomy, case.signs, site, self.image_size, [*key, 1])
        prior = None if case.prior is None else draw(anatomy, case.prior, site, self.image_size, [*key, 2])
        return case, reading, today, prior

    def _study(self, split: str, index: int) -> Study:
        case, reading, today, prior = self.draw(split, index)
        study_id = f"{split}-{index:05d}"
        prior_id = None if prior is None else f"{study_id}-prior"
        return Study(
            study_id=study_id,
            patient_id=f"patient-{study_id}",
            report=reading.report,
            images=(self._write(split, study_id, today),),
            views=("frontal",),
            prior_study_id=prior_id,
            prior_images=() if prior is None or prior_id is None else (self._write(split, prior_id, prior),),
            sections=reading.sections,
            labels=case.labels,
            split=split,
            source=self.name,
        )

    def _write(self, split: str, name: str, pixels: NDArray[np.uint8]) -> str:
        path = self.output / "images" / split / f"{name}.png"
        Image.fromarray(pixels).save(path, compress_level=1)
        return str(path)


def _site(split: str) -> str:
    return "b" if split == "site_b" else "a"


def _caption(signs: Sequence[Sign]) -> str:
    return "\n".join(
        " ".join(filter(None, (sign.side, sign.zone, sign.kind.replace("_", " ") or sign.label.lower())))
        for sign in signs
    ) or NO_FINDING.lower()  # fmt: skip


def _showcase(source: PhantomSource, split: str, columns: int) -> Iterator[int]:
    """The first study without findings, the first with each class alone, then the first with three findings."""
    wanted = [set(), *({label} for label in ORDER)]
    for classes in wanted[: columns - 1]:
        yield next(i for i in count() if {sign.label for sign in source.case(split, i)[0].signs} == classes)
    yield next(i for i in count() if len(source.case(split, i)[0].signs) == 3)


def contact_sheet(path: str | Path, seed: int = 0, columns: int = 9, zoom: int = 2) -> None:
    """A row in the training style and a row of `site_b`, captioned with their findings, as a grey PNG."""
    source = PhantomSource(None, ".", seed=seed)
    cell, text = source.image_size * zoom, 56
    sheet = Image.new("L", (columns * (cell + 4) - 4, 2 * (cell + text)), 255)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for row, split in enumerate(("train", "site_b")):
        for column, index in enumerate(_showcase(source, split, columns)):
            case, _, pixels, _ = source.draw(split, index)
            at = (column * (cell + 4), row * (cell + text))
            sheet.paste(Image.fromarray(pixels).resize((cell, cell), Image.Resampling.BICUBIC), at)
            pen.text((at[0] + 2, at[1] + cell + 2), _caption(case.signs), fill=0, font=font, spacing=1)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(40).save(path, optimize=True)


if __name__ == "__main__":
    contact_sheet(sys.argv[1] if len(sys.argv) > 1 else "docs/img/phantoms.png")
