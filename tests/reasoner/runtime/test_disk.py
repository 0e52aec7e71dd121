from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from reasoner.errors import UserError
from reasoner.runtime.disk import read_object, replaced, swap, write_whole


class Killed(BaseException):
    """Stands for SIGKILL: nothing handles it."""


@pytest.fixture
def kill_before(monkeypatch):
    """`kill_before(n)`: from then on, the n-th change to the disk is not made, and raises `Killed`."""

    def arm(step: int) -> None:
        left = [step]

        def guarded(change):
            def instead(*args, **more):
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return change(*args, **more)

            return instead

        for owner, name in ((os, "rename"), (os, "replace"), (shutil, "rmtree"), (Path, "unlink")):
            monkeypatch.setattr(owner, name, guarded(getattr(owner, name)))

    yield arm
    monkeypatch.undo()


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
