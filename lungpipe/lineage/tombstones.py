"""Who was withdrawn from a workspace: known again when met, named nowhere."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from lungpipe.store import ledger

if TYPE_CHECKING:
    from lungpipe.store.place import Place

#: Scope of the records of withdrawals.
SCOPE = "tombstones"


def tombstone_id(patient_id: str) -> str:
    """Id of the tombstone of a patient, from the pseudonym; nothing leads from it to a patient whom one does not have."""
    return hashlib.sha256(f"tombstone\0{patient_id}".encode()).hexdigest()[:16]


def tombstone_ref(patient_id: str) -> str:
    """Reference of the record of a patient's withdrawal."""
    return f"{SCOPE}/tombstone-{tombstone_id(patient_id)}"


def withdrawn(place: Place) -> frozenset[str]:
    """Ids of all tombstones of a workspace."""
    return frozenset(ref.rsplit("-", 1)[1] for ref in ledger.refs(place, SCOPE))
