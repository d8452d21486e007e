"""Forward from a patient to everything that a withdrawal touches."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.store import ledger
from lungpipe.store.lookup import rows_with

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lungpipe.store.ledger import Record
    from lungpipe.store.place import Place

#: Kinds of the cohort that are made from every patient at once, so that a withdrawn one is in all of them.
_OF_ALL = ("configuration", "curation", "frames")


@dataclass(frozen=True, slots=True)
class Impact:
    """What a patient has a part in.

    Parameters
    ----------
    patient_id : str
        Pseudonym.
    own : tuple of str
        References of the patient's own records.
    cohort : tuple of Record
        Records of the cohort that were made from them, directly or through others, each after what it was made from.
    rows : mapping
        Number of rows by table.
    n_bytes : int
        Size of the patient's own outputs.
    """

    patient_id: str
    own: tuple[str, ...]
    cohort: tuple[Record, ...]
    rows: Mapping[str, int]
    n_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "patient_id": self.patient_id,
            "own": list(self.own),
            "cohort": [entry.ref for entry in self.cohort],
            "rows": dict(self.rows),
            "bytes": self.n_bytes,
        }

    def as_text(self) -> str:
        """Lines for a person."""
        kinds = Counter(ref.split("/")[1].rsplit("-", 1)[0] for ref in self.own)
        shared = Counter(entry.kind for entry in self.cohort)
        lines = [f"patient {self.patient_id}"]
        lines += [f"  rows in {name}: {count}" for name, count in self.rows.items()]
        lines += [f"  to be removed: {count} {kind}" for kind, count in sorted(kinds.items())]
        lines.append(f"  to be removed: {self.n_bytes / 1e6:.1f} MB of volumes, masks and parts")
        lines += [f"  to be made anew: {count} {kind}" for kind, count in sorted(shared.items())]
        return "\n".join(lines)


def impact_of(place: Place, patient_id: str) -> Impact:
    """Find everything in a workspace that a patient has a part in.

    Parameters
    ----------
    place : Place
        The workspace.
    patient_id : str
        Pseudonym.

    Raises
    ------
    DatasetError
        If the workspace has neither a row nor a record of the patient, or a record of the cohort is damaged.
    """
    rows = count_rows(place, patient_id)
    own = ledger.refs(place, patient_id)
    if not own and not rows:
        raise DatasetError(f"{place} has neither a row nor a record of {patient_id}")
    files = {name for folder in folders_of(own) for name in place.files(folder)}
    return Impact(
        patient_id, tuple(own), tuple(_forward(place, set(own), set(rows))), rows, sum(map(place.size, files))
    )


def folders_of(own: Sequence[str]) -> list[str]:
    """Folders of a patient's artefacts, by their references alone: a damaged record hides nothing."""
    names = [ref.split("/")[1] for ref in own]
    volumes = [f"volumes/{name.removeprefix('volume-')}.zarr" for name in names if name.startswith("volume-")]
    return [*volumes, *(f"parts/{name}" for name in names)]


def count_rows(place: Place, patient_id: str) -> dict[str, int]:
    """Rows of a patient in each table that has some."""
    found = {}
    for child in place.children("tables"):
        if child.endswith(".parquet") and not child.startswith("."):
            count = len(rows_with(place, f"tables/{child}", "patient_id", patient_id))
            if count:
                found[child.removesuffix(".parquet")] = count
    return found


def _forward(place: Place, touched: set[str], tables: set[str]) -> list[Record]:
    """Records of the cohort made from something touched, each after what it was made from."""
    waiting = list(ledger.records(place, ledger.COHORT))
    found: list[Record] = []
    while True:
        now = [entry for entry in waiting if _is_touched(entry, touched, tables)]
        if not now:
            return found
        found += now
        touched |= {entry.ref for entry in now}
        waiting = [entry for entry in waiting if entry.ref not in touched]


def _is_touched(entry: Record, touched: set[str], tables: set[str]) -> bool:
    if entry.kind in _OF_ALL or (entry.kind == "table" and entry.subject["table"] in tables):
        return True
    return not touched.isdisjoint(entry.made_from)
