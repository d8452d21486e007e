"""A small picture of a series for the curation page, made only where no text can be in the pixels."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.dicom.decode import decode
from lungpipe.dicom.read import images_of, read_volume, slice_hu
from lungpipe.errors import DicomError

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from lungpipe.dicom.image import Image
    from lungpipe.dicom.series import Series

#: Pixels along the longer side.
SIDE = 160
#: Lung window, HU: black, white.
WINDOW_HU = (-1350.0, 150.0)
#: Where values are not HU, these percentiles are black and white.
PERCENTILES = (1.0, 99.0)
#: Text burned into the pixels may identify a patient: a series with one of these marks or codes gets no picture.
MARKS_OF_TEXT = frozenset({"burned_in", "secondary", "dose"})
CODES_OF_TEXT = frozenset({"burned_in_annotation", "secondary_capture", "dose_report"})


def thumbnail(series: Series) -> bytes:
    """Picture of a middle slice as a greyscale PNG of about 160 pixels a side, in the lung window.

    The slices a quarter and three quarters along stand in for a middle one that cannot be decoded.

    Parameters
    ----------
    series : Series
        Also a quarantined one; colours become grey, and what is not HU is stretched to its own range.

    Returns
    -------
    bytes
        Empty if nothing could be decoded, or if text may be burned into the pixels.
    """
    if may_hold_text(series):
        return b""
    spacing = series.geometry.spacing_mm[1:] if series.geometry else (1.0, 1.0)
    try:
        if series.is_volume_file:
            if series.geometry is None:
                return b""
            volume = read_volume(series.files, series.geometry)
            return picture_of(volume.hu[len(volume.hu) // 2], spacing)
    except (DicomError, MemoryError):
        return b""
    for part in (2, 1, 3):
        source = series.files[min(len(series.files) * part // 4, len(series.files) - 1)]
        try:
            image, frame = next(images_of([source]))
            return _png(_shrunk(_grey(image, frame, series.modality), spacing))
        except (DicomError, MemoryError):
            continue
    return b""


def may_hold_text(series: Series) -> bool:
    """Whether text may be burned into the pixels of a series."""
    return bool(CODES_OF_TEXT & set(series.codes)) or any(MARKS_OF_TEXT & header.marks for header in series.headers)


def picture_of(hu: NDArray[np.int16], spacing_mm: tuple[float, float]) -> bytes:
    """PNG of one slice in the lung window.

    Parameters
    ----------
    hu : ndarray, shape (y, x)
    spacing_mm : tuple of float
        Along (y, x).
    """
    return _png(_shrunk(_windowed(hu.astype(np.float64), *WINDOW_HU), spacing_mm))


def _grey(image: Image, frame: int, modality: str) -> NDArray[np.float64]:
    """One frame from 0 (black) to 1 (white), shape (rows, columns)."""
    if modality == "CT":
        try:
            return _windowed(slice_hu(image, frame)[0].astype(np.float64), *WINDOW_HU)
        except DicomError as error:
            if error.code not in ("missing_rescale", "wrong_photometric"):
                raise
    stored, padding = decode(image, frame)
    values = stored.astype(np.float64)
    shown = values[~padding] if not padding.all() else values
    grey = _windowed(values, *np.percentile(shown, PERCENTILES))
    grey = 1 - grey if image.photometric == "MONOCHROME1" else grey
    return grey if grey.ndim == 2 else grey.mean(axis=2)


def _windowed(values: NDArray[np.float64], black: float, white: float) -> NDArray[np.float64]:
    return np.clip((values - black) / max(white - black, 1e-9), 0.0, 1.0)


def _shrunk(grey: NDArray[np.float64], spacing_mm: tuple[float, float]) -> NDArray[np.uint8]:
    """Bring a slice to square pixels and to :data:`SIDE` at most; small ones are not enlarged."""
    extent = np.multiply(grey.shape, spacing_mm)
    step = max(extent.max() / SIDE, min(spacing_mm))
    smooth = ndimage.uniform_filter(grey, [max(1, round(step / s)) for s in spacing_mm], mode="nearest")
    index: list[NDArray[Any]] = []
    for n, side, s in zip(grey.shape, extent, spacing_mm, strict=True):
        count = max(1, round(side / step))
        index.append(np.minimum(((np.arange(count) + 0.5) * side / count / s).astype(np.intp), n - 1))
    return np.asarray(np.rint(smooth[np.ix_(*index)] * 255), dtype=np.uint8)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Eight-bit greyscale PNG (ISO/IEC 15948) of three chunks: header, pixels, end; no text, no date."""
    rows, columns = pixels.shape
    lines = np.hstack([np.zeros((rows, 1), dtype=np.uint8), pixels]).tobytes()
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
