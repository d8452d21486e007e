"""Find the pixels of one DICOM file without trusting what the file announces.

Sizes are compared with each other and with the bytes that are there before anything is allocated or decoded.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from lungpipe.dicom.data_set import open_data_set
from lungpipe.dicom.fragments import split_frames
from lungpipe.errors import DicomError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from lungpipe.dicom.data_set import open_data_set
from lungpipe.dicom.fragments import Parts

#: Pixels of the largest image that is decoded; CT matrices have 512 to 2048 a side.
MAX_PIXELS = 4096 * 4096
#: Bytes of the largest data set that is inflated.
MAX_INFLATED_BYTES = 256 * 1024 * 1024

#: Transfer syntaxes that store pixels as they are.
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
_PIXEL_DATA, _FIRST_PIXELS, _UNDEFINED = 0x7FE00010, 0x7FE00008, 0xFFFFFFFF
_WANTED: list[BaseTag | int] = [
    Tag(name)
    for name in (
        "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
        "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit",
        "RescaleIntercept", "RescaleSlope", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    )
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Image:
    """One file, its header read and its pixels found but not decoded.

    Parameters
    ----------
    syntax : str
        Transfer syntax UID.
    size : tuple of int
        Rows, columns.
    samples, planar : int
        Samples per pixel; planar configuration.
    photometric : str
        Photometric interpretation.
    bits : tuple of int
        Bits allocated, bits stored, high bit, pixel representation (1 signed).
    rescale : tuple of (float, float), or None
        Slope and intercept of each frame; None where one is missing, no number, or the slope is zero.
    padding : tuple of int, optional
        Lowest and highest value that the header declares as padding (DICOM PS3.3 C.7.5.1.1.2), as stored.
    content : bytes
        The file; inflated, if it was deflated.
    frames : tuple of Parts
        Offset and length in ``content`` of the fragments of each frame.
    """

    syntax: str
    size: tuple[int, int]
    samples: int
    planar: int
    photometric: str
    bits: tuple[int, int, int, int]
    rescale: tuple[tuple[float, float] | None, ...]
    padding: tuple[int, int] | None
    content: bytes
    frames: tuple[Parts, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels as stored."""
        order = ">" if self.syntax == ExplicitVRBigEndian else "<"
        return np.dtype(f"{order}{'i' if self.bits[3] else 'u'}{self.bits[0] // 8}")


