"""The one loader of pictures: every stage sees the same upright 8-bit pixels, or the same reason why there are none.

PNG, JPEG, TIFF, GIF, WebP and BMP are read by Pillow, DICOM by pydicom; the content decides, not the name. Of several
frames the first counts, EXIF orientation is applied, transparent parts are laid on black, CMYK becomes RGB.

Values of more than 8 bits are scaled by the smallest of 8, 10, 12, 14 and 16 bits that holds all but a thousandth, and
the rest is clipped: files with 16 bits a pixel often hold 10 or 12, which full range would show nearly black, and
so would one hot pixel. Floats from 0 to 1, or little beyond, are scaled by 255; negative values, other floats below 2,
and values above 16 bits are stretched from the least to the greatest.

In DICOM files the first window decides, else the bits stored where they are fewer than those allocated, else the rule
above. MONOCHROME1 is inverted and padding is black. Lookup tables (VOI, modality) are not applied.
"""

from __future__ import annotations

import ctypes
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from reasoner.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

#: What a picture's name may end with.
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".dcm", ".dicom")
#: All that can be wrong with a picture.
MISSING, FOREIGN, UNSUPPORTED, DAMAGED = "missing image", "not an image", "unsupported image", "damaged image"
LARGE, SMALL, LONG = "image too large", "image too small", "image too long"
REASONS = (MISSING, FOREIGN, UNSUPPORTED, DAMAGED, LARGE, SMALL, LONG)

#: The largest X-ray detectors give about 20 million pixels; more than this is a decompression bomb. Decoding so many
#: takes up to 1.3 GiB (floats, or transparency) or 3 GiB (PNG in colour, 10 bits in 16), and seconds.
MAX_PIXELS = 64 * 10**6
#: The edge of one image token of a Qwen-VL (28 or 32 pixels): its processor rounds edges of up to 14 pixels to nothing.
MIN_EDGE = 32
#: No radiograph is longer (a whole spine is 4 : 1). A Qwen-VL's processor refuses 200 : 1.
MAX_ASPECT = 20

_FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP")  # some of Pillow's others run programs or read scripts
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+", b"RIFF", b"GIF8")
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what it says of damaged files is in our error
_DEPTHS = (8, 10, 12, 14, 16)
#: So large a share of the pixels says nothing about the range: hot pixels of a detector.
_STRAYS = 0.001
#: So far do floats from 0 to 1 go beyond when a picture is resampled.
_OVERSHOOT = 0.05
_ORIENTATION, _PHOTOMETRIC = 274, 262  # tags of EXIF and TIFF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_DICOM_TAGS = [
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "WindowCenter", "WindowWidth",
    "VOILUTFunction", "RescaleSlope", "RescaleIntercept", "PresentationLUTShape",
    "RedPaletteColorLookupTableDescriptor",
    *(f"{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue")),
]  # fmt: skip

#: Width and height of an upright picture, and what decodes it.
Header = tuple[tuple[int, int], Callable[[], Image.Image]]


class PictureError(UserError):
    """A picture that cannot be used: its `path`, one of `REASONS`, and what is known beyond it."""

    def __init__(self, path: str | Path, reason: str, detail: str = "") -> None:
        super().__init__(str(path), reason, detail)
        self.path, self.reason, self.detail = str(path), reason, detail

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" + (f" ({self.detail})" if self.detail else "")


def read_picture(path: str | Path) -> Image.Image:
    """The picture, upright, in mode `L` where the file is grey and `RGB` elsewhere.

    Raises:
        PictureError: whatever is wrong with it, and nothing else.
    """
    with _opened(path) as (size, decode):
        image = decode()
        if image.size != size:
            raise PictureError(path, DAMAGED, f"{image.size} pixels, announced as {size}")
        plain = Image.new(image.mode, size, None)  # type: ignore[arg-type]  # no copy of the file's EXIF, applied above
        plain.paste(image)
        return plain


def read_rgb(path: str | Path) -> Image.Image:
    """`read_picture` in mode `RGB`, as models take it."""
    return read_picture(path).convert("RGB")


def picture_size(path: str | Path) -> tuple[int, int]:
    """(width, height) that `read_picture` gives, from the header alone.

    Raises:
        PictureError: for all that the header tells: not there, no picture, outside the limits.
    """
    with _opened(path) as (size, _):
        return size


@contextmanager
def _opened(path: str | Path) -> Iterator[Header]:
    """The header of a picture within the limits; every exception while it is open becomes a `PictureError`."""
    try:
        if not Path(path).is_file():
            raise PictureError(path, MISSING)
        file = open(path, "rb")  # noqa: SIM115  # closed below
    except (OSError, ValueError) as error:  # no permission; or what cannot be the name of a file
        raise PictureError(path, MISSING, _line(error)) from None
    with file, warnings.catch_warnings(action="ignore"):
        try:
            header = _header(file)
            _check_size(*header[0])
            yield header
        except _Fault as fault:
            raise PictureError(path, *fault.args) from None
        except PictureError:
            raise
        except Image.DecompressionBombError as error:
            raise PictureError(path, LARGE, _line(error)) from None
        except Exception as error:  # decoders raise all there is on damaged bytes
            raise PictureError(path, DAMAGED, _line(error)) from None


