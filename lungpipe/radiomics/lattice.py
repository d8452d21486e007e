"""PyRadiomics' resampling lattice, computed for the full image and evaluated on a crop of it.

PyRadiomics anchors the resampled grid to the corner of the full image and resamples the full image. Cropping first
moves the grid and so changes nearly every feature; resampling everything takes minutes. Here the lattice comes from
the full image's grid and only the voxels that the interpolator needs are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from lungpipe.dicom.read import to_sitk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Geometry, IndexTriple
    from lungpipe.radiomics.settings import Interpolation
    from lungpipe.volume import CTVolume, Mask

#: Source voxels read beyond the lattice on each side. The cubic B-spline's prefilter decays by 0.268 a voxel, so
#: what lies further out changes a value by less than 0.268**24 = 2e-14 of its contrast.
SUPPORT_VOXELS = 24


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
    def origin_mm(self) -> NDArray[np.float64]:
        """LPS position (x, y, z) of the box's first voxel centre, mm.

        The outer corners of the full image and of its resampled grid coincide: index 0 of the latter lies at the
        fractional index ``(new - old) / (2 old)`` of the former.
        """
        old, new = np.asarray(self.frame.spacing_mm), np.asarray(self.spacing_mm)
        return self.frame.to_lps((new - old) / (2.0 * old) + np.asarray(self.start) * new / old)

    def source_box(self) -> tuple[IndexTriple, IndexTriple]:
        """Half-open box of the full image (z, y, x) that the interpolator reads."""
        old, new = np.asarray(self.frame.spacing_mm), np.asarray(self.spacing_mm)
        first = (new - old) / (2.0 * old) + np.asarray(self.start) * new / old
        last = first + (np.asarray(self.shape) - 1) * new / old
        low = np.maximum(np.floor(first).astype(int) - SUPPORT_VOXELS, 0)
        high = np.minimum(np.ceil(last).astype(int) + SUPPORT_VOXELS + 1, self.frame.shape)
        return (int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2]))


def lattice_for(frame: Geometry, bounds: tuple[IndexTriple, IndexTriple], spacing_mm: tuple[float, ...]) -> Lattice:
    """The box of the resampled grid that holds a region, as PyRadiomics finds it.

    Parameters
    ----------
    frame : Geometry
        Grid of the full image.
    bounds : tuple
        Tight bounding box (start, stop) of the region in frame indices (z, y, x).
    spacing_mm : tuple of float
        Wanted voxel sides along (z, y, x), mm.
    """
    ratio = np.asarray(frame.spacing_mm) / np.asarray(spacing_mm)
    start, stop = np.asarray(bounds[0]), np.asarray(bounds[1])
    limit = np.ceil(np.asarray(frame.shape) * ratio) - 1
    low = np.maximum(np.floor((start - 0.5) * ratio), 0).astype(int)
    high = np.minimum(np.ceil((stop - 0.5) * ratio), limit).astype(int) + 1
    sides = (float(spacing_mm[0]), float(spacing_mm[1]), float(spacing_mm[2]))
    return Lattice(frame, sides, (int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))


def resample_image(volume: CTVolume, lattice: Lattice, interpolation: Interpolation) -> sitk.Image:
    """B-spline values of a volume on a lattice box.

    Raises
    ------
    GeometryError
        If the volume is a crop too small for the interpolator.
    """
    crop = volume.crop(*lattice.source_box())
    dtype = {"float32": np.float32, "int16": np.int16}[interpolation]
    return _resample(to_sitk(crop.hu.astype(dtype), crop.geometry), lattice, sitk.sitkBSpline)


def resample_mask(mask: Mask, lattice: Lattice) -> sitk.Image:
    """Nearest-neighbour values (0 or 1) of a mask on a lattice box."""
    cut = mask.within(*lattice.source_box())
    return _resample(to_sitk(cut.voxels.astype(np.uint8), cut.geometry), lattice, sitk.sitkNearestNeighbor)


def _resample(image: sitk.Image, lattice: Lattice, interpolator: int) -> sitk.Image:
    resampler = sitk.ResampleImageFilter()
    resampler.SetOutputSpacing(tuple(float(s) for s in lattice.spacing_mm[::-1]))
    resampler.SetOutputDirection(tuple(float(v) for v in lattice.frame.direction))
    resampler.SetSize(tuple(int(n) for n in lattice.shape[::-1]))
    resampler.SetOutputOrigin(tuple(float(v) for v in lattice.origin_mm))
    resampler.SetOutputPixelType(image.GetPixelID())
    resampler.SetInterpolator(interpolator)
    return resampler.Execute(image)
