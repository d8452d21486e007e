"""Files made of files: archives, compressed streams, pictures, pickles, DICOM."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickletools
import struct
import warnings
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pydicom
from pydicom.multival import MultiValue

from lungpipe.identity.pieces import (
    CHUNK,
    LIMIT,
    Budget,
    Inside,
    Item,
    Piece,
    TooMuchError,
    Unsearched,
    in_memory,
    inflated,
)
from lungpipe.identity.texts import string_items

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: An archive of more entries than this is not opened.
MOST_ENTRIES = 100_000


def read_zip(stream: IO[bytes], budget: Budget) -> Iterator[Item]:
    """Names, comments and contents of a zip archive."""
    try:
        with zipfile.ZipFile(stream) as archive:
            yield Piece("comment", archive.comment)
            if len(archive.infolist()) > MOST_ENTRIES:
                yield Unsearched("", f"an archive of more than {MOST_ENTRIES} entries")
                return
            for entry in archive.infolist():
                name = entry.filename
                yield Piece("an entry's name", name.encode("utf-8", "surrogateescape"))
                yield Piece(f"comment of {name}", entry.comment)
                if entry.is_dir():
                    continue
                if entry.flag_bits & 1:
                    yield Unsearched(name, "an encrypted entry")
                    continue
                with archive.open(entry) as member, budget.expand(member) as content:
                    yield Inside(name, content)
    except TooMuchError:
        yield Unsearched("", "it expands to more than the limit")
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        OSError,
        EOFError,
        NotImplementedError,
        ValueError,
    ) as error:
        yield Unsearched("", f"a damaged archive ({type(error).__name__})")


_DECOMPRESSORS: dict[bytes, tuple[str, Callable[[IO[bytes]], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda stream: gzip.GzipFile(fileobj=stream, mode="rb")),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\0": ("xz", lzma.LZMAFile),
    b"\x28\xb5\x2f\xfd": ("zstd", lambda stream: pa.CompressedInputStream(stream, "zstd")),
}


def decompressor(head: bytes) -> bytes | None:
    """Magic number of a compressed stream."""
    return next((magic for magic in _DECOMPRESSORS if head.startswith(magic)), None)


def read_compressed(stream: IO[bytes], magic: bytes, budget: Budget) -> Iterator[Item]:
    """Content of a gzip, bzip2, xz or zstd stream."""
    name, opened = _DECOMPRESSORS[magic]
    try:
        with opened(stream) as source, budget.expand(source) as content:
            yield Inside(name, content)
    except TooMuchError:
        yield Unsearched(name, "it expands to more than the limit")
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        yield Unsearched(name, f"a damaged {name} stream ({type(error).__name__})")


def read_zlib(stream: IO[bytes], budget: Budget) -> Iterator[Item]:
    """Content of a zlib stream (RFC 1950), if it is one: its two magic bytes are also text."""
    content = inflated(stream.read(), min(budget.left, 4 * LIMIT))
    if content is not None:
        budget.left -= len(content)
        yield Inside("zlib", in_memory(content))


def read_png(stream: IO[bytes]) -> Iterator[Item]:
    """Text chunks of a PNG (ISO/IEC 15948, section 11.3.3). What is drawn in the picture is not read."""
    stream.seek(8)
    while len(header := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        if kind in {b"tEXt", b"zTXt", b"iTXt", b"eXIf"}:
            content = stream.read(min(length, CHUNK))
            keyword, _, rest = content.partition(b"\0")
            place = f"PNG {kind.decode()}"
            yield Piece(place, keyword)
            packed = rest[1:] if kind == b"zTXt" else rest[2:].split(b"\0", 2)[-1] if rest[:1] == b"\1" else None
            unpacked = inflated(packed, LIMIT) if packed is not None and kind != b"tEXt" else None
            yield Inside(place, in_memory(unpacked if unpacked is not None else rest))
            stream.seek(max(0, length - CHUNK) + 4, 1)
        else:
            stream.seek(length + 4, 1)


def read_pickle(stream: IO[bytes]) -> Iterator[Item]:
    """Strings and bytes in a pickle, which is taken apart and never loaded."""
    strings: list[tuple[int, str | bytes]] = []
    try:
        for _, argument, position in pickletools.genops(stream):
            if isinstance(argument, str | bytes | bytearray):
                strings.append((position or 0, argument if isinstance(argument, str) else bytes(argument)))
    except (ValueError, IndexError, struct.error, UnicodeDecodeError, OverflowError):
        stream.seek(-1, 2)
        if stream.read() == b".":
            yield Unsearched("", "a damaged pickle")
    for position, argument in strings:
        if isinstance(argument, str):
            yield from string_items(f"pickle at {position}", argument)
        else:
            yield Inside(f"pickle at {position}", in_memory(argument))


def read_dicom(stream: IO[bytes]) -> Iterator[Item]:
    """Every value of a DICOM file but the pixels, sequences included."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(stream, stop_before_pixels=True)
            for element in [*dataset.file_meta, *dataset.iterall()]:
                if element.VR == "SQ":
                    continue
                place = f"{element.tag} {element.keyword}".strip()
                values = element.value if isinstance(element.value, MultiValue | list) else [element.value]
                for value in values:
                    if isinstance(value, bytes):
                        yield Piece(place, value)
                    elif value is not None:
                        yield Piece(place, str(value).encode("utf-8", "surrogateescape"))
    except Exception as error:  # noqa: BLE001  pydicom fails in many ways, and quotes values when it does
        yield Unsearched("", f"a damaged DICOM file ({type(error).__name__})")
