"""`--processes`: how several processes end, with small scripts in the place of `reasoner`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from recipes import launch as launching
from recipes.cli import main
from recipes.launch import launch

#: A process that does as its rank is told, with what `reasoner` ends by.
SCRIPT = """
import os, signal, sys, time
from reasoner.runtime.ranks import end_with_parent, rank
from recipes.cli import failed

end_with_parent()
print("rank", rank(), "of", os.environ["WORLD_SIZE"], file=sys.stderr)
def wait():
    time.sleep(60)
def told(text, code=2):
    sys.exit(failed(text, code))
def killed():
    os.kill(os.getpid(), signal.SIGKILL)
exec(sys.argv[1 + rank()])
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.setattr(launching, "_FIND_OUT_S", 0.5)
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("main", "other", "line", "code"),
    [
        ("pass", "pass", "", 0),
        ("told('no such file')", "told('no such file')", "error: no such file", 2),
        ("told('no such file')", "sys.exit(2)", "error: no such file", 2),  # the others learn it from the main one
        ("wait()", "told('no picture here')", "error: process 1 of 2: no picture here", 2),
        ("wait()", "killed()", "error: process 1 of 2 was killed (SIGKILL); out of memory, perhaps (`dmesg` tells)", 1),
        ("time.sleep(0.2); told('peer gone', 1)", "killed()", "error: process 1 of 2 was killed", 1),
        ("wait()", "raise ValueError('odd')", "error: process 1 of 2 ended with code 1: ValueError: odd", 1),
        ("wait()", "told('a cause', 1)", "error: process 1 of 2: a cause", 1),
        ("told('a cause', 1); wait()", "told('a cause', 1); wait()", "error: a cause", 1),
    ],
)
def test_the_first_that_fails_ends_the_others_with_its_line(script, main, other, line, code, capfd):
    start = time.monotonic()
    ended = launch([script, main, other], 2)
    assert (ended.code, ended.line[: len(line)] if line else ended.line) == (code, line)
    assert time.monotonic() - start < 30
    printed = capfd.readouterr().err
    assert "rank 0 of 2" in printed and "rank 1" not in printed and "error" not in printed


def test_each_has_its_place_and_all_the_same_port(script, tmp_path):
    note = f"Path({str(tmp_path)!r}, 'place-' + os.environ['RANK']).write_text(os.environ['MASTER_PORT'])"
    assert launch([script, *[f"from pathlib import Path; {note}"] * 3], 3).code == 0
    ports = [(tmp_path / f"place-{rank}").read_text(encoding="utf-8") for rank in range(3)]
    assert len(set(ports)) == 1


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_command(script, tmp_path, sent):
    root = Path(__file__).parents[2]
    wait = f"open({str(tmp_path)!r} + '/' + os.environ['RANK'], 'w').close(); wait()"
    program = f"from recipes.launch import launch; launch([{script!r}, {wait!r}, {wait!r}], 2)"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)
    while not all((tmp_path / str(rank)).exists() for rank in range(2)):
        assert command.poll() is None
        time.sleep(0.05)
    ranks = psutil.Process(command.pid).children()
    assert len(ranks) == 2
    command.send_signal(sent)
    assert command.wait(timeout=30) == (143 if sent == signal.SIGTERM else -9)
    gone, alive = psutil.wait_procs(ranks, timeout=30)
    assert len(gone) == 2 and not alive


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sft", "--processes", "0"], "error: --processes: must be 1 or more (got 0)"),
        (["sft", "--processes", "2", "--set", "seed=x"], "error: --set seed=x:"),
        (["mine", "--processes", "2"], "error: unrecognized arguments: --processes 2"),
    ],
)
def test_what_cannot_be_is_told_before_any_process_starts(arguments, told, capsys, monkeypatch):
    monkeypatch.setattr(launching, "_start", None)
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(told)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["mine"], "error (process 1): mine: runs in one process; only sft and grpo train in several"),
        (["sft", "--processes", "3"], "error (process 1): --processes 3: 2 have been started already; leave it out"),
    ],
)
def test_a_process_that_another_launcher_started_says_who_it_is(arguments, told, capsys, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 2
    assert capsys.readouterr().err.strip() == told
