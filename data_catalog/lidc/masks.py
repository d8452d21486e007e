"""Turn radiologists' outlines into masks on a voxel grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.draw import polygon

from lungpipe.errors import AnnotationError
from lungpipe.geometry import Geometry
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from data_catalog.lidc.reading import Annotation, Contour, Scan

#: Rows and columns of every scan of the data set.
PIXELS = 512
#: How far an outline may lie from the nearest slice, as a share of the slice spacing.
SLICE_TOLERANCE = 0.1


def scan_frame(scan: Scan) -> Geometry:
    """Grid of a scan as far as the database knows it: x and y run from the image corner, z is LPS.

    Raises
    ------
    AnnotationError
        If the slices are not evenly spaced (four scans of the data set).
    """
    steps_mm = np.diff(scan.z_mm)
    if np.any(np.abs(steps_mm - scan.slice_spacing_mm) > SLICE_TOLERANCE * scan.slice_spacing_mm):
        raise AnnotationError(
            "irregular_slices",
            f"expected even slices, found steps from {steps_mm.min():g} to {steps_mm.max():g} mm; leave this scan out",
        )
    pixel_mm = scan.pixel_spacing_mm
    shape = (len(scan.z_mm), PIXELS, PIXELS)
    return Geometry(shape, (scan.slice_spacing_mm, pixel_mm, pixel_mm), (0.0, 0.0, float(scan.z_mm[0])))


def rater_mask(annotation: Annotation, frame: Geometry) -> Mask:
    """Mask of what one radiologist outlined.

    Outlines lie one pixel outside the lesion, so their pixels are left out; an exclusion outline is a hole, its own
    pixels with it (LIDC-IDRI's reading rules).

    Parameters
    ----------
    annotation : Annotation
        Outlines of one nodule, in pixels (x, y) and slice positions in mm.
    frame : Geometry
        Grid of the series: its columns and rows are the outline's pixels, and its slices are found by z position.

    Returns
    -------
    Mask
        Boolean voxels (z, y, x) on the tight box of the outlines, placed in ``frame``.

    Raises
    ------
    AnnotationError
        If an outline leaves the grid or falls between two slices, as when the series lacks slices.
    """
    slices = _slice_indices(annotation, frame)
    points = np.concatenate([contour.points_xy for contour in annotation.contours])
    x, y = points.min(axis=0).tolist()
    stop_x, stop_y = (points.max(axis=0) + 1).tolist()
    if min(x, y) < 0 or stop_y > frame.shape[1] or stop_x > frame.shape[2]:
        raise AnnotationError(
            "outside_volume",
            f"expected outlines within {frame.shape[2]} columns and {frame.shape[1]} rows, found pixels up to "
            f"({stop_x - 1}, {stop_y - 1}); check that the series is the one that was outlined",
        )
    start = min(slices)
    inside = np.zeros((max(slices) - start + 1, stop_y - y, stop_x - x), dtype=np.bool_)
    holes = np.zeros_like(inside)
    for index, contour in zip(slices, annotation.contours, strict=True):
        target = inside if contour.included else holes
        target[index - start] |= _filled(contour, (x, y), inside.shape[1:])
    return Mask(inside & ~holes, frame, (start, y, x))


def _slice_indices(annotation: Annotation, frame: Geometry) -> list[int]:
    """Slices of ``frame`` on which an annotation's contours were drawn."""
    x_mm, y_mm, _ = frame.origin_mm
    exact = frame.to_index([(x_mm, y_mm, contour.z_mm) for contour in annotation.contours])[:, 0]
    nearest = np.rint(exact)
    if nearest.min() < 0 or nearest.max() >= frame.shape[0]:
        raise AnnotationError(
            "outside_volume",
            f"outlines lie on slices {exact.min():.2f} to {exact.max():.2f}, expected 0 to {frame.shape[0] - 1}; "
            "fetch the whole series",
        )
    off = float(np.abs(exact - nearest).max())
    if off > SLICE_TOLERANCE:
        raise AnnotationError(
            "between_slices",
            f"an outline lies {off:.2f} slices away from the nearest one; check that the series is complete and even",
        )
    return [int(index) for index in nearest]


def _filled(contour: Contour, corner_xy: tuple[int, int], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Fill one outline on a slice crop, shape (y, x): without its own pixels, or with them for a hole."""
    x, y = (contour.points_xy - np.asarray(corner_xy)).T
    filled = np.zeros(shape, dtype=np.bool_)
    filled[polygon(y, x, shape)] = True
    filled[y, x] = not contour.included
    return filled
