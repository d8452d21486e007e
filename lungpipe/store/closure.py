"""What a record leads back to: every artefact that a result was made from, directly or through others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lungpipe.store.ledger import load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lungpipe.store.ledger import Record
    from lungpipe.store.place import Place


def closure(place: Place, refs: Iterable[str]) -> dict[str, Record]:
    """Records of some artefacts and of all that they were made from, by reference, in the order in which they are met.

    Raises
    ------
    FileNotFoundError
        If a record is missing.
    DatasetError
        If one is damaged.
    """
    found: dict[str, Record] = {}
    waiting = list(refs)[::-1]
    while waiting:
        ref = waiting.pop()
        if ref not in found:
            found[ref] = load(place, ref)
            waiting += found[ref].made_from[::-1]
    return found
