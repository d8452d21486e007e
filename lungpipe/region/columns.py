"""Gaps across thick slices, from the tissue that is missing in columns of voxels.

Between slices no voxel may lie wholly in a gap: all are mixtures of tissue and lung, and an interpolated image has a
bridge there. What a column of voxels across the slices does tell, to a fraction of a slice, is a length: from the nodule's
core to the vessel each voxel lacks as much tissue as its value is short of tissue's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lungpipe.region.surface import surface_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: HU of soft tissue and blood; what is brighter (contrast medium, calcium) is not more than all tissue.
TISSUE_HU = 40.0
#: A nodule's core is brighter than lung by this at least, HU.
LEAST_CONTRAST_HU = 100.0
#: Shares of tissue that differ by less are alike.
ALIKE = 0.1
#: A column that no voxel of the vessel fills by this much passes its edge and tells nothing of where the vessel begins.
EDGE = 0.3
#: The nodule's core in a column is one of its outermost slices, so many.
CORE_SLICES = 3
#: A vessel is fullest within this of where it begins, mm.
PEAK_MM = 7.5
#: What goes on through so many slices beyond its first runs along the column.
LONG_SLICES = 3
#: Gaps of less than this part of a slice are none.
LEAST_OF_SLICE = 0.25
#: Flatter surfaces, 1/mm, are as good as planes.
FLAT_PER_MM = 1e-3


def column_distances_mm(
    hu: NDArray[Any],
    nodule: NDArray[np.bool_],
    vessels: NDArray[np.bool_],
    spacing_mm: Triple,
    lung_hu: float,
) -> NDArray[np.float64]:
    """Distances of a nodule from the vessels that it faces along the thickest axis.

    In each column that meets the nodule and then a vessel, the gap is the sum of the shares of lung, times the slice's
    thickness, from the nodule's core to the vessel's fullest voxel. Of that voxel all that is missing counts if the vessel
    goes on into the next one, half of it if not. The distance is that of the gap's end from a sphere with the direction and
    the curvature of the nodule's surface in the column. Less than a quarter of a slice is 0.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
    nodule : ndarray of bool, shape (z, y, x)
        Not empty.
    vessels : ndarray of bool, shape (z, y, x)
        Where vessels were found, bridges to the nodule included.
    spacing_mm : tuple of float
        Along (z, y, x).
    lung_hu : float
        HU of lung round the nodule.

    Returns
    -------
    ndarray, shape (z, y, x)
        mm, at the voxels beyond the nodule where a vessel may be the one that the column meets first; NaN at all others,
        and infinite in columns that only pass a vessel's edge.
    """
    axis = int(np.argmax(spacing_mm))
    tilt, curvature = _shape(nodule, spacing_mm, axis)
    found = np.full(nodule.shape, np.nan)
    for way in (1, -1):
        _fill(
            _turned(found, axis, way),
            _turned(hu, axis, way),
            _turned(nodule, axis, way),
            _turned(vessels, axis, way),
            (_turned(tilt, axis, way), _turned(curvature, axis, way)),
            spacing_mm[axis],
            lung_hu,
        )
    return found


def _turned(field: NDArray[Any], axis: int, way: int) -> NDArray[Any]:
    """A view of a field with an axis first, one way along it or the other."""
    return np.moveaxis(field, axis, 0)[::way]


def _fill(
    found: NDArray[np.float64],
    hu: NDArray[Any],
    nodule: NDArray[np.bool_],
    vessels: NDArray[np.bool_],
    shape: tuple[NDArray[np.float64], NDArray[np.float64]],
    slice_mm: float,
    lung_hu: float,
) -> None:
    """Write the distances that columns along the first axis tell, beyond the nodule's last slices."""
    last, (y, x) = _columns(nodule, vessels)
    if not last.size:
        return
    share = _shares(hu[:, y, x], nodule[:, y, x], last, lung_hu)
    beyond = _after(last, len(share))
    begin = np.argmax(vessels[:, y, x] & beyond, axis=0)
    reach = beyond & _before(begin + int(np.ceil(PEAK_MM / slice_mm)), len(share))
    met = vessels[:, y, x] & reach
    gap_mm = _missing(share, nodule[:, y, x], met, last) * slice_mm
    tilt, curvature = shape[0][last, y, x], shape[1][last, y, x]
    distance_mm = (np.sqrt(1 + 2 * curvature * gap_mm * tilt + (curvature * gap_mm) ** 2) - 1) / curvature
    distance_mm[distance_mm < LEAST_OF_SLICE * slice_mm] = 0.0
    distance_mm[np.max(share, axis=0, where=met, initial=0.0) < EDGE] = np.inf
    found[:, y, x] = np.where(reach, distance_mm, found[:, y, x])


