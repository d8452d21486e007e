"""Back from a row of the feature table to the SOP instances, settings and code that made it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError
from lungpipe.store.closure import closure
from lungpipe.store.ledger import load
from lungpipe.store.lookup import rows_with

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lungpipe.lineage.originals import Originals
    from lungpipe.store.ledger import Record
    from lungpipe.store.place import Place

#: Name of the form of :meth:`Trace.as_dict`, described by ``trace.schema.json`` beside this module.
FORM = "lungpipe-trace-1"
_COLUMNS = ("dataset", "patient_id", "series_uid", "nodule_id", "segmenter", "mask_id", "artefact", "volume_id")
_TABLE = "tables/nodules.parquet"


@dataclass(frozen=True, slots=True)
class Trace:
    """Where the rows of one nodule come from.

    Parameters
    ----------
    nodule_id, patient_id, series_uid, dataset : str
        Pseudonyms, and the name of the data set.
    rows : tuple of dict
        One a segmenter: its name, ``mask_id``, and the references of the records of its mask and features.
    artefacts : mapping of str to Record
        Every record that the rows lead back to, by reference.
    environments : mapping of str to Record
        What made them.
    instances : tuple of str
        Pseudonyms of the SOP instance UIDs of the scan, in the order of its slices.
    originals : Originals or None
        The archive's own identifiers, where they were asked for.
    """

    nodule_id: str
    patient_id: str
    series_uid: str
    dataset: str
    rows: tuple[dict[str, str], ...]
    artefacts: Mapping[str, Record]
    environments: Mapping[str, Record]
    instances: tuple[str, ...]
    originals: Originals | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON values, in the form of ``trace.schema.json``."""
        known = self.originals.instances if self.originals else {}
        values: dict[str, Any] = {
            "form": FORM,
            "nodule_id": self.nodule_id,
            "patient_id": self.patient_id,
            "series_uid": self.series_uid,
            "dataset": self.dataset,
            "rows": list(self.rows),
            "artefacts": {ref: _plain(entry) for ref, entry in self.artefacts.items()},
            "environments": {ref: dict(entry.settings) for ref, entry in self.environments.items()},
            "instances": [{"uid": uid, "original": known.get(uid)} for uid in self.instances],
        }
        if self.originals is not None:
            values["originals"] = {"patient_id": self.originals.patient_id, "series_uid": self.originals.series_uid}
        return values


def _plain(entry: Record) -> dict[str, Any]:
    values = asdict(entry)
    values["inputs"] = {name: value for name, value in values["inputs"].items() if name != "instances"}
    return values


def trace_nodule(place: Place, nodule_id: str, segmenter: str | None = None, series_uid: str | None = None) -> Trace:
    """Follow the rows of one nodule back, by the ledger.

    Parameters
    ----------
    place : Place
        The workspace.
    nodule_id : str
        Pseudonym, as in ``nodules.parquet`` and ``features.parquet``.
    segmenter : str, optional
        Follow the rows of this segmenter alone.
    series_uid : str, optional
        Pseudonym; needed where a nodule of that name is on several series.

    Raises
    ------
    DatasetError
        If there is no such nodule, series or segmenter in the tables, the nodule is on several series and none is named,
        or a record is missing or damaged.
    """
    rows = _rows(place, nodule_id)
    series = sorted({row["series_uid"] for row in rows})
    if (len(series) > 1 and series_uid is None) or (series_uid is not None and series_uid not in series):
        raise DatasetError(f"nodule {nodule_id} is on the series {', '.join(series)}; name one of them (--series)")
    rows = [row for row in rows if series_uid in (None, row["series_uid"])]
    if segmenter is not None:
        names = sorted({row["segmenter"] for row in rows})
        rows = [row for row in rows if row["segmenter"] == segmenter]
        if not rows:
            raise DatasetError(f"nodule {nodule_id} has no mask by {segmenter!r}; it has {', '.join(names)}")
    first = rows[0]
    features = _features(place, first["patient_id"], {row["artefact"] for row in rows})
    shown = []
    # A nodule may be in several data sets of a workspace; its mask and features are the same.
    for row in {(row["segmenter"], row["artefact"]): row for row in rows}.values():
        mask = f"{row['patient_id']}/masks-{row['artefact']}"
        shown.append(
            {
                "segmenter": row["segmenter"],
                "mask_id": row["mask_id"],
                "mask": mask,
                "features": features.get(mask, ""),
            }
        )
    starts = [ref for row in shown for ref in (row["features"], row["mask"]) if ref]
    try:
        artefacts = closure(place, starts)
        makers = dict.fromkeys(entry.made_by for entry in artefacts.values())
        environments = {ref: load(place, ref) for ref in makers}
    except FileNotFoundError as error:
        raise DatasetError(
            f"the ledger of {place} lacks a record that nodule {nodule_id} leads back to; see `lungpipe verify`"
        ) from error
    volume = artefacts.get(f"{first['patient_id']}/volume-{first['volume_id']}")  # none of outlines without images
    return Trace(
        nodule_id,
        first["patient_id"],
        first["series_uid"],
        first["dataset"],
        tuple(shown),
        artefacts,
        environments,
        tuple(volume.inputs["instances"]) if volume else (),
    )


def _rows(place: Place, nodule_id: str) -> Sequence[dict[str, str]]:
    try:
        rows = rows_with(place, _TABLE, "nodule_id", nodule_id, _COLUMNS)
    except FileNotFoundError:
        raise DatasetError(f"no {_TABLE} in {place}; is this a lungpipe workspace, and did its run finish?") from None
    if not rows:
        raise DatasetError(f"{_TABLE} of {place} has no nodule {nodule_id}; ids there look like N- and 12 characters")
    return rows


def _features(place: Place, patient_id: str, masks: set[str]) -> dict[str, str]:
    """Reference of the features made from each mask, by the mask's reference: those that the feature table holds."""
    rows = rows_with(place, "tables/features.parquet", "patient_id", patient_id, ("artefact",))
    found = {}
    for name in dict.fromkeys(row["artefact"] for row in rows):
        entry = load(place, f"{patient_id}/features-{name}")
        found.update({ref: entry.ref for ref in entry.made_from if ref.split("/masks-")[-1] in masks})
    return found
