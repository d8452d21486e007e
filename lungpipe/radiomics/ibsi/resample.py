"""An image and its regions on the grid that IBSI prescribes: aligned by centre, as many voxels as cover the image.

The interpolation is separable, so each axis is one sparse matrix of weights: of two voxels for the linear spline, of four
coefficients for the cubic one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage, sparse

from lungpipe.errors import DatasetError, GeometryError
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.volume import CTVolume

#: A new voxel belongs to the region where the interpolated mask is at least this (IBSI: partial volume threshold).
INSIDE = 0.5
#: Interpolation leaves rounding errors of about 1e-16: exactly half a voxel inside must stay inside.
_ROUNDING = 1e-9
#: Copies of the border's voxels before a cubic spline is fitted, on each side: a voxel's weight falls to a quarter and less
#: with every step, so these are enough for the precision of a double.
_MARGIN = 28


@dataclass(frozen=True, eq=False, slots=True)
class Resampled:
    """An image and its regions on a new grid.

    Parameters
    ----------
    values : ndarray of float64, shape (z, y, x)
        Intensities.
    insides : tuple of ndarray of bool, shape (z, y, x)
        The regions, in the order given.
    spacing_mm : tuple of float
        Voxel sides along (z, y, x), mm.
    whole : bool
        Whether the grid covers the full image, and not only a crop of it.
    """

    values: NDArray[np.float64]
    insides: tuple[NDArray[np.bool_], ...]
    spacing_mm: Triple
    whole: bool = True

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The first region."""
        return self.insides[0]


def resample(
    volume: CTVolume,
    region: Mask | Sequence[Mask],
    spacing_mm: Sequence[float | None] | None,
    order: int,
    *,
    whole_hu: bool = False,
) -> Resampled:
    """Interpolate an image and its regions as the IBSI reference manual says (section 2.4).

    Parameters
    ----------
    volume : CTVolume
        Whole or a crop. The new grid is aligned with the centre of the full image (``volume.frame``); of it, a crop yields
        the voxels whose centres lie in the crop.
    region : Mask or sequence of Mask
        Regions on the same frame; interpolated linearly, and inside where the result is at least one half.
    spacing_mm : sequence of float, optional
        Wanted voxel sides along (z, y, x), mm; None in the place of an axis keeps that axis, None alone all three.
    order : {1, 3}
        1 for bilinear or trilinear, 3 for cubic splines. Of the image only; border voxels go on beyond the border.
    whole_hu : bool
        Whether interpolated intensities are rounded to whole numbers, as IBSI does for CT.

    Returns
    -------
    Resampled
        ``values``, ``insides`` (one a region) and ``inside`` (the first).

    Raises
    ------
    DatasetError
        If the order or a spacing makes no sense.
    GeometryError
        If a region lies on another grid, or a crop holds no voxel of the new grid.
    """
    regions = [region] if isinstance(region, Mask) else list(region)
    wanted = (None, None, None) if spacing_mm is None else tuple(spacing_mm)
    _check(volume, regions, wanted, order)
    places = [None if side is None else _places(volume, axis, side) for axis, side in enumerate(wanted)]
    values = _interpolated(volume.hu, places, order)
    if whole_hu and any(side is not None for side in wanted):
        np.rint(values, out=values)
    z, y, x = (old if side is None else float(side) for old, side in zip(volume.frame.spacing_mm, wanted, strict=True))
    masks = (mask.within(volume.start, volume.stop).voxels for mask in regions)
    insides = tuple(_interpolated(mask, places, 1) >= INSIDE - _ROUNDING for mask in masks)
    return Resampled(values, insides, (z, y, x), whole=volume.shape == volume.frame.shape)


