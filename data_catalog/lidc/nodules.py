"""The nodules of one LIDC-IDRI series, on the grid of its DICOM images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from data_catalog.lidc.cluster import RATERS_PER_SCAN, cluster_annotations
from data_catalog.lidc.database import read_annotations, read_scans
from data_catalog.lidc.masks import rater_mask
from lungpipe.errors import DatasetError
from lungpipe.nodule import Nodule
from lungpipe.segment.consensus import consensus_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_catalog.lidc.database import Annotation
    from lungpipe.geometry import Geometry, Triple
    from lungpipe.volume import Mask

#: The middle of the malignancy scale, "indeterminate": nodules with this mean rating have no label.
INDETERMINATE = 3


def read_nodules(series_uid: str, patient_id: str, frame: Geometry, min_raters: int = 1) -> list[Nodule]:
    """Read the nodules of a DICOM series that the data set's radiologists outlined.

    Parameters
    ----------
    series_uid : str
        DICOM series instance UID, as published.
    patient_id : str
        Patient that the nodules are filed under; their ids are this and a number, by increasing z position.
    frame : Geometry
        Grid of the series. Its columns and rows must be those of the published images.
    min_raters : int
        Leave out nodules that fewer radiologists outlined; the numbers of the others stay the same.

    Returns
    -------
    list of Nodule
        With one mask a radiologist, and the LPS box (mm) of the voxels that at least half of them outlined.
        ``malignant`` is 1 for a mean rating above 3, 0 below, and None at 3, or where outlines of several nodules
        could not be told apart (fourteen groups of more than four outlines).

    Raises
    ------
    DatasetError
        If no scan of the data set has this series UID.
    AnnotationError
        If the outlines do not fit the grid.
    """
    scans = read_scans(series_uid)
    if not scans:
        raise DatasetError(
            f"LIDC-IDRI has no series {series_uid}: its outlines are filed under the series UIDs of the published "
            "images, so pass those (not pseudonyms), or name another data set in the recipe"
        )
    scan = scans[0]
    groups = cluster_annotations(scan, read_annotations([scan.scan_id]).get(scan.scan_id, []))
    return [
        _nodule(group, f"{patient_id}-{number}", series_uid, patient_id, frame)
        for number, group in enumerate(groups, start=1)
        if len(group) >= min_raters
    ]


def malignancy_label(group: Sequence[Annotation]) -> int | None:
    """Label of a nodule by its mean malignancy rating: 1 above 3, 0 below, None at 3 or for a mixed group."""
    mean = float(np.mean([annotation.malignancy for annotation in group]))
    if mean == INDETERMINATE or len(group) > RATERS_PER_SCAN:
        return None
    return int(mean > INDETERMINATE)


def _nodule(group: Sequence[Annotation], nodule_id: str, series_uid: str, patient_id: str, frame: Geometry) -> Nodule:
    """One nodule from the annotations that show it."""
    raters = tuple(rater_mask(annotation, frame).trimmed() for annotation in group)
    agreed = consensus_mask(raters)
    centre_mm, size_mm = _box_mm(agreed if agreed.n_voxels else consensus_mask(raters, share=1e-9))
    return Nodule(patient_id, series_uid, nodule_id, centre_mm, size_mm, malignancy_label(group), raters=raters)


def _box_mm(mask: Mask) -> tuple[Triple, Triple]:
    """LPS centre and full sides (x, y, z) of a mask's tight box, mm."""
    start, stop = np.asarray(mask.bounds)
    x, y, z = mask.frame.to_lps((start + stop - 1) / 2).tolist()
    side_z, side_y, side_x = ((stop - start) * np.asarray(mask.frame.spacing_mm)).tolist()
    return (x, y, z), (side_x, side_y, side_z)
