"""Checks that several sources share, and the last steps from a read row to a `Study`."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from reasoner.errors import UserError
from reasoner.schema import Example, Rejected, Study
from reasoner.sources.files import PACKED, Row
from reasoner.sources.language import foreign_language

#: The first bytes of PNG, JPEG, BMP, TIFF (both orders), WebP (RIFF) and GIF.
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*", b"RIFF", b"GIF8")
#: Shares of val and test, in hundredths of the patients.
VAL, TEST = 10, 10
#: So many names are looked for before a collection is taken to be here without its pictures.
PROBES = 300
_WITH_WORDS = re.compile(r"[^\W\d_]{2}")

Item = Study | Example | Rejected


def check_images(paths: Sequence[str], *, required: bool) -> tuple[str, str] | None:
    """(reason, detail) of the first image that is missing or no image; None when all are fine."""
    if required and not paths:
        return "no image", "'images' is empty"
    for path in paths:
        if not is_file(path):
            return "missing image", path
        with open(path, "rb") as file:
            if not file.read(4).startswith(_MAGIC):
                return "not an image", path
    return None


def is_file(path: str) -> bool:
    """Whether there is such a file; what cannot be the name of one is none."""
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


def official_split(name: str | None) -> str | None:
    """Our word for a collection's own (`validate`, `valid`, `train_metadata.csv`, ...); None when it names none."""
    match = _SPLIT_WORD.search((name or "").lower())
    return _SPLITS[match.group()] if match else None


def bucket(patient_id: str, count: int) -> int:
    """Which of `count` parts a patient belongs to."""
    return zlib.crc32(patient_id.encode()) % count


class Collection:
    """A source that reads files: `input` is the file or folder of them, `images` the folder of the pictures where it is
    not a usual one. `what` tells a user what the input should be."""

    name: str
    what: str

    def __init__(self, input: str | Path | None, output: str | Path, *, images: str | None = None) -> None:
        if input is None:
            raise UserError(f"source '{self.name}' needs an input: --input {self.what}")
        self.input, self.images = Path(input), images

    def path(self) -> Path:
        """The input. Raises `UserError` when there is no such file or folder."""
        if not self.input.exists():
            raise UserError(f"{self.input}: no such file or folder; source '{self.name}' needs {self.what}")
        return self.input

    def json_files(self) -> list[Path]:
        """The JSON and JSON-lines files that the input is or holds, in order."""
        path = self.path()
        if path.is_file():
            return [path]
        endings = tuple(f"{form}{packed}" for form in (".json", ".jsonl") for packed in PACKED)
        files = sorted(file for file in path.rglob("*") if file.name.endswith(endings) and file.is_file())
        if not files:
            raise UserError(f"{path}: no .json or .jsonl file in it; source '{self.name}' needs {self.what}")
        return files


@dataclass(frozen=True)
class Pictures:
    """Where the pictures of a collection lie: `folders` that a name in the collection's files may be relative to."""

    folders: tuple[str, ...]

    @classmethod
    def of(cls, given: str | None, *usual: Path) -> Pictures:
        """In the folder that the user names, else in the usual places."""
        return cls((str(Path(given).resolve()),) if given else tuple(str(folder) for folder in usual))

    def find(self, name: str) -> str:
        """The path of a picture; where there is none, the path at which it was expected first."""
        stem = name.rsplit(".", 1)[0] if re.search(r"\.(?:png|jpe?g|dcm)$", name, re.IGNORECASE) else name
        for folder in self.folders:
            for candidate in dict.fromkeys((name, f"{stem}.png", f"{stem}.jpg", f"{stem}.jpeg")):
                if is_file(path := str(Path(folder) / candidate)):
                    return path
        return str(Path(self.folders[0]) / name)

    def present(self, given: str | None, names: Iterable[str]) -> bool:
        """Whether pictures are required: the user named their folder, or one of the first names is found."""
        return given is not None or any(is_file(self.find(name)) for name in islice(names, PROBES))


def admit(study: Study, where: str, *, required: bool) -> Study | Rejected:
    """The study, or why it cannot be used. Unless pictures are `required`, it goes on without any."""
    sections = study.sections or {}
    # Headings, and an English history above a foreign read, say nothing about the language of the read.
    fault = check_report(" ".join(sections.get(n, "") for n in ("findings", "impression")).strip() or study.report)
    if fault is None and required:
        fault = check_images(study.images, required=True)
    if fault:
        return Rejected(study.source, where, *fault, study_id=study.study_id)
    if not required:
        return replace(study, images=(), prior_images=())
    if check_images(study.prior_images, required=True) is not None:  # a prior is never required
        return replace(study, prior_images=())
    return study


def each(source: str, rows: Iterable[Row], build: Callable[[Any, str], Iterator[Item]]) -> Iterator[Item]:
    """What `build(value, where)` makes of each row; what it cannot cope with is rejected, never raised."""
    for row in rows:
        if row.reason:
            yield Rejected(source, row.where, row.reason, row.detail)
            continue
        try:
            yield from build(row.value, row.where)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            yield Rejected(source, row.where, "bad row", f"{type(error).__name__}: {error}")


def text(value: Any) -> str:
    """A cell as text: nothing for None and for what pandas writes when there is nothing."""
    if value is None or value != value:
        return ""
    words = str(value).strip()
    return "" if words.lower() in ("nan", "none", "null", "n/a", "<na>") else words


def texts(value: Any) -> list[str]:
    """A cell that holds one text or a list of them."""
    values = value if isinstance(value, list | tuple) else () if isinstance(value, dict) else (value,)
    return [words for item in values if (words := text(item))]


def number(value: Any) -> float:
    """A cell as a number, for ordering; infinity when it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("inf")


def get(row: Mapping[str, Any], *names: str) -> Any:
    """The first of `names` that the row has a value for."""
    return next((row[name] for name in names if row.get(name) not in (None, "", [], {})), None)
