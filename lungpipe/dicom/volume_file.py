"""Read a NIfTI, NRRD or MetaImage file, and make sure that it is whole: ITK fills what is missing with anything."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

import SimpleITK as sitk

from lungpipe.dicom.source import VOLUME_SUFFIXES
from lungpipe.errors import DicomError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 1 << 20
#: Bytes of the longest header that is looked through.
_HEADER_BYTES = 1 << 16


def read_volume_file(path: str, shape: tuple[int, int, int]) -> sitk.Image:
    """Read a volume file whose header was seen before.

    Parameters
    ----------
    path : str
    shape : tuple of int
        Voxels along (z, y, x) that it must have.

    Raises
    ------
    DicomError
        ``unreadable_pixels`` if the file is gone, damaged, truncated or of another size.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    try:
        reader.ReadImageInformation()
        announced = reader.GetSize()[::-1]
        if announced != shape or reader.GetNumberOfComponents() != 1:
            raise DicomError(
                "unreadable_pixels",
                f"expected one value in each of {shape} voxels, the volume file announces {announced} "
                f"of {reader.GetNumberOfComponents()}",
            )
        if is_whole(path):
            return reader.Execute()
    except (RuntimeError, OSError) as error:
        if not Path(path).exists():
            raise DicomError("unreadable_pixels", "a file is gone; restore it and index again") from error
    raise DicomError(
        "unreadable_pixels",
        "the volume file could not be decoded; it is damaged or truncated: copy it again from its source",
    )


def is_whole(path: str) -> bool:
    """Whether a NIfTI, NRRD or MetaImage file holds all the voxels that its header announces.

    Compressed data is inflated up to its end, where its checksum is compared; other files are taken for whole.

    Raises
    ------
    RuntimeError, OSError
        If the header cannot be read.
    """
    if not path.lower().endswith(VOLUME_SUFFIXES):
        return True
    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    reader.ReadImageInformation()
    voxels = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
    needed = voxels * sitk.Image(1, 1, reader.GetPixelID()).GetSizeOfPixelComponent()
    with Path(path).open("rb") as stream:
        try:
            if path.lower().endswith((".nii", ".nii.gz")):
                return _nifti_is_whole(stream, voxels)
            head = stream.read(_HEADER_BYTES)
            if path.lower().endswith(".nrrd"):
                return _nrrd_is_whole(stream, head, needed)
            return _meta_is_whole(Path(path), stream, head, needed)
        except (zlib.error, EOFError, struct.error, ValueError, OverflowError):
            return False


def _nifti_is_whole(stream: IO[bytes], voxels: int) -> bool:
    packed = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    pieces = _inflated(stream) if packed else iter(lambda: stream.read(_PIECE), b"")
    first = next(pieces, b"")
    needed = _nifti_bytes(first, voxels)
    return len(first) + _count(pieces, needed) >= needed


def _nifti_bytes(head: bytes, voxels: int) -> int:
    """Bytes of a NIfTI file: offset of its voxels, and their bits, as its header of version 1 or 2 says."""
    for order in "<>":
        (version,) = struct.unpack_from(order + "i", head)
        if version in (348, 540):
            offset = struct.unpack_from(*((order + "f", head, 108) if version == 348 else (order + "q", head, 168)))[0]
            bits = struct.unpack_from(order + "h", head, 72 if version == 348 else 14)[0]
            return int(offset) + voxels * int(bits) // 8
    raise EOFError


def _nrrd_is_whole(stream: IO[bytes], head: bytes, needed: int) -> bool:
    text, blank, _ = head.replace(b"\r\n", b"\n").partition(b"\n\n")
    fields = _fields(text, ":")
    if not blank or "data file" in fields or "datafile" in fields or fields.get("encoding") not in ("gzip", "gz"):
        return True  # ITK itself misses what is missing from raw data
    separator = b"\r\n\r\n" if b"\r\n\r\n" in head else b"\n\n"
    stream.seek(head.index(separator) + len(separator))
    return _inflates_to(stream, needed)


def _meta_is_whole(path: Path, stream: IO[bytes], head: bytes, needed: int) -> bool:
    text = head.partition(b"ElementDataFile")
    fields = _fields(text[0], "=")
    if fields.get("compresseddata") != "true":
        return True  # as above
    value, _, _ = text[2].partition(b"\n")
    name = value.strip(b" =\r").decode("utf-8", "replace")
    if name.upper() == "LOCAL":
        stream.seek(len(text[0]) + len(text[1]) + len(value) + 1)
        return _inflates_to(stream, needed)
    with (path.parent / name).open("rb") as data:
        return _inflates_to(data, needed)


def _fields(text: bytes, separator: str) -> dict[str, str]:
    pairs = (line.partition(separator) for line in text.decode("latin-1").splitlines())
    return {key.strip().lower(): value.strip().lower() for key, _, value in pairs}


def _inflates_to(stream: IO[bytes], needed: int) -> bool:
    return _count(_inflated(stream), needed) >= needed


def _count(pieces: Iterator[bytes], needed: int) -> int:
    """Bytes in all pieces; an endless stream ends the count once it is far beyond what is needed."""
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > 2 * needed + _PIECE:
            raise EOFError
    return total


def _inflated(stream: IO[bytes]) -> Iterator[bytes]:
    """Pieces of gzip members or a zlib stream, inflated.

    Raises
    ------
    zlib.error, EOFError
        If the data is damaged or breaks off.
    """
    packed = stream.read(_PIECE)
    while packed:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
        while not inflater.eof:
            if not packed:
                raise EOFError
            yield inflater.decompress(packed, _PIECE)
            packed = inflater.unconsumed_tail or (b"" if inflater.eof else stream.read(_PIECE))
        packed = inflater.unused_data or stream.read(_PIECE)
        if not packed.startswith(b"\x1f\x8b"):
            return
