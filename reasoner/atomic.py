"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from reasoner.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A UTF-8 text file that takes the place of `path` when the block ends well; else `path` is as it was.

    It is written beside its place and renamed. A link is followed. A lone surrogate, which UTF-8 cannot hold, is
    written as its escape, which JSON reads back.

    Raises:
        UserError: it cannot be written (a folder, a device, no space, no right).
    """
    place = Path(os.path.realpath(path))
    if os.path.exists(place) and not os.path.isfile(place):
        raise UserError(f"{path} is a folder or a device; name a file to be written")
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the name without the words
        os.replace(part, place)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink()


def unwritable(path: Path, error: OSError) -> UserError:
    """The one line about a file or folder that cannot be written."""
    why = error.strerror or str(error)
    return UserError(f"{path}: cannot be written ({why}); free some space, mend its rights or name another output")


def same_file(a: Path, b: Path) -> bool:
    """Whether two names lead to one file, by whatever links."""
    try:
        return os.path.samefile(a, b)
    except OSError:  # one of them is not there
        return os.path.realpath(a) == os.path.realpath(b)
