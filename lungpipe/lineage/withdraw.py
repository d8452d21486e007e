"""Remove a patient from a workspace, prove it, and leave a tombstone."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lungpipe.errors import DatasetError, LungpipeError
from lungpipe.identity import KINDS, Term, audit_workspace
from lungpipe.lineage.impact import Impact, folders_of, impact_of
from lungpipe.lineage.tombstones import SCOPE, tombstone_id, tombstone_ref
from lungpipe.store import ledger
from lungpipe.store.record import write_run
from lungpipe.store.tables import SCHEMAS, read_table, write_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.identity import AuditReport
    from lungpipe.store.place import Place

RUN = "run.json"
#: What a pseudonym, or the pseudonym of a UID, looks like in a record or a cell.
_PSEUDONYM = re.compile(r"\b[PSTNF]-[A-Z2-7]{12}\b|\b2\.25\.\d{20,}\b")


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What was removed, and the search that found nothing of it afterwards."""

    removed: Mapping[str, int]
    rows: Mapping[str, int]
    n_bytes: int
    proof: AuditReport

    def as_text(self) -> str:
        """Lines for a person."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.removed.items()))
        rows = ", ".join(f"{count} of {name}" for name, count in self.rows.items())
        return "\n".join(
            [
                f"removed {kinds or 'no record'}, {self.n_bytes / 1e6:.1f} MB; rows: {rows or 'none'}",
                f"proof: searched {self.proof.n_files} files for {self.proof.n_terms} pseudonyms of the patient and "
                "found none",
                "scores and pages that the patient had a part in are gone; run the recipe again to make them anew",
            ]
        )


def withdraw(place: Place, patient_id: str) -> Withdrawal:
    """Remove everything of a patient from a workspace, and what was computed from it together with others.

    First the tombstone is written, so that no run takes the patient in again, then rows and artefacts go, then all files
    are searched. If it is interrupted, calling it again finishes it. What lies outside the workspace, archive, key and
    table of pseudonyms, stays as it is.

    Parameters
    ----------
    place : Place
        The workspace.
    patient_id : str
        Pseudonym.

    Raises
    ------
    DatasetError
        If the workspace has neither a row nor a record of the patient.
    LungpipeError
        If something of the patient is found afterwards; the message names the files.
    """
    try:
        touched = impact_of(place, patient_id)
    except DatasetError:
        if not place.exists(ledger.path_of(tombstone_ref(patient_id))):
            raise
        touched = Impact(patient_id, (), (), {}, 0)  # interrupted, or withdrawn before: search again
    terms = _terms(place, touched)
    stone = ledger.Record(
        SCOPE,
        "tombstone",
        tombstone_id(patient_id),
        inputs={"rows": dict(touched.rows), "records": len(touched.own), "bytes": touched.n_bytes},
    )
    ledger.record(place, stone)
    # What was made from others goes first: interrupted, the rest is still found through what is left.
    for entry in reversed(touched.cohort):
        if entry.kind != "table":
            for name in entry.outputs:
                if name != RUN:
                    place.remove(name)
            ledger.forget(place, entry.ref)
    # The record of a table names the patient's parts even where the table has none of the patient's rows.
    recorded = {entry.subject["table"] for entry in touched.cohort if entry.kind == "table"}
    for name in sorted({*touched.rows, *recorded}):
        if name in SCHEMAS and not SCHEMAS[name].optional:
            _without(place, name, patient_id)
        else:
            place.remove(f"tables/{name}.parquet")
    _rewrite_run(place, terms)
    for folder in folders_of(touched.own):
        place.remove(folder)
    place.remove(f"{ledger.FOLDER}/{patient_id}")
    proof = _prove(place, terms)
    found = {"files": proof.n_files, "terms": proof.n_terms, "found": 0}
    ledger.record(place, replace(stone, inputs={**stone.inputs, "proof": found}))
    kinds = Counter(ref.split("/")[1].rsplit("-", 1)[0] for ref in touched.own)
    kinds += Counter(entry.kind for entry in touched.cohort if entry.kind != "table")
    return Withdrawal(kinds, touched.rows, touched.n_bytes, proof)


def _terms(place: Place, touched: Impact) -> list[Term]:
    """Every pseudonym of the patient that the workspace holds."""
    found = {touched.patient_id}
    for ref in touched.own:
        found.update(_PSEUDONYM.findall(place.read(ledger.path_of(ref)).decode()))
    for name in touched.rows:
        frame = read_table(place, f"tables/{name}.parquet")
        rows = frame[frame["patient_id"] == touched.patient_id]
        for column in rows.columns.intersection(["series_uid", "study_uid", "nodule_id", "file"]):
            found.update(str(value) for value in rows[column] if value)
    return [Term("uid" if text[0].isdigit() else "id", text) for text in sorted(found)]


def _without(place: Place, name: str, patient_id: str) -> None:
    """Write a table and its record without the rows of a patient."""
    path = f"tables/{name}.parquet"
    frame = read_table(place, path)
    older = [entry for entry in ledger.records(place, ledger.COHORT, "table") if path in entry.outputs]
    write_table(frame[frame["patient_id"] != patient_id].reset_index(drop=True), place, path)
    made_from = [ref for entry in older for ref in entry.made_from if not ref.startswith(f"{patient_id}/")]
    entry = ledger.named(
        ledger.COHORT,
        "table",
        subject={"table": name},
        made_from=sorted(set(made_from)),
        inputs={"without": tombstone_id(patient_id), "from": sorted(entry.id for entry in older)},
        versions=older[0].versions if older else {},
    )
    ledger.replace_older(place, ledger.record(place, entry, [path]))


def _rewrite_run(place: Place, terms: list[Term]) -> None:
    """Take the patient's series out of ``run.json``."""
    try:
        values = json.loads(place.read(RUN))
    except FileNotFoundError:
        return
    gone = {term.text for term in terms}
    volumes = values["inputs"]["volumes"]
    values["inputs"]["volumes"] = {uid: one for uid, one in volumes.items() if uid not in gone}
    write_run(place, values)


def _prove(place: Place, terms: list[Term]) -> AuditReport:
    proof = audit_workspace(place, terms)
    left = [finding for finding in proof.findings if finding.kind in KINDS]
    if left:
        names = ", ".join(sorted({finding.path for finding in left})[:10])
        raise LungpipeError(
            f"after the withdrawal, pseudonyms of the patient are still in: {names}; remove these files"
        )
    return proof
