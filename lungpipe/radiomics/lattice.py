"""PyRadiomics' resampling lattice, computed for the full image and evaluated on a crop of it.

PyRadiomics anchors the resampled grid to the corner of the full image and resamples the full image. Cropping first
moves the grid and so changes nearly every feature; resampling everything takes minutes. Here the lattice comes from
the full image's grid and only the voxels that the interpolator needs are read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from lungpipe.dicom.read import to_sitk
from lungpipe.radiomics.spline import interpolate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Geometry, IndexTriple
    from lungpipe.radiomics.settings import Interpolation
    from lungpipe.volume import CTVolume, Mask

#: Source voxels read beyond the lattice on each side. The cubic B-spline's prefilter decays by 0.268 a voxel, so
#: what lies further out changes a value by less than 0.268**24 = 2e-14 of its contrast.
SUPPORT_VOXELS = 24

#: Planes nearer than this to an outer face of the image, in voxels, are in it or beyond it by ITK's own rounding.
_AT_FACE = 1e-6

#: Resampled voxels round a region's bounding box, PyRadiomics' ``padDistance``.
PAD_DISTANCE = 5


@dataclass(frozen=True, slots=True)
class Lattice:
    """A box of the resampled grid of a full image.

    Parameters
    ----------
    frame : Geometry
        Grid of the full image.
    spacing_mm : tuple of float
        Voxel sides of the resampled grid along (z, y, x), mm.
    start, stop : tuple of int
        Half-open box in indices (z, y, x) of the resampled grid.
    """

    frame: Geometry
    spacing_mm: tuple[float, float, float]
    start: IndexTriple
    stop: IndexTriple

    @property
    def shape(self) -> IndexTriple:
        """Voxels of the box along (z, y, x)."""
        a, b = self.start, self.stop
        return b[0] - a[0], b[1] - a[1], b[2] - a[2]

    @property
    def origin_index(self) -> NDArray[np.float64]:
        """Fractional index (z, y, x) in the full image of the box's first voxel centre.

        The outer corners of the full image and of its resampled grid coincide: index 0 of the latter lies at
        ``(new - old) / (2 old)`` of the former.
        """
        old, new = np.asarray(self.frame.spacing_mm), np.asarray(self.spacing_mm)
        return np.asarray(0.5 * (new - old) / old + np.asarray(self.start) / (old / new))

    @property
    def places(self) -> list[NDArray[np.float64]]:
        """Fractional indices in the full image of the box's planes along z, y and x."""
        steps = [np.arange(n) * (new / old) for n, new, old in _axes(self)]
        return [first + step for first, step in zip(self.origin_index, steps, strict=True)]

    @property
    def origin_mm(self) -> NDArray[np.float64]:
        """LPS position (x, y, z) of the box's first voxel centre, mm, with ITK's own arithmetic."""
        probe = _probe(self.frame, (1, 1, 1))
        return np.asarray(probe.TransformContinuousIndexToPhysicalPoint(self.origin_index[::-1].tolist()))

    def source_box(self) -> tuple[IndexTriple, IndexTriple]:
        """Half-open box of the full image (z, y, x) that the interpolator reads."""
        old, new = np.asarray(self.frame.spacing_mm), np.asarray(self.spacing_mm)
        first = self.origin_index
        last = first + (np.asarray(self.shape) - 1) * new / old
        low = np.maximum(np.floor(first).astype(int) - SUPPORT_VOXELS, 0)
        high = np.minimum(np.ceil(last).astype(int) + SUPPORT_VOXELS + 1, self.frame.shape)
        return (int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2]))


