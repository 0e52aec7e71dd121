"""Pictures at the size that a model is given, kept as files: decoded once for all epochs and processes.

A radiograph of ten million pixels takes a tenth of a second to decode and a hundred times the room; of its pixels the
model sees a few hundred thousand. What is kept is not what the processor would have made of the whole picture, to the
last bit, and films are varied after it; so it is an option.
"""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import PIL.Image

from reasoner.pictures import MIN_EDGE, PictureError, read_picture


class Shrunk:
    """Reads pictures as `read_picture` does, larger ones with at most `pixels`, in their shape.

    Files are named by path, size and date of the picture, and appear whole; where none can be written the picture is
    decoded each time. Processes may share the folder.
    """

    def __init__(self, folder: Path, pixels: int) -> None:
        self.folder, self.pixels = folder, pixels

    def __call__(self, path: str) -> PIL.Image.Image:
        """The picture. Raises `PictureError` as `read_picture`."""
        place = self._place(path)
        if place is not None and place.is_file():
            with suppress(PictureError):  # a damaged copy is made again
                return read_picture(place)
        picture = read_picture(path)
        share = (self.pixels / (picture.width * picture.height)) ** 0.5
        if share >= 1:
            return picture
        width, height = (max(MIN_EDGE, round(edge * share)) for edge in picture.size)
        picture = picture.resize((width, height), PIL.Image.Resampling.BICUBIC)
        if place is not None:
            with suppress(OSError):
                place.parent.mkdir(parents=True, exist_ok=True)
                part = place.with_name(f".{place.stem}.{os.getpid()}.part")
                picture.save(part, format="png", compress_level=1)
                os.replace(part, place)
        return picture

    def _place(self, path: str) -> Path | None:
        """Where the picture is kept; None where it cannot be looked at."""
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return None
        about = f"{os.path.abspath(path)}\0{found.st_size}\0{found.st_mtime_ns}\0{self.pixels}"
        name = blake2b(about.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}.png"
