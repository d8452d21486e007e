"""What a scanner did to a scan at one place: its blur, and the level and grain of its noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from lungpipe.errors import RegionError
from lungpipe.synthesis.sharpness import Sharpness, sharpness_of
from lungpipe.synthesis.texture import MEDIAN_ABSOLUTE, Texture, slow_part, texture_of
from lungpipe.volume import CTVolume, box_around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple
    from lungpipe.volume import Mask

#: Noise is read off the lung within this distance of a place, mm.
NEAR_MM = 25.0
#: What varies over a longer distance than this is anatomy, mm.
SLOW_MM = 4.0
#: Lung tissue lies within so many robust standard deviations of its median; what is denser is vessel, and what lies within
#: so many mm of a vessel is its blur.
TISSUE_DEVIATIONS, BESIDE_VESSEL_MM = 4.0, 1.0
#: Fewest voxels of lung tissue that say how noisy a scan is.
LEAST_VOXELS = 500


@dataclass(frozen=True, eq=False, slots=True)
class Scanner:
    """What a scanner does to tissue.

    Parameters
    ----------
    sharpness : Sharpness
    noise : Texture
        Of the noise, on the image's grid.
    """

    sharpness: Sharpness
    noise: Texture


def scanner_at(volume: CTVolume, centre_mm: Triple, lung: Mask, sharpness: Sharpness | None = None) -> Scanner:
    """Measure blur and noise of a scan at a place in the lung.

    The noise is what is left of the lung tissue near the place without its slow part. The finest texture of the tissue
    itself counts as noise: the two cannot be told apart in one scan.

    Parameters
    ----------
    volume : CTVolume
        The scan, or a crop that holds :data:`NEAR_MM` round the place.
    centre_mm : tuple of float
        LPS point (x, y, z), mm.
    lung : Mask
        Of :func:`lungpipe.region.lung.find_lungs`, or of another source.
    sharpness : Sharpness, optional
        If it is known: it is the same all over a scan, and measured in the whole volume otherwise.

    Raises
    ------
    RegionError
        ``outside_volume`` if the place lies outside the volume, ``no_lung_near`` where there is too little lung tissue to
        measure the noise.
    """
    start, stop = _near(volume, centre_mm)
    near = volume.crop(start, stop)
    inside = tissue_of(near.hu, lung.within(start, stop).voxels, volume.frame.spacing_mm)
    if np.count_nonzero(inside) < LEAST_VOXELS:
        raise RegionError(
            "no_lung_near",
            f"the noise is measured in lung tissue within {NEAR_MM:g} mm of the place; found {np.count_nonzero(inside)} "
            f"voxels of it, {LEAST_VOXELS} are needed: choose another place",
        )
    hu = near.hu.astype(np.float64)
    rest = hu - slow_part(hu, inside, SLOW_MM, volume.frame.spacing_mm)
    return Scanner(sharpness or sharpness_of(volume), texture_of(rest, inside, volume.frame.spacing_mm))


def tissue_of(hu: NDArray[Any], lung: NDArray[np.bool_], spacing_mm: Triple) -> NDArray[np.bool_]:
    """Voxels (z, y, x) of a lung that are neither vessel nor beside one, nor at the lung's own border."""
    if not lung.any():
        return lung
    inner = ndimage.distance_transform_edt(lung, sampling=spacing_mm) > BESIDE_VESSEL_MM
    if not inner.any():
        return inner
    middle = float(np.median(hu[inner]))
    spread = float(np.median(np.abs(hu[inner] - middle))) / MEDIAN_ABSOLUTE
    # One voxel of noise is no vessel: smoothed a little, noise stays below the limit and vessels do not.
    sigma = [BESIDE_VESSEL_MM / 2 / s for s in spacing_mm]
    dense = ndimage.gaussian_filter(hu.astype(np.float32), sigma) > middle + TISSUE_DEVIATIONS * spread
    if dense.any():
        inner &= ndimage.distance_transform_edt(~dense, sampling=spacing_mm) > BESIDE_VESSEL_MM
    return np.asarray(inner)


def _near(volume: CTVolume, centre_mm: Triple) -> tuple[IndexTriple, IndexTriple]:
    z, y, x = np.rint(volume.frame.to_index(centre_mm)).astype(int).tolist()
    if np.any(np.less((z, y, x), volume.start)) or np.any(np.greater_equal((z, y, x), volume.stop)):
        raise RegionError(
            "outside_volume",
            f"the place is voxel {(z, y, x)} (z, y, x) of the image, which has {volume.start} to {volume.stop}: give a "
            "point in the lung (LPS, mm)",
        )
    start, stop = box_around(volume.frame, (z, y, x), (z + 1, y + 1, x + 1), NEAR_MM)
    low, high = np.maximum(start, volume.start).tolist(), np.minimum(stop, volume.stop).tolist()
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])