def open_image(content: bytes, size: tuple[int, int] | None = None) -> Image:
    """Read the header of a file and find its pixels.

    Parameters
    ----------
    content : bytes
        The whole file.
    size : tuple of int, optional
        Rows and columns that it must have.

    Raises
    ------
    DicomError
        ``unreadable_pixels``, ``wrong_bits``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values, and values identify patients
            return _open(content, size)
    except DicomError:
        raise
    except Exception as error:
        raise damaged(type(error).__name__) from error


def damaged(reason: str) -> DicomError:
    """Make the error for pixels that cannot be decoded; ``reason`` must not come from the file."""
    return DicomError(
        "unreadable_pixels",
        f"the pixels could not be decoded ({reason}); the file is damaged or truncated: copy it again from its source",
    )


def _open(content: bytes, size: tuple[int, int] | None) -> Image:
    opened = open_data_set(content, MAX_INFLATED_BYTES)
    if opened is None:
        raise damaged("the file does not begin as DICOM")
    if not opened.whole:
        raise DicomError(
            "unreadable_pixels", f"the deflated file breaks off, or is over {MAX_INFLATED_BYTES >> 20} MiB"
        )
    stream, syntax, implicit, little = opened.stream, opened.syntax, opened.implicit, opened.little
    content = stream.getvalue()
    dataset = read_dataset(
        stream, implicit, little, stop_when=lambda tag, _vr, _n: tag >= _FIRST_PIXELS, specific_tags=_WANTED
    )
    shape = (int(dataset.Rows), int(dataset.Columns))
    if size is not None and shape != size:
        raise DicomError("unreadable_pixels", f"holds {shape[0]} x {shape[1]} pixels, expected {size[0]} x {size[1]}")
    if not 0 < shape[0] * shape[1] <= MAX_PIXELS:
        raise DicomError("unreadable_pixels", f"announces {shape[0]} x {shape[1]} pixels, which is no CT image")
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    high, signed = int(dataset.get("HighBit", stored - 1)), int(dataset.PixelRepresentation)
    samples = int(dataset.get("SamplesPerPixel", 1))
    if allocated not in (8, 16, 32) or not 0 < stored <= high + 1 <= allocated or signed not in (0, 1):
        raise DicomError(
            "wrong_bits", f"{allocated} bits allocated, {stored} stored and high bit {high} make no pixels"
        )
    if samples not in (1, 3):
        raise DicomError("unreadable_pixels", f"announces {samples} samples a pixel, expected 1")
    count = int(dataset.get("NumberOfFrames") or 1)
    frame_bytes = shape[0] * shape[1] * samples * allocated // 8
    start, length = _pixel_data(stream, implicit, little)
    if syntax in NATIVE:
        frames = _native_frames(content, start, length, frame_bytes, count)
    else:
        if length != _UNDEFINED:
            raise DicomError("unreadable_pixels", "the transfer syntax is compressed, the pixels are not")
        frames = split_frames(content, start, count)
    return Image(
        syntax=syntax,
        size=shape,
        samples=samples,
        planar=int(dataset.get("PlanarConfiguration") or 0),
        photometric=str(dataset.get("PhotometricInterpretation", "")),
        bits=(allocated, stored, high, signed),
        rescale=tuple(_rescale(dataset, count)),
        padding=_padding(dataset, allocated, signed, little),
        content=content,
        frames=frames,
    )


def _pixel_data(stream: io.BytesIO, implicit: bool, little: bool) -> tuple[int, int]:
    """Offset and announced length of the value of Pixel Data; the stream is at its tag."""
    order = "<" if little else ">"
    group, element = struct.unpack(order + "HH", stream.read(4))
    if (group << 16 | element) != _PIXEL_DATA:
        raise DicomError("unreadable_pixels", "the file has no pixel data of whole numbers")
    (length,) = struct.unpack(order + "I", stream.read(8)[4:] if not implicit else stream.read(4))
    return stream.tell(), length


def _native_frames(content: bytes, start: int, length: int, frame_bytes: int, count: int) -> tuple[Parts, ...]:
    present = min(length, len(content) - start)
    if count < 1 or length == _UNDEFINED or not count * frame_bytes <= present < (count + 1) * frame_bytes:
        raise DicomError(
            "unreadable_pixels",
            f"expected {count * frame_bytes} bytes of pixels, found {present}; the file is damaged or truncated: "
            "copy it again from its source",
        )
    return tuple(((start + k * frame_bytes, frame_bytes),) for k in range(count))


def _rescale(dataset: Dataset, count: int) -> list[tuple[float, float] | None]:
    """Slope and intercept of each frame, DICOM PS3.3 C.11.1 and C.7.6.16.2.9."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        return [_slope_and_intercept(dataset)] * count
    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or ()), None)
    found = []
    for group in list(groups)[:count]:
        levels = (level.get("PixelValueTransformationSequence") for level in (group, shared) if level is not None)
        item = next((items[0] for items in levels if items), None)
        found.append(None if item is None else _slope_and_intercept(item))
    return found + [None] * (count - len(found))


def _slope_and_intercept(dataset: Dataset) -> tuple[float, float] | None:
    try:
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    except (AttributeError, TypeError, ValueError):
        return None
    return (slope, intercept) if math.isfinite(slope) and math.isfinite(intercept) and slope else None


def _padding(dataset: Dataset, allocated: int, signed: int, little: bool) -> tuple[int, int] | None:
    def as_stored(name: str) -> int | None:
        value = dataset.get(name)
        if isinstance(value, bytes):
            value = int.from_bytes(value, "little" if little else "big") if value else None
        if not isinstance(value, int):
            return None
        value &= (1 << allocated) - 1  # a signed value may be written as an unsigned one, and the other way round
        return value - (1 << allocated) if signed and value >> (allocated - 1) else value

    one = as_stored("PixelPaddingValue")
    other = as_stored("PixelPaddingRangeLimit")
    if one is None:
        return None
    return (one, one) if other is None else (min(one, other), max(one, other))
