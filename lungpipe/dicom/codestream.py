"""What a compressed image says of itself, read before a decoder trusts it: size, bits, and whether its end is there."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes, RLELossless

#: Markers after which a JPEG or JPEG-LS frame states its size (ITU-T T.81 table B.1, T.87 C.1.1).
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
#: Other segments before a scan: tables, restart interval, application data, comment, JPEG-LS parameters.
_OTHER_MARKERS = frozenset({0xC4, 0xCC, 0xDB, 0xDD, 0xF8, 0xFE, *range(0xE0, 0xF0)})
_SCAN = 0xDA
#: Ends a JPEG, JPEG-LS or JPEG 2000 codestream.
_END = b"\xff\xd9"
#: Beginning of a JPEG 2000 codestream: SOC and SIZ (ITU-T T.800 A.4.1, A.5.1); boxes of a JP2 file may lie before it.
_J2K_START, _JP2_BYTES = b"\xff\x4f\xff\x51", 4096


@dataclass(frozen=True, slots=True)
class Codestream:
    """Rows, columns, samples per pixel, bits per sample, and whether samples are signed (None: it does not say)."""

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool | None = None


def read_codestream(data: bytes, syntax: str) -> Codestream | None:
    """Read the header of one compressed frame.

    Parameters
    ----------
    data : bytes
        One frame's codestream.
    syntax : str
        Transfer syntax UID.

    Returns
    -------
    Codestream or None
        None for RLE, which has no header of its own.

    Raises
    ------
    ValueError
        If the codestream is not what the transfer syntax says, or breaks off.
    """
    if syntax in JPEG2000TransferSyntaxes:
        return _of_jpeg2000(data)
    if syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
        return _of_jpeg(data)
    return None


def check_complete(data: bytes, syntax: str, raw_bytes: int) -> None:
    """Refuse a frame that breaks off, or that could expand far beyond the image.

    Decoders fill what a truncated codestream leaves out without a word, so its end marker is asked for.

    Parameters
    ----------
    data : bytes
        One frame's codestream.
    syntax : str
        Transfer syntax UID.
    raw_bytes : int
        Size of the decoded frame.

    Raises
    ------
    ValueError
        If it does.
    """
    if syntax == RLELossless:
        # PackBits needs at most 129 bytes for 128, after a header of 64 (DICOM PS3.5 G.3).
        if len(data) > 2 * raw_bytes + 128:
            raise ValueError("more run-length data than an image of this size can have")
    elif not data.rstrip(b"\0").endswith(_END):
        raise ValueError("the codestream has no end")


def _of_jpeg(data: bytes) -> Codestream:
    """Walk the segments before the first scan; a decoder in C may not survive one that cannot be."""
    if data[:2] != b"\xff\xd8":
        raise ValueError("no JPEG codestream")
    at, found = 2, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError("no JPEG marker where one must be")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == _SCAN:
            break
        if marker in _FRAME_MARKERS and at + 10 <= len(data):
            found = Codestream(_number(data, at + 5, 2), _number(data, at + 7, 2), data[at + 9], data[at + 4])
        elif marker not in _OTHER_MARKERS:
            raise ValueError("no JPEG segment before a scan")
        at += 2 + max(_number(data, at + 2, 2), 2)
    if found is None or at + 4 > len(data):
        raise ValueError("the codestream has no frame header, or no scan")
    return found


def _of_jpeg2000(data: bytes) -> Codestream:
    at = data.find(_J2K_START, 0, _JP2_BYTES)
    if at < 0 or at + 43 > len(data):
        raise ValueError("no JPEG 2000 codestream")
    x_end, y_end, x_start, y_start = (_number(data, at + 8 + 4 * i, 4) for i in range(4))
    sign_and_bits = data[at + 42]
    bits = (sign_and_bits & 0x7F) + 1
    return Codestream(y_end - y_start, x_end - x_start, _number(data, at + 40, 2), bits, sign_and_bits >= 0x80)


def _number(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "big")
