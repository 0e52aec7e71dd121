"""What a stage shows and what its log keeps. Each case is a process of its own: file descriptors are per process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.anywhere(to="system")

ROOT = Path(__file__).parents[3]
NOISE = """
import atexit, os, subprocess, sys, warnings
from reasoner.runtime import terminal
from reasoner.errors import UserError

def noise():
    print("printed by a library")
    print("a library's error", file=sys.stderr)
    os.write(2, b"from C++\\n")
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    warnings.warn("old", FutureWarning)
    atexit.register(os.write, 2, b"a last word\\n")

print("before")
with terminal.logged(Path(sys.argv[1]), "sft"):
    noise()
    terminal.say("ours: 3 of 4 \\u00e9")
    {then}
print("after")
"""
KEPT = ("printed by a library", "a library's error", "from C++", "from a child", "FutureWarning", "a last word")


def stage(output: Path, then: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """A stage that makes every kind of noise and then does `then`."""
    code = "from pathlib import Path\n" + NOISE.format(then=then or "pass")
    return subprocess.run(
        [sys.executable, "-c", code, str(output)],
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )


def log(output: Path, name: str = "sft") -> str:
    return (output / "logs" / f"{name}.log").read_text(encoding="utf-8")


def test_the_terminal_shows_our_words_and_the_log_keeps_the_rest(tmp_path):
    done = stage(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "before\nafter\n", "ours: 3 of 4 é\n")
    assert all(words in log(tmp_path) for words in KEPT), log(tmp_path)
    assert "ours" not in log(tmp_path)
    stage(tmp_path)
    assert log(tmp_path).count("printed by a library") == 2, "what an earlier run said stays"


def test_debug_shows_everything(tmp_path):
    done = stage(tmp_path, REASONER_DEBUG="1")
    assert all(words in done.stdout + done.stderr for words in KEPT) and not list(tmp_path.iterdir())


def test_further_processes_of_a_run_have_logs_of_their_own(tmp_path):
    done = stage(tmp_path, RANK="1")
    assert done.stderr == "" and "ours: 3 of 4" in log(tmp_path, "sft-rank1")


def test_an_error_nobody_foresaw_keeps_its_traceback_in_the_log(tmp_path):
    done = stage(tmp_path, "raise ValueError('a shape\\nof two lines')")
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith(f"Died: ValueError: a shape; the log is {tmp_path / 'logs' / 'sft.log'}")
    assert "Traceback" in log(tmp_path) and "of two lines" in log(tmp_path)


def test_a_users_error_passes_as_it_is(tmp_path):
    done = stage(tmp_path, "raise UserError('mend this')")
    assert done.stderr.strip().endswith("reasoner.errors.UserError: mend this")


def test_a_crash_in_c_leaves_its_stack_in_the_log(tmp_path):
    done = stage(tmp_path, "import ctypes; ctypes.string_at(0)")
    assert done.returncode < 0 and "Fatal Python error: Segmentation fault" in log(tmp_path)


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = stage(tmp_path / "file")
    assert "cannot be written" in done.stderr and "choose another --set output=DIR" in done.stderr


@pytest.mark.parametrize(("flags", "traceback"), [([], False), (["--debug"], True)])
def test_the_command_says_in_one_line_that_a_stage_died(tmp_path, flags, traceback):
    """Ray breaks when it is imported: nobody foresees that."""
    (tmp_path / "ray.py").write_text("raise RuntimeError('broken')", encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = ["-m", "recipes.cli", "mine", f"--set=output={tmp_path}", "--set=data.options.train=4", *flags]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, encoding="utf-8")
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1 and ("Traceback" in done.stderr) is traceback
    if not traceback:
        assert lines[-1].startswith("error: ") and lines[-1].endswith(f"the log is {tmp_path / 'logs' / 'mine.log'}")
