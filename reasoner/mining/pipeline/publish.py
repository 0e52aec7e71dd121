"""From a finished draft to the data set in the output folder: all of it or nothing, and nothing else is touched.

A finished draft becomes `shards/ready` in one step. From then on the run has happened: its files are moved to their
places, `summary.json` last, which is away meanwhile, so that no summary ever stands beside another run's examples.
After a kill in between, the next run into the folder first moves the rest.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reasoner.errors import UserError
from reasoner.layout import UNFINISHED
from reasoner.mining.pipeline.summary import TITLE
from reasoner.runtime.disk import alone, unwritable
from reasoner.schema import SPLITS

_FILES = ("README.md", "studies.parquet", "quarantine.jsonl")
_EXAMPLES, _SUMMARY, _READY, _OLD = "examples", "summary.json", "ready", "old"
_TABLE = re.compile(rf"(?:{'|'.join(SPLITS)})-\d{{5}}\.parquet")


@contextmanager
def claimed(output: Path, *, draws: bool) -> Iterator[Path]:
    """Makes `output` a folder that this run alone may write to, and gives its true path; ends what a killed run had
    begun to publish.

    Raises:
        UserError: it cannot be written, another run is at work in it, or something of another making stands where this
            one would write.
    """
    output = Path(os.path.realpath(output))
    if not os.path.isdir(output) and os.path.lexists(output):
        raise UserError(f"{output} is no folder; name a folder as --output")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with alone(output / ".mining", f"mining into {output}"):
            _refuse_strangers(output, output / UNFINISHED, draws)
            yield output
    except OSError as error:
        raise unwritable(Path(error.filename or output), error) from error


def _refuse_strangers(output: Path, shards: Path, draws: bool) -> None:
    if shards.exists() and not (shards / "manifest.json").exists() and any(shards.iterdir()):
        raise UserError(f"{shards} is not of a mining run and would be lost; move it or choose another --output")
    finish(output, shards)
    if not _is_card(output / "README.md"):
        for name in (*_FILES, _EXAMPLES, _SUMMARY, *(["images"] if draws else [])):
            if os.path.lexists(output / name):
                raise UserError(
                    f"{output / name} is not of a mining run and would be replaced; move it or choose another --output"
                )
    elif (output / _EXAMPLES).is_dir():
        for path in sorted((output / _EXAMPLES).iterdir()):
            if not _TABLE.fullmatch(path.name):
                raise UserError(f"{path} is not of a mining run and would be lost; move it or choose another --output")


def publish(draft: Path, output: Path, shards: Path) -> None:
    """Puts the files of a finished draft (`draft`, inside of `shards`) in the place of those of the run before."""
    for path in (*(draft / name for name in (*_FILES, _SUMMARY)), *(draft / _EXAMPLES).iterdir()):
        if path.exists():
            with path.open("rb") as file:  # else a power cut may leave the name without the words
                os.fsync(file.fileno())
    os.rename(draft, shards / _READY)
    finish(output, shards)


def finish(output: Path, shards: Path) -> None:
    """Moves what is left of a finished draft to its place; to be repeated at will."""
    ready = shards / _READY
    if not (ready / _SUMMARY).exists():
        return
    (output / _SUMMARY).unlink(missing_ok=True)
    for name in _FILES:
        _move(ready / name, output / name)
    if (ready / _EXAMPLES).is_dir():
        shutil.rmtree(shards / _OLD, ignore_errors=True)
        _move(output / _EXAMPLES, shards / _OLD)
        _move(ready / _EXAMPLES, output / _EXAMPLES)
    for picture in (ready / "images").rglob("*"):
        if picture.is_file():
            place = output / picture.relative_to(ready)
            place.parent.mkdir(parents=True, exist_ok=True)
            _move(picture, place)
    _move(ready / _SUMMARY, output / _SUMMARY)


def _move(path: Path, place: Path) -> None:
    if path.exists():
        os.replace(path, place)


def _is_card(path: Path) -> bool:
    """Whether a README is the card of a mined data set."""
    try:
        return TITLE in path.read_text("utf-8")
    except (OSError, ValueError):
        return False
