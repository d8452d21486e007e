"""What artefacts of each kind took before: seconds and bytes, as the ledger of a workspace remembers them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lungpipe.store import ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lungpipe.store.ledger import Record
    from lungpipe.store.place import Place

#: Patients whose records are read, spread evenly over all there are.
PATIENTS = 40


@dataclass(frozen=True, slots=True)
class Typical:
    """Means over artefacts of one kind.

    Parameters
    ----------
    seconds : float
        Wall seconds to make one.
    n_bytes : float
        Bytes of its files.
    n : int
        Artefacts that the means are over.
    """

    seconds: float
    n_bytes: float
    n: int


def counted_as(entry: Record) -> str:
    """Under what an artefact is counted: its kind, with the segmenter where it is of one (``"masks otsu"``)."""
    segmenter = entry.subject.get("segmenter", "") if entry.scope != ledger.COHORT else ""
    return f"{entry.kind} {segmenter}" if segmenter else entry.kind


def typical(place: Place) -> dict[str, Typical]:
    """Means by kind over the artefacts of some patients, and over the configurations of the benchmark.

    Artefacts without a result, and those whose time was not measured, do not count.
    """
    found: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for entry in _looked_at(place):
        if entry.made_in_s and not entry.failed:
            n_bytes = sum(place.size(file) for name in entry.outputs for file in place.files(name))
            found[counted_as(entry)].append((entry.made_in_s, n_bytes))
    return {
        kind: Typical(sum(s for s, _ in rows) / len(rows), sum(n for _, n in rows) / len(rows), len(rows))
        for kind, rows in found.items()
    }


def _looked_at(place: Place) -> Iterator[Record]:
    patients = ledger.patients(place)
    for patient in patients[:: max(1, len(patients) // PATIENTS)]:
        yield from ledger.readable(place, patient)
    yield from (entry for entry in ledger.readable(place, ledger.COHORT) if entry.kind == "configuration")
