"""Take a lesion out of a scan: what it hides is filled as its surroundings go on. The result is SIMULATED.

Lung is taken for a slow mean and a stationary Gaussian texture on top. The texture of the fill is drawn from all textures of that
covariance which agree with the voxels beside the fill: a field is drawn freely, and what it lacks beside the fill is carried
inwards by kriging (Galerne and Leclaire 2017, doi:10.1137/16M1109047). So mean, standard deviation and spectrum are those of the
surroundings, and no seam shows. Vessels and airways are not drawn: those that end at the fill end there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage

from lungpipe.errors import DatasetError, RegionError
from lungpipe.segment.steps import CLOSING_MM, CLOSING_SHARE, LUNG_HU, closed_lung
from lungpipe.synthesis.scanner import tissue_of
from lungpipe.synthesis.texture import slow_part, texture_of
from lungpipe.volume import PADDING_HU, CTVolume, box_around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple
    from lungpipe.synthesis.texture import Texture
    from lungpipe.volume import Mask

#: Tissue is learned from within this distance of what is filled, mm.
LEARN_MM = 14.0
#: What varies over a longer distance than this is the mean, mm.
SLOW_MM = 6.0
#: Voxels within this distance of the fill say how its texture begins, mm.
BESIDE_MM = 3.0
#: The wall is left as it is within this distance of the lung that the nodule's margin would reach, mm.
WALL_MM = 1.5
#: The border between lung and wall in a fill is blurred by this standard deviation, mm.
PLEURA_MM = 0.7
#: A voxel of which less than this is one of the two is the other alone.
LEAST_SHARE = 1e-3
#: Fewest voxels of a tissue that say how it goes on.
LEAST_VOXELS = 300
#: A voxel further out than so many standard deviations counts as one there: a small vessel that was not left out.
OUTLYING = 4.0
#: Kriging leaves voxels this share of their variance to themselves, and ends at this residual or after so many steps.
NUGGET, RESIDUAL, STEPS = 1e-2, 1e-2, 60


def inpainted(volume: CTVolume, mask: Mask, *, seed: int, margin_mm: float = 3.0) -> CTVolume:
    """Take a lesion out of a scan.

    The mask and all lung within a margin of it, where the lesion's blur lies, are filled: with lung where the lung would be
    without the lesion (the closed lung that also parts nodules from the wall), with wall beyond it.

    Parameters
    ----------
    volume : CTVolume
        The scan, or a crop that holds :data:`LEARN_MM` and the margin round the lesion.
    mask : Mask
        The lesion.
    seed : int
        Of the texture: same seed, same image.
    margin_mm : float
        How far beyond the mask lung is filled, mm.

    Returns
    -------
    CTVolume
        The same block of voxels, of the same type. No voxel further than the margin from the mask is changed.

    Raises
    ------
    RegionError
        ``outside_volume`` if the mask is empty or leaves the volume, ``no_lung_beside`` if there is too little lung tissue
        round the lesion to go on from.
    DatasetError
        If the margin is negative.
    """
    if margin_mm < 0:
        raise DatasetError(f"the margin of an inpainted lesion is 0 mm or more, found {margin_mm:g}")
    if not mask.n_voxels or np.any(np.less(mask.bounds[0], volume.start)) or np.any(mask.bounds[1] > volume.stop):
        raise RegionError(
            "outside_volume", "the mask of the lesion is empty or leaves the image; check that they belong"
        )
    low, high = box_around(volume.frame, *mask.bounds, margin_mm + LEARN_MM)
    crop = volume.overlap(low, high)
    hu = crop.hu.astype(np.float64)
    lesion = mask.within(crop.start, crop.stop).voxels
    filled = _filled(hu, lesion, mask, margin_mm, np.random.default_rng(seed))
    whole = volume.hu.copy()
    window = tuple(slice(a - s, b - s) for a, b, s in zip(crop.start, crop.stop, volume.start, strict=True))
    if np.issubdtype(whole.dtype, np.integer):
        filled = np.rint(filled)
    whole[window] = np.where(filled == hu, crop.hu, filled.astype(whole.dtype))
    return CTVolume(whole, volume.frame, volume.start)


def _filled(
    hu: NDArray[np.float64], lesion: NDArray[np.bool_], mask: Mask, margin_mm: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """HU of a crop (z, y, x) without its lesion."""
    spacing = mask.frame.spacing_mm
    image = hu != PADDING_HU
    sides_mm = np.subtract(mask.bounds[1], mask.bounds[0]) * spacing
    radius_mm = float(np.clip(CLOSING_SHARE * sides_mm.max(), *CLOSING_MM))
    lung = closed_lung(hu, image, spacing, radius_mm)
    if lung is None:
        raise RegionError("no_lung_beside", "no lung lies round the lesion; only lesions in the lung can be taken out")
    lung = ndimage.binary_fill_holes(lung)
    away_mm = ndimage.distance_transform_edt(~lesion, sampling=spacing)
    from_wall_mm = ndimage.distance_transform_edt(np.pad(lung, 1, mode="edge"), sampling=spacing)[1:-1, 1:-1, 1:-1]
    fill = lesion | ((away_mm <= margin_mm) & lung & (from_wall_mm > WALL_MM) & image)
    tissue = tissue_of(hu, lung & (hu < LUNG_HU) & ~fill & image, spacing)
    wall = ~lung & (hu > LUNG_HU) & ~fill & image
    result = hu.copy()
    share = ndimage.gaussian_filter(lung.astype(np.float64), [PLEURA_MM / s for s in spacing])
    share[share < LEAST_SHARE], share[share > 1 - LEAST_SHARE] = 0.0, 1.0
    result[fill] = 0.0
    if np.count_nonzero(wall) < LEAST_VOXELS:
        share[:] = 1.0
    if np.count_nonzero(tissue) < LEAST_VOXELS:
        raise RegionError(
            "no_lung_beside",
            f"{np.count_nonzero(tissue)} voxels of lung tissue lie within {LEARN_MM:g} mm of the lesion and its margin; "
            f"{LEAST_VOXELS} are needed to say how it goes on",
        )
    for known, part in ((tissue, share), (wall, 1 - share)):
        where = fill & (part > 0)
        if where.any():
            result[where] += part[where] * _continued(hu, known, where, spacing, rng)[where]
    return result


def _continued(
    hu: NDArray[np.float64],
    known: NDArray[np.bool_],
    fill: NDArray[np.bool_],
    spacing_mm: Triple,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """A tissue as it goes on from the voxels where it is known, shape (z, y, x)."""
    mean = slow_part(hu, known, SLOW_MM, spacing_mm)
    rest = hu - mean
    texture = texture_of(rest, known, spacing_mm)
    # Small vessels belong to the lung that goes on: their share of the variance too, but for what lies far out.
    limit = OUTLYING * texture.sd_hu
    texture = replace(texture, sd_hu=float(np.clip(rest[known], -limit, limit).std()))
    free = texture.draw(rng, fill.shape).astype(np.float64)
    beside = known & (ndimage.distance_transform_edt(~fill, sampling=spacing_mm) <= BESIDE_MM)
    if texture.sd_hu == 0 or not beside.any():
        return mean + free
    return mean + free + _kriged(rest - free, beside, texture)


def _kriged(values: NDArray[np.float64], known: NDArray[np.bool_], texture: Texture) -> NDArray[np.float64]:
    """The likeliest field of a covariance that has given values at known voxels, shape (z, y, x).

    Solved by conjugate gradients; the covariance is applied by Fourier transforms.
    """
    shape: IndexTriple = values.shape
    grid = texture.grid_for(shape)
    power = texture.power(grid)
    window = tuple(slice(0, n) for n in shape)

    def spread(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        field = np.zeros(grid, dtype=np.float32)
        field[window][known] = weights
        return np.asarray(fft.irfftn(fft.rfftn(field) * power, grid)[window], dtype=np.float64)

    limit = OUTLYING * np.sqrt(2.0) * texture.sd_hu  # the values are differences of two fields
    residual = np.clip(values[known], -limit, limit)
    weights = np.zeros_like(residual)
    step = residual.copy()
    size = first = float(residual @ residual)
    for _ in range(STEPS):
        if size <= RESIDUAL**2 * first:
            break
        applied = spread(step)[known] + NUGGET * step
        length = size / float(step @ applied)
        weights += length * step
        residual = residual - length * applied
        smaller = float(residual @ residual)
        step = residual + smaller / size * step
        size = smaller
    return spread(weights)
