"""Read what the index needs from the header of one file, fast and without trusting it.

pydicom's element generator is used below its ``Dataset``: it walks any encoding, and not building data elements makes it
several times faster than ``dcmread`` (``benchmarks/index_archive.py`` prints the ratio). Only the beginning of a file is
read, so announced lengths beyond the file cost nothing.
"""

from __future__ import annotations

import math
import re
import struct
import warnings
from typing import TYPE_CHECKING, Any

from pydicom import charset
from pydicom.filereader import data_element_generator
from pydicom.tag import Tag

from lungpipe.dicom import frames
from lungpipe.dicom.data_set import Opened, open_data_set
from lungpipe.dicom.series import Header

if TYPE_CHECKING:
    from collections.abc import Callable

    from lungpipe.dicom.source import Source

#: Bytes read at first; enough for most headers. A longer one is read again, up to :data:`MAX_HEADER_BYTES`.
FIRST_BYTES = 16_384
#: Longest header that is read, of an image and of an enhanced one; a longer one is excluded.
MAX_HEADER_BYTES, MAX_FRAMES_BYTES = 4 * 1024 * 1024, 32 * 1024 * 1024
#: More attributes than this at the top level are an attack, not a header.
MAX_ATTRIBUTES = 20_000

_LAST = 0x00541001  # Units, of PET: the last attribute that is asked for
_ENHANCED = {
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
}
_DIRECTORY = "1.2.840.10008.1.3.10"
_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
_PET = {"1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.130", "1.2.840.10008.5.1.4.1.1.128.1"}
_DOSE = re.compile(r"\bdose[ _-]?(report|info|sheet|record)|patient[ _-]protocol", re.IGNORECASE)

_NAMES = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyDate", "SeriesDate", "AcquisitionDate",
    "AccessionNumber", "Modality", "Manufacturer", "InstitutionName", "ReferringPhysicianName", "SeriesDescription",
    "ManufacturerModelName", "PatientName", "PatientID", "PatientBirthDate", "ContrastBolusAgent", "SliceThickness", "KVP",
    "XRayTubeCurrent", "Exposure", "GantryDetectorTilt", "ConvolutionKernel", "CTDIvol", "StudyInstanceUID",
    "SeriesInstanceUID", "StudyID", "AcquisitionNumber", "TemporalPositionIdentifier", "ImagePositionPatient",
    "ImageOrientationPatient", "FrameOfReferenceUID", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames",
    "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "BurnedInAnnotation", "RescaleIntercept", "RescaleSlope", "LossyImageCompression", "RadiopharmaceuticalInformationSequence",
    "Units",
)  # fmt: skip
_TAGS = {int(Tag(name)): name for name in _NAMES}
_WANTED: list[Any] = list(_TAGS)

#: Attributes that identify, by kind of term: kept in the private index for the identity audit.
IDENTIFYING = {
    "PatientName": "name", "ReferringPhysicianName": "name", "PatientID": "id", "PatientBirthDate": "date",
    "StudyDate": "date", "SeriesDate": "date", "AcquisitionDate": "date", "AccessionNumber": "accession",
    "InstitutionName": "place", "StudyInstanceUID": "uid", "SeriesInstanceUID": "uid", "FrameOfReferenceUID": "uid",
}  # fmt: skip


class HeaderError(ValueError):
    """A file begins as DICOM and its header cannot be used."""


def parse_header(source: Source, read: Callable[[int], bytes]) -> list[Header] | str | None:
    """Parse the header of one file.

    Parameters
    ----------
    source : Source
        Where the file is.
    read : callable
        ``read(n)`` gives the first ``n`` bytes of the file, or all of a shorter one.

    Returns
    -------
    list of Header, str or None
        One header an image (frame); the kind of a DICOM object without pixels (``"SR"``); None for another file.

    Raises
    ------
    HeaderError
        If the file begins as DICOM and lacks what every image has, or its header is too long.
    Exception
        Whatever pydicom raises on a damaged header.
    """
    data = read(FIRST_BYTES)
    opened = open_data_set(data, MAX_HEADER_BYTES)
    if opened is None or opened.media_class == _DIRECTORY:
        return None
    values, passed = _elements(opened)
    asked = FIRST_BYTES
    for size in (1 << 20, MAX_HEADER_BYTES):
        if not passed and len(data) == asked:
            asked, data = size, read(size)
            values, passed = _elements(_reopened(data, MAX_HEADER_BYTES))
    if not passed and len(data) >= MAX_HEADER_BYTES:
        raise HeaderError("the header does not end")
    kind = values.text("SOPClassUID")
    if kind == _DIRECTORY or not (kind or opened.media_class):
        return None
    shared = _shared(values, source, opened.syntax)
    if kind in _ENHANCED:
        return frames.parse_frames(_reopened(read(MAX_FRAMES_BYTES), MAX_FRAMES_BYTES), shared)
    if not values.text("SeriesInstanceUID"):
        raise HeaderError("no series instance UID")
    if "Rows" not in values.raw or "Columns" not in values.raw:
        if kind == "1.2.840.10008.5.1.4.1.1.2":
            raise HeaderError("a CT image without rows and columns")
        return values.text("Modality") or "unknown object"
    return [shared]


def _reopened(data: bytes, most: int) -> Opened:
    opened = open_data_set(data, most)
    if opened is None:
        raise HeaderError("the file changed while it was read")
    return opened


