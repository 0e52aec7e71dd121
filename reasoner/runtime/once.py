"""Files that are made once, whichever of several processes asks first, and kept until they are of no use."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from types import ModuleType

from reasoner.runtime.disk import unwritable


def made_once(place: Path, make: Callable[[Path], object]) -> Path:
    """`place` (`KIND-KEY.suffix`), written by `make(part)` unless it is there; other keys of its kind then go.

    Processes wait for the one that makes it at a lock of the file system: behind a barrier of theirs they would be
    given up after half an hour, and nodes that share no disk could not make their own.

    Raises:
        UserError: it cannot be written.
    """
    if place.exists():
        return place
    kind = place.name.rpartition("-")[0]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.parent / ".lock") as alone:
            if not place.exists():
                if alone:  # what a kill has left
                    _remove(place.parent.glob(f".{kind}-*.part"))
                part = place.with_name(f".{place.name}.{os.getpid()}.part")
                try:
                    make(part)
                    os.replace(part, place)
                finally:
                    part.unlink(missing_ok=True)
                # A process that reads an older one keeps it until it ends.
                _remove(old for old in place.parent.glob(f"{kind}-*{place.suffix}") if old != place)
    except OSError as error:
        raise unwritable(Path(error.filename or place), error) from error
    return place


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Waits for its turn; False where the file system has no locks, and each process makes its own."""
    with path.open("ab") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX)  # unlike flock's, not held on by children of one that was killed
            alone = True
        except OSError:
            alone = False
        yield alone


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def code_of(*packages: ModuleType) -> str:
    """A hash of the source of these packages or modules: what other code has made is made again."""
    digest = blake2b(digest_size=8)
    for package in packages:
        file = Path(str(package.__file__))
        found = sorted(file.parent.rglob("*")) if file.name == "__init__.py" else [file]
        for path in (one for one in found if one.suffix in (".py", ".yaml")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
