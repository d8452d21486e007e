"""The real nodules that a phantom can be made of: shapes, ratings and labels from LIDC-IDRI."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np

from data_catalog.lidc import (
    cluster_annotations,
    malignancy_label,
    rater_mask,
    read_annotations,
    read_scans,
    scan_frame,
)
from data_catalog.phantom.shapes import Shape, shape_from_mask
from lungpipe.errors import AnnotationError
from lungpipe.segment.consensus import consensus_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_catalog.lidc import Annotation, Scan

#: Fewest and most radiologists who outlined a nodule.
RATERS = (3, 4)
#: Diameters of the ball of a nodule's volume, mm.
DIAMETER_MM = (6.0, 20.0)
#: Longest side of a nodule's box, mm.
LONGEST_SIDE_MM = 25.0
#: Thicker slices leave too little of a small nodule's shape.
THICKEST_SLICES_MM = 2.5
#: Processes at most, and the parts that they share the scans in.
MAX_WORKERS, PARTS = 2, 4
#: Calcification rating that says there is none.
NOT_CALCIFIED = 6


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """A real nodule.

    Parameters
    ----------
    source : str
        Scan and nodule in LIDC-IDRI.
    lidc_patient : str
        Its patient there.
    malignant : int
        1 for a mean rating above 3, 0 below.
    mean_malignancy, texture, calcification : float
        Mean ratings: 1 to 5, 1 ground glass to 5 solid, 6 not calcified.
    n_raters : int
        Radiologists who outlined it.
    shape : Shape
        Surface of what at least half of them outlined.
    """

    source: str
    lidc_patient: str
    malignant: int
    mean_malignancy: float
    texture: float
    calcification: float
    n_raters: int
    shape: Shape


@lru_cache(maxsize=1)
def read_candidates() -> tuple[Candidate, ...]:
    """Read every nodule that three or four radiologists outlined, of 6 to 20 mm and with a label.

    Up to two processes share the work, started afresh: a script that calls this needs the usual main guard.

    Returns
    -------
    tuple of Candidate
        In the order of the database; several may come from one patient.
    """
    scan_ids = [scan.scan_id for scan in read_scans() if scan.slice_spacing_mm <= THICKEST_SLICES_MM]
    workers = min(MAX_WORKERS, os.cpu_count() or 1)
    if workers == 1:
        return tuple(_search(scan_ids))
    parts = np.array_split(scan_ids, PARTS)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return tuple(chain.from_iterable(pool.map(_search, [part.tolist() for part in parts])))


def _search(scan_ids: list[int]) -> list[Candidate]:
    """Candidates of some scans."""
    wanted = set(scan_ids)
    annotations = read_annotations(scan_ids)
    found: list[Candidate] = []
    for scan in read_scans():
        drawn = annotations.get(scan.scan_id, [])
        if scan.scan_id not in wanted or len(drawn) < RATERS[0]:
            continue
        for number, group in enumerate(cluster_annotations(scan, drawn), start=1):
            label = malignancy_label(group)
            if label is not None and RATERS[0] <= len(group) <= RATERS[1] and _may_fit(scan, group):
                found += _candidate(scan, group, number, label)
    return found


def _may_fit(scan: Scan, group: Sequence[Annotation]) -> bool:
    """Whether the outlines' own extent leaves the nodule's diameter within range; spares making its mask."""
    widths_mm = []
    for annotation in group:
        points = np.concatenate([contour.points_xy for contour in annotation.contours])
        widths_mm.append(float(np.ptp(points, axis=0).max()) * scan.pixel_spacing_mm)
    return DIAMETER_MM[0] <= float(np.median(widths_mm)) <= LONGEST_SIDE_MM + 2.0


def _candidate(scan: Scan, group: Sequence[Annotation], number: int, label: int) -> list[Candidate]:
    """Return the nodule as a list of one, or an empty list where its shape does not suit."""
    try:
        frame = scan_frame(scan)
        agreed = consensus_mask([rater_mask(annotation, frame) for annotation in group])
    except AnnotationError:
        return []
    if not agreed.n_voxels or not _diameter_fits(agreed.volume_mm3):
        return []
    shape = shape_from_mask(agreed.trimmed().voxels, frame.spacing_mm)
    if shape is None or max(shape.size_mm) > LONGEST_SIDE_MM or not _diameter_fits(shape.volume_mm3):
        return []
    ratings = np.array([(a.malignancy, a.texture, a.calcification) for a in group], dtype=np.float64).mean(axis=0)
    malignancy, texture, calcification = ratings.tolist()
    source = f"{scan.patient_id} scan {scan.scan_id} nodule {number}"
    return [Candidate(source, scan.patient_id, label, malignancy, texture, calcification, len(group), shape)]


def _diameter_fits(volume_mm3: float) -> bool:
    """Whether the ball of this volume has a diameter within range."""
    return DIAMETER_MM[0] <= float(np.cbrt(6 * volume_mm3 / np.pi)) <= DIAMETER_MM[1]
