"""What sources check before a study is admitted: its pictures, its language, its split."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from reasoner.pictures import PictureError
from reasoner.sources.io.language import foreign_language
from reasoner.verified import Verified

#: Shares of val and test, in hundredths of the patients.
VAL, TEST = 10, 10
_SURROGATE = re.compile("[\ud800-\udfff]")
_WITH_WORDS = re.compile(r"[^\W\d_]{2}")


def check_images(paths: Sequence[str], verified: Verified, *, required: bool) -> tuple[str, str] | None:
    """(reason, file and detail) of the first picture that cannot be decoded whole; None when all are fine."""
    if required and not paths:
        return "no image", "'images' is empty"
    for path in paths:
        if not is_utf8(path):
            return "bad row", f"{path!a}: a name that is not UTF-8, which Parquet cannot hold; rename the file"
        try:
            verified.check(path)
        except PictureError as error:
            return error.reason, f"{path}: {error.detail}" if error.detail else path
    return None


def is_utf8(path: str) -> bool:
    """Whether the name of a file can be written down: other bytes, which file systems allow, are surrogates here."""
    return not _SURROGATE.search(path)


def is_file(path: str) -> bool:
    """Whether there is such a file. A text that cannot be a file name gives False."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def check_report(report: str) -> tuple[str, str] | None:
    """(reason, detail) when the text is no English report."""
    if not _WITH_WORDS.search(report):
        return "empty report", "no words"
    language = foreign_language(report)
    return ("wrong language", language) if language else None


def split_of(patient_id: str) -> str:
    """train, val or test, by patient: the same patient always lands in the same split."""
    number = int.from_bytes(hashlib.blake2b(patient_id.encode(), digest_size=4).digest(), "big") % 100
    return "test" if number < TEST else "val" if number < TEST + VAL else "train"


_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SPLIT_WORD = re.compile(rf"(?<![a-z])(?:{'|'.join(_SPLITS)})(?![a-z])")


def our_split(name: str) -> str:
    """Our word for the name of a split (`dev`, `TRAIN`); a name that is no alias is left as it is."""
    return _SPLITS.get(name.strip().lower(), name)


def official_split(name: str | None) -> str | None:
    """Our word for a collection's own (`validate`, `valid`, `train_metadata.csv`, ...); None when it names none."""
    match = _SPLIT_WORD.search((name or "").lower())
    return _SPLITS[match.group()] if match else None


def bucket(patient_id: str, count: int) -> int:
    """Which of `count` parts a patient belongs to."""
    return zlib.crc32(patient_id.encode()) % count
