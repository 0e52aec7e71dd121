"""What reaches the terminal while a stage runs: our own words. What libraries print goes to the stage's log file.

The log takes file descriptors 1 and 2, so it also gets what C++ code and child processes print. `say` and `stream`
reach the standard error that was there before.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from reasoner.errors import UserError
from reasoner.runtime.disk import MENDABLE
from reasoner.runtime.ranks import MainEnded, is_main, rank

#: Set to anything, libraries print to the terminal and errors come with their traceback.
DEBUG = "REASONER_DEBUG"
_STANDARD = (1, 2)  # the file descriptors of standard output and standard error
_shown: TextIO | None = None  # the terminal, while a log has its place


class Died(Exception):
    """A stage ended by an error that nobody foresaw. The message is one line and names the log with the traceback."""


def debugging() -> bool:
    """Whether libraries may print to the terminal."""
    return bool(os.environ.get(DEBUG))


def stream() -> TextIO:
    """Where our own words, bars and tables go."""
    return _shown or sys.stderr


def say(text: str) -> None:
    """One line for people, on standard error whatever the libraries do."""
    print(text, file=stream(), flush=True)


def log_path(output: Path, stage: str) -> Path:
    """The log of a stage; each further process of a training run has its own."""
    return output / "logs" / (f"{stage}.log" if is_main() else f"{stage}-rank{rank()}.log")


@contextmanager
def logged(output: Path, stage: str) -> Iterator[None]:
    """Appends all that is printed within to the stage's log, also at the end of the process, when libraries take leave.

    In the further processes of a training run our own words go there, too.

    Raises:
        UserError: the log cannot be written.
        Died: in place of any error that a user cannot mend; the log holds its traceback.
    """
    global _shown
    if debugging():
        yield
        return
    path = log_path(output, stage)
    log = _open(path)
    _flush()
    before = [os.dup(number) for number in _STANDARD]
    _shown = _copy_of_stderr() if is_main() else log
    if not _shown.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "10")  # where each look of a bar is a line, as in a CI's record
    if not faulthandler.is_enabled():
        faulthandler.enable(log)
    _redirect(log)
    try:
        yield
    except (UserError, MainEnded):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in MENDABLE:
            raise
        traceback.print_exception(error, file=log)
        say("")  # ends the line of a bar
        first = (str(error).strip().splitlines() or [""])[0]
        raise Died(f"{type(error).__name__}: {first}; the log is {path}") from error
    finally:
        _flush()
        for number, original in zip(_STANDARD, before, strict=True):
            os.dup2(original, number)
            os.close(original)
        _shown = None
        atexit.register(_redirect, log)


def _open(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # a pipe would wait for a reader
            raise UserError(f"{path}: cannot be written (no regular file); move it away")
        log = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        print(f"== {datetime.now(UTC).isoformat(timespec='seconds')} {' '.join(sys.argv)}", file=log)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another --set output=DIR") from error
    return log


def _copy_of_stderr() -> TextIO:
    encoding = sys.stderr.encoding or "utf-8"
    return os.fdopen(os.dup(2), "w", encoding=encoding, errors="backslashreplace", buffering=1)


def _redirect(log: TextIO) -> None:
    _flush()
    for number in _STANDARD:
        os.dup2(log.fileno(), number)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
