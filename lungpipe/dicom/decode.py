"""Decode the stored pixels of an image, once its sizes agree with each other and with the bytes that are there."""

from __future__ import annotations

import math
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, JPEGExtended12Bit

from lungpipe.dicom.codestream import check_complete, read_codestream
from lungpipe.dicom.image import NATIVE, damaged
from lungpipe.errors import DicomError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.dicom.image import Image

#: A transfer syntax of the standard; another text in its place is not repeated, whatever it says.
_STANDARD = re.compile(r"1\.2\.840\.10008\.1\.2(\.[0-9]{1,3}){1,3}")
#: What to install for a transfer syntax whose UID begins so.
_PACKAGES = (
    ("1.2.840.10008.1.2.4.51", "pylibjpeg pylibjpeg-libjpeg"),
    ("1.2.840.10008.1.2.4.20", "pylibjpeg pylibjpeg-openjpeg"),
    ("1.2.840.10008.1.2.4.8", "pyjpegls"),
    ("1.2.840.10008.1.2.4.5", "python-gdcm"),
    ("1.2.840.10008.1.2.4.70", "python-gdcm"),
    ("1.2.840.10008.1.2.4.90", "python-gdcm"),
    ("1.2.840.10008.1.2.4.91", "python-gdcm"),
)


def decode(image: Image, frame: int = 0) -> tuple[NDArray[np.integer[Any]], NDArray[np.bool_]]:
    """Decode one frame.

    Parameters
    ----------
    image : Image
        From :func:`lungpipe.dicom.image.open_image`.
    frame : int
        Zero-based.

    Returns
    -------
    stored : ndarray of integers, shape (rows, columns) or (rows, columns, samples)
        Stored values, bits that are not stored removed (DICOM PS3.5 8.1.1).
    is_padding : ndarray of bool, same shape
        Where the header declares padding.

    Raises
    ------
    DicomError
        ``unreadable_pixels``, ``missing_decoder``.
    """
    if not 0 <= frame < len(image.frames):
        raise DicomError(
            "unreadable_pixels", f"the file holds {len(image.frames)} frames, frame {frame + 1} is missing"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = _native(image, frame) if image.syntax in NATIVE else _decompressed(image, frame)
    except DicomError:
        raise
    except Exception as error:
        raise damaged(type(error).__name__) from error
    stored = _stored_bits(raw, image)
    if image.padding is None:
        return stored, np.zeros(stored.shape, dtype=np.bool_)
    low, high = image.padding
    # Padding may be written with bits that count as not stored (63536 in 12 of 16 bits), so both are compared.
    return stored, ((stored >= low) & (stored <= high)) | ((raw >= low) & (raw <= high))


def _native(image: Image, frame: int) -> NDArray[np.integer[Any]]:
    ((start, length),) = image.frames[frame]
    flat = np.frombuffer(image.content, image.dtype, length // image.dtype.itemsize, start)
    flat = flat.astype(image.dtype.newbyteorder("="), copy=False)
    if image.samples == 1:
        return flat.reshape(image.size)
    if image.planar:
        return flat.reshape(image.samples, *image.size).transpose(1, 2, 0)
    return flat.reshape(*image.size, image.samples)


def _find_decoder(syntax: str, bits_stored: int) -> Any:
    known = UID(syntax).name
    if known == syntax:
        known = f"transfer syntax {syntax}" if _STANDARD.fullmatch(syntax) else "an unknown transfer syntax"
    package = next((names for prefix, names in _PACKAGES if syntax.startswith(prefix)), "")
    advice = f"pip install {package}" if package else "convert the files to another transfer syntax"
    try:
        decoder = get_decoder(UID(syntax))
        # No decoder but pylibjpeg's reads more than 8 bits of this one.
        found = decoder.is_available and (
            syntax != JPEGExtended12Bit or bits_stored == 8 or "pylibjpeg" in decoder.available_plugins
        )
    except (NotImplementedError, ValueError):
        found = False
    if not found:
        raise DicomError("missing_decoder", f"no decoder for {known} is installed: {advice}")
    return decoder


def _decompressed(image: Image, frame: int) -> NDArray[np.integer[Any]]:
    allocated, stored, _, signed = image.bits
    decoder = _find_decoder(image.syntax, stored)
    data = b"".join(image.content[start : start + length] for start, length in image.frames[frame])
    expected = (*image.size, image.samples)
    if announced := read_codestream(data, image.syntax):
        found = (announced.rows, announced.columns, announced.samples)
        if found != expected:
            raise DicomError("unreadable_pixels", f"the codestream announces {found} pixels, the header {expected}")
        if announced.bits > allocated:
            message = f"the codestream has {announced.bits} bits a sample, the header {allocated}"
            raise DicomError("unreadable_pixels", message)
        if signed and announced.bits < stored and not announced.signed:
            message = f"signed values of {stored} bits, in {announced.bits} bits of a codestream without signs"
            raise DicomError("unreadable_pixels", f"{message}: negative values could not be told from large ones")
    check_complete(data, image.syntax, math.prod(expected) * allocated // 8)
    values, _ = decoder.as_array(
        encapsulate([data], has_bot=False),
        index=0,
        raw=True,
        decoding_plugin="pyjpegls" if "pyjpegls" in decoder.available_plugins else "",
        rows=image.size[0],
        columns=image.size[1],
        samples_per_pixel=image.samples,
        planar_configuration=image.planar,
        photometric_interpretation="MONOCHROME2" if image.samples == 1 else image.photometric,
        number_of_frames=1,
        bits_allocated=allocated,
        bits_stored=stored,
        pixel_representation=signed,
        pixel_keyword="PixelData",
        correct_unused_bits=False,
    )
    if values.shape != (image.size if image.samples == 1 else expected):
        raise ValueError("other pixels than announced")
    return np.asarray(values)


def _stored_bits(raw: NDArray[Any], image: Image) -> NDArray[Any]:
    """Drop the bits above the high bit and below those stored, and extend the sign."""
    allocated, stored, high, _ = image.bits
    if stored == allocated:
        return raw
    top = allocated - 1 - (high if image.syntax in NATIVE else stored - 1)
    return (raw << top) >> (allocated - stored)
