"""Files and folders that appear whole or not at all, and JSON that may have been damaged since."""

from __future__ import annotations

import errno
import fcntl
import gzip
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from reasoner.errors import UserError

#: Errors of the disk that a user can mend, and how.
MENDABLE = {
    errno.ENOSPC: "free some space or choose another output",
    errno.EFBIG: "free some space or choose another output",
    errno.EDQUOT: "free some space or choose another output",
    errno.EROFS: "choose an output that can be written",
    errno.EACCES: "mend its permissions or choose another",
    errno.EPERM: "mend its permissions or choose another",
    errno.ENOTDIR: "a file is where a folder is needed: choose another",
    errno.EISDIR: "a folder is where a file is needed: choose another",
    errno.EEXIST: "move it away or choose another",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "mend its links or choose another",
    errno.EIO: "the disk fails: choose another",
}


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A UTF-8 text file that takes the place of `path` when the block ends well; else `path` is as it was.

    It is written beside its place and renamed; a name that ends in `.gz` is packed. A link is followed. A lone
    surrogate, which UTF-8 cannot hold, is written as its escape, which JSON reads back.

    Raises:
        UserError: it cannot be written (a folder, a device, no space, no right).
    """
    place = Path(os.path.realpath(path))
    if os.path.exists(place) and not os.path.isfile(place):
        raise UserError(f"{path} is a folder or a device; name a file to be written")
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            with _text(file, packed=path.suffix == ".gz") as text:
                yield text
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the name without the words
        os.replace(part, place)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def _text(file: io.BufferedWriter, *, packed: bool) -> Iterator[TextIO]:
    """Text written into `file`, which stays open. The same text packs to the same bytes."""
    with ExitStack() as stack:
        target = stack.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0)) if packed else file
        text = io.TextIOWrapper(target, encoding="utf-8", errors="backslashreplace")
        try:
            yield text
            text.flush()
        finally:
            text.detach()


def output_path(text: str) -> Path:
    """The path that a user gives as output.

    Raises:
        UserError: it is empty, a loop of links, or holds what no text can (Parquet, JSON and web pages repeat it).
    """
    if not text.strip():
        raise UserError("the output's name is empty; name a file or folder (`.` is the current one)")
    if "\0" in text:
        raise UserError(f"output {text!r} holds a zero byte; choose another name")
    try:
        os.path.realpath(text).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"output {os.path.realpath(text)!r} is not UTF-8; choose another name") from error
    try:
        os.stat(text)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"output {text}: its links lead in a circle; {MENDABLE[errno.ELOOP]}") from error
    return Path(text)


@contextmanager
def alone(lock: Path, doing: str) -> Iterator[None]:
    """Keeps other processes out of the block, whose number stands in the file `lock` meanwhile; a dead one keeps
    nobody out.

    Raises:
        UserError: another is in it; `doing` says where it is at work.
    """
    file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            first = os.path.samestat(os.fstat(file), os.stat(lock))  # not one that its owner has just removed
        except (BlockingIOError, FileNotFoundError):
            first = False
        except OSError:  # a file system without locks
            first = True
        if not first:
            owner = os.read(file, 20).decode("ascii", "replace") or "unknown"
            raise UserError(f"another run is {doing} (process {owner}); wait for its end or choose another output")
        try:
            os.truncate(file, 0)
            os.write(file, str(os.getpid()).encode())
            yield
        finally:
            with suppress(OSError):
                os.unlink(lock)
    finally:
        os.close(file)


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


def write_whole(path: Path, text: str) -> None:
    """Writes the text as `replacing` does: a kill leaves the old file or the new one."""
    with replacing(path) as file:
        file.write(text)


def read_object(path: Path, fix: str) -> dict[str, Any]:
    """The JSON object that the file holds.

    Raises:
        UserError: it cannot be read or is no JSON object; `fix` says what to do then.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise UserError(f"{path}: cannot be read (no regular file); {fix}")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged, not JSON ({error}); {fix}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {fix}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: damaged, a JSON object is needed, found {type(found).__name__}; {fix}")
    return found


def remove(path: Path) -> None:
    """Removes a file, a link (not what it points to) or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def swap(part: Path, place: Path, previous: Path | None = None) -> None:
    """Puts the finished `part` in its `place`; what was there becomes `previous`, or goes once `part` is in.

    Called again after a kill it goes on where it was.
    """
    old = previous or place.with_name(f"{place.name}.old")
    if place.exists() or place.is_symlink():
        remove(old)
        os.rename(place, old)
    os.rename(part, place)
    if previous is None:
        remove(old)


@contextmanager
def replaced(folder: Path, proof: str) -> Iterator[Path]:
    """An empty folder beside `folder`, which takes its place when the block succeeds.

    Raises:
        UserError: a file is in the way, or a folder that holds something else than an earlier result with its `proof`.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file where a folder is needed; choose another output")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / proof).is_file():
        raise UserError(f"{folder}: holds other files (no {proof}), which would be lost; choose an empty output")
    part = folder.with_name(f"{folder.name}.part")
    remove(part)
    part.mkdir(parents=True)
    yield part
    swap(part, folder)
