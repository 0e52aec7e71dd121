"""Contact sheets for the README and docs/data.md: phantoms captioned with their findings.

python -m reasoner.phantom.sheet few docs/img/phantoms.png
python -m reasoner.phantom.sheet all docs/img/phantoms_all.png
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from reasoner.phantom.body import Sign
from reasoner.phantom.case import Case
from reasoner.phantom.causes import ABNORMAL
from reasoner.phantom.sample import ORDER
from reasoner.phantom.source import PhantomSource
from reasoner.schema import NO_FINDING


def _caption(signs: Sequence[Sign]) -> str:
    return "\n".join(
        " ".join(filter(None, (sign.side, sign.zone, sign.key.replace("_", " ").lower(), "astray" * sign.astray)))
        for sign in signs
    ) or NO_FINDING.lower()  # fmt: skip


def _showcase(source: PhantomSource, split: str, classes: Sequence[str], last: Callable[[Case], bool]) -> Iterator[int]:
    """The first study without findings, the first with each class alone, then the first that is as `last` says."""
    cases = lambda: ((i, source.case(split, i)[0]) for i in count())  # noqa: E731
    for wanted in (set(), *({label} for label in classes)):
        yield next(i for i, case in cases() if {sign.label for sign in case.signs} == wanted)
    yield next(i for i, case in cases() if last(case))


def few(seed: int) -> tuple[PhantomSource, list[tuple[str, int]]]:
    """A row in the training style and a row of `site_b`."""
    source = PhantomSource(None, ".", seed=seed)
    three = lambda case: len(case.signs) == 3  # noqa: E731
    return source, [(split, i) for split in ("train", "site_b") for i in _showcase(source, split, ORDER, three)]


def full(seed: int) -> tuple[PhantomSource, list[tuple[str, int]]]:
    """Each class in the styles of training, and a heart failure."""
    source = PhantomSource(None, ".", seed=seed, findings="all", films="ade", image_size=140)
    failure = lambda case: sum(sign.cause == "Cardiomegaly" for sign in case.signs) == 2  # noqa: E731
    return source, [("train", i) for i in _showcase(source, "train", ABNORMAL, failure)]


#: Findings -> what is shown, in how many columns, how many times enlarged.
SHEETS = {"few": (few, 9, 2), "all": (full, 5, 1.5)}


def contact_sheet(path: str | Path, findings: str = "few", seed: int = 0) -> None:
    """Studies with their captions, as a grey PNG; `findings` is one of `SHEETS`."""
    choose, columns, zoom = SHEETS[findings]
    source, studies = choose(seed)
    cell, text = round(source.image_size * zoom), 56
    sheet = Image.new("L", (columns * (cell + 4) - 4, -(-len(studies) // columns) * (cell + text)), 255)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for place, (split, index) in enumerate(studies):
        case, _, pixels, _ = source.draw(split, index)
        at = (place % columns * (cell + 4), place // columns * (cell + text))
        sheet.paste(Image.fromarray(pixels).resize((cell, cell), Image.Resampling.BICUBIC), at)
        pen.text((at[0] + 2, at[1] + cell + 2), _caption(case.signs), fill=0, font=font, spacing=1)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(40).save(path, optimize=True)


if __name__ == "__main__":
    contact_sheet(path=sys.argv[2], findings=sys.argv[1])
