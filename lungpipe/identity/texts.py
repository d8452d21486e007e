"""Text and what hides in it: escapes, entities, base64, JSON."""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import json
import re
import urllib.parse
from typing import IO, TYPE_CHECKING, Any

from lungpipe.identity.pieces import CHUNK, LIMIT, Inside, Item, Piece, chunks, in_memory, inflated

if TYPE_CHECKING:
    from collections.abc import Iterator

_DATA_URI = re.compile(rb"data:[\w/+.;=%-]*;base64,((?:[A-Za-z0-9+/=]|%[0-9A-Fa-f]{2})+)")
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{60,76}\r?\n)+[A-Za-z0-9+/]*={0,2}|[A-Za-z0-9+/]{64,}={0,2}")
_BASE64_RUN = 60
_MARKS = bytes(0x78 if re.match(rb"[A-Za-z0-9+/]", bytes([c])) else 0x20 for c in range(256))
_ENTITY = re.compile(rb"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z]+);")
_ESCAPE = re.compile(rb"\\u([0-9a-fA-F]{4})")
_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
#: How files and streams begin that are worth opening when they come as base64.
_OPENED = (
    b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK\x03\x04",
    b"PAR1", b"SQLite format 3\0", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"%PDF", b"\xff\xff\xff\xff",
    b"wOFF", b"wOF2", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05",
)  # fmt: skip
#: A whole number in a document counts as an id or date from this many digits on.
DIGITS = 7


class _Pairs(list[tuple[str, Any]]):
    """A JSON object; a dict would drop the first of two equal keys."""


def text_items(content: bytes, piece: Piece | None = None) -> Iterator[Item]:
    """Search a text as it is, without its escapes and entities, and inside its base64.

    Parameters
    ----------
    content : bytes
        In UTF-8 or a one-byte encoding.
    piece : Piece, optional
        The chunk of a larger text that the content is.
    """
    plain = bytearray(content)
    # Random text is full of accidental words: what is opened is not searched as it stands.
    runs = [(*match.span(1), True) for match in _DATA_URI.finditer(content)]
    runs += [(start, stop, False) for start, stop in _base64_runs(content)]
    for start, stop, named in runs:
        opened = _decoded(bytes(plain[start:stop]), named=named)
        if opened is not None:
            yield Inside("base64", in_memory(opened))
            plain[start:stop] = b" " * (stop - start)
    text = bytes(plain)
    if piece is None:
        yield Piece("", text, "bytes")
    else:
        yield Piece("", text, "bytes", piece.offset, piece.lead, piece.tail)
    if _ESCAPE.search(text):
        yield Piece("escapes", _ESCAPE.sub(_character, text), "bytes")
    if _ENTITY.search(text):
        resolved = html.unescape(text.decode("utf-8", "surrogateescape"))
        yield Piece("entities", resolved.encode("utf-8", "surrogateescape"), "bytes")
    if _PERCENT.search(text):
        yield Piece("percent codes", urllib.parse.unquote_to_bytes(text), "bytes")


def string_items(place: str, text: str) -> Iterator[Item]:
    """Search one string value: whole, and what it holds if it is JSON or base64 itself."""
    if text[:1] in {"{", "["} and len(text) > 2:
        try:
            found = json.loads(text, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            pass
        else:
            yield from value_items(found, place)
            return
    content = text.encode("utf-8", "surrogatepass") if not _has_bytes(text) else text.encode("utf-8", "surrogateescape")
    yield Piece(place, content)
    if len(text) >= 6 and ("\\u" in text or "%" in text or "&" in text or len(text) >= 60):
        for item in text_items(content):
            if isinstance(item, Inside) or item.place:
                yield _at(place, item)


def _has_bytes(text: str) -> bool:
    """Whether undecodable bytes were kept as lone surrogates (PEP 383)."""
    return not text.isascii() and any("\udc80" <= c <= "\udcff" for c in text)


def _at(place: str, item: Item) -> Item:
    if isinstance(item, Inside):
        return Inside(f"{place}, {item.place}", item.stream)
    if isinstance(item, Piece):
        return Piece(f"{place}, {item.place}", item.content, "bytes")
    return item


def value_items(value: Any, place: str = "") -> Iterator[Item]:
    """Search every key, string and long whole number of a JSON value."""
    stack = [(place, value)]
    while stack:
        here, one = stack.pop()
        if isinstance(one, str):
            yield from string_items(here, one)
        elif isinstance(one, _Pairs):
            for key, below in one:
                yield Piece(f"{here or 'top'}, a key", key.encode("utf-8", "surrogatepass"))
                stack.append((f"{here}.{key}" if here else key, below))
        elif isinstance(one, list):
            stack.extend((f"{here}[{i}]", below) for i, below in enumerate(one))
        elif isinstance(one, int) and abs(one) >= 10 ** (DIGITS - 1):
            yield Piece(here, str(abs(one)).encode())


def read_text(stream: IO[bytes], size: int) -> Iterator[Item]:
    """Read a file that is none of the known containers: JSON, other text, or bytes."""
    if size > LIMIT:
        for piece in chunks(stream):
            if b"\0" in piece.content:
                yield piece
            else:
                yield from text_items(piece.content, piece)
        return
    stream.seek(0)
    content = stream.read()
    if content[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        content = content.decode("utf-16", "replace").encode()
    if content.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] in {b"{", b"[", b'"'}:
        try:
            found = json.loads(content, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            pass
        else:
            yield from value_items(found)
            return
    if b"\0" in content[:CHUNK]:
        yield from chunks(stream)
    else:
        yield from text_items(content)


def _base64_runs(content: bytes) -> Iterator[tuple[int, int]]:
    """Spans that may be base64: searching marks for a run of them is far faster than the pattern itself."""
    marks, run = content.translate(_MARKS), b"x" * _BASE64_RUN
    start = marks.find(run)
    while start >= 0:
        match = _BASE64.match(content, start)
        stop = match.end() if match else start + _BASE64_RUN
        if match:
            yield match.span()
        start = marks.find(run, stop)


def _decoded(run: bytes, *, named: bool) -> bytes | None:
    """Bytes of a base64 text, if they are anything; a long path without dots has the same characters."""
    try:
        if named:
            return base64.b64decode(urllib.parse.unquote_to_bytes(run))
        bare = re.sub(rb"\s", b"", run)
        content = base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
    except (ValueError, binascii.Error):
        return None
    if not content:
        return None
    if content.startswith(_OPENED) or inflated(content, CHUNK) is not None:
        return content
    printable = len(content.translate(None, bytes(range(32, 127)) + b"\t\r\n"))
    return content if printable * 20 <= len(content) else None


def _character(match: re.Match[bytes]) -> bytes:
    return chr(int(match.group(1), 16)).encode("utf-8", "surrogatepass")
