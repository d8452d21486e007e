"""A ladder of corruptions: what scanners and patients do to an image, each in five severities of a physical unit.

What a method makes of an image that gets worse step by step tells more than its figures on clean ones (Hendrycks and
Dietterich 2019, arXiv:1903.12261, from whom the five severities are).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.corrupt.motion import moved
from lungpipe.corrupt.noise import at_dose, with_noise
from lungpipe.corrupt.resolution import blurred, sharper_kernel, softer_kernel, thicker_slices
from lungpipe.errors import DatasetError
from lungpipe.volume import PADDING_HU, CTVolume

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: HU of a scanner that are no padding.
LOWEST_HU, HIGHEST_HU = PADDING_HU + 1, 3071
#: Severities; 0 is the image as it is.
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way in which an image gets worse.

    Parameters
    ----------
    change : callable
        HU (z, y, x), spacing (z, y, x) in mm, a value, random numbers -> HU.
    values : tuple of float
        One for each of :data:`SEVERITIES`.
    unit : str
        Of the values; ``"1"`` for a number.
    title : str
        Name for people.
    """

    change: Callable[[NDArray[np.float32], Triple, float, np.random.Generator], NDArray[np.float32]]
    values: tuple[float, float, float, float, float]
    unit: str
    title: str


#: Noise: from that of a diagnostic chest CT under a soft kernel to more than an ultra-low-dose scan's in thin slices.
NOISE_HU = (15.0, 30.0, 60.0, 100.0, 150.0)
#: Blur: from less than a voxel of a chest CT to a point that is 5 mm wide at half its height.
BLUR_MM = (0.4, 0.7, 1.0, 1.5, 2.2)
#: Motion: from what a heartbeat passes on to a breath that was not held.
MOTION_MM = (1.0, 2.0, 3.5, 5.5, 8.0)
#: Kernels: from the next one of a scanner's list to beyond its last.
SHARP_BOOST = (0.5, 1.0, 2.0, 3.5, 5.0)
SOFT_MM = (0.4, 0.6, 0.9, 1.3, 1.8)
#: Dose: from half to a hundredth, as a standard scan against an ultra-low-dose one.
DOSE_SHARE = (0.5, 0.25, 0.1, 0.03, 0.01)
#: Slice thickness: what chest CT was and is read in.
SLICE_MM = (2.0, 3.0, 5.0, 7.0, 10.0)

CORRUPTIONS: Mapping[str, Corruption] = {
    "noise": Corruption(with_noise, NOISE_HU, "HU", "noise"),
    "blur": Corruption(blurred, BLUR_MM, "mm", "blur"),
    "motion": Corruption(moved, MOTION_MM, "mm", "motion"),
    "sharp_kernel": Corruption(sharper_kernel, SHARP_BOOST, "1", "sharp kernel"),
    "soft_kernel": Corruption(softer_kernel, SOFT_MM, "mm", "soft kernel"),
    "dose": Corruption(at_dose, DOSE_SHARE, "1", "share of dose"),
    "slice_thickness": Corruption(thicker_slices, SLICE_MM, "mm", "slice thickness"),
}


def corrupted(volume: CTVolume, name: str, severity: int, seed: int = 0) -> CTVolume:
    """A copy of an image that is worse in one way.

    What is drawn depends on the image, the corruption and the seed, but not on the severity: the noise of two severities is
    one field, scaled. Padding stays, and what was no padding does not become it.

    Parameters
    ----------
    volume : CTVolume
        Whole or a crop; a crop is corrupted as if there were nothing beyond it.
    name : str
        One of :data:`CORRUPTIONS`.
    severity : int
        0, which gives the image itself, to 5.
    seed : int

    Returns
    -------
    CTVolume
        On the same grid; whole HU if the image's are.

    Raises
    ------
    DatasetError
        If there is no such corruption or severity.
    """
    if name not in CORRUPTIONS:
        raise DatasetError(f"no corruption {name!r}; there are {', '.join(CORRUPTIONS)}")
    if severity not in (0, *SEVERITIES):
        raise DatasetError(f"a severity is 0 (none) to {SEVERITIES[-1]}, found {severity}")
    if severity == 0:
        return volume
    corruption = CORRUPTIONS[name]
    drawn = hashlib.sha256(f"{name} {seed} {volume.hu_sha256}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(drawn[:8]))
    before = volume.hu.astype(np.float32)
    after = corruption.change(before, volume.frame.spacing_mm, corruption.values[severity - 1], rng)
    after = np.where(before <= PADDING_HU, before, np.clip(after, LOWEST_HU, HIGHEST_HU))
    if np.issubdtype(volume.hu.dtype, np.integer):
        after = np.rint(after)
    return CTVolume(after.astype(volume.hu.dtype), volume.frame, volume.start)
