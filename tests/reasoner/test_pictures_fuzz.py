"""Ten thousand hostile files: each becomes a picture within the limits or a `PictureError`, without a word."""

from __future__ import annotations

import io
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reasoner.pictures import MAX_ASPECT, MAX_PIXELS, MIN_EDGE, REASONS, PictureError, picture_size, read_picture
from tests.hostile import MANY

#: Compression of TIFF -> the mode that it can write.
WRITTEN = {"jpeg": "L", "group4": "1"}


def hostile(folder: Path, dicom: Callable[..., Path], encapsulated: Callable[..., bytes]) -> Iterator[bytes]:
    """Small pictures of all kinds, cut, mutated and filled with noise, and mere noise, without end."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (34, 40), dtype=np.uint8)
    images = [
        Image.fromarray(noise),
        Image.fromarray(np.repeat(noise[..., None], 3, axis=2)),
        Image.fromarray(noise.astype(np.uint16) * 257),
        Image.fromarray(noise.astype(np.float32)),
        Image.fromarray(noise > 99),
        Image.fromarray(noise).quantize(9),
        Image.merge("RGBA", [Image.fromarray(noise)] * 4),
    ]
    exif = Image.Exif()
    exif[274] = 6
    seeds: list[bytes] = []
    ways: list[tuple[str, dict[str, Any]]] = [
        ("PNG", {"exif": exif}), ("JPEG", {"exif": exif}), ("JPEG", {"progressive": True}), ("GIF", {}), ("BMP", {}),
        ("WEBP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}),
        ("TIFF", {"compression": "group4"}),
    ]  # fmt: skip
    for image in images:
        for form, options in ways:
            buffer = io.BytesIO()
            if options.get("compression", "tiff_lzw") != "tiff_lzw" and image.mode != WRITTEN[options["compression"]]:
                continue  # libtiff would say so on the terminal
            try:
                image.save(buffer, form, **options)
            except (OSError, ValueError, SystemError, RuntimeError):  # not every format takes every mode
                continue
            seeds.append(buffer.getvalue())
    for number, tags in enumerate([{}, {"WindowCenter": "9", "WindowWidth": "4"}, {"PixelPaddingValue": 0}]):
        seeds.append(dicom(folder / f"{number}.dcm", noise.astype(np.uint16), **tags).read_bytes())
    jpeg = encapsulated(noise, "JPEG")
    seeds.append(dicom(folder / "jpeg.dcm", noise, syntax="JPEGBaseline8Bit", data=jpeg).read_bytes())
    while True:
        data = bytearray(seeds[random.integers(len(seeds))])
        way = random.integers(10)
        if way == 0:
            yield random.bytes(int(random.integers(300)))
            continue
        if way < 3:
            del data[random.integers(len(data)) :]
        for _ in range(random.integers(1, 12) if way >= 2 else 0):
            if data:  # most that matters is at the beginning
                place = int(len(data) * random.random() ** (3 if way % 2 else 1))
                data[place] = random.choice([0, 1, 127, 128, 255, random.integers(256)])
        if way == 9 and len(data) > 8:
            start = int(random.integers(len(data)))
            data[start : start + 8] = random.bytes(8)
        yield bytes(data)


@pytest.mark.parametrize("count", [400, pytest.param(MANY, marks=pytest.mark.slow)])
def test_hostile_pictures_are_read_or_refused(
    tmp_path: Path,
    dicom: Callable[..., Path],
    encapsulated: Callable[..., bytes],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
    count: int,
) -> None:
    path, before, good = tmp_path / "picture.png", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for _, data in zip(range(count), hostile(tmp_path, dicom, encapsulated), strict=False):
        path.write_bytes(data)
        told: object = None
        try:
            told = picture_size(path)
        except PictureError as error:
            told = error.reason
        try:
            picture = read_picture(path)
        except PictureError as error:
            assert error.reason in REASONS and (isinstance(told, tuple) or told == error.reason)
        else:
            good += 1
            width, height = picture.size
            assert picture.mode in ("L", "RGB") and picture.size == told and width * height <= MAX_PIXELS
            assert min(width, height) >= MIN_EDGE and max(width, height) <= MAX_ASPECT * min(width, height)
    assert count * 0.05 < good < count * 0.95, "neither harmless nor hopeless, or this test shows nothing"
    # What other tests of this process left open is collected at any moment, with a warning of its own.
    warned = [warning for warning in recwarn.list if not issubclass(warning.category, ResourceWarning)]
    assert not warned and not caplog.records and capfd.readouterr() == ("", "")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20, "a gibibyte, in KiB"
