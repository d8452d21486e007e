"""The archive's own identifiers of what a workspace knows by pseudonym: for the key's owner alone."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lungpipe.dicom.pseudonymise import Pseudonymiser, key_path, load_pseudonymiser, table_path
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Originals:
    """A patient, a series, and its SOP instance UIDs by pseudonym; empty where no archive that was indexed has them."""

    patient_id: str
    series_uid: str
    instances: Mapping[str, str]


def pseudonym_of(kind: str, name: str) -> str:
    """Pseudonym of an identifier that may be one already.

    Parameters
    ----------
    kind : {"patient", "nodule"}
    name : str
        A pseudonym, or the archive's own identifier; of a nodule ``PATIENT/NODULE``, or ``NODULE`` where one patient alone
        has a nodule of that name.

    Raises
    ------
    DatasetError
        If several patients have a nodule of that name, or nothing was pseudonymised from it under this key.
    """
    prefix = f"{kind[0].upper()}-"
    if name.startswith(prefix) and len(name) == len(prefix) + 12:
        return name
    found = {pseudonym for original, pseudonym in _table(kind) if original == name}
    if not found and kind == "nodule":
        found = {pseudonym for original, pseudonym in _table(kind) if original.endswith(f"/{name}")}
    if len(found) != 1:
        many = "several patients have one" if found else "nothing was pseudonymised from it under this key"
        raise DatasetError(f"no {kind} is known by this name: {many}; give its pseudonym ({prefix}...)")
    return found.pop()


def originals_of(patient_id: str, series_uid: str) -> Originals:
    """Look up what the archive calls a patient and a series, and its slices.

    Parameters
    ----------
    patient_id, series_uid : str
        Pseudonyms.

    Raises
    ------
    DatasetError
        If the key here is not the one that the pseudonyms were made under, or the table beside it is gone.
    """
    from lungpipe.dicom.memory import remember

    patient = next((original for original, pseudonym in _table("patient") if pseudonym == patient_id), "")
    name = next((original for original, pseudonym in _table("series") if pseudonym == series_uid), "")
    if not name:
        raise DatasetError(
            f"the table of pseudonyms {table_path()} has no {series_uid}: the workspace was made under another key"
        )
    pseudonym, _ = load_pseudonymiser()
    series, _, stack = name.partition("#")
    for path in sorted((key_path().parent / "index").glob("*.sqlite")):
        with remember(path) as memory:
            uids = memory.sop_uids(series, int(stack or 1))
        if uids:
            return Originals(patient, name, _by_pseudonym(pseudonym, uids))
    return Originals(patient, name, {})


def _by_pseudonym(pseudonym: Pseudonymiser, uids: tuple[str, ...]) -> dict[str, str]:
    return {pseudonym.uid(uid): uid for uid in uids}


def _table(kind: str) -> Iterator[tuple[str, str]]:
    """Original and pseudonym of everything of a kind that was pseudonymised under this key."""
    try:
        with table_path().open(newline="", encoding="utf-8") as stream:
            yield from ((row[1], row[2]) for row in csv.reader(stream) if row[0] == kind)
    except FileNotFoundError:
        return
