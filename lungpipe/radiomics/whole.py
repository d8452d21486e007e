"""The image that is filtered: whole as far as filters can tell, though only boxes of it are ever made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from lungpipe.errors import GeometryError
from lungpipe.radiomics.lattice import Lattice, lattice_for, resample_image, whole_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple
    from lungpipe.radiomics.preparation import Normalisation
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.volume import CTVolume, Mask

    Box = tuple[IndexTriple, IndexTriple]

#: Planes of a resampled image held at a time while its greatest value is looked for.
_SLAB = 64

#: What is known of whole volumes, for as long as they live: greatest values, normalised images.
_KNOWN: WeakKeyDictionary[CTVolume, dict[Hashable, Any]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """An image on the grid that features are computed on.

    Parameters
    ----------
    shape : tuple of int
        Voxels of all of it along (z, y, x).
    spacing_mm : tuple of float
        Voxel sides along (z, y, x), mm.
    read : callable
        Values of a half-open box (start, stop) of its grid.
    peak : callable
        Its greatest absolute value.
    """

    shape: IndexTriple
    spacing_mm: Triple
    read: Callable[[IndexTriple, IndexTriple], NDArray[Any]]
    peak: Callable[[], float]


def normalised(volume: CTVolume, normalisation: Normalisation) -> CTVolume:
    """Normalise a volume, once for as long as it lives."""
    known = _KNOWN.setdefault(volume, {})
    if normalisation not in known:
        known[normalisation] = normalisation(volume)
    found: CTVolume = known[normalisation]
    return found


def spacing_for(region: Mask, settings: RadiomicsSettings) -> Triple:
    """Voxel sides (z, y, x), mm, for a region: an axis along which it is one voxel thick is not resampled."""
    native = region.frame.spacing_mm
    if settings.spacing_mm is None:
        return native
    thick = np.subtract(region.bounds[1], region.bounds[0]) > 1
    wanted = settings.spacing_mm[::-1]
    z, y, x = (float(w if t and w > 0 else n) for w, n, t in zip(wanted, native, thick, strict=True))
    return native if np.allclose((z, y, x), native) else (z, y, x)


def whole_image(volume: CTVolume, spacing_mm: Triple, settings: RadiomicsSettings) -> Whole:
    """All of a volume, on its own grid or resampled."""
    if spacing_mm == volume.frame.spacing_mm:
        shape = volume.frame.shape

        def read(start: IndexTriple, stop: IndexTriple) -> NDArray[Any]:
            return volume.crop(start, stop).hu
    else:
        shape = whole_shape(volume.frame, spacing_mm)

        def read(start: IndexTriple, stop: IndexTriple) -> NDArray[Any]:
            lattice = Lattice(volume.frame, spacing_mm, start, stop)
            return resample_image(volume, lattice, settings.interpolation, settings.sitk_interpolator)

    def peak() -> float:
        if volume.shape != volume.frame.shape:
            raise GeometryError(
                f"square, square root, logarithm and exponential are scaled by the greatest value of the whole image of "
                f"{volume.frame.shape} voxels, but the volume is a crop of {volume.shape}: give the whole image"
            )
        known = _KNOWN.setdefault(volume, {})
        key = (spacing_mm, settings.interpolation, settings.interpolator)
        if key not in known:
            slabs = ((z, min(z + _SLAB, shape[0])) for z in range(0, shape[0], _SLAB))
            known[key] = float(np.max([_peak_of(read((a, 0, 0), (b, shape[1], shape[2]))) for a, b in slabs]))
        return float(known[key])

    return Whole(shape, spacing_mm, read, peak)


def cropped_image(
    volume: CTVolume, region: Mask, spacing_mm: Triple, settings: RadiomicsSettings
) -> tuple[Whole, IndexTriple]:
    """A region's own crop, as PyRadiomics makes it, and where it begins on the grid of all of the volume."""
    pad = settings.pad_distance or 0
    if spacing_mm == volume.frame.spacing_mm:
        start, stop = grown(region.bounds, (pad, pad, pad), volume.frame.shape)
    else:
        lattice = lattice_for(volume.frame, region.bounds, spacing_mm, pad)
        start, stop = lattice.start, lattice.stop
    values = whole_image(volume, spacing_mm, settings).read(start, stop)

    def read(low: IndexTriple, high: IndexTriple) -> NDArray[Any]:
        return values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]

    shape: IndexTriple = (stop[0] - start[0], stop[1] - start[1], stop[2] - start[2])
    return Whole(shape, spacing_mm, read, lambda: _peak_of(values)), start


def grown(box: Box, margin: IndexTriple, shape: IndexTriple, periodic: bool = False) -> Box:
    """A half-open box made larger on every side, as far as the image goes.

    Parameters
    ----------
    box : tuple
        Start and stop, (z, y, x).
    margin : tuple of int
        Voxels along (z, y, x).
    shape : tuple of int
        Voxels of the image.
    periodic : bool
        Whether values past one end of the image are those of the other: an axis along which the larger box leaves the
        image is then taken whole.
    """
    low = np.subtract(box[0], margin)
    high = np.add(box[1], margin)
    if periodic:
        leaves = ((low < 0) | (high > shape)) & (np.asarray(margin) > 0)
        low, high = np.where(leaves, 0, low), np.where(leaves, shape, high)
    start, stop = np.maximum(low, 0).tolist(), np.minimum(high, shape).tolist()
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def _peak_of(values: NDArray[Any]) -> float:
    return float(np.max(np.abs([float(values.min()), float(values.max())])))  # not a number, if a value is none
