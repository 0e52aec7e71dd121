"""The embedded default source: procedurally drawn chest phantoms with free-text reports.

Three sites: `train`, `val` and `test` share their drawing styles; `site_b` and `site_c` have another habitus, film,
noise and label prior each, to measure generalisation: `site_c` while settings are chosen, `site_b` after. Findings are
sampled in `sample` or `causes`, drawn in `draw` and worded in `report`. Everything follows from `seed`; each study has
a random stream of its own, so partitions are independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reasoner.errors import UserError
from reasoner.phantom.body import Anatomy
from reasoner.phantom.case import Case
from reasoner.phantom.causes import sample_full_case
from reasoner.phantom.draw import draw
from reasoner.phantom.places import locate
from reasoner.phantom.report import WrittenReport, write_report
from reasoner.phantom.sample import sample_case
from reasoner.phantom.words_all import ALL
from reasoner.phantom.words_few import FEW
from reasoner.schema import SPLITS, Box, Rejected, Study
from reasoner.sources.base import Partition

CHUNK = 200  # studies per partition
#: How studies are sampled and worded, by the option `findings`.
KINDS = {"few": (sample_case, FEW), "all": (sample_full_case, ALL)}
#: The drawing styles that may be trained on.
TRAINED = "ade"


class PhantomSource:
    """Draws studies instead of reading them.

    Args:
        input: unused; the source makes its own data.
        output: folder that receives `images/{split}/{study_id}.png` (8-bit grey).
        train, val, test, site_b, site_c: how many studies of each split.
        image_size: pixels along each edge.
        seed: fixes everything.
        omit_rate, hedge_rate: share of the findings that reports of `train` and `val` leave out, or hedge; reports of
            the others are complete, as if read twice. Labels are complete everywhere.
        prior_rate: share of the studies that come with an earlier image of the same patient.
        findings: `few` are seven classes, each in plain sight; `all` are the 14, with what causes and hides what, and
            devices with tips.
        boxes: whether studies tell where their findings are (`places`); takes about twice the time.
        films: the drawing styles of `train`, `val` and `test`, as letters of `TRAINED`; `site_b` has `b`, `site_c` `c`.
    """

    name = "phantom"
    draws = True

    def __init__(
        self,
        input: str | Path | None,
        output: str | Path,
        *,
        train: int = 10_000,
        val: int = 200,
        test: int = 1_000,
        site_b: int = 1_000,
        site_c: int = 0,
        image_size: int = 112,
        seed: int = 0,
        omit_rate: float = 0.25,
        hedge_rate: float = 0.08,
        prior_rate: float = 0.15,
        findings: str = "few",
        films: str = "a",
        boxes: bool = False,
    ) -> None:
        self.output = Path(output)
        self.counts = {"train": train, "val": val, "test": test, "site_b": site_b, "site_c": site_c}
        self.image_size, self.seed = image_size, seed
        self.omit_rate, self.hedge_rate, self.prior_rate = omit_rate, hedge_rate, prior_rate
        self.findings, self.films, self.boxes = findings, films, boxes
        if findings not in KINDS:
            raise UserError(f"phantom source: findings = {findings!r} is unknown; give {' or '.join(KINDS)}")
        if not films or set(films) - set(TRAINED) or len(set(films)) < len(films):
            raise UserError(
                f"phantom source: films = {films!r} cannot be trained on; give some of the letters {TRAINED}"
            )
        for name, value in (("omit_rate", omit_rate), ("hedge_rate", hedge_rate), ("prior_rate", prior_rate)):
            if not 0 <= value <= 1:
                raise UserError(f"phantom source: {name} = {value} is no probability; give a number from 0 to 1")
        for name, number in self.counts.items():
            if not 0 <= number <= 10_000_000:
                raise UserError(f"phantom source: {name} = {number} is no count; give 0 to 10,000,000")
        if not 32 <= image_size <= 4096:
            raise UserError(f"phantom source: image_size = {image_size} cannot be drawn; give 32 to 4096")
        if seed < 0:
            raise UserError(f"phantom source: seed = {seed} is no seed; give 0 or more")

    def fingerprint(self) -> dict[str, Any]:
        """All that decides what is drawn and written; not the folder."""
        names = ("counts", "image_size", "seed", "omit_rate", "hedge_rate", "prior_rate", "findings", "films")
        own = {"source": self.name, **{name: getattr(self, name) for name in names}}
        return own | ({"boxes": True} if self.boxes else {})  # what was drawn before there were boxes stays current

    def drawing_into(self, folder: Path) -> PhantomSource:
        moved = copy(self)
        moved.output = folder
        return moved

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

    def case(self, split: str, index: int) -> tuple[Case, WrittenReport, np.random.Generator]:
        """The findings and the report of one study, without its image."""
        rng = np.random.default_rng(self._key(split, index))
        sample, words = KINDS[self.findings]
        case = sample(rng, _site(split), self.prior_rate)
        complete = split not in ("train", "val")
        written = write_report(
            rng,
            case,
            words,
            omit_rate=0.0 if complete else self.omit_rate,
            hedge_rate=0.0 if complete else self.hedge_rate,
        )
        return case, written, rng

    def _key(self, split: str, index: int) -> list[int]:
        return [self.seed, SPLITS.index(split), index]

    def locate(self, split: str, index: int) -> tuple[Box, ...]:
        """Where the findings are in the image that `draw` makes of the study."""
        case, _, rng = self.case(split, index)
        film = self._film(split, index)
        return locate(Anatomy.sample(rng, film), case.signs, film, self.image_size, [*self._key(split, index), 1])

    def _film(self, split: str, index: int) -> str:
        return self.films[index % len(self.films)] if _site(split) == "a" else _site(split)

    def draw(self, split: str, index: int) -> tuple[Case, WrittenReport, NDArray[np.uint8], NDArray[np.uint8] | None]:
        """One study and its images: today's and, where there is one, the prior."""
        case, written, rng = self.case(split, index)
        key = self._key(split, index)
        film = self._film(split, index)
        anatomy = Anatomy.sample(rng, film)
        today = draw(anatomy, case.signs, film, self.image_size, [*key, 1])
        prior = None if case.prior is None else draw(anatomy, case.prior, film, self.image_size, [*key, 2])
        return case, written, today, prior

    def _study(self, split: str, index: int) -> Study:
        case, written, today, prior = self.draw(split, index)
        study_id = f"{split}-{index:05d}"
        prior_id = None if prior is None else f"{study_id}-prior"
        return Study(
            study_id=study_id,
            patient_id=f"patient-{study_id}",
            report=written.report,
            images=(self._write(split, study_id, today),),
            views=("frontal",),
            prior_study_id=prior_id,
            prior_images=() if prior is None or prior_id is None else (self._write(split, prior_id, prior),),
            sections=written.sections,
            labels=case.labels,
            boxes=self.locate(split, index) if self.boxes else (),
            split=split,
            source=self.name,
        )

    def _write(self, split: str, name: str, pixels: NDArray[np.uint8]) -> str:
        path = self.output / "images" / split / f"{name}.png"
        Image.fromarray(pixels).save(path, compress_level=1)
        return str(path)


def _site(split: str) -> str:
    """Whose findings and habitus: one of `a`, `b`, `c`."""
    return {"site_b": "b", "site_c": "c"}.get(split, "a")
