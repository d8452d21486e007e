"""What a training learns from, by its recipe: simulated nodules, or the masks of a finished workspace."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from lungpipe.errors import DatasetError
from tasks.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from flows.training_config import DataSection
    from lungpipe.deep.examples import Example
    from lungpipe.store.place import Place
    from lungpipe.volume import Mask

#: Tissue about a mask that is kept, in longest sides of it, and at least mm.
MARGIN_SIDES, MARGIN_MM = 0.9, 8.0


def examples_for(data: DataSection) -> tuple[list[Example], list[Example], dict[str, Any]]:
    """Nodules to learn from, nodules held back, and where they come from as JSON values.

    Raises
    ------
    DatasetError
        If a workspace has no masks of the names, or too few patients to hold any back.
    """
    if data.source == "phantom":
        return _simulated(data)
    return _from_workspace(data)


def _simulated(data: DataSection) -> tuple[list[Example], list[Example], dict[str, Any]]:
    from data_catalog.phantom.lessons import lessons
    from lungpipe.deep.examples import Example

    found: list[list[Example]] = []
    with progress("simulated nodules", data.nodules + data.held) as advance:
        for count, seed, held_back in ((data.nodules, data.seed, False), (data.held, data.held_seed, True)):
            found.append([])
            for one in lessons(count, seed, held_back=held_back):
                hu = np.asarray(one.volume.hu, dtype=np.float32)
                found[-1].append(Example(hu, (one.cover,), one.volume.frame.spacing_mm))
                advance(1, "")
    about = {
        "source": "phantom",
        "datasets": ["LIDC-IDRI"],
        "intensities": "simulated",
        "seed": data.seed,
        "held_seed": data.held_seed,
    }
    return found[0], found[1], about


def _from_workspace(data: DataSection) -> tuple[list[Example], list[Example], dict[str, Any]]:
    from lungpipe.store.place import Place
    from lungpipe.store.tables import read_table

    place = Place.at(data.workspace)
    if not place.exists("tables/nodules.parquet"):
        raise DatasetError(f"{place} has no tables/nodules.parquet; give the workspace of a finished run")
    table = read_table(place, "tables/nodules.parquet")
    table = table[table["segmenter"].isin(data.masks)]
    if missing := sorted(set(data.masks) - set(table["segmenter"])):
        raise DatasetError(f"{place} has no masks by {missing[0]!r}; run its recipe with segment.methods that name it")
    learned: list[Example] = []
    held: list[Example] = []
    patients: set[str] = set()
    with progress("nodules", int(table.groupby(["series_uid", "nodule_id"]).ngroups)) as advance:
        for patient, example in _stored(place, table):
            back = share_of(patient) < data.held_back
            (held if back else learned).append(example)
            if not back:
                patients.add(patient)
            advance(1, "")
    if not learned or not held:
        raise DatasetError(
            f"{place}: {len(learned)} nodules to learn from and {len(held)} held back; give a workspace of more patients, or "
            "another data.held_back"
        )
    about = {
        "source": "workspace",
        "datasets": sorted(table["dataset"].unique().tolist()),
        "intensities": sorted(table["intensities"].unique().tolist()),
        "patients": sorted(patients),
        "masks": list(data.masks),
    }
    return learned, held, about


def share_of(patient_id: str) -> float:
    """A number from 0 to 1 that is always the same for a patient, and spread evenly over patients."""
    return int.from_bytes(hashlib.sha256(patient_id.encode()).digest()[:8]) / 2**64


def _stored(place: Place, table: pd.DataFrame) -> Iterator[tuple[str, Example]]:
    """Patient and example of every nodule that has a mask."""
    from lungpipe.deep.examples import Example
    from lungpipe.store.contents import stored_mask, volume_name
    from lungpipe.store.volumes import read_volume
    from lungpipe.volume import box_around

    for _, group in table.sort_values(["series_uid", "nodule_id", "segmenter"]).groupby(["series_uid", "nodule_id"]):
        rows = group.to_dict("records")
        masks: list[Mask] = [stored_mask(place, row) for row in rows]
        low = np.min([mask.bounds[0] for mask in masks], axis=0).tolist()
        high = np.max([mask.bounds[1] for mask in masks], axis=0).tolist()
        frame = masks[0].frame
        margin_mm = max(MARGIN_SIDES * float(np.max(np.subtract(high, low) * frame.spacing_mm)), MARGIN_MM)
        start, stop = box_around(frame, (low[0], low[1], low[2]), (high[0], high[1], high[2]), margin_mm)
        volume = read_volume(place, volume_name(str(rows[0]["volume_id"])), (start, stop))
        covers = tuple(mask.within(start, stop).voxels.astype(np.float32) for mask in masks)
        yield str(rows[0]["patient_id"]), Example(volume.hu.astype(np.float32), covers, frame.spacing_mm)
