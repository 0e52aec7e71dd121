"""Checks that several sources share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

#: The first bytes of PNG, JPEG, BMP, TIFF (both orders), WebP (RIFF) and GIF.
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*", b"RIFF", b"GIF8")
#: Shares of val and test, in hundredths of the patients.
VAL, TEST = 10, 10


def check_images(paths: Sequence[str], *, required: bool) -> tuple[str, str] | None:
    """(reason, detail) of the first image that is missing or no image; None when all are fine."""
    if required and not paths:
        return "no image", "'images' is empty"
    for path in paths:
        if not Path(path).is_file():
            return "missing image", path
        with open(path, "rb") as file:
            if not file.read(4).startswith(_MAGIC):
                return "not an image", path
    return None


def split_of(patient_id: str) -> str:
    """train, val or test, by patient: the same patient always lands in the same split."""
    number = int.from_bytes(hashlib.blake2b(patient_id.encode(), digest_size=4).digest(), "big") % 100
    return "test" if number < TEST else "val" if number < TEST + VAL else "train"
