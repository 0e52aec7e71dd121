"""DICOM files for the tests of pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image


def write_dicom(
    path: Path, pixels: NDArray[Any], *, syntax: str = "ExplicitVRLittleEndian", data: bytes = b"", **tags: Any
) -> Path:
    """A DICOM file of these stored values; `tags` add to, or (None) take away from, the usual elements."""
    import pydicom
    from pydicom import uid

    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = getattr(uid, syntax)
    meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    file = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    frames = pixels.ndim == 3 and pixels.shape[2] != 3
    values = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": "1.2.3",
        "Rows": pixels.shape[1 if frames else 0],
        "Columns": pixels.shape[2 if frames else 1],
        "SamplesPerPixel": 3 if pixels.ndim == 3 and not frames else 1,
        "PhotometricInterpretation": "RGB" if pixels.ndim == 3 and not frames else "MONOCHROME2",
        "BitsAllocated": pixels.dtype.itemsize * 8,
        "BitsStored": pixels.dtype.itemsize * 8,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": data or pixels.tobytes(),
        **({"NumberOfFrames": pixels.shape[0]} if frames else {}),
        **({"PlanarConfiguration": 0} if pixels.ndim == 3 and not frames else {}),
        **tags,
    }
    for name, value in values.items():
        if value is not None:
            setattr(file, name, value)
    file.HighBit = file.BitsStored - 1
    if data:
        file["PixelData"].is_undefined_length = True
    file.save_as(path, enforce_file_format=True)
    return path


def encapsulate_frame(pixels: NDArray[np.uint8], form: str, **options: Any) -> bytes:
    from pydicom.encaps import encapsulate

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return encapsulate([buffer.getvalue()])


@pytest.fixture
def dicom() -> Callable[..., Path]:
    """`write_dicom`"""
    return write_dicom


@pytest.fixture
def encapsulated() -> Callable[..., bytes]:
    """`encapsulate_frame`"""
    return encapsulate_frame
