"""Pictures beside the page: small JPEG copies, made once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reasoner.pictures import MISSING, PictureError, read_picture
from reasoner.runtime.progress import progress

#: Longest edge in pixels, and JPEG's quality: enough to see a small effusion, some 40 KB a radiograph.
EDGE, QUALITY = 640, 82


class Pictures:
    """Copies below `folder`, of which those of an earlier page are used again and those of no case removed."""

    def __init__(self, folder: Path, paths: Iterable[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        wanted = sorted(set(paths))
        self._names: dict[str, str | None] = {}
        self.problems: list[str] = []
        with (
            progress("shrinking pictures", len(wanted)) as advance,
            ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        ):
            for path, found in zip(wanted, pool.map(lambda path: _copy(path, folder), wanted), strict=True):
                advance(1)
                self._names[path] = None if isinstance(found, PictureError) else found
                if isinstance(found, PictureError):
                    self.problems.append(str(found))
        for name in {file.name for file in folder.iterdir()} - set(self._names.values()):
            (folder / name).unlink()

    def name(self, path: str) -> str | None:
        """The copy's name; None where the picture could not be read."""
        return self._names.get(path)


def _copy(path: str, folder: Path) -> str | PictureError:
    """The name says what it was made from, so that a changed picture is copied again."""
    try:
        stat = os.stat(path)
        key = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0{EDGE}".encode()
    except (OSError, ValueError) as error:  # not there, or what cannot be the name of a file
        return PictureError(path, MISSING, type(error).__name__)
    name = hashlib.sha256(key).hexdigest()[:20] + ".jpg"
    if not (folder / name).exists():
        try:
            picture = read_picture(path)
        except PictureError as error:
            return error
        picture.thumbnail((EDGE, EDGE))
        part = folder / f"{name}.part"
        picture.save(part, "JPEG", quality=QUALITY)
        part.replace(folder / name)
    return name
