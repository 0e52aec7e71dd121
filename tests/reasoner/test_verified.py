"""Pictures are decoded once, as long as nothing changes; trouble with the memory costs time and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import pytest
from PIL import Image

import reasoner.verified
from reasoner.pictures import PictureError, read_picture
from reasoner.verified import Verified


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were decoded, in order."""
    names: list[str] = []

    def counted(path: str) -> Image.Image:
        names.append(Path(path).name)
        return read_picture(path)

    monkeypatch.setattr(reasoner.verified, "read_picture", counted)
    return names


def pictures(folder: Path, count: int) -> list[str]:
    for number in range(count):
        Image.new("L", (40, 40), number).save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(count)]


def look(folder: Path, paths: list[str]) -> None:
    with Verified(folder) as verified:
        for path in paths:
            verified.check(path)


def test_unchanged_files_are_decoded_once(tmp_path: Path, decoded: list[str]) -> None:
    paths = pictures(tmp_path, 250)
    look(tmp_path, [*paths, *paths])
    assert len(decoded) == 250
    look(tmp_path, paths)
    assert len(decoded) == 250
    Image.new("L", (40, 40), 9).save(paths[0])
    os.utime(paths[1])
    look(tmp_path, paths)
    assert decoded[250:] == ["0.png", "1.png"]


def test_bad_ones_are_looked_at_each_time_and_so_are_good_ones_that_turned_bad(
    tmp_path: Path, decoded: list[str]
) -> None:
    [path] = pictures(tmp_path, 1)
    look(tmp_path, [path])
    Path(path).write_bytes(Path(path).read_bytes()[:-30])
    for _ in range(2):
        with pytest.raises(PictureError, match="damaged image"):
            look(tmp_path, [path])
    Path(path).unlink()
    with pytest.raises(PictureError, match="missing image"):
        look(tmp_path, [path])
    assert len(decoded) == 4


def test_another_loader_forgets(tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    paths = pictures(tmp_path, 2)
    look(tmp_path, paths)
    monkeypatch.setattr(reasoner.verified, "_LOADER", reasoner.verified._LOADER ^ 1)
    look(tmp_path, paths)
    assert len(decoded) == 4


def test_a_memory_that_cannot_be_used_costs_nothing_but_time(tmp_path: Path, decoded: list[str]) -> None:
    paths = pictures(tmp_path, 2)
    look(tmp_path / "nowhere", paths)
    (tmp_path / "folder" / "pictures.sqlite").mkdir(parents=True)  # neither read nor written, even by root
    look(tmp_path / "folder", paths)
    assert len(decoded) == 4
    (tmp_path / "pictures.sqlite").write_bytes(b"no data base" * 1000)
    look(tmp_path, paths)
    look(tmp_path, paths)
    assert len(decoded) == 6, "a damaged memory is made anew"


def test_a_source_that_remembers_can_be_sent_to_workers(tmp_path: Path) -> None:
    verified = Verified(tmp_path)
    look(tmp_path, pictures(tmp_path, 1))
    assert pickle.loads(pickle.dumps(verified)).file == verified.file


def test_parallel_workers_share_a_memory(tmp_path: Path, decoded: list[str]) -> None:
    paths = pictures(tmp_path, 200)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.starmap(look, [(tmp_path, paths[start::4]) for start in range(4)])
    look(tmp_path, paths)
    assert decoded == []
