"""What sources share: where their files and pictures lie, and the last steps from a read row to a `Study`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

from reasoner.errors import UserError
from reasoner.pictures import SUFFIXES
from reasoner.schema import Example, Rejected, Study
from reasoner.sources.base import MADE
from reasoner.sources.io.checks import check_images, check_report, is_file, is_utf8
from reasoner.sources.io.files import PACKED, Row, regular
from reasoner.verified import Verified

#: So many names are looked for before a collection is taken to be here without its pictures.
PROBES = 300
#: How collections publish their pictures; a name with another ending is looked for under these, too.
_USUAL = (".png", ".jpg", ".jpeg", ".dcm")
#: What a row becomes.
Outcome = Study | Example | Rejected


class Collection:
    """A source that reads files: `input` is the file or folder of them, `images` the folder of the pictures where it is
    not a usual one. `what` tells a user what the input should be."""

    name: str
    what: str
    draws = False
    #: The options that decide what is read.
    options: tuple[str, ...] = ("images",)

    def __init__(self, input: str | Path | None, output: str | Path, *, images: str | None = None) -> None:
        if input is None:
            raise UserError(f"source '{self.name}' needs an input: --input {self.what}")
        self.input, self.output, self.images = Path(input), Path(output), images
        self.verified = Verified(output)

    def path(self) -> Path:
        """The input.

        Raises:
            UserError: it, or the option `images`, is not there, is neither file nor folder, or has a name that is not
                UTF-8; or a mining run would replace it.
        """
        if not is_utf8(str(self.input)):
            raise UserError(f"{str(self.input)!a}: a name that is not UTF-8; rename it")
        if not os.path.exists(self.input):
            raise UserError(f"{self.input}: no such file or folder; source '{self.name}' needs {self.what}")
        if not self.input.is_file() and not self.input.is_dir():
            raise UserError(f"{self.input}: neither a file nor a folder; source '{self.name}' needs {self.what}")
        if self.images is not None and not is_utf8(self.images):
            raise UserError(f"option 'images': {self.images!a} is a name that is not UTF-8; rename it")
        if self.images is not None and not os.path.isdir(self.images):
            raise UserError(f"option 'images': {self.images}: no such folder; name the folder of the pictures")
        if self.made(self.input):
            raise UserError(f"{self.input} is written by mining into {self.output}; choose another --output")
        return self.input

    def made(self, path: Path) -> bool:
        """Whether a path is one that mining into `output` writes."""
        real, output = os.path.realpath(path), os.path.realpath(self.output)
        return real.startswith(output + os.sep) and Path(real).relative_to(output).parts[0] in MADE

    def files(self) -> Iterable[Path]:
        """The files that are read, or the folders that hold them."""
        path = self.path()
        return [path] if path.is_file() else [f for f in regular(path.iterdir()) if not self.made(f)]

    def fingerprint(self) -> dict[str, Any]:
        """All that decides what is read; of pictures, which are many, only where they are looked for."""
        states = [(str(file), file.stat()) for file in self.files()]
        return {
            "source": self.name,
            "input": str(self.input),
            "options": {name: getattr(self, name) for name in self.options},
            "files": [[name, state.st_size, state.st_mtime_ns] for name, state in states],
        }

    def drawing_into(self, folder: Path) -> Self:
        return self

    def json_files(self) -> list[Path]:
        """The JSON and JSON-lines files that the input is or holds, in order."""
        path = self.path()
        if path.is_file():
            return [path]
        endings = tuple(f"{form}{packed}" for form in (".json", ".jsonl") for packed in PACKED)
        found = regular(file for file in path.rglob("*") if file.name.endswith(endings))
        files = [file for file in found if not self.made(file)]
        if not files:
            raise UserError(f"{path}: no .json or .jsonl file in it; source '{self.name}' needs {self.what}")
        return files

    def admit(self, study: Study, where: str, *, required: bool) -> Study | Rejected:
        """The study, or why it cannot be used. Unless pictures are `required`, it goes on without any."""
        sections = study.sections or {}
        # Headings, and an English history above a foreign read, say nothing about the language of the read.
        fault = check_report(" ".join(sections.get(n, "") for n in ("findings", "impression")).strip() or study.report)
        if fault is None and required:
            fault = check_images(study.images, self.verified, required=True)
        if fault:
            return Rejected(study.source, where, *fault, study_id=study.study_id)
        if not required:
            return replace(study, images=(), prior_images=())
        if check_images(study.prior_images, self.verified, required=True) is not None:  # a prior is never required
            return replace(study, prior_images=())
        return study

    def each(self, rows: Iterable[Row], build: Callable[[Any, str], Iterator[Outcome]]) -> Iterator[Outcome]:
        """What `build(value, where)` makes of each row; what it cannot cope with is rejected, never raised."""
        with self.verified:
            for row in rows:
                if row.reason:
                    yield Rejected(self.name, row.where, row.reason, row.detail)
                    continue
                try:
                    for item in build(row.value, row.where):
                        yield replace(item, where=row.where) if isinstance(item, Study) else item
                except UserError:
                    raise
                except Exception as error:
                    yield Rejected(self.name, row.where, "bad row", f"{type(error).__name__}: {error}")


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
        bare, _, ending = name.rpartition(".")
        stem = bare if f".{ending.lower()}" in SUFFIXES else name
        for folder in self.folders:
            for candidate in dict.fromkeys((name, *(stem + suffix for suffix in _USUAL))):
                if is_file(path := str(Path(folder) / candidate)):
                    return path
        return str(Path(self.folders[0]) / name)

    def present(self, given: str | None, names: Iterable[str]) -> bool:
        """Whether pictures are required: the user named their folder, or one of the first names is found."""
        return given is not None or any(is_file(self.find(name)) for name in islice(names, PROBES))