def _check(volume: CTVolume, regions: Sequence[Mask], wanted: Sequence[float | None], order: int) -> None:
    if order not in {1, 3}:
        raise DatasetError(f"the order of interpolation is 1 (linear) or 3 (cubic spline), found {order}")
    if len(wanted) != 3 or not all(side is None or 0 < side < float("inf") for side in wanted):
        raise DatasetError(f"spacing needs three positive lengths in mm (or None to keep an axis), found {wanted}")
    for mask in regions:
        if (gap := volume.frame.mismatch(mask.frame)) is not None:
            raise GeometryError(f"the region is not on the image's grid: {gap}")


def _places(volume: CTVolume, axis: int, side_mm: float) -> NDArray[np.float64]:
    """Centres of the new voxels along an axis that lie in a volume, in its voxels."""
    n, size = volume.frame.shape[axis], volume.shape[axis]
    where = _positions(n, volume.frame.spacing_mm[axis], side_mm) - volume.start[axis]
    if size < n:
        where = where[(where > -0.5) & (where < size - 0.5)]
    if not where.size:
        raise GeometryError(f"a crop of {size} voxels along axis {axis} holds no centre of a voxel of {side_mm:g} mm")
    return where


def _interpolated(image: NDArray[Any], places: Sequence[NDArray[np.float64] | None], order: int) -> NDArray[np.float64]:
    """Interpolate along each axis that has places; slice by slice first, so that no copy of a large image is made."""
    along_z, *in_plane = places
    slices = []
    for plane in image:
        made = plane.astype(np.float64)
        for axis, where in enumerate(in_plane):
            if where is not None:
                made = _along(made, where, axis, order)
        slices.append(made)
    values = np.stack(slices)
    return values if along_z is None else _along(values, along_z, 0, order)


def _positions(n: int, old_mm: float, new_mm: float) -> NDArray[np.float64]:
    """Centres of the new voxels along an axis, in old voxels: both grids share their centre (section 2.4.2).

    The number of new voxels is the old extent by the new side, rounded up. A header's spacing is often a rounded
    number, so a whole number of voxels is taken as such.
    """
    count = int(np.ceil(n * old_mm / new_mm - 1e-4))
    ratio = new_mm / old_mm
    where: NDArray[np.float64] = np.asarray(
        (n - 1) / 2 + ratio * (np.arange(count) - (count - 1) / 2), dtype=np.float64
    )
    return where


def _weights(where: NDArray[np.float64], size: int, order: int) -> sparse.csr_array:
    """Weights of ``size`` voxels (order 1) or spline coefficients (order 3) at given places, shape (n, size).

    Beyond the border a linear spline keeps the last voxel's value. A cubic one is given coefficients beyond it.
    """
    if order == 1:
        where = np.clip(where, 0, size - 1)
    base = np.floor(where).astype(np.int64)
    t = where - base
    if order == 1:
        first, weights = 0, [1 - t, t]
    else:
        first = -1
        weights = [(1 - t) ** 3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6, (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6, t**3 / 6]
    columns = np.stack([np.clip(base + first + step, 0, size - 1) for step in range(len(weights))])
    rows = np.broadcast_to(np.arange(len(where)), columns.shape)
    return sparse.csr_array((np.stack(weights).ravel(), (rows.ravel(), columns.ravel())), shape=(len(where), size))


def _along(values: NDArray[np.float64], where: NDArray[np.float64], axis: int, order: int) -> NDArray[np.float64]:
    """Interpolate along an axis; beyond the border, a cubic spline goes through copies of the last voxel."""
    front = np.moveaxis(values, axis, 0)
    if order == 3:
        margin = [(_MARGIN, _MARGIN)] + [(0, 0)] * (front.ndim - 1)
        front = ndimage.spline_filter1d(np.pad(front, margin, mode="edge"), order=3, axis=0, mode="mirror")
        where = where + _MARGIN
    made = _weights(where, len(front), order) @ front.reshape(len(front), -1)
    return np.ascontiguousarray(np.moveaxis(made.reshape(-1, *front.shape[1:]), 0, axis))
