"""Find many thousand terms in bytes at once."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lungpipe.identity.context import counts
from lungpipe.identity.terms import forms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from lungpipe.identity.context import How
    from lungpipe.identity.terms import Term

#: Bytes by which a pattern's end is recognised.
ANCHOR = 8
_SHORT = 4
_BITS = 20
_BLOCK = 1 << 16
_MIX32 = np.uint32(2654435761)  # odd, near 2**32 / golden ratio: spreads neighbouring keys (Knuth)
_MIX64 = np.uint64(11400714819323198485)
_WIDE = re.compile(rb"\x00(?:[\x20-\x7e\xa0-\xff]\x00){7,}")  # begins with a literal, which is searched for fast
#: Columns, keys and tags whose value may be somebody's number.
_OF_A_PERSON = re.compile(
    r"patient|subject|person|case|series|study|accession|mrn|uid|names?\b|(?<![a-z])id(?![a-z])", re.I
)


class Hit(NamedTuple):
    """A term found in ``content[start:stop]``; ``item`` is its content's place in the sequence searched."""

    start: int
    stop: int
    term: Term
    item: int = 0


class Matcher:
    """All forms of all terms, ready to be searched for.

    Every position of the data is looked up by its last four bytes in a bit table; what is left by its last four to
    eight bytes, and only then compared. The time hardly depends on the number of terms.

    Parameters
    ----------
    terms : iterable of Term
        What two of them share, such as a name that is also an id, is told as the first of them.
    """

    def __init__(self, terms: Iterable[Term]) -> None:
        self.terms = tuple(dict.fromkeys(terms))
        self.unsearchable: list[Term] = []
        self._whole: dict[str, Term] = {}
        self._patterns: dict[bytes, Term] = {}
        self._named: set[bytes] = set()
        for term in self.terms:
            ways = forms(term)
            if not ways:
                self.unsearchable.append(term)
            for form in ways:
                if form.where == "whole":
                    self._whole.setdefault(form.text.lower(), term)
                    continue
                for pattern in _encoded(form.text):
                    self._patterns.setdefault(pattern, term)
                    if form.where == "named":
                        self._named.add(pattern)
        self._lengths: dict[bytes, list[int]] = {}
        for pattern in self._patterns:
            lengths = self._lengths.setdefault(pattern[-ANCHOR:], [])
            if len(pattern) not in lengths:
                lengths.append(len(pattern))
        self._first = np.zeros(1 << _BITS, np.bool_)
        self._keys: dict[int, NDArray[np.uint64]] = {}
        self._tables: dict[int, NDArray[np.bool_]] = {}
        for size in range(_SHORT, ANCHOR + 1):
            ends = {p[-size:] for p in self._patterns if min(len(p), ANCHOR) == size}
            if not ends:
                continue
            keys = np.unique(np.frombuffer(b"".join(end.ljust(8, b"\0") for end in ends), "<u8"))
            self._keys[size] = keys
            self._tables[size] = np.zeros(1 << _BITS, np.bool_)
            self._tables[size][_mixed64(keys)] = True
            last = (keys >> np.uint64(8 * (size - _SHORT))).astype(np.uint32)
            self._first[_mixed32(last)] = True

    def whole(self, text: str, place: str) -> Term | None:
        """Return the short term that a whole value is; a number counts only where the place speaks of a person."""
        term = self._whole.get(text.strip().lower())
        mixed = term is not None and not text.strip().isdigit()
        return term if mixed or _OF_A_PERSON.search(place) else None

    def values(self, contents: Sequence[bytes]) -> Iterator[Hit]:
        """Find terms in whole values, such as cells of a table."""
        return self._in_each(contents, "value")

    def _in_each(self, contents: Sequence[bytes], how: How) -> Iterator[Hit]:
        starts, position = [], 0
        for content in contents:
            starts.append(position)
            position += len(content) + 1
        joined = b"\0".join(contents)
        for start, stop, term, _ in self._find(joined, how):
            item = bisect_right(starts, start) - 1
            yield Hit(start - starts[item], stop - starts[item], term, item)

    def anything(self, content: bytes, *, packed: bool = False) -> Iterator[Hit]:
        """Find terms in bytes: text in one-byte encodings, UTF-8 or UTF-16, or no text; or compressed ones."""
        yield from self._find(content, "packed" if packed else "bytes")
        if b"\0" in content:
            # The pattern begins with the second byte of the character before.
            starts = ((abs(match.start() - 1), match.end()) for match in _WIDE.finditer(content))
            runs = [(start, content[start:stop:2]) for start, stop in starts]
            texts = [narrow for _, narrow in runs]
            for start, stop, term, item in self._in_each(texts, "bytes"):
                if stop - start >= ANCHOR and _reads_like_text(texts[item][max(0, start - 12) : stop + 12]):
                    yield Hit(runs[item][0] + 2 * start, runs[item][0] + 2 * stop, term)

    def masked(self, text: str) -> str:
        """Return a text with every term in it masked."""
        whole = self._whole.get(text.strip().lower())
        if whole is not None:
            return whole.masked
        content, cut, parts = text.encode("utf-8", "surrogateescape"), 0, []
        hits = sorted(self.values([content]), key=lambda hit: (hit.start, -hit.stop))
        for start, stop, term, _ in hits:
            if start >= cut:
                parts += [content[cut:start], term.masked.encode()]
            cut = max(cut, stop)
        return b"".join([*parts, content[cut:]]).decode("utf-8", "replace")

    def masked_path(self, path: str) -> str:
        """Return a path with every term in its names masked."""
        return "/".join(self.masked(name) for name in path.split("/"))

    def _find(self, content: bytes, how: How) -> Iterator[Hit]:
        if len(content) < _SHORT or not self._patterns:
            return
        low = content.lower()
        for stop in self._ends(low):
            for length in self._lengths_at(low, stop):
                start = stop - length
                pattern = low[start:stop] if start >= 0 else b""
                term = self._patterns.get(pattern)
                named = pattern in self._named
                if term is not None and counts(low, start, stop, how=how, named=named):
                    yield Hit(start, stop, term)

    def _lengths_at(self, low: bytes, stop: int) -> list[int]:
        found = []
        for size in self._keys:
            found += self._lengths.get(low[max(0, stop - size) : stop], [])
        return found

    def _ends(self, low: bytes) -> Iterator[int]:
        """Positions where some pattern's last bytes end, in order."""
        buffer = b"\0" * ANCHOR + low
        total = len(low) - _SHORT + 1
        for begin in range(0, total, _BLOCK):
            n = min(_BLOCK, total - begin)
            # Bytes [end - 4, end) and [end - 8, end) for each end from begin + 4 on.
            last4 = np.ndarray((n,), "<u4", buffer, begin + ANCHOR, (1,))
            ends = np.flatnonzero(self._first.take(_mixed32(last4), mode="clip"))  # no index is out of range
            if not len(ends):
                continue
            last8 = np.ndarray((n,), "<u8", buffer, begin + _SHORT, (1,))[ends]
            real = np.zeros(len(ends), np.bool_)
            for size, keys in self._keys.items():
                here = last8 >> np.uint64(8 * (ANCHOR - size))
                maybe = np.flatnonzero(self._tables[size][_mixed64(here)])
                if len(maybe):
                    at = np.minimum(np.searchsorted(keys, here[maybe]), len(keys) - 1)
                    real[maybe[keys[at] == here[maybe]]] = True
            yield from (ends[real] + (begin + _SHORT)).tolist()


def _mixed32(keys: NDArray[np.uint32]) -> NDArray[np.intp]:
    return ((keys * _MIX32) >> np.uint32(32 - _BITS)).astype(np.intp)


def _mixed64(keys: NDArray[np.uint64]) -> NDArray[np.intp]:
    return ((keys * _MIX64) >> np.uint64(64 - _BITS)).astype(np.intp)


def _encoded(text: str) -> Iterator[bytes]:
    """Lower-case bytes of a text; letters beyond ASCII in both cases, because bytes know no case of them."""
    for cased in dict.fromkeys((text.lower(), text.upper())):
        yield cased.encode("utf-8", "surrogateescape").lower()
        if cased.isascii():
            continue
        try:
            yield cased.encode("latin-1").lower()
        except UnicodeEncodeError:
            yield cased.encode("utf-16-le", "surrogatepass").lower()


def _reads_like_text(window: bytes) -> bool:
    """Tell UTF-16 text from 16-bit pixels of soft tissue, whose values are those of letters and punctuation."""
    usual = sum(c in b" abcdefghijklmnopqrstuvwxyz0123456789^.,_-:/\\'\"=()" or c >= 0xC0 for c in window.lower())
    return usual >= 0.95 * len(window)
