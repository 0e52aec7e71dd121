from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reasoner.errors import UserError
from reasoner.runtime.disk import alone, output_path, read_object, replaced, replacing, swap, write_whole
from tests.killed import Killed


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("step", range(5))
def test_a_swap_that_is_killed_loses_nothing_and_can_be_repeated(kept, step, tmp_path, kill_before, monkeypatch):
    part, place, previous = tmp_path / "sft.part", tmp_path / "sft", tmp_path / "sft.previous" if kept else None
    for folder, text in ((part, "new"), (place, "old"), (previous, "oldest")):
        if folder is not None:
            folder.mkdir()
            (folder / "weights").write_text(text, encoding="utf-8")
    kill_before(step)
    try:
        swap(part, place, previous)
    except Killed:
        monkeypatch.undo()
        held = [
            (path / "weights").read_text(encoding="utf-8")
            for path in tmp_path.iterdir()
            if (path / "weights").is_file()
        ]
        assert "new" in held and (part.exists() is False or "old" in held)
        if part.exists():
            swap(part, place, previous)
    assert (place / "weights").read_text(encoding="utf-8") == "new" and not part.exists()
    if previous is not None:
        assert (previous / "weights").read_text(encoding="utf-8") == "old"


def test_a_link_is_replaced_and_not_what_it_points_to(tmp_path):
    for name in ("real", "part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "of").write_text(name, encoding="utf-8")
    (tmp_path / "place").symlink_to(tmp_path / "real")
    swap(tmp_path / "part", tmp_path / "place")
    assert (tmp_path / "place" / "of").read_text(encoding="utf-8") == "part" and (tmp_path / "real" / "of").read_text(
        encoding="utf-8"
    ) == "real"


def test_a_block_that_fails_leaves_the_earlier_folder(tmp_path):
    folder = tmp_path / "export"
    for text in ("first", "second"):
        with replaced(folder, "card") as part:
            (part / "card").write_text(text, encoding="utf-8")
    with pytest.raises(RuntimeError), replaced(folder, "card") as part:
        (part / "card").write_text("wrong", encoding="utf-8")
        raise RuntimeError
    assert (folder / "card").read_text(encoding="utf-8") == "second"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a file where a folder is needed"), replaced(tmp_path / "file", "card"):
        pass
    for theirs in (tmp_path, Path("/")):
        with pytest.raises(UserError, match=r"holds other files .* choose an empty output"), replaced(theirs, "card"):
            pass


def test_a_text_is_written_whole_or_not_at_all(tmp_path, kill_before):
    write_whole(tmp_path / "a.json", "old")
    kill_before(0)
    with pytest.raises(Killed):
        write_whole(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b'{"a": 1', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "a JSON object is needed, found list"),
        (None, "cannot be read"),
    ],
)
def test_damaged_json_is_named_with_its_fix(content, message, tmp_path):
    path = tmp_path / "summary.json"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=f"summary.json: .*{message}.*; mine again"):
        read_object(path, "mine again")


@pytest.mark.parametrize("bad", ["", " ", "a\0b", os.fsdecode(b"out\xe9"), "loop", "loop/out"])
def test_a_path_that_cannot_be_an_output_is_refused(bad, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    with pytest.raises(UserError, match=r"^(the )?output"):
        output_path(bad)
    assert os.listdir() == ["loop"]


def test_any_other_path_can_be_an_output(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    for name in (".", "new/deep", "link", "\u00e9 \u2028", "x" * 300, "/proc/x"):
        assert output_path(str(tmp_path / name)) == tmp_path / name


HOLD = """
import sys
from pathlib import Path
from reasoner.runtime.disk import alone
with alone(Path(sys.argv[1]), "waiting"):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_only_one_process_is_in_the_block_and_a_dead_one_keeps_nobody_out(tmp_path):
    lock = tmp_path / ".lock"
    command = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"in\n"
        message = rf"another run is busy here \(process {other.pid}\)"
        with pytest.raises(UserError, match=message), alone(lock, "busy here"):
            raise AssertionError("in the block")
        other.kill()
        other.wait()
        assert lock.exists()
    with alone(lock, "busy here"):
        assert lock.read_text(encoding="ascii") == str(os.getpid())
    with pytest.raises(ZeroDivisionError), alone(lock, "busy here"):
        raise ZeroDivisionError
    assert not lock.exists()


def test_a_name_that_ends_in_gz_is_packed(tmp_path):
    for name in ("a.gz", "b.gz"):
        with replacing(tmp_path / name) as file:
            file.write("caf\u00e9 \ud800\n")
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()).decode() == "caf\u00e9 \\ud800\n"
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a.gz") as file:
        raise ZeroDivisionError
    assert sorted(os.listdir(tmp_path)) == ["a.gz", "b.gz"]
    assert gzip.decompress((tmp_path / "a.gz").read_bytes())
