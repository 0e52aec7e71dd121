"""Freed memory stays with the process, unless the user has chosen otherwise."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import ctypes, os, resource, sys
from reasoner.runtime.memory import keep_freed_memory
kept = keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def use():
    block = libc.malloc(ctypes.c_size_t(100 * 2**20))
    ctypes.memset(block, 1, 100 * 2**20)
    libc.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(**environment: str) -> tuple[bool, int]:
    done = subprocess.run([sys.executable, "-c", FAULTS], env=environment, capture_output=True, check=True)
    kept, faults = done.stdout.split()
    return kept == b"True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator than glibc's")
def test_memory_that_was_freed_is_used_again_without_faults():
    path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    kept, faults = run(**path)
    assert kept and faults < 100
    theirs, many = run(**path, MALLOC_TRIM_THRESHOLD_="131072")
    assert not theirs and many > 1000
