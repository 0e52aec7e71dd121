"""`make setup` from a path with spaces and an accent, with an interpreter that only notes what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$ASKED"
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; fi
case "$*" in *"$FAILS"*) exit 1 ;; esac
"""


@pytest.fixture
def checkout(tmp_path):
    # An ASCII locale has no such names: there a space must do.
    name = "x-ray images" if sys.getfilesystemencoding() == "ascii" else "röntgen images"
    root = tmp_path / name / "cxr reasoner"
    (root / "scripts").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "scripts/setup.sh"):
        shutil.copy(ROOT / name, root / name)
    python = root / "my python"
    python.write_text(PYTHON, encoding="utf-8")
    python.chmod(0o755)
    return root


def make(checkout: Path, *targets: str, fails: str = "nothing") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *targets, f"PYTHON={checkout / 'my python'}"],
        cwd=checkout,
        env={**os.environ, "ASKED": str(checkout / "asked"), "FAILS": fails},
        capture_output=True,
        encoding="utf-8",
    )


def asked(checkout: Path) -> list[str]:
    return (checkout / "asked").read_text(encoding="utf-8").splitlines()


@pytest.mark.anywhere(to="system")
def test_it_installs_once(checkout):
    done = make(checkout, "setup")
    assert done.returncode == 0 and "Ready in" in done.stdout, done.stderr
    installs = [line for line in asked(checkout) if line.startswith("-m pip install")]
    assert len(installs) == 3 and "torch" in installs[0]
    again = make(checkout, "setup")
    assert again.returncode == 0 and again.stdout == ""
    assert [line for line in asked(checkout) if line.startswith("-m pip install")] == installs


def test_a_failed_install_says_where_to_look_and_is_tried_again(checkout):
    done = make(checkout, "setup", fails="-m pip install")
    assert done.returncode != 0 and "error: pip install failed; the end of .venv/install.log" in done.stderr
    assert make(checkout, "setup").returncode == 0


def test_an_old_python_is_refused_with_the_fix(checkout):
    done = make(checkout, "setup", fails="sys.version_info")
    assert done.returncode != 0 and "run make setup PYTHON=/path/to/python3.11" in done.stderr


def test_help_lists_every_target(checkout):
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = rules.partition(".PHONY:")[2].partition("\n\n")[0].replace("\\", " ").split()
    shown = make(checkout, "help").stdout
    assert [target for target in phony if f"make {target} " not in shown] == []
