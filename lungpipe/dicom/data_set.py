"""Open a DICOM data set of any encoding: past the file meta information, inflated, with nothing parsed yet."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass

from pydicom.filereader import data_element_generator
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A data set to be read.

    Parameters
    ----------
    stream : BytesIO
        At the first element of the data set.
    syntax : str
        Transfer syntax UID; for a file that names none, what its first element looks like.
    media_class : str
        SOP class UID of the file meta information; empty if there is none.
    whole : bool
        False for a deflated data set that breaks off, or is longer than was asked for.
    """

    stream: io.BytesIO
    syntax: str
    media_class: str
    whole: bool

    @property
    def implicit(self) -> bool:
        """Whether value representations are left out."""
        return self.syntax == ImplicitVRLittleEndian

    @property
    def little(self) -> bool:
        """Whether numbers are little endian."""
        return self.syntax != ExplicitVRBigEndian


def begins_data_set(content: bytes) -> int | None:
    """Where a file's elements begin: after preamble and magic, at once in files without them; None for other files."""
    if content[128:132] == b"DICM":
        return 132
    if content[:2] in (b"\x02\x00", b"\x08\x00") and content[3:4] == b"\x00" and len(content) > 16:
        return 0
    return None


def open_data_set(content: bytes, most: int) -> Opened | None:
    """Open a file, or the beginning of one.

    Parameters
    ----------
    content : bytes
    most : int
        Bytes to which a deflated data set is inflated at the most: one of zeros inflates a thousandfold.

    Returns
    -------
    Opened, or None for a file that is not DICOM

    Raises
    ------
    Exception
        Whatever pydicom or zlib raise on damaged file meta information or deflated data.
    """
    start = begins_data_set(content)
    if start is None:
        return None
    stream = io.BytesIO(content)
    stream.seek(start)
    meta: dict[int, str] = {}
    if content[start : start + 2] == b"\x02\x00":
        for element in data_element_generator(stream, False, True, lambda tag, _vr, _n: tag > 0x0002FFFF):
            if isinstance(element.value, bytes):
                meta[element.tag] = element.value.rstrip(b"\0 ").decode("ascii", "replace")
    at = stream.tell()
    vr = content[at + 4 : at + 6]
    looks_like = ExplicitVRLittleEndian if vr.isalpha() and vr.isupper() else ImplicitVRLittleEndian
    syntax = meta.get(0x00020010) or str(looks_like)
    whole = True
    if syntax == DeflatedExplicitVRLittleEndian:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        stream = io.BytesIO(inflater.decompress(content[at:], most))
        whole = inflater.eof
    return Opened(stream, syntax, meta.get(0x00020002, ""), whole)
