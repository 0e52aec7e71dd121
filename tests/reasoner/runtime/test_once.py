"""Files that are made once: by one of several processes, anew after a kill, and never half."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest

from reasoner.errors import UserError
from reasoner.runtime.once import made_once


def slow(place: Path) -> None:
    with (place.parent / "calls").open("a", encoding="ascii") as calls:
        calls.write("x")
    time.sleep(0.2)
    place.write_text("whole", encoding="ascii")


def test_one_process_makes_it_and_the_others_wait(tmp_path):
    place = tmp_path / "cache" / "rows-1.txt"
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=made_once, args=(place, slow)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert place.read_text(encoding="ascii") == "whole"
    assert (place.parent / "calls").read_text(encoding="ascii") == "x"


def test_a_new_key_takes_the_place_of_the_old_one_and_of_what_a_kill_left(tmp_path):
    for name in ("rows-1.txt", "rows_more-1.txt", ".rows-1.txt.7.part"):
        (tmp_path / name).write_text("old", encoding="ascii")
    assert made_once(tmp_path / "rows-1.txt", slow).read_text(encoding="ascii") == "old"
    with pytest.raises(ZeroDivisionError):
        made_once(tmp_path / "rows-2.txt", lambda part: part.write_text("half", encoding="ascii") and 1 / 0)
    assert (tmp_path / "rows-1.txt").exists() and not (tmp_path / "rows-2.txt").exists()
    made_once(tmp_path / "rows-2.txt", slow)
    assert {path.name for path in tmp_path.iterdir()} == {"rows-2.txt", "rows_more-1.txt", "calls", ".lock"}


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "cache").write_text("a file", encoding="ascii")
    with pytest.raises(UserError, match="cache: cannot be written"):
        made_once(tmp_path / "cache" / "rows-1.txt", slow)
