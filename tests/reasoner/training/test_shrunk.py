"""Pictures kept at the size of the model: decoded once, never stale, no worse than without where none can be kept."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from reasoner.pictures import PictureError, read_picture
from reasoner.training import shrunk
from reasoner.training.shrunk import Shrunk


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400), np.uint8)).save(path)
    return path


def test_a_large_picture_is_decoded_once_and_a_small_one_stays(large, tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(shrunk, "read_picture", lambda path: decoded.append(str(path)) or read_picture(path))
    read = Shrunk(tmp_path / "kept", 12_000)
    once, again = read(str(large)), Shrunk(tmp_path / "kept", 12_000)(str(large))
    assert once.size == (126, 95) and once.mode == "L" and once.tobytes() == again.tobytes()
    assert decoded.count(str(large)) == 1 and len(decoded) == 2, "then the kept one"
    whole = Shrunk(tmp_path / "kept", 120_000)(str(large))
    assert whole.tobytes() == read_picture(large).tobytes()
    assert len([path for path in (tmp_path / "kept").rglob("*") if path.is_file()]) == 1


def test_a_picture_that_changes_or_a_copy_that_breaks_is_made_again(large, tmp_path):
    read = Shrunk(tmp_path / "kept", 12_000)
    first = read(str(large))
    [copy] = (tmp_path / "kept").rglob("*.png")
    copy.write_bytes(copy.read_bytes()[:60])
    assert read(str(large)).tobytes() == first.tobytes() == read_picture(copy).tobytes()
    Image.new("RGB", (400, 300), "red").save(large)
    assert read(str(large)).mode == "RGB"
    os.unlink(large)
    with pytest.raises(PictureError, match="missing image"):
        read(str(large))


def test_where_nothing_can_be_kept_pictures_are_read_all_the_same(large, tmp_path):
    (tmp_path / "kept").write_text("a file", encoding="ascii")
    assert Shrunk(tmp_path / "kept", 12_000)(str(large)).size == (126, 95)
