"""The nodules of one LIDC-IDRI series, on the grid of its DICOM images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from data_catalog.lidc.cluster import RATERS_PER_SCAN, cluster_annotations
from data_catalog.lidc.database import read_annotations, read_scans
from data_catalog.lidc.masks import rater_mask
from data_catalog.lidc.reading import RATING_SCALES, on_scale
from lungpipe.errors import AnnotationError, DatasetError
from lungpipe.nodule import Nodule
from lungpipe.segment.consensus import consensus_mask, union_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_catalog.lidc.reading import Annotation, Scan
    from lungpipe.geometry import Geometry, Triple
    from lungpipe.volume import Mask

#: The middle of the malignancy scale, "indeterminate": nodules with this mean rating have no label.
INDETERMINATE = 3
#: Codes of nodules: outlines of several nodules that could not be told apart; a rating that its scale does not know.
RATERS_MIXED, RATING_OFF_SCALE = "raters_mixed", "rating_off_scale"


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
        could not be told apart: fourteen groups of more than four outlines, kept with the code ``raters_mixed``.

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
    annotations = read_annotations([scan.scan_id]).get(scan.scan_id, [])
    return nodules_of(replace(scan, patient_id=patient_id), annotations, frame, min_raters)


def nodules_of(scan: Scan, annotations: Sequence[Annotation], frame: Geometry, min_raters: int = 1) -> list[Nodule]:
    """Group a scan's annotations into nodules on a grid.

    Parameters
    ----------
    scan : Scan
        Its patient and series go into the nodules, its pixel spacing decides which outlines touch.
    annotations : sequence of Annotation
        All annotations of that scan.
    frame : Geometry
        Grid of the series.
    min_raters : int
        Leave out nodules that fewer radiologists outlined.

    Returns
    -------
    list of Nodule
        As :func:`read_nodules` gives them.

    Raises
    ------
    AnnotationError
        If the outlines do not fit the grid.
    """
    return [
        _nodule(group, f"{scan.patient_id}-{number}", scan, frame)
        for number, group in enumerate(cluster_annotations(scan, annotations), start=1)
        if len(group) >= min_raters
    ]


def malignancy_label(group: Sequence[Annotation]) -> int | None:
    """Label of a nodule by its mean malignancy rating: 1 above 3, 0 below, None at 3.

    None too for a mixed group, and where a rating is not on the scale.
    """
    mean = float(np.mean([annotation.malignancy for annotation in group]))
    valid = all(on_scale(annotation, "malignancy") for annotation in group)
    if mean == INDETERMINATE or len(group) > RATERS_PER_SCAN or not valid:
        return None
    return int(mean > INDETERMINATE)


def mean_ratings(group: Sequence[Annotation]) -> tuple[tuple[str, float], ...]:
    """Mean of every rating but malignancy, which is the label; without a rating where a value is off its scale."""
    return tuple(
        (name, float(np.mean([getattr(annotation, name) for annotation in group])))
        for name in RATING_SCALES
        if name != "malignancy" and all(on_scale(annotation, name) for annotation in group)
    )


def group_codes(group: Sequence[Annotation]) -> tuple[str, ...]:
    """What needs a look in a nodule: codes of its annotations, ``raters_mixed``, ``rating_off_scale``; sorted."""
    codes = {code for annotation in group for code in annotation.codes}
    if len(group) > RATERS_PER_SCAN:
        codes.add(RATERS_MIXED)
    if not all(on_scale(annotation, rating) for annotation in group for rating in RATING_SCALES):
        codes.add(RATING_OFF_SCALE)
    return tuple(sorted(codes))


def _nodule(group: Sequence[Annotation], nodule_id: str, scan: Scan, frame: Geometry) -> Nodule:
    """One nodule from the annotations that show it."""
    raters = tuple(_trimmed(rater_mask(annotation, frame)) for annotation in group)
    agreed = consensus_mask(raters)
    agreed = agreed if agreed.n_voxels else union_mask(raters)
    if not agreed.n_voxels:
        raise AnnotationError("empty_outline", "the outlines of a nodule enclose no voxel; check the annotation file")
    centre_mm, size_mm = _box_mm(agreed)
    label, codes = malignancy_label(group), group_codes(group)
    return Nodule(
        scan.patient_id,
        scan.series_uid,
        nodule_id,
        centre_mm,
        size_mm,
        label,
        raters=raters,
        codes=codes,
        ratings=mean_ratings(group),
    )


def _trimmed(mask: Mask) -> Mask:
    """A mask on its tight box; an empty one as it is."""
    return mask.trimmed() if mask.n_voxels else mask


def _box_mm(mask: Mask) -> tuple[Triple, Triple]:
    """LPS centre and full sides (x, y, z) of a mask's tight box, mm."""
    start, stop = np.asarray(mask.bounds)
    x, y, z = mask.frame.to_lps((start + stop - 1) / 2).tolist()
    side_z, side_y, side_x = ((stop - start) * np.asarray(mask.frame.spacing_mm)).tolist()
    return (x, y, z), (side_x, side_y, side_z)
