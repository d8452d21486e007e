"""Cut encapsulated pixel data into its frames: DICOM PS3.5 A.4."""

from __future__ import annotations

import struct

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
#: More items than this in one file are an attack, not an image.
MAX_ITEMS = 100_000

#: Offset and length of each fragment of one frame, in the file.
Parts = tuple[tuple[int, int], ...]


def split_frames(content: bytes, start: int, frames: int) -> tuple[Parts, ...]:
    """Find the fragments of each frame.

    Parameters
    ----------
    content : bytes
        The file.
    start : int
        Offset of the basic offset table's item.
    frames : int
        Number of frames announced.

    Returns
    -------
    tuple of Parts
        One a frame.

    Raises
    ------
    ValueError
        If the items break off, or cannot be dealt out to the frames.
    """
    items = _items(content, start)
    if not items:
        raise ValueError("no offset table")
    table, fragments = items[0], items[1:]
    if frames == 1 and fragments:
        return (tuple(fragments),)
    if len(fragments) == frames:
        return tuple((fragment,) for fragment in fragments)
    offsets = [n for (n,) in struct.iter_unpack("<I", content[table[0] : table[0] + table[1] // 4 * 4])]
    if len(offsets) != frames or len(fragments) < frames:
        raise ValueError("fewer fragments than frames, or no telling which belong together")
    origin = table[0] + table[1]
    first = {at - 8 - origin: i for i, (at, _) in enumerate(fragments)}
    starts = [first[offset] for offset in offsets if offset in first]
    if len(starts) != frames or starts[0] != 0 or starts != sorted(set(starts)):
        raise ValueError("the offset table does not fit the fragments")
    return tuple(tuple(fragments[low:high]) for low, high in zip(starts, [*starts[1:], len(fragments)], strict=True))


def _items(content: bytes, start: int) -> list[tuple[int, int]]:
    """Offset and length of each item's value up to the sequence's end, the offset table first."""
    items: list[tuple[int, int]] = []
    at = start
    while at < len(content):
        tag, header_end = content[at : at + 4], at + 8
        if tag == _END:
            return items
        if tag != _ITEM or header_end > len(content):
            raise ValueError("no item where one must be")
        (length,) = struct.unpack_from("<I", content, at + 4)
        at = header_end + length
        if at > len(content):
            raise ValueError("an item is cut short")
        items.append((header_end, length))
        if len(items) > MAX_ITEMS:
            raise ValueError("too many items")
    return items
