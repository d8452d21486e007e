"""Whether bytes that look like a term are one: what stands before, behind and around them."""

from __future__ import annotations

import re
from typing import Literal

#: What is known of a content: a whole value; nothing; or that it is compressed.
How = Literal["value", "bytes", "packed"]
#: From this length on, bytes equal a term by chance too rarely to matter, also in compressed data.
TELLING = 8
_RUN = 32
_BASE64_RUN = 64
_LOOK = 80

#: Colours, hashes, UUIDs and pseudonyms (lower case): made by machines, and full of accidental words and numbers.
#: UUIDs also where other text touches them, as in a database's pages.
_MADE = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    rb"|(?<![0-9a-z])(?:#[0-9a-f]{6}|[0-9a-f]{16,}|[a-z]-[a-z2-7]{12})(?![0-9a-z])"
)
_HEX = re.compile(rb"[0-9a-f]*")
_BASE64 = re.compile(rb"[a-z0-9+/]{%d,}" % _BASE64_RUN)
_NUMBER_BEFORE = re.compile(rb"(?:^|[^.\d])\d*\.$")
_PERSON_WORD = re.compile(rb"(?:patient|subject|person|case|mrn|(?<![a-z])pat|(?<![a-z])id|name)[^0-9a-z]{0,6}$")
_PRINTABLE = re.compile(rb"[\t\n\r\x20-\x7e\xa0-\xff]*")
_HIGH = bytes(range(0x80, 0x100))


def counts(low: bytes, start: int, stop: int, *, how: How, named: bool) -> bool:
    """Whether ``low[start:stop]``, which equals a term, is that term and no accident.

    Parameters
    ----------
    low : bytes
        The content in lower case.
    start, stop : int
        Where the term is.
    how : {"value", "bytes", "packed"}
        Whether the content is known to be text; or unknown, where a term shorter than :data:`TELLING` counts in text
        only; or compressed, where it does not count, because compressed text is made of fragments of text.
    named : bool
        Whether the term needs a word such as "patient" before it.
    """
    if _digits_go_on(low, start, stop):
        return False
    goes_on, telling = _letters_go_on(low, start, stop), stop - start >= TELLING
    if goes_on and not telling:
        return False
    if how == "packed":
        # Hashes in fragments are digits and six letters.
        return telling and not named and (stop - start >= 2 * TELLING or not _HEX.fullmatch(low, start, stop))
    if how == "bytes" and not _within_text(low, start, stop):
        # Letters around it mean nothing in binary data, where a length or an opcode may be one.
        return telling and not named
    if goes_on:
        return False
    if named and _PERSON_WORD.search(low[max(0, start - 24) : start]) is None:
        return False
    if low[start:stop].isdigit() and _is_fraction(low, start, stop):
        return False
    return not _is_made(low, start, stop)


def _letters_go_on(low: bytes, start: int, stop: int) -> bool:
    first, last = low[start], low[stop - 1]
    before, behind = low[max(0, start - 2) : start], low[stop : stop + 2]
    if _is_letter(first) and before and (before[-1:].isalpha() or _is_utf8_letter(before)):
        return True
    return _is_letter(last) and bool(behind) and (behind[:1].isalpha() or _is_utf8_letter(behind))


def _is_letter(byte: int) -> bool:
    return 0x61 <= byte <= 0x7A or byte >= 0x80


def _is_utf8_letter(two: bytes) -> bool:
    return len(two) == 2 and 0xC3 <= two[0] <= 0xDF and 0x80 <= two[1] <= 0xBF


def _digits_go_on(low: bytes, start: int, stop: int) -> bool:
    before, behind = low[max(0, start - 1) : start], low[stop : stop + 1]
    return (low[start : start + 1].isdigit() and before.isdigit()) or (
        low[stop - 1 : stop].isdigit() and behind.isdigit()
    )


def _is_fraction(low: bytes, start: int, stop: int) -> bool:
    """Whether digits are the decimals of a number ("0.20010203"), and not part of a UID or a list."""
    more = low[stop : stop + 1] == b"." and low[stop + 1 : stop + 2].isdigit()
    return not more and _NUMBER_BEFORE.search(low[max(0, start - 24) : start]) is not None


def _is_made(low: bytes, start: int, stop: int) -> bool:
    begin = max(0, start - _LOOK)
    window = low[begin : stop + _LOOK]
    here = (start - begin, stop - begin)
    for match in _MADE.finditer(window):
        # Part of a UUID is enough: in a database's pages they stand side by side.
        if match.start() < here[1] and here[0] < match.end() and match.end() - match.start() > stop - start:
            return True
    if stop - start >= TELLING:
        return False
    before, behind = low[start - 1 : start] if start else b"/", low[stop : stop + 1] or b"/"
    if (before, behind) == (b"/", b"/"):
        return False  # a folder's name in a path, whose characters are those of base64
    return any(m.start() <= here[0] and here[1] <= m.end() for m in _BASE64.finditer(window))


def _within_text(low: bytes, start: int, stop: int) -> bool:
    """Whether a run of characters around the term is long enough to be text, or is a field padded with zeros."""
    before, behind = low[max(0, start - _RUN) : start], low[stop : stop + _RUN]
    if before[-1:] in {b"", b"\0"} and behind[:1] in {b"", b"\0"}:
        return True
    left, right = _PRINTABLE.match(before[::-1]), _PRINTABLE.match(behind)
    run = (left.group() if left else b"") + low[start:stop] + (right.group() if right else b"")
    return len(run) >= min(_RUN, len(low)) and (len(run) - len(run.translate(None, _HIGH))) * 8 <= len(run)
