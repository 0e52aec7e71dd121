"""Runs the tests that another machine could turn red, under the settings of other machines.

    make test-anywhere                          # all settings; about 6 minutes on 2 cores
    python scripts/anywhere.py --only locale    # those whose name holds a word

A test says what it is sensitive to by `@pytest.mark.anywhere(to=...)`: `cpu` (instructions, threads), `system` (locale,
home, path, time zone), or `all` (the whole road, where every system setting is odd at once). Exits with 1 if any fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
NOT_COPIED = shutil.ignore_patterns(".*", "outputs", "wandb", "__pycache__", "build", "*.egg-info", "shared")
SHOWN_LINES = 60  # of the output of a setting that failed
AT_ONCE = 2  # settings, each in one process


class Setting(NamedTuple):
    """One kind of machine: which tests it concerns, its environment, and the folder that the checkout lies in."""

    name: str
    to: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str | None = None


class Outcome(NamedTuple):
    setting: Setting
    passed: bool
    counts: str
    seconds: float


def settings(no_home: Path) -> list[Setting]:
    """What can be odd at once is odd at once: each of these starts, and collects the tests, anew.

    `no_home` is a path at which nothing can be made, not even by root."""
    locale = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    home = {"HOME": str(no_home)} | {f"XDG_{kind}_HOME": str(no_home / kind) for kind in ("CACHE", "CONFIG", "DATA")}
    zone = {"TZ": "Pacific/Chatham"}  # 45 minutes past the hour, with summer time
    avx2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    spaces, accents = "x-ray images/cxr reasoner", "röntgen images/cxr reasoner"
    return [
        Setting("ASCII locale, no home, spaces in the path", ("system", "all"), locale | home, spaces),  # the longest
        Setting(
            "no vector instructions, 1 thread", ("cpu",), {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"}
        ),
        Setting("AVX2, 4 threads", ("cpu",), avx2 | {"OMP_NUM_THREADS": "4"}),
        Setting("no home, time zone, accents in the path", ("system",), home | zone, accents),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD", help="settings whose name holds this")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "file").touch()
        chosen = [s for s in settings(Path(name) / "file" / "home") if options.only in s.name]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            outcomes = list(pool.map(partial(run, scratch=Path(name)), chosen))
    print(f"\n{'setting':44}{'result':9}{'seconds':>8}  tests")
    for setting, passed, counts, seconds in outcomes:
        print(f"{setting.name:44}{'passed' if passed else 'FAILED':9}{seconds:8.0f}  {counts}")
    return int(not outcomes or not all(outcome.passed for outcome in outcomes))


def run(setting: Setting, scratch: Path) -> Outcome:
    """The tests concerned, in a process with the setting's environment; what failed is shown."""
    print(f"== {setting.name}", flush=True)
    root = ROOT
    if setting.folder:
        root = scratch / setting.folder
        shutil.copytree(ROOT, root, ignore=NOT_COPIED)
    marks = " or ".join(f"anywhere(to={to!r})" for to in setting.to)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", marks]
    environment = {**os.environ, "PYTHONPATH": str(root), **setting.environment}
    log = scratch / f"{setting.name}.log"
    start = time.monotonic()
    with log.open("wb") as sink:
        done = subprocess.run([*command, "--durations=3"], cwd=root, env=environment, stdout=sink, stderr=sink)
    seconds = time.monotonic() - start
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if done.returncode:
        print("\n".join(lines[-SHOWN_LINES:]), flush=True)
    counts = re.sub(r"^=+ | in .*", "", lines[-1]) if lines else "no output"
    return Outcome(setting, done.returncode == 0, counts, seconds)


if __name__ == "__main__":
    sys.exit(main())
