"""The loader of pictures: every format a radiograph comes in, and everything that can be wrong with a file."""

from __future__ import annotations

import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from reasoner.pictures import (
    MAX_ASPECT,
    MAX_PIXELS,
    MIN_EDGE,
    REASONS,
    PictureError,
    picture_size,
    read_picture,
    read_rgb,
)

#: A ramp from black to white, left to right: 64 wide, 48 high.
RAMP = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
RAMP_12 = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (48, 1))
COLOURS = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)], axis=2)

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(pixels: NDArray[Any] | Image.Image, name: str, **options: Any) -> Path:
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return write


def grey(path: Path) -> NDArray[np.int16]:
    """The pixels of a picture that must be grey; the header must have told its size."""
    picture = read_picture(path)
    assert picture.mode == "L" and picture.size == picture_size(path)
    assert np.array_equal(np.asarray(read_rgb(path)), np.repeat(np.asarray(picture)[..., None], 3, axis=2))
    return np.asarray(picture).astype(np.int16)


def colour(path: Path) -> NDArray[np.int16]:
    picture = read_picture(path)
    assert picture.mode == "RGB" and picture.size == picture_size(path)
    return np.asarray(picture).astype(np.int16)


def near(seen: NDArray[Any], expected: NDArray[Any], tolerance: int = 1) -> bool:
    return seen.shape == expected.shape and int(np.abs(seen - expected.astype(np.int16)).max()) <= tolerance


def fault(path: str | Path) -> str:
    """Why the picture is refused, by the loader; the header must not know better."""
    with pytest.raises(PictureError) as caught:
        read_picture(path)
    assert caught.value.reason in REASONS and str(path) in str(caught.value) and "\n" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.webp", "a.gif"])
def test_8_bit_grey_comes_out_as_it_is(save: Save, name: str) -> None:
    options = {"lossless": True} if name == "a.webp" else {}
    path = save(RAMP, name, **options)
    seen = np.asarray(read_rgb(path)).astype(np.int16)
    assert all(near(seen[..., channel], RAMP, 0) for channel in range(3))


def test_jpeg_is_read_grey_and_in_colour(save: Save) -> None:
    assert near(grey(save(RAMP, "a.jpg", quality=95)), RAMP, 4)
    assert near(colour(save(COLOURS, "b.jpg", quality=100, subsampling=0)), COLOURS, 6)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("16.png", RAMP.astype(np.uint16) * 257, RAMP),
        ("16.tif", RAMP.astype(np.uint16) * 257, RAMP),
        ("16-big-endian.tif", (RAMP.astype(np.uint16) * 257).astype(">u2"), RAMP),
        ("12-in-16.png", RAMP_12, RAMP),
        ("10-in-16.tif", RAMP_12 // 4, RAMP),
        ("8-in-16.png", RAMP.astype(np.uint16), RAMP),
        ("int32.tif", RAMP.astype(np.int32) * 257, RAMP),
        ("negative.tif", RAMP.astype(np.int32) * 8 - 1000, RAMP),
        ("float-1.tif", RAMP.astype(np.float32) / 255, RAMP),
        ("float-12.tif", RAMP_12.astype(np.float32), RAMP),
        ("hounsfield.tif", RAMP.astype(np.float32) * 8 - 1000, RAMP),
        ("huge.tif", (RAMP.astype(np.float32) - 128) * 2e36, RAMP),
    ],
)
def test_wide_grey_values_keep_their_whole_range(
    save: Save, name: str, values: NDArray[Any], expected: NDArray[np.uint8]
) -> None:
    assert near(grey(save(values, name)), expected)


