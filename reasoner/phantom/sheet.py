"""The contact sheet of the README: a row of phantoms in each drawing style, captioned with their findings.

python -m reasoner.phantom.sheet docs/img/phantoms.png
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from reasoner.phantom.body import Sign
from reasoner.phantom.sample import ORDER
from reasoner.phantom.source import PhantomSource
from reasoner.schema import NO_FINDING


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