def lattice_for(
    frame: Geometry, bounds: tuple[IndexTriple, IndexTriple], spacing_mm: tuple[float, ...], pad: int = PAD_DISTANCE
) -> Lattice:
    """Box of the resampled grid that holds a region, as PyRadiomics finds it.

    Parameters
    ----------
    frame : Geometry
        Grid of the full image.
    bounds : tuple
        Tight bounding box (start, stop) of the region in frame indices (z, y, x).
    spacing_mm : tuple of float
        Wanted voxel sides along (z, y, x), mm.
    pad : int
        Resampled voxels added on every side where the image has them.
    """
    ratio = np.asarray(frame.spacing_mm) / np.asarray(spacing_mm)
    start, stop = np.asarray(bounds[0]), np.asarray(bounds[1])
    limit = np.ceil(np.asarray(frame.shape) * ratio) - 1
    low = np.maximum(np.floor((start - 0.5) * ratio - pad), 0).astype(int)
    high = np.minimum(np.ceil((stop - 0.5) * ratio + pad), limit).astype(int) + 1
    sides = (float(spacing_mm[0]), float(spacing_mm[1]), float(spacing_mm[2]))
    return Lattice(frame, sides, (int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))


def whole_shape(frame: Geometry, spacing_mm: tuple[float, ...]) -> IndexTriple:
    """Voxels along (z, y, x) of the resampled grid of a full image, as PyRadiomics counts them."""
    z, y, x = np.ceil(np.asarray(frame.shape) * (np.asarray(frame.spacing_mm) / np.asarray(spacing_mm))).astype(int)
    return int(z), int(y), int(x)


def whole_lattice(frame: Geometry, spacing_mm: tuple[float, float, float]) -> Lattice:
    """All of the resampled grid of a full image."""
    return Lattice(frame, spacing_mm, (0, 0, 0), whole_shape(frame, spacing_mm))


def resample_image(
    volume: CTVolume, lattice: Lattice, interpolation: Interpolation, interpolator: int = sitk.sitkBSpline
) -> NDArray[np.generic]:
    """Interpolated values of a volume on a lattice box, shape (z, y, x).

    Raises
    ------
    GeometryError
        If the volume is a crop too small for the interpolator.
    """
    start, stop = lattice.source_box()
    crop = volume.crop(start, stop)
    if interpolation == "float32" and interpolator == sitk.sitkBSpline:
        own = [u - low for u, low in zip(lattice.places, start, strict=True)]
        found = interpolate(crop.hu.astype(np.float32), own).astype(np.float32)
        for axis in range(3):
            beyond = _beyond_image(lattice, axis)
            if beyond.any():
                np.moveaxis(found, axis, 0)[beyond] = 0
        return found
    image = to_sitk(crop.hu if interpolation == "own" else crop.hu.astype(interpolation), crop.geometry)
    values = _resample(image, lattice.shape, lattice, lattice.origin_mm, interpolator)
    return np.asarray(sitk.GetArrayFromImage(values))


def _beyond_image(lattice: Lattice, axis: int) -> NDArray[np.bool_]:
    """Which planes of a box along an axis lie beyond the outer faces of the image, where ITK gives 0.

    At a face rounding decides, so it is decided as in a resampling of the full image: by ITK, along the full axis.
    """
    places, n = lattice.places[axis], lattice.frame.shape[axis]
    at_face = np.minimum(np.abs(places + 0.5), np.abs(places - (n - 0.5))) < _AT_FACE
    if not at_face.any() or _is_oblique(lattice.frame):
        return np.asarray((places < -0.5) | (places >= n - 0.5))
    whole = replace(lattice, start=(0, 0, 0), stop=whole_shape(lattice.frame, lattice.spacing_mm))
    return np.asarray(_nearest_along(whole, axis)[lattice.start[axis] : lattice.stop[axis]] < 0)


