"""Whether anything that identifies a source is still in the bytes of its copy.

It knows nothing of how the copy was made: what it searches for comes from the source alone.
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pydicom
from pydicom.charset import convert_encodings
from pydicom.uid import DeflatedExplicitVRLittleEndian

from lungpipe.dicom.deidentify import METHOD, METHOD_CODE, TIMES, is_registered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

#: Shorter values are in every header by chance.
SHORTEST = 4
#: Numbers shorter than this are searched for in text only: "1024" is in every header.
SHORTEST_NUMBER = 6
#: From this length on, exact bytes are in compressed pixels by chance less than once in 10,000 series.
SHORTEST_IN_PIXELS = 6

_IDS = frozenset((
    "AccessionNumber", "AdmissionID", "OtherPatientIDs", "PatientAddress", "PatientBirthName", "PatientID",
    "PatientMotherBirthName", "PatientTelephoneNumbers",
))  # fmt: skip
_TEXT = frozenset(("AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"))
_LONG = 12  # digits, with dots or without, that are one number wherever they stand
#: What every copy says, whoever the patient is; archives also put such words where a name was.
_EVERYWHERE = " ".join((*METHOD, *METHOD_CODE, TIMES, "ANONYMIZED", "00010101")).lower()


@dataclass(frozen=True, slots=True)
class Identity:
    """What identifies a source: person names and their parts, ids, UIDs, dates (YYYYMMDD), and its text encodings."""

    names: frozenset[str] = field(repr=False)
    ids: frozenset[str] = field(repr=False)
    uids: frozenset[str] = field(repr=False)
    dates: frozenset[str] = field(repr=False)
    encodings: tuple[str, ...]


def identity_of(dataset: Dataset) -> Identity:
    """Collect what identifies a data set, from all its levels and its file meta information.

    Parameters
    ----------
    dataset : Dataset
        Before de-identification.
    """
    names: set[str] = set()
    ids: set[str] = set()
    uids: set[str] = set()
    dates: set[str] = set()
    for element in _elements(dataset, meta=True):
        values = _values(element) if element.VR in _TEXT else []
        if element.VR == "PN":
            names.update(values, *(re.split(r"[\^= ,.]+", value) for value in values))
        elif element.VR == "UI":
            if element.keyword != "ImplementationClassUID":  # of the program that wrote the file
                uids.update(value for value in values if not is_registered(value))
        elif element.VR in ("DA", "DT"):
            dates.update(value[:8] for value in values if value[:8].isdigit())
        elif element.keyword in _IDS:
            ids.update(values)
    codecs = convert_encodings(dataset.get("SpecificCharacterSet") or "ISO_IR 6")
    encodings = tuple(dict.fromkeys(("utf-8", "latin-1", *codecs)))
    return Identity(_telling(names), _telling(ids), _telling(uids), _telling(dates), encodings)


def leftovers(identity: Identity, content: bytes) -> tuple[str, ...]:
    """Search the bytes of a copy.

    Parameters
    ----------
    identity : Identity
        Of the source.
    content : bytes
        The copy's whole file.

    Returns
    -------
    tuple of str
        Kinds of what was found: ``"name"``, ``"id"``, ``"uid"``, ``"date"``; empty for a clean copy.

    Raises
    ------
    Exception
        Whatever pydicom raises if the copy is no DICOM file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote values
        dataset = pydicom.dcmread(io.BytesIO(content))
        values = [(e.VR, value.lower()) for e in _elements(dataset, meta=True) if e.VR in _TEXT for value in _values(e)]
    texts = "\n".join(value for _vr, value in values)
    but_uids = "\n".join(value for vr, value in values if vr != "UI")
    header, pixels = _split(dataset, content)
    header = header.lower()
    found = []
    for kind, terms in (("name", identity.names), ("id", identity.ids), ("uid", identity.uids)):
        if any(_is_in(term, header, pixels, texts, identity.encodings) for term in terms):
            found.append(kind)
    if any(date in but_uids for date in identity.dates):
        found.append("date")
    return tuple(found)


def _telling(terms: Iterable[str]) -> frozenset[str]:
    return frozenset(term for term in terms if len(term) >= SHORTEST and term.lower() not in _EVERYWHERE)


def _is_in(term: str, header: bytes, pixels: bytes, texts: str, encodings: Iterable[str]) -> bool:
    exact = {term.encode(codec, "ignore") for codec in encodings}
    if any(len(form) >= SHORTEST_IN_PIXELS and form in pixels for form in exact):
        return True
    low = term.lower()
    if re.fullmatch(r"[\d.]+", term) and len(term) < _LONG:
        alone = rf"(?<![\d.]){re.escape(term)}(?![\d.])"
        if len(term) >= SHORTEST_NUMBER and re.search(alone.encode(), header):
            return True
        return re.search(alone, texts) is not None
    forms = {form.lower() for form in exact} | {low.encode(codec, "ignore") for codec in encodings}
    return any(len(form) >= SHORTEST and form in header for form in forms) or low in texts


def _split(dataset: Dataset, content: bytes) -> tuple[bytes, bytes]:
    """Part a file into what is not pixel data and what is."""
    meta_end = 144 + int(dataset.file_meta.FileMetaInformationGroupLength)
    if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        content = content[:meta_end] + zlib.decompress(content[meta_end:], -zlib.MAX_WBITS)
    if "PixelData" not in dataset:
        return content, b""
    pixels: bytes = dataset.PixelData
    start = content.rindex(pixels)
    return content[:start] + content[start + len(pixels) :], pixels


def _elements(level: Dataset, *, meta: bool = False) -> Iterator[DataElement]:
    if meta:
        yield from _elements(getattr(level, "file_meta", pydicom.Dataset()))
    for tag in list(level.keys()):
        try:
            element = level[tag]
        except Exception:  # noqa: BLE001  a value that cannot be read is searched for by nothing; the bytes still are
            continue
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _elements(item)
        else:
            yield element


def _values(element: DataElement) -> list[str]:
    value = element.value
    if value is None or isinstance(value, bytes):
        return []
    several = value if isinstance(value, (list, pydicom.multival.MultiValue)) else [value]
    return [text for text in (str(v).strip() for v in several) if text]