def _shape(nodule: NDArray[np.bool_], spacing_mm: Triple, axis: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of the surface where each voxel's column leaves it: cosine of its normal with the axis, and curvature, 1/mm."""
    tilt, curvature = np.ones(nodule.shape), np.full(nodule.shape, FLAT_PER_MM)
    index = np.argwhere(nodule)
    low, high = index.min(axis=0), index.max(axis=0) + 1
    surface = surface_of(nodule[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], spacing_mm)
    own = np.all((surface.index >= 0) & (surface.index < high - low), axis=1)
    at = tuple((surface.index[own] + low).T)
    bend = np.maximum(surface.curvature_per_mm[own], FLAT_PER_MM)
    # The column leaves the sphere further up than where that is nearest to the voxel.
    deep = np.clip(1 - bend * np.abs(surface.distance_mm[own]), 0.0, 1.0)
    tilt[at] = np.sqrt(np.maximum(1 - (1 - surface.normal[own, axis] ** 2) * deep**2, 0.0))
    curvature[at] = bend
    return tilt, curvature


def _columns(
    nodule: NDArray[np.bool_], vessels: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The nodule's last slice in each column (n,) in which a vessel lies beyond it, and where (y, x) the columns are."""
    last = len(nodule) - 1 - np.argmax(nodule[::-1], axis=0)
    beyond = vessels & (np.arange(len(nodule))[:, None, None] > last)
    y, x = np.nonzero(nodule.any(axis=0) & beyond.any(axis=0))
    return np.asarray(last[y, x]), (y, x)


def _after(last: NDArray[np.intp], n: int) -> NDArray[np.bool_]:
    return np.asarray(np.arange(n)[:, None] > last)


def _before(stop: NDArray[np.intp], n: int) -> NDArray[np.bool_]:
    return np.asarray(np.arange(n)[:, None] < stop)


def _shares(hu: NDArray[Any], inside: NDArray[np.bool_], last: NDArray[np.intp], lung_hu: float) -> NDArray[np.float64]:
    """Share of tissue in each voxel (z, n) of some columns; the nodule's core in the column has all."""
    values = hu.astype(np.float64)
    core = inside & _before(last + 1, len(hu)) & _after(last - CORE_SLICES, len(hu))
    tissue = np.max(values, axis=0, where=core, initial=lung_hu + LEAST_CONTRAST_HU)
    return np.asarray(
        np.clip((values - lung_hu) / (np.minimum(tissue, max(TISSUE_HU, lung_hu + 1)) - lung_hu), 0.0, 1.0)
    )


def _missing(
    share: NDArray[np.float64], inside: NDArray[np.bool_], vessel: NDArray[np.bool_], last: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Slices (n,) without tissue between the nodule's core and the vessel, from shares (z, n)."""
    n = len(share)
    columns = np.arange(len(last))
    core = n - 1 - np.argmax((inside & _before(last + 1, n) & (share >= 1 - ALIKE))[::-1], axis=0)
    fullest = np.max(share, axis=0, where=vessel, initial=0.0)
    peak = np.argmax(vessel & (share >= fullest - ALIKE), axis=0)
    further = np.stack([share[np.minimum(peak + k, n - 1), columns] for k in range(1, LONG_SLICES + 1)])
    # A vessel along the column fills its slices: what they lack lies beside it.
    along = further.min(axis=0) >= (1 - ALIKE) * share[peak, columns]
    share = np.minimum(share / np.where(along, np.maximum(further[0], ALIKE), 1.0), 1.0)
    between = np.sum(1 - share, axis=0, where=_after(core, n) & _before(peak, n))
    return np.asarray(between + (1 - share[peak, columns]) * np.where(further[0] >= ALIKE, 1.0, 0.5))