class _Fault(Exception):
    """Reason and detail of a `PictureError`, where the path is not known."""


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _Fault(LARGE, f"{width} x {height}, at most {MAX_PIXELS // 10**6} million pixels")
    if min(width, height) < MIN_EDGE:
        raise _Fault(SMALL, f"{width} x {height}, at least {MIN_EDGE} pixels an edge")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise _Fault(LONG, f"{width} x {height}, at most {MAX_ASPECT} : 1")


def _header(file: BinaryIO) -> Header:
    head = file.read(132)
    file.seek(0)
    if head[128:] == b"DICM":
        return _dicom_header(file)
    if not head:
        raise _Fault(DAMAGED, "empty file")
    if not head.startswith(_MAGIC) or (head.startswith(b"RIFF") and head[8:12] != b"WEBP"):
        raise _Fault(FOREIGN)
    image = Image.open(file, formats=_FORMATS)
    is_tiff = hasattr(image, "tag_v2")
    if is_tiff:
        _silence_libtiff()
    try:
        # PNG's own method would decode the whole picture in search of EXIF behind it.
        orientation = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF does no harm
        orientation = 1
    # Pillow turns TIFF itself, and where the orientation is a tag it says so in advance.
    turned = is_tiff and _ORIENTATION in image.tag_v2  # type: ignore[attr-defined]
    size = image.size[::-1] if orientation in _SIDEWAYS and not turned else image.size

    def decode() -> Image.Image:
        turn = None if is_tiff else _TURNS.get(orientation)
        plain = _eight_bits(_all_bits(file, image))
        return plain if turn is None else plain.transpose(turn)

    return size, decode


@cache
def _silence_libtiff() -> None:
    """libtiff writes what it thinks of a damaged file to the terminal, past Python."""
    with suppress(OSError, AttributeError):  # a Pillow without it
        library = ctypes.CDLL(Image.core.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)


def _all_bits(file: BinaryIO, image: Image.Image) -> Image.Image:
    """The loaded image; of PNG files with 16 bits a channel Pillow keeps the upper byte, which may hold very little.

    Where it does, the lower byte is read, too, and the values are scaled as grey ones are.
    """
    layout = image.tile[0].args if isinstance(image, PngImageFile) and image.tile else None
    image.load()
    if layout not in ("RGB;16B", "RGBA;16B", "LA;16B"):  # Pillow's names, upper byte first
        return image
    upper = np.asarray(image)[..., :3]
    if np.count_nonzero(upper >= 2**6) > _STRAYS * upper.size:  # more than 14 bits
        return image
    file.seek(0)
    again = PngImageFile(file)
    grey = layout == "LA;16B"
    again.tile = [again.tile[0]._replace(args="RGBA" if grey else f"{layout[:-1]}L")]  # all bytes; the lower ones
    found = np.asarray(again)
    values = found.view(">u2")[..., 0] if grey else upper.astype(np.uint16) << 8 | found[..., :3]
    scaled = Image.fromarray(_scaled(values, *_range(values)))
    if "A" in image.getbands():
        scaled.putalpha(image.getchannel("A"))
    return scaled


def _eight_bits(image: Image.Image) -> Image.Image:
    """Any of Pillow's modes as `L` or `RGB`."""
    if image.mode[0] in "IF":
        values = np.asarray(image)
        grey = _scaled(values, *_range(values))
        if image.info.get("transparency") is not None:
            grey[values == image.info["transparency"]] = 0
        white_is_zero = hasattr(image, "tag_v2") and image.tag_v2.get(_PHOTOMETRIC) == 0
        return Image.fromarray(255 - grey if white_is_zero else grey)
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        layer = image.convert(f"{mode}A")
        return Image.composite(layer.convert(mode), Image.new(mode, image.size), layer.getchannel("A"))
    return image if image.mode == mode else image.convert(mode)


