"""Put a lesion of a given shape into a real scan, as the scan's own scanner would have shown it. The result is SIMULATED.

The same steps as in a simulated scan: the share of each voxel inside the shape, the HU of the lesion's tissue, the scanner's
blur, its noise. Lesions were put into patients' scans by such models by Solomon and Samei (2014,
doi:10.1088/0031-9155/59/21/6637).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.errors import DatasetError, RegionError
from lungpipe.synthesis.shape import cover_of
from lungpipe.synthesis.texture import gaussian_texture
from lungpipe.volume import PADDING_HU, CTVolume, Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple
    from lungpipe.synthesis.scanner import Scanner
    from lungpipe.synthesis.shape import SignedDistance

#: Gaussians end after so many standard deviations.
TRUNCATE = 3.0
#: What a CT number can hold, HU.
HU_RANGE = (-1024, 3071)
#: Part of a shape that has to lie in the lung.
LEAST_INSIDE = 0.5
#: Tissue that is denser than the lesion by two of the noise's standard deviations begins to show through it, and by four it
#: does wholly; the noise is taken as at least so many HU.
SHOWS_FROM, SHOWS_WHOLLY, LEAST_NOISE_HU = 2.0, 4.0, 10.0
#: What is dense is seen in the image smoothed by a Gaussian of this standard deviation, mm.
DENSE_MM = 0.7


@dataclass(frozen=True, slots=True)
class Look:
    """The tissue of a lesion.

    Parameters
    ----------
    hu : float
        Its mean.
    texture_hu, texture_mm : float
        Standard deviation of its own texture, HU, and of the Gaussian that gives the texture its grain, mm.
    """

    hu: float
    texture_hu: float = 0.0
    texture_mm: float = 1.5

    def __post_init__(self) -> None:
        if not HU_RANGE[0] < self.hu < HU_RANGE[1] or self.texture_hu < 0 or self.texture_mm <= 0:
            raise DatasetError(
                f"a lesion's HU lie between {HU_RANGE[0]} and {HU_RANGE[1]}, its texture is 0 HU or more and has a grain; "
                f"found {self.hu:g}, {self.texture_hu:g}, {self.texture_mm:g} mm"
            )


def inserted(
    volume: CTVolume,
    shape: SignedDistance,
    centre_mm: Triple,
    look: Look,
    scanner: Scanner,
    *,
    seed: int,
    lung: Mask | None = None,
) -> tuple[CTVolume, Mask]:
    """Put a lesion into a scan.

    With w the share of a voxel inside the shape, blurred as the scan is, the old tissue counts with 1 - w and the lesion with
    w, which is the partial volume of both; noise of the scan's own level and grain is added with sqrt(1 - (1 - w)^2), so
    that old noise and new have the variance of the old wherever w lies between 0 and 1. Where the scan already holds what is
    denser than the lesion it stays: vessels run on through ground glass, and bone is not overwritten.

    Parameters
    ----------
    volume : CTVolume
        The scan or a crop of it.
    shape : SignedDistance
    centre_mm : tuple of float
        LPS point (x, y, z) of the shape's centre, mm.
    look : Look
        Tissue of the lesion.
    scanner : Scanner
        Blur and noise of the scan.
    seed : int
        Of the noise and the texture: same seed, same image.
    lung : Mask, optional
        What of the shape lies outside is left out: a lesion at the wall ends there. Vessels in the lung belong to it.

    Returns
    -------
    CTVolume
        The same voxels, of the same type, with the lesion; none is changed where the blurred shape does not reach.
    Mask
        Voxels of which at least half lies inside the shape, and in the lung.

    Raises
    ------
    RegionError
        ``leaves_image`` if the blurred shape reaches beyond the volume, ``outside_lung`` if half of it or more lies outside
        the lung, ``too_small`` if no voxel is half inside.
    """
    spacing = volume.frame.spacing_mm
    blur_mm = scanner.sharpness.beyond_voxels_mm(spacing)
    start, share = cover_of(volume.frame, centre_mm, shape, TRUNCATE * max(blur_mm))
    window = _window(volume, start, share.shape)
    if lung is not None:
        share = _in_lung(share, lung, start)
    mask = Mask(share >= 0.5, volume.frame, start)
    if not mask.n_voxels:
        raise RegionError("too_small", "no voxel lies half inside the lesion; take a larger shape, or thinner slices")
    weight = ndimage.gaussian_filter(share, [b / s for b, s in zip(blur_mm, spacing, strict=True)], truncate=TRUNCATE)
    old = volume.hu[window].astype(np.float32)
    weight *= (old != PADDING_HU) * (1 - _showing(old, look.hu, scanner, spacing))
    rng = np.random.default_rng(seed)
    texture = gaussian_texture(look.texture_hu, look.texture_mm, spacing).draw(rng, mask.shape)
    noise = scanner.noise.draw(rng, mask.shape)
    new = old + weight * (look.hu + texture - old) + np.sqrt(1 - (1 - weight) ** 2) * noise
    hu = volume.hu.copy()
    hu[window] = _as(new, hu.dtype, weight > 0, volume.hu[window])
    return CTVolume(hu, volume.frame, volume.start), mask.trimmed()


def _window(volume: CTVolume, start: IndexTriple, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Slices of a volume's own array for a box of its frame."""
    low, high = np.subtract(start, volume.start), np.add(start, shape) - volume.start
    if np.any(low < 0) or np.any(high > volume.shape):
        raise RegionError(
            "leaves_image",
            f"the lesion and its blur take the voxels {start} to {tuple(np.add(start, shape).tolist())} (z, y, x); the "
            f"image has {volume.start} to {volume.stop}: choose a place further inside, or a smaller shape",
        )
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _in_lung(share: NDArray[np.float32], lung: Mask, start: IndexTriple) -> NDArray[np.float32]:
    z, y, x = np.add(start, share.shape).tolist()
    kept = share * lung.within(start, (z, y, x)).voxels
    part = float(kept.sum() / share.sum())
    if part < LEAST_INSIDE:
        raise RegionError(
            "outside_lung",
            f"only {part:.0%} of the lesion would lie in the lung, at least {LEAST_INSIDE:.0%} has to: choose a place in "
            "the lung (LPS, mm)",
        )
    return np.asarray(kept, dtype=np.float32)


def _showing(old: NDArray[np.float32], lesion_hu: float, scanner: Scanner, spacing_mm: Triple) -> NDArray[np.float32]:
    """How far what a scan already holds is denser than the lesion and shows through, 0 to 1, shape (z, y, x)."""
    smooth = ndimage.gaussian_filter(old, [DENSE_MM / s for s in spacing_mm])
    noise_hu = max(scanner.noise.sd_hu, LEAST_NOISE_HU)
    denser = (smooth - np.float32(lesion_hu)) / np.float32(noise_hu)
    return np.asarray(np.clip((denser - SHOWS_FROM) / (SHOWS_WHOLLY - SHOWS_FROM), 0, 1), dtype=np.float32)


def _as(
    new: NDArray[np.floating], dtype: np.dtype[np.generic], where: NDArray[np.bool_], old: NDArray[np.generic]
) -> NDArray[np.generic]:
    """New values where there are some, in the image's own type and range."""
    limited = np.clip(new, *HU_RANGE)
    if np.issubdtype(dtype, np.integer):
        limited = np.rint(limited)
    return np.where(where, limited.astype(dtype), old)
