"""The memory of this process: what it and all that it started take while a block runs, and keeping what was freed."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from reasoner.runtime.ranks import count

GIB = 2**30
SAMPLE_S = 1.0  # between two looks
#: What glibc's `mallopt` calls them, and what they are set to: blocks below so many bytes come from the heap, and so
#: many free bytes stay in it.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_FROM_HEAP, _STAY = 256 * 2**20, 2**30


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Fills the list with the memory of this process and its descendants, in bytes, until the block ends; of processes
    that train together, with that of all on this machine."""
    samples = [0]
    done = threading.Event()

    def watch() -> None:
        me = psutil.Process(os.getpid() if count() == 1 else os.getppid())
        while not done.wait(SAMPLE_S):
            samples.append(sum(map(_proportional, [me, *me.children(recursive=True)])))

    thread = threading.Thread(target=watch, daemon=True, name="peak-memory")
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def keep_freed_memory() -> bool:
    """Lets this process use freed memory again instead of giving it back to the kernel; whether that could be done.

    On a CPU each step of training allocates and frees the same tensors. By glibc's defaults their pages are given back
    and faulted in again, which took a fifth of the processor time of SFT (docs/decisions.md). Another allocator, or
    what the user has set for glibc's, is left alone.
    """
    mine = any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mine or "LD_PRELOAD" in os.environ or mallopt is None:
        return False
    wanted = {_M_MMAP_THRESHOLD: _FROM_HEAP, _M_TRIM_THRESHOLD: _STAY, _M_TOP_PAD: _FROM_HEAP // 4}
    return all([mallopt(name, value) for name, value in wanted.items()])


def _proportional(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0  # ended between listing and looking
    return getattr(memory, "pss", memory.rss)
