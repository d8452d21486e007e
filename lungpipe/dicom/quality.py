"""Say what is wrong with a series, by code, from its headers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lungpipe.dicom.index import Series

#: Fewest slices that make a volume.
MIN_SLICES = 5
#: A step between slices may differ from the median by this fraction plus :data:`POSITION_ERROR_MM`.
SPACING_TOLERANCE = 0.02
#: Rounding of positions in headers, mm.
POSITION_ERROR_MM = 0.02
#: A slice may lie this far off the normal through the first one, mm, before the stack counts as tilted.
TILT_TOLERANCE_MM = 0.5

#: One line a code. Each of these quarantines the series.
MEANINGS = {
    "not_ct": "the series is not a CT image",
    "localizer": "the series is a localizer (scout view)",
    "missing_geometry": "position, orientation or pixel spacing is missing, or contradicts itself",
    "too_few_slices": f"fewer than {MIN_SLICES} slices",
    "mixed_orientation": "slices of different orientation share the series",
    "mixed_size": "slices of different size or pixel spacing share the series",
    "duplicate_slice": "two slices lie at the same position",
    "duplicate_sop": "two files carry the same SOP instance UID",
    "missing_slice": "the stack has a gap; nothing is interpolated into it",
    "uneven_spacing": "the steps between slices differ",
    "tilted_stack": "slices are shifted against the normal (gantry tilt or shear)",
    "missing_rescale": "rescale slope or intercept is missing, so HU are unknown",
}


def check_series(series: Series) -> tuple[str, ...]:
    """Quality codes of a series, sorted; an empty tuple accepts it.

    Parameters
    ----------
    series : Series
        As indexed. Volume files (NIfTI, NRRD) have a grid by construction and are checked for size only.

    Returns
    -------
    tuple of str
        Keys of :data:`MEANINGS`.
    """
    codes = set()
    if series.modality != "CT":
        codes.add("not_ct")
    if series.geometry is None:
        codes.add("missing_geometry")
    if (series.geometry.shape[0] if series.geometry else len(series.files)) < MIN_SLICES:
        codes.add("too_few_slices")
    if series.headers:
        codes |= _check_headers(series)
    return tuple(sorted(codes))


def _check_headers(series: Series) -> set[str]:
    headers = series.headers
    codes = set()
    if any("LOCALIZER" in h.image_type for h in headers):
        codes.add("localizer")
    if len({h.sop_uid for h in headers}) < len(headers):
        codes.add("duplicate_sop")
    if len({(h.size, h.pixel_spacing_mm) for h in headers}) > 1:
        codes.add("mixed_size")
    if not all(h.has_rescale for h in headers):
        codes.add("missing_rescale")
    if any(h.orientation is None or h.position_mm is None or len(h.orientation) != 6 for h in headers):
        return codes | {"missing_geometry"}
    orientation = np.asarray([h.orientation for h in headers])
    if np.abs(orientation - orientation[0]).max() > 1e-3:
        return codes | {"mixed_orientation"}
    return codes | _check_positions(np.asarray([h.position_mm for h in headers]), orientation[0])


def _check_positions(position_mm: np.ndarray, orientation: np.ndarray) -> set[str]:
    """Check the slice positions, shape (n, 3) in LPS mm, along the normal of their common orientation (6,)."""
    if len(position_mm) < 2:
        return set()
    normal = np.cross(orientation[:3], orientation[3:])
    offset = position_mm - position_mm[0]
    depth = offset @ normal
    step = np.diff(depth)
    codes = set()
    if np.any(step < POSITION_ERROR_MM):
        codes.add("duplicate_slice")
        step = step[step >= POSITION_ERROR_MM]
        if not len(step):
            return codes
    usual = float(np.median(step))
    if np.any(step > 1.5 * usual):
        codes.add("missing_slice")
    elif np.any(np.abs(step - usual) > SPACING_TOLERANCE * usual + POSITION_ERROR_MM):
        codes.add("uneven_spacing")
    if np.abs(offset - np.outer(depth, normal)).max() > TILT_TOLERANCE_MM:
        codes.add("tilted_stack")
    return codes
