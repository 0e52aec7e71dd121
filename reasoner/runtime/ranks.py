"""Which of a training run's processes this one is, and what they tell each other and the command that started them.

`accelerate launch`, `torchrun` and `reasoner --processes` all number their processes in the environment (RANK,
WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE). Process 0 is the main one: it alone writes results, records, tracking and
bars.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
#: Folder where each process of `reasoner --processes` leaves the line it ends with, for the command to print.
LAST_WORDS = "REASONER_LAST_WORDS"
#: As in accelerate and TRL.
TIMEOUT_S = 1800.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


class Ended(NamedTuple):
    """How a process ended: the line for people, its exit code, and when it left them (ns since the epoch)."""

    line: str
    code: int
    when: int = 0


class MainEnded(Exception):
    """In the other processes, where the main one has ended by an error that it tells itself. Carries the exit code."""

    def __init__(self, code: int):
        super().__init__("the main process ended by an error, which it tells itself")
        self.code = code


def rank() -> int:
    """The number of this process, over all machines."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    """How many processes train together, over all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    return rank() == 0


def by_main(work: Callable[[], T], code_of: Callable[[Exception], int], timeout_s: float = TIMEOUT_S) -> T:
    """What `work` returns in the main process, in all of them: only that one does it, the others wait.

    Args:
        work: what it returns must pickle.
        code_of: the exit code that an error leads to.
        timeout_s: of this and later waits for one another, where nothing else has set up the group.

    Raises:
        Exception: in the main process, what `work` raised.
        MainEnded: in the others, then.
    """
    if count() == 1:
        return work()
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(seconds=timeout_s))
    answer: list[Any] = [None, None]
    if is_main():
        try:
            answer = [work(), None]
        except Exception as error:
            broadcast_object_list([None, code_of(error)])
            raise
    broadcast_object_list(answer)
    result, code = answer
    if code is not None:
        raise MainEnded(code)
    return result


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def leave_words(line: str, code: int) -> bool:
    """Leaves the line to the command that started this process; whether there is one that will print it."""
    folder = os.environ.get(LAST_WORDS)
    if folder is None:
        return False
    path = Path(folder) / str(rank())
    part = path.with_suffix(".part")
    part.write_text(f"{code} {line}", encoding="utf-8")
    part.replace(path)
    return True


def last_words(folder: Path, number: int) -> Ended | None:
    """What process `number` has left in the folder, if anything."""
    path = folder / str(number)
    if not path.exists():
        return None
    code, _, line = path.read_text(encoding="utf-8").partition(" ")
    return Ended(line, int(code), path.stat().st_mtime_ns)


def end_with_parent() -> None:
    """Lets a process of `reasoner --processes` end when that command dies, however it does (on Linux)."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if LAST_WORDS in os.environ and prctl is not None:
        prctl(_DIE_WITH_PARENT, signal.SIGKILL)
