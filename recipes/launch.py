"""`reasoner sft --processes N`: the same command in N processes of this machine, one a GPU where there are GPUs.

Why not `accelerate launch`: it starts one process on a machine without GPUs, and of one that fails it shows a page of
its own. Here the first that fails ends the others, and its one line is what people see. The main process has the
terminal; what the others print before their log is open is kept for the case that one dies without a word.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from reasoner.runtime.ranks import LAST_WORDS, Ended, free_port, last_words

#: Seconds between two looks; for the others to find out by themselves that one has failed; after SIGTERM.
_LOOK_S, _FIND_OUT_S, _TERMINATE_S = 0.1, 5.0, 20.0
Processes = Sequence[subprocess.Popen[bytes]]


#: What runs `reasoner`, wherever it is called from.
REASONER = ("-P", "-m", "recipes.cli")


def launch(command: Sequence[str], processes: int) -> Ended:
    """Runs `python COMMAND` in so many processes until all have ended well, or one has not and the others are stopped.

    Returns:
        How the first that failed ended; an empty line and code 0 where none did.
    """
    with tempfile.TemporaryDirectory(prefix="reasoner-") as name, _terminable():
        folder = Path(name)
        port = free_port()
        running: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(processes):
                running.append(_start(command, rank, processes, port, folder))
            while True:
                ended = all(one.poll() is not None for one in running)
                if _has_failed(running, folder):
                    break
                if ended:
                    return Ended("", 0)
                time.sleep(_LOOK_S)
            _wait(running, _FIND_OUT_S)
            return _first_end(running, folder)
        except KeyboardInterrupt:  # which the terminal has sent to all of them
            _wait(running, _TERMINATE_S)
            raise
        finally:
            _stop(running)


def _start(command: Sequence[str], rank: int, processes: int, port: int, folder: Path) -> subprocess.Popen[bytes]:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    root = str(Path(__file__).parents[1])
    more = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), LAST_WORDS: str(folder)}
    more |= {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    environment = {**os.environ, **{name: str(value) for name, value in place.items()}, **more}
    if rank == 0:
        return subprocess.Popen([sys.executable, *command], env=environment)
    with _printed(folder, rank).open("wb") as file:
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file}
        return subprocess.Popen([sys.executable, *command], env=environment, **quiet)


def _printed(folder: Path, rank: int) -> Path:
    return folder / f"{rank}.printed"


def _has_failed(running: Processes, folder: Path) -> bool:
    """Whether one has ended badly, or has told that it is about to."""
    return any(one.poll() or last_words(folder, rank) for rank, one in enumerate(running))


def _first_end(running: Processes, folder: Path) -> Ended:
    """How the first one ended: one that was killed, whose end makes the others fail; else the first that has told."""

    def of(rank: int) -> str:
        return f"error: process {rank} of {len(running)}"

    for rank, one in enumerate(running):
        if (code := one.poll()) is not None and code < 0:
            out = "; out of memory, perhaps (`dmesg` tells)" if code == -signal.SIGKILL else ""
            return Ended(f"{of(rank)} was killed ({signal.Signals(-code).name}){out}", 1)
    words = {rank: ended for rank in range(len(running)) if (ended := last_words(folder, rank))}
    if words:
        first = min(words, key=lambda rank: words[rank].when)
        ended = words[first]
        if 0 in words and words[0].line == ended.line:
            return ended
        return ended._replace(line=f"{of(first)}: {ended.line.removeprefix('error: ')}")
    rank, code = next((rank, code) for rank, one in enumerate(running) if (code := one.poll()))
    printed = _printed(folder, rank)
    lines = printed.read_text(encoding="utf-8", errors="replace").split("\n") if printed.exists() else []
    last = next(
        (line.strip() for line in reversed(lines) if line.strip()), "see above" if rank == 0 else "it said nothing"
    )
    return Ended(f"{of(rank)} ended with code {code}: {last}", code)


def _wait(running: Processes, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(one.poll() is None for one in running):
        time.sleep(_LOOK_S)


def _stop(running: Processes) -> None:
    for one in running:
        if one.poll() is None:
            one.terminate()
    _wait(running, _TERMINATE_S)
    for one in running:
        if one.poll() is None:
            one.kill()
        one.wait()


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM, as job managers send it, end this process as an exit does, so that it stops the others."""

    def leave(*_: Any) -> NoReturn:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
