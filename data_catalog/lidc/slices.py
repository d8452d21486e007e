"""Which slices outlines lie on: by SOP instance UID where both sides have them, and on the even part of an uneven scan."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from data_catalog.lidc.masks import SLICE_TOLERANCE, scan_frame
from lungpipe.errors import AnnotationError
from lungpipe.geometry import Geometry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_catalog.lidc.reading import Annotation, Contour, Scan
    from lungpipe.dicom.series import Series

#: Codes of nodules: the slice that an outline's SOP instance UID names is not at its z position, and the UID was
#: followed; its UID is not in the series, and its z position was followed; the scan has uneven slices elsewhere.
SLICE_MOVED, INSTANCE_UNKNOWN, IRREGULAR_SLICES = "slice_moved", "instance_unknown", "irregular_slices"


def on_instances(annotation: Annotation, series: Series) -> Annotation:
    """Move an annotation's outlines to the slices that their SOP instance UIDs name.

    The UID decides against the z position: that is text of another program's, and may be rounded or of another origin.
    Outlines without a UID, and all outlines of a series without a grid, stay where they are.

    Returns
    -------
    Annotation
        With the code ``slice_moved`` where UID and z position disagree by more than a tenth of the slice spacing, and
        ``instance_unknown`` where the series holds no such UID, so that the z position was followed.
    """
    frame = series.geometry
    if frame is None:
        return annotation
    slices = {uid: k for k, uid in enumerate(series.sop_uids)}
    tolerance_mm = SLICE_TOLERANCE * frame.spacing_mm[0]
    codes = set(annotation.codes)
    contours: list[Contour] = []
    for contour in annotation.contours:
        k = slices.get(contour.sop_uid)
        if k is None:
            codes |= {INSTANCE_UNKNOWN} if contour.sop_uid else set()
            contours.append(contour)
            continue
        z_mm = float(frame.to_lps((k, 0, 0))[2])
        if abs(z_mm - contour.z_mm) > tolerance_mm:
            codes.add(SLICE_MOVED)
        contours.append(replace(contour, z_mm=z_mm))
    return replace(annotation, contours=tuple(contours), codes=tuple(sorted(codes)))


def even_frame(scan: Scan, annotations: Sequence[Annotation]) -> tuple[Geometry, tuple[str, ...]]:
    """Grid of the evenly spaced slices that hold some outlines, for masks where no images are at hand.

    Of a regular scan it is the whole grid. Four scans have a gap or an overlap somewhere; the grid of a nodule there is
    the longest even stretch of slices around it, so that its mask and volume are exact.

    Parameters
    ----------
    scan : Scan
        With the positions of its slices.
    annotations : sequence of Annotation
        Those of one nodule.

    Returns
    -------
    frame : Geometry
        x and y run from the image corner, z is LPS; as :func:`data_catalog.lidc.masks.scan_frame`.
    codes : tuple of str
        ``irregular_slices`` where only a part of the scan is even.

    Raises
    ------
    AnnotationError
        If the nodule itself lies across the uneven place.
    """
    try:
        return scan_frame(scan), ()
    except AnnotationError as uneven:
        spacing_mm = scan.slice_spacing_mm
        breaks = np.flatnonzero(np.abs(np.diff(scan.z_mm) - spacing_mm) > SLICE_TOLERANCE * spacing_mm)
        z_mm = [contour.z_mm for annotation in annotations for contour in annotation.contours]
        reach_mm = SLICE_TOLERANCE * spacing_mm
        for stretch in np.split(scan.z_mm, breaks + 1):
            if len(stretch) > 1 and stretch[0] - reach_mm <= min(z_mm) and max(z_mm) <= stretch[-1] + reach_mm:
                return scan_frame(replace(scan, z_mm=stretch)), (IRREGULAR_SLICES,)
        raise AnnotationError(
            IRREGULAR_SLICES, f"the nodule lies across uneven slices, so its volume is not defined; {uneven.message}"
        ) from None