@pytest.mark.parametrize(
    ("name", "values", "stray"),
    [
        ("12-in-16.png", RAMP_12, 65535),
        ("8-in-16.png", RAMP.astype(np.uint16), 4095),
        ("16.tif", RAMP.astype(np.int32) * 257, -65535),
        ("16.tif", RAMP.astype(np.int32) * 257, 2**30),
        ("float-1.tif", RAMP.astype(np.float32) / 255, 4095.0),
        ("float-12.tif", RAMP_12.astype(np.float32), -4095.0),
    ],
)
def test_a_hot_pixel_is_clipped(save: Save, name: str, values: NDArray[Any], stray: float) -> None:
    values = values.copy()
    values[7, 9] = stray
    expected = RAMP.copy()
    expected[7, 9] = 255 if stray > 0 else 0
    assert near(grey(save(values, name)), expected)
    values[7, :9] = stray  # so many are part of the picture
    assert not near(grey(save(values, name))[20:], expected[20:])


@pytest.mark.parametrize(("least", "greatest"), [(0, 1.0001), (-0.0001, 1), (-0.04, 1.04), (0, 1.5), (0, 2), (-1, 1)])
def test_floats_about_0_to_1(save: Save, least: float, greatest: float) -> None:
    values = least + RAMP.astype(np.float32) / 255 * (greatest - least)
    expected = np.clip(values, 0, 1) * 255 if greatest - least < 1.2 else RAMP
    assert near(grey(save(values, "a.tif")), expected)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(width: int, height: int, bits: int, kind: int, data: bytes, more: bytes = b"") -> bytes:
    """A PNG file of this colour type, with its rows as `data` and `more` chunks before them."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def png_of_16_bits(path: Path, values: NDArray[np.uint16], kind: int, more: bytes = b"") -> Path:
    """Of the kinds in colour, and with transparency, Pillow cannot write 16 bits a channel."""
    data = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    path.write_bytes(png_file(values.shape[1], values.shape[0], 16, kind, data, more))
    return path


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_16_bits_in_colour_or_with_transparency(tmp_path: Path, bits: int) -> None:
    colours = np.round(COLOURS / 255 * (2**bits - 1)).astype(np.uint16)
    alpha = np.full((48, 64, 1), 65535, np.uint16)
    alpha[:, :20] = 0
    seen = np.where(alpha > 0, COLOURS, 0)
    assert near(colour(png_of_16_bits(tmp_path / "a.png", colours, 2)), COLOURS)
    assert near(colour(png_of_16_bits(tmp_path / "b.png", np.dstack([colours, alpha]), 6)), seen)
    path = png_of_16_bits(tmp_path / "c.png", np.dstack([colours[..., :1], alpha]), 4)
    assert near(np.asarray(read_rgb(path))[..., 0].astype(np.int16), seen[..., 0])


def test_the_transparent_value_of_16_bit_grey_is_black(tmp_path: Path) -> None:
    value = RAMP_12[0, 40]
    clear = chunk(b"tRNS", struct.pack(">H", value))
    seen = grey(png_of_16_bits(tmp_path / "a.png", RAMP_12, 0, clear))
    assert near(seen, np.where(value == RAMP_12, 0, RAMP))


def test_floats_that_are_no_numbers_are_black_and_a_picture_of_them_is_damaged(save: Save) -> None:
    values = RAMP.astype(np.float32)
    values[:, 40:] = np.nan
    values[0, :5] = np.inf
    seen = grey(save(values, "a.tif"))
    assert (seen[:, 40:] == 0).all() and near(seen[1:, :40], RAMP[1:, :40]) and (seen[0, :5] == 255).all()
    assert fault(save(np.full_like(values, np.nan), "b.tif")) == "damaged image"


def test_white_is_zero_in_some_tiff_files(save: Save) -> None:
    assert near(grey(save(RAMP.astype(np.uint16) * 257, "a.tif", tiffinfo={262: 0})), 255 - RAMP)


def test_one_bit_and_palettes(save: Save) -> None:
    bits = Image.fromarray(RAMP > 127)
    for name in ("a.png", "a.tif", "a.bmp"):
        assert near(grey(save(bits, name)), np.where(RAMP > 127, 255, 0), 0)
    palette = Image.fromarray(COLOURS).quantize(64)
    for name in ("b.png", "b.gif", "b.bmp", "b.tif"):
        assert near(colour(save(palette, name)), np.asarray(palette.convert("RGB")), 0)


def test_transparent_parts_lie_on_black(save: Save) -> None:
    alpha = np.full_like(RAMP, 255)
    alpha[:24] = 0
    shown = np.where(alpha == 255, RAMP, 0)
    assert near(grey(save(Image.merge("LA", list(map(Image.fromarray, (RAMP, alpha)))), "a.png")), shown, 0)
    layered = Image.fromarray(np.dstack([COLOURS, alpha]))
    for name in ("b.png", "b.tif"):
        assert near(colour(save(layered, name)), np.where(alpha[..., None] == 255, COLOURS, 0), 0)
    assert near(colour(save(layered, "b.webp", lossless=True)), np.where(alpha[..., None] == 255, COLOURS, 0), 0)
    assert near(grey(save(RAMP, "c.png", transparency=255)), np.where(RAMP == 255, 0, RAMP), 0)
    half = Image.merge("LA", [Image.new("L", (40, 40), 200), Image.new("L", (40, 40), 128)])
    assert (grey(save(half, "d.png")) == 100).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_is_shown_as_rgb(save: Save, name: str) -> None:
    cmyk = Image.fromarray(COLOURS).convert("CMYK")
    options = {"quality": 95, "subsampling": 0} if name == "a.jpg" else {}
    assert near(colour(save(cmyk, name, **options)), COLOURS, 12)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "packed.tif"])
def test_exif_orientation_is_applied_once_and_the_header_knows(save: Save, name: str, orientation: int) -> None:
    image, exif = Image.fromarray(RAMP), Image.Exif()
    exif[274] = orientation
    options: dict[str, Any] = {"exif": exif, "quality": 95}
    if name.endswith("tif"):
        options = {"tiffinfo": {274: orientation}, "compression": "tiff_lzw" if name == "packed.tif" else None}
    path = save(image, name, **options)
    expected = Image.fromarray(RAMP)
    expected.getexif()[274] = orientation
    upright = ImageOps.exif_transpose(expected)
    seen = read_picture(path)
    assert seen.size == picture_size(path) == upright.size
    assert near(np.asarray(seen.convert("L")).astype(np.int16), np.asarray(upright), 6)
    assert ImageOps.exif_transpose(seen).tobytes() == seen.tobytes(), "turned twice by those who turn again"


def test_damaged_exif_does_no_harm(save: Save) -> None:
    assert near(grey(save(RAMP, "a.jpg", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", quality=95)), RAMP, 4)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.tif", "a.png"])
def test_of_several_frames_the_first_counts(save: Save, name: str) -> None:
    others = [Image.new("L", (64, 48), level) for level in (10, 250)]
    path = save(RAMP, name, save_all=True, append_images=others, **({"lossless": True} if "webp" in name else {}))
    assert near(np.asarray(read_picture(path).convert("L")).astype(np.int16), RAMP)


@pytest.mark.parametrize(
    ("pixels", "tags", "expected"),
    [
        (RAMP_12, {"BitsStored": 12}, RAMP),
        (RAMP_12 // 2, {"BitsStored": 12}, RAMP // 2),
        (RAMP_12, {}, RAMP),  # 16 bits of 16 say nothing
        (RAMP_12, {"BitsStored": 12, "PhotometricInterpretation": "MONOCHROME1"}, 255 - RAMP),
        (RAMP, {}, RAMP),
        (RAMP_12.astype(np.int16) - 2048, {"BitsStored": 12}, RAMP),
        (RAMP_12, {"BitsStored": 12, "RescaleSlope": "-1", "RescaleIntercept": "4095"}, 255 - RAMP),
        (RAMP_12, {"BitsStored": 12, "WindowCenter": "2048", "WindowWidth": "4096"}, RAMP),
        (RAMP_12, {"WindowCenter": ["2048", "10"], "WindowWidth": ["4096", "1"]}, RAMP),
        (RAMP_12, {"WindowCenter": "1048", "WindowWidth": "4096", "RescaleSlope": "1", "RescaleIntercept": "-1000"},
         RAMP),
        (RAMP_12, {"WindowCenter": "2047.5", "WindowWidth": "4095", "VOILUTFunction": "LINEAR_EXACT"}, RAMP),
        (RAMP_12, {"WindowCenter": "1024", "WindowWidth": "2048"}, np.clip(RAMP.astype(int) * 2, 0, 255)),
        (RAMP_12, {"WindowCenter": "2048", "WindowWidth": "0"}, RAMP),
        (RAMP_12, {"WindowCenter": "2048", "WindowWidth": "2048", "VOILUTFunction": "SIGMOID"},
         255 / (1 + np.exp(-4 * (RAMP_12 - 2048.0) / 2048))),
        (RAMP_12, {"BitsStored": 12, "PresentationLUTShape": "INVERSE"}, 255 - RAMP),
        (RAMP_12, {"BitsStored": 12, "PresentationLUTShape": "INVERSE", "PhotometricInterpretation": "MONOCHROME1"},
         255 - RAMP),
        (np.stack([RAMP_12, RAMP_12 * 0]), {"BitsStored": 12}, RAMP),
    ],
)  # fmt: skip
def test_dicom_is_shown_as_on_a_viewer(
    tmp_path: Path, pixels: NDArray[Any], tags: dict[str, Any], expected: NDArray[Any], dicom: Callable[..., Path]
) -> None:
    assert near(grey(dicom(tmp_path / "a.dcm", pixels, **tags)), expected, 2)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_dicom_padding_is_black_and_says_nothing_about_the_range(
    tmp_path: Path, photometric: str, dicom: Callable[..., Path]
) -> None:
    pixels = RAMP_12.copy()
    pixels[:, :20], pixels[:, 20:22] = 65535, 65530
    tags = {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 65530, "PhotometricInterpretation": photometric}
    seen = grey(dicom(tmp_path / "a.dcm", pixels, **tags))
    shown = 255 - RAMP if photometric == "MONOCHROME1" else RAMP
    assert (seen[:, :22] == 0).all() and near(seen[:, 22:], shown[:, 22:])


def test_dicom_in_colour_and_with_a_palette(tmp_path: Path, dicom: Callable[..., Path]) -> None:
    assert near(colour(dicom(tmp_path / "a.dcm", COLOURS)), COLOURS, 0)
    luts = {f"{n}PaletteColorLookupTableDescriptor": [256, 0, 16] for n in ("Red", "Green", "Blue")}
    ramp = (np.arange(256, dtype=np.uint16) * 257).tobytes()
    tables = {"Red": ramp, "Green": ramp[::-1], "Blue": ramp}
    luts |= {f"{n}PaletteColorLookupTableData": table for n, table in tables.items()}
    seen = colour(dicom(tmp_path / "b.dcm", RAMP, PhotometricInterpretation="PALETTE COLOR", **luts))
    assert near(seen[..., 0], RAMP) and near(seen[..., 1], 255 - RAMP)


def test_compressed_dicom(tmp_path: Path, dicom: Callable[..., Path], encapsulated: Callable[..., bytes]) -> None:
    jpeg = encapsulated(RAMP, "JPEG", quality=95)
    assert near(grey(dicom(tmp_path / "a.dcm", RAMP, syntax="JPEGBaseline8Bit", data=jpeg)), RAMP, 4)
    j2k = encapsulated(RAMP, "JPEG2000", irreversible=False, no_jp2=True)
    assert near(grey(dicom(tmp_path / "b.dcm", RAMP, syntax="JPEG2000Lossless", data=j2k)), RAMP)
    for syntax in ("JPEGLSLossless", "DeflatedExplicitVRLittleEndian", "JPEGExtended12Bit", "MPEG2MPML"):
        data = b"" if syntax.startswith("Deflated") else jpeg
        path = dicom(tmp_path / "c.dcm", RAMP_12, syntax=syntax, data=data, BitsStored=12)
        assert fault(path) == "unsupported image"
        with pytest.raises(PictureError, match=r"transfer syntax .*uncompressed"):
            picture_size(path)


def test_a_dicom_file_without_a_picture_is_damaged(tmp_path: Path, dicom: Callable[..., Path]) -> None:
    assert fault(dicom(tmp_path / "a.dcm", RAMP, Rows=None)) == "not an image", "a report, a waveform"
    assert fault(dicom(tmp_path / "b.dcm", RAMP, PixelData=None)) == "damaged image"
    assert fault(dicom(tmp_path / "c.dcm", RAMP, PixelData=RAMP.tobytes()[:100])) == "damaged image"


def png_header(width: int, height: int) -> bytes:
    """A whole PNG file, by its structure, of any size that a header can state."""
    return png_file(width, height, 8, 0, bytes(1000))


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (20_000, 20_000, "image too large"),
        (10_000, 10_000, "image too large"),  # Pillow warns here, and refuses above
        (2**31 - 1, 2**31 - 1, "image too large"),
        (3000, 1, "image too small"),
        (MIN_EDGE - 1, MIN_EDGE, "image too small"),
        (MIN_EDGE, MIN_EDGE * MAX_ASPECT + 1, "image too long"),
    ],
)
def test_the_header_tells_what_is_outside_the_limits(
    tmp_path: Path, width: int, height: int, reason: str, dicom: Callable[..., Path]
) -> None:
    (tmp_path / "a.png").write_bytes(png_header(width, height))
    assert fault(tmp_path / "a.png") == reason
    with pytest.raises(PictureError, match=reason):
        picture_size(tmp_path / "a.png")
    if width < 2**16:
        assert fault(dicom(tmp_path / "a.dcm", RAMP, Rows=height, Columns=width)) == reason


def test_the_limits_themselves_are_allowed(save: Save) -> None:
    assert read_picture(save(Image.new("L", (MIN_EDGE, MIN_EDGE * MAX_ASPECT)), "a.png")).width == MIN_EDGE
    assert MAX_PIXELS >= 8000 * 8000


@pytest.mark.parametrize("form", ["png", "jpg", "tif", "gif", "webp", "bmp", "dcm"])
def test_cut_files_are_damaged(save: Save, tmp_path: Path, form: str, dicom: Callable[..., Path]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path = dicom(tmp_path / "a.dcm", noise) if form == "dcm" else save(noise, f"a.{form}")
    whole = path.read_bytes()
    for share in (0.0, 0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert fault(path) == "damaged image", share


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("The lungs are clear.", encoding="utf-8")
    (tmp_path / "b.png").write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    (tmp_path / "c.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", encoding="utf-8")
    for name in ("a.png", "b.png", "c.png"):
        assert fault(tmp_path / name) == "not an image"
    for path in (tmp_path, tmp_path / "gone.png", "a\0b.png", "x" * 5000, ""):
        assert fault(path) == "missing image"


def test_an_error_survives_its_way_between_processes(tmp_path: Path) -> None:
    with pytest.raises(PictureError) as caught:
        read_picture(tmp_path / "gone.png")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.path, again.reason, str(again)) == (caught.value.path, "missing image", str(caught.value))


def test_real_radiographs_open(data_dir: Path) -> None:
    paths = [path for path in sorted((data_dir / "images").glob("*")) if path.suffix in (".png", ".jpg")]
    if not paths:
        pytest.skip("no pictures among the real data")
    for path in paths:
        picture = read_rgb(path)
        assert picture.size == picture_size(path) and np.asarray(picture).std() > 20