def _range(values: NDArray[Any]) -> tuple[float, float]:
    """The values that become black and white, by the rule at the top of this module."""
    finite = values if values.dtype.kind != "f" else values[np.isfinite(values)]
    if not finite.size:
        raise _Fault(DAMAGED, "no pixel is a number")
    low, high = float(finite.min()), float(finite.max())

    def hold(least: float, end: float) -> bool:
        """Whether all pixels but strays are in [least, end)."""
        if least <= low and high < end:
            return True
        return bool(np.count_nonzero(finite < least) + np.count_nonzero(finite >= end) <= _STRAYS * finite.size)

    if values.dtype.kind == "f" and hold(-_OVERSHOOT, 1 + _OVERSHOOT):
        return 0.0, 1.0
    if values.dtype.kind == "f" and hold(-np.inf, 2 + _OVERSHOOT):  # no bits
        return low, high
    bits = next((bits for bits in _DEPTHS if hold(0, 2**bits)), None)
    return (low, high) if bits is None else (0.0, 2.0**bits - 1)


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """8 bits from `low` (black) to `high` (white), clipped; inverted where `low` is the greater."""
    grey = values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)
    grey = np.nan_to_num(grey, copy=False, nan=low)
    np.clip(grey, min(low, high), max(low, high), out=grey)
    grey -= low
    grey *= 255 / (high - low or 1)
    grey += 0.5
    return grey.astype(np.uint8)


def _dicom_header(file: BinaryIO) -> Header:
    import pydicom
    from pydicom.filereader import read_file_meta_info
    from pydicom.pixels import get_decoder

    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    syntax = pydicom.uid.UID(read_file_meta_info(file.name).TransferSyntaxUID)
    if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:  # a file of any size could come out of it
        raise _Fault(UNSUPPORTED, f"transfer syntax {syntax.name}; rewrite it uncompressed")
    tags: list[Any] = _DICOM_TAGS
    dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)
    if dataset.get("Rows") is None or dataset.get("Columns") is None:
        raise _Fault(FOREIGN, "DICOM without a picture")
    try:
        decoders = set(get_decoder(syntax).available_plugins) if syntax.is_compressed else {"pydicom"}
    except NotImplementedError:
        decoders = set()
    if syntax == pydicom.uid.JPEGExtended12Bit and dataset.BitsStored > 8:
        decoders.discard("pillow")
    if not decoders:
        raise _Fault(UNSUPPORTED, f"transfer syntax {syntax.name}; rewrite it uncompressed, or install pylibjpeg")

    def decode() -> Image.Image:
        file.seek(0)
        return Image.fromarray(_dicom_pixels(dataset, pydicom.pixels.pixel_array(file, index=0)))

    return (int(dataset.Columns), int(dataset.Rows)), decode


def _dicom_pixels(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
    """[rows, columns] or [rows, columns, 3] as shown on a screen, from the stored values."""
    kind = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if kind == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        stored = apply_color_lut(stored, dataset)[..., :3]
    if stored.ndim == 3:
        return stored if stored.dtype == np.uint8 else _scaled(stored, *_range(stored))
    padding = _padding(dataset, stored)
    seen = stored if padding is None or padding.all() else stored[~padding]
    window = _window(dataset)
    if window is not None and dataset.get("VOILUTFunction") == "SIGMOID":
        black, white = window
        share = 1 / (1 + np.exp(np.clip(2 - 4 * (stored - black) / (white - black), -50, 50)))
        grey = _scaled(share, 0, 1)
    else:
        grey = _scaled(stored, *(window or _stored_range(dataset, seen)))
    # Of a MONOCHROME1 file INVERSE says the same again.
    if kind == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        grey = 255 - grey
    if padding is not None:
        grey[padding] = 0
    return grey


def _padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where the stored values are padding; None where the file names none."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return (stored >= low) & (stored <= high)


def _window(dataset: Dataset) -> tuple[float, float] | None:
    """The stored values that the first window shows black and white; None without a usable one."""
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if centre is None or width is None or width <= 1:
        return None
    if dataset.get("VOILUTFunction", "LINEAR") == "LINEAR":
        centre, width = centre - 0.5, width - 1
    slope, intercept = _number(dataset, "RescaleSlope") or 1.0, _number(dataset, "RescaleIntercept") or 0.0
    return (centre - width / 2 - intercept) / slope, (centre + width / 2 - intercept) / slope


def _stored_range(dataset: Dataset, stored: NDArray[Any]) -> tuple[float, float]:
    bits = int(dataset.BitsStored)
    low, high = _range(stored)
    if bits == 1 or bits < int(
        dataset.BitsAllocated
    ):  # equal numbers say nothing: 16 of 16 is what many a device writes
        signed = int(dataset.get("PixelRepresentation", 0))
        low, high = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    return (high, low) if (_number(dataset, "RescaleSlope") or 1) < 0 else (low, high)


def _number(dataset: Dataset, name: str) -> float | None:
    """An element's first value, when it is a finite number."""
    value = dataset.get(name)
    if isinstance(value, list) or hasattr(value, "__getitem__"):
        value = value[0] if len(value) else None
    number = None if value is None else float(value)
    return number if number is not None and np.isfinite(number) else None


def _line(error: BaseException) -> str:
    """An exception in one short line."""
    words = " ".join((str(error) or type(error).__name__).split())
    return words if len(words) <= 160 else f"{words[:159]}…"
