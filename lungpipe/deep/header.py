"""The record in the header of our own weights, read without PyTorch: what a network is, and what it was trained on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

#: Key of our record among a file's metadata.
ABOUT = "lungpipe"
#: A header is at most this long; the format allows 100 MB.
MOST_BYTES = 50_000_000
#: Digits of a scan's fingerprint that a header holds.
DIGITS = 16


def read_record(path: Path) -> dict[str, Any]:
    """The record of a file of weights that lungpipe wrote.

    The format is that of safetensors: eight bytes of length, then JSON, then numbers.

    Raises
    ------
    DatasetError
        If there is no such file, it is no safetensors file, or it has no record of ours.
    """
    if not path.is_file():
        raise DatasetError(f"no weights at {path}")
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(length) if 2 <= length <= MOST_BYTES else b""
    try:
        metadata = json.loads(text).get("__metadata__", {})
    except (ValueError, AttributeError) as error:
        raise DatasetError(f"{path.name} is no safetensors file; expected one that lungpipe trained") from error
    if ABOUT not in metadata:
        raise DatasetError(
            f"{path.name} says nothing of its network; expected a file that lungpipe trained, whose header does"
        )
    found: dict[str, Any] = json.loads(metadata[ABOUT])
    return found


def fingerprints(scans: Iterable[str]) -> list[str]:
    """Fingerprints of scans as a header holds them: the beginning of the SHA-256 of their HU, sorted.

    They tell the same image under any pseudonym and in any archive, and nobody without it.

    Parameters
    ----------
    scans : iterable of str
        ``voxels_sha256`` of the table of nodules.
    """
    return sorted({scan[:DIGITS] for scan in scans})


def seen(about: Mapping[str, Any], scans: Iterable[str]) -> tuple[int, int]:
    """How many of some scans a network was trained on or chosen by, and how many there are.

    Parameters
    ----------
    about : mapping
        A record whose ``trained_on`` has ``scans``.
    scans : iterable of str
        ``voxels_sha256`` of the table of nodules.
    """
    here = set(fingerprints(scans))
    return len(here & set(about["trained_on"]["scans"])), len(here)