def _elements(opened: Opened) -> tuple[_Values, bool]:
    """Raw values by keyword, and whether the last wanted attribute was passed."""
    passed = False
    count = 0

    def stop(tag: int, _vr: str | None, _length: int) -> bool:
        nonlocal passed, count
        passed = passed or tag > _LAST
        count += 1
        if count > MAX_ATTRIBUTES:
            raise HeaderError("too many attributes")
        return passed

    raw: dict[str, bytes] = {}
    present = set()
    for element in data_element_generator(opened.stream, opened.implicit, opened.little, stop, specific_tags=_WANTED):
        name = _TAGS.get(element.tag)
        if name is not None:
            present.add(name)
            if isinstance(element.value, bytes):
                raw[name] = element.value
    return _Values(raw, present, "<" if opened.little else ">"), passed


class _Values:
    """Raw values of one header, converted on demand; what cannot be converted counts as missing."""

    __slots__ = ("_codec", "_order", "present", "raw")

    def __init__(self, raw: dict[str, bytes], present: set[str], order: str) -> None:
        self.raw, self.present, self._order = raw, present, order
        self._codec = raw.get("SpecificCharacterSet", b"").rstrip(b"\0 ").decode("ascii", "replace")

    def text(self, name: str) -> str:
        value = self.raw.get(name, b"").strip(b"\0 ")
        if value.isascii() and b"\x1b" not in value:
            return value.decode("ascii")
        if self._codec in ("", "ISO_IR 6", "ISO_IR 100"):
            return value.decode("latin-1")
        if self._codec == "ISO_IR 192":
            return value.decode("utf-8", "replace")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote the value, and it may be a name
            return charset.decode_bytes(value, charset.convert_encodings(self._codec.split("\\")), {0x5C, 0x3D, 0x5E})

    def numbers(self, name: str) -> tuple[float, ...] | None:
        value = self.raw.get(name)
        if not value:
            return None
        try:
            found = tuple(float(part) for part in value.strip(b"\0 ").split(b"\\"))
        except ValueError:
            return None
        return found if all(map(math.isfinite, found)) else None

    def number(self, name: str) -> float | None:
        found = self.numbers(name)
        return found[0] if found else None

    def integer(self, name: str, code: str = "H") -> int | None:
        value = self.raw.get(name, b"")
        return int(struct.unpack(self._order + code, value)[0]) if len(value) == struct.calcsize(code) else None

    def real(self, name: str) -> float | None:
        value = self.raw.get(name, b"")
        found = float(struct.unpack(self._order + "d", value)[0]) if len(value) == 8 else math.nan
        return found if math.isfinite(found) else None


def _shared(values: _Values, source: Source, syntax: str) -> Header:
    """Header of a file of one image, or what the frames of an enhanced one share."""
    bits = [values.integer(n) for n in ("SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit")]
    signed = values.integer("PixelRepresentation")
    scanner: dict[str, str | float | None] = {
        "manufacturer": values.text("Manufacturer"),
        "model": values.text("ManufacturerModelName"),
        "kernel": values.text("ConvolutionKernel").replace("\\", "/"),
        "kvp": values.number("KVP"),
        "tube_current_ma": values.number("XRayTubeCurrent"),
        "exposure_mas": values.number("Exposure"),
        "ctdi_vol_mgy": values.real("CTDIvol"),
        "slice_thickness_mm": values.number("SliceThickness"),
    }
    return Header(
        source=source,
        sop_uid=values.text("SOPInstanceUID"),
        patient_id=values.text("PatientID"),
        study_uid=values.text("StudyInstanceUID"),
        series_uid=values.text("SeriesInstanceUID"),
        frame_of_reference_uid=values.text("FrameOfReferenceUID"),
        modality=values.text("Modality"),
        acquisition="/".join(
            t for t in (values.text("AcquisitionNumber"), values.text("TemporalPositionIdentifier")) if t
        ),
        position_mm=_triple(values.numbers("ImagePositionPatient"), 3),
        orientation=_triple(values.numbers("ImageOrientationPatient"), 6),
        pixel_spacing_mm=_triple(values.numbers("PixelSpacing"), 2),
        size=(values.integer("Rows") or 0, values.integer("Columns") or 0),
        slope=values.number("RescaleSlope"),
        intercept=values.number("RescaleIntercept"),
        photometric=values.text("PhotometricInterpretation"),
        bits=(
            bits[0] or 0,
            bits[1] or 0,
            bits[2] or 0,
            -1 if bits[3] is None else bits[3],
            -1 if signed is None else signed,
        ),
        padding=values.integer("PixelPaddingValue", "h" if signed == 1 else "H"),
        transfer_syntax=syntax,
        tilt_degrees=values.number("GantryDetectorTilt") or 0.0,
        marks=_marks(values),
        scanner=tuple(scanner.items()),
        identity=tuple((kind, text) for name, kind in IDENTIFYING.items() if (text := values.text(name))),
    )


def _triple(numbers: tuple[float, ...] | None, length: int) -> tuple[float, ...] | None:
    return numbers if numbers is not None and len(numbers) == length else None


def _marks(values: _Values) -> frozenset[str]:
    kind = values.text("SOPClassUID")
    image_type = [part.strip().upper() for part in values.text("ImageType").split("\\")]
    units = values.text("Units").upper()
    dose = any("DOSE" in part for part in image_type) or _DOSE.search(values.text("SeriesDescription"))
    found = {
        "contrast": bool(values.text("ContrastBolusAgent")),
        "burned_in": values.text("BurnedInAnnotation").upper() == "YES",
        "lossy": values.text("LossyImageCompression") == "01",
        "pet": kind in _PET
        or "RadiopharmaceuticalInformationSequence" in values.present
        or units not in ("", "HU", "NONE"),
        "secondary": kind == _SECONDARY or kind.startswith(_SECONDARY + ".") or "SCREEN SAVE" in image_type,
        "dose": bool(dose),
        "localizer": "LOCALIZER" in image_type,
        "simulated": "SIMULATED" in image_type,
    }
    return frozenset(name for name, is_so in found.items() if is_so)
