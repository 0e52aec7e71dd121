"""The memory of this process and all that it started, while a block runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

GIB = 2**30
SAMPLE_S = 1.0  # between two looks


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Fills the list with the memory of this process and its descendants, in bytes, until the block ends."""
    samples = [0]
    done = threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not done.wait(SAMPLE_S):
            samples.append(sum(map(_proportional, [me, *me.children(recursive=True)])))

    thread = threading.Thread(target=watch, daemon=True, name="peak-memory")
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def _proportional(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0  # ended between listing and looking
    return getattr(memory, "pss", memory.rss)