def resample_mask(mask: Mask, lattice: Lattice, within: Lattice | None = None) -> NDArray[np.bool_]:
    """Nearest-neighbour values of a mask on a lattice box, shape (z, y, x).

    Parameters
    ----------
    mask : Mask
    lattice : Lattice
    within : Lattice, optional
        A box round it of which the values are to be a part. Where a lattice point lies half way between two voxels, ITK's
        rounding decides, and it depends on where the box begins.
    """
    if within is None and _is_oblique(lattice.frame):
        whole = to_sitk(mask.within((0, 0, 0), lattice.frame.shape).voxels.astype(np.uint8), lattice.frame)
        resampled = _resample(whole, lattice.shape, lattice, lattice.origin_mm, sitk.sitkNearestNeighbor)
        return np.asarray(sitk.GetArrayFromImage(resampled) == 1)
    inside = np.ones(lattice.shape, dtype=np.bool_)
    picks = []
    for axis, found in enumerate(nearest_voxels(within or lattice)):
        first = lattice.start[axis] - within.start[axis] if within else 0
        nearest = found[first : first + lattice.shape[axis]]
        local = nearest - mask.start[axis]
        held = (local >= 0) & (local < mask.shape[axis])
        inside &= held.reshape([-1 if a == axis else 1 for a in range(3)])
        picks.append(np.where(held, local, 0))
    return np.asarray(mask.voxels[np.ix_(*picks)] & inside)


def nearest_voxels(lattice: Lattice) -> list[NDArray[np.int64]]:
    """For each axis (z, y, x), the full image's voxel nearest to each lattice position; -1 outside the image.

    Where the spacings are in a simple ratio (1.25 mm to 1 mm), lattice points lie half way between two voxels, and
    rounding errors of ITK's arithmetic decide. They decide as in a resampling of the full image only if the
    arithmetic is the same, so ITK is asked, with a ramp along each axis of the full image's grid. On an oblique grid
    the axes do not separate in ITK's arithmetic; a tie then goes to the higher index.
    """
    if _is_oblique(lattice.frame):
        found = [np.floor(np.round(u, 9) + 0.5).astype(np.int64) for u in lattice.places]
        return [np.where(k < n, k, -1) for k, n in zip(found, lattice.frame.shape, strict=True)]
    return [_nearest_along(lattice, axis) for axis in range(3)]


def _is_oblique(frame: Geometry) -> bool:
    return not np.all(np.isin(frame.matrix, (-1.0, 0.0, 1.0)))


def _axes(lattice: Lattice) -> list[tuple[int, float, float]]:
    return list(zip(lattice.shape, lattice.spacing_mm, lattice.frame.spacing_mm, strict=True))


def _nearest_along(lattice: Lattice, axis: int) -> NDArray[np.int64]:
    frame = lattice.frame
    one = [1, 1, 1]
    size, out_shape = one.copy(), one.copy()
    size[axis], out_shape[axis] = frame.shape[axis], lattice.shape[axis]
    ramp = _probe(frame, (size[0], size[1], size[2]), np.arange(1, frame.shape[axis] + 1))
    # The LPS component along which this axis runs comes from the lattice, the others from the ramp's own row.
    component = int(np.argmax(np.abs(frame.matrix[:, 2 - axis])))
    origin = np.asarray(frame.origin_mm, dtype=np.float64).copy()
    origin[component] = lattice.origin_mm[component]
    values = _resample(ramp, (out_shape[0], out_shape[1], out_shape[2]), lattice, origin, sitk.sitkNearestNeighbor)
    return np.asarray(sitk.GetArrayFromImage(values), dtype=np.int64).ravel() - 1


def _probe(frame: Geometry, shape: IndexTriple, values: NDArray[np.int64] | None = None) -> sitk.Image:
    """Image of a few voxels that begins where the full image does and has its spacing and direction."""
    voxels = np.zeros(shape, dtype=np.int32) if values is None else values.astype(np.int32).reshape(shape)
    return to_sitk(voxels, replace(frame, shape=shape))


def _resample(
    image: sitk.Image, shape: IndexTriple, lattice: Lattice, origin_mm: NDArray[np.float64], interpolator: int
) -> sitk.Image:
    resampler = sitk.ResampleImageFilter()
    resampler.SetOutputSpacing(tuple(float(s) for s in lattice.spacing_mm[::-1]))
    resampler.SetOutputDirection(tuple(float(v) for v in lattice.frame.direction))
    resampler.SetSize(tuple(int(n) for n in shape[::-1]))
    resampler.SetOutputOrigin(tuple(float(v) for v in origin_mm))
    resampler.SetOutputPixelType(image.GetPixelID())
    resampler.SetInterpolator(interpolator)
    return resampler.Execute(image)
