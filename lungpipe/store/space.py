"""Room on the disk of a workspace."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from lungpipe.store.place import Place


def free_bytes(place: Place) -> int | None:
    """Bytes that may still be written; None for a bucket, whose room nobody tells."""
    if place.local is None:
        return None
    folder = next(one for one in (place.local, *place.local.absolute().parents) if one.exists())
    return shutil.disk_usage(folder).free


def require_room(place: Place, n_bytes: float, what: str) -> None:
    """Refuse to begin what the disk has no room for.

    Parameters
    ----------
    place : Place
    n_bytes : float
        That will be written, by an estimate.
    what : str
        What they are, for the message.

    Raises
    ------
    DatasetError
        If less is free.
    """
    free = free_bytes(place)
    if free is not None and free < n_bytes:
        raise DatasetError(
            f"the disk of the workspace has {in_words(free)} free, and {what} need about {in_words(n_bytes)}; free some, "
            "or name a workspace elsewhere with --workspace. Nothing that was done is lost: the same command goes on"
        )


def in_words(n_bytes: float) -> str:
    """A number of bytes for people: ``3.2 GiB``."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes:.0f} bytes"
