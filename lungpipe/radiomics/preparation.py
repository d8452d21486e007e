"""What is done to intensities and regions before features: normalisation of the image, re-segmentation of a region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import SimpleITK as sitk

from lungpipe.errors import DatasetError, FeatureError, GeometryError
from lungpipe.volume import CTVolume

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

ResegmentMode = Literal["absolute", "relative", "sigma"]


@dataclass(frozen=True, slots=True)
class Resegmentation:
    """Which voxels of a region count, by their value in the original image. PyRadiomics' ``resegmentRange``.

    Parameters
    ----------
    limits : tuple of float
        Least value, or least and greatest value; both are inside.
    mode : {"absolute", "relative", "sigma"}
        Limits in units of the image, in parts of the region's greatest value, or in standard deviations from its mean.
    shape : bool
        Whether shape is computed of what is left too. ``resegmentShape``.

    Raises
    ------
    DatasetError
        If a value makes no sense.
    """

    limits: tuple[float, ...]
    mode: ResegmentMode = "absolute"
    shape: bool = False

    def __post_init__(self) -> None:
        if len(self.limits) not in {1, 2}:
            raise DatasetError(f"re-segmentation takes one or two limits, found {list(self.limits)}")
        if self.mode not in get_args(ResegmentMode):
            raise DatasetError(f"re-segmentation knows {', '.join(get_args(ResegmentMode))}; found {self.mode!r}")

    def __call__(self, values: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Keep the voxels of a region whose values lie within the limits.

        Parameters
        ----------
        values : ndarray, shape (z, y, x)
        inside : ndarray of bool, shape (z, y, x)

        Raises
        ------
        FeatureError
            If fewer than two voxels are left.
        """
        held = values[inside]
        limits: list[Any] = sorted(self.limits)
        if self.mode == "relative":
            limits = [np.max(held) * limit for limit in limits]
        elif self.mode == "sigma":
            mean, sigma = np.mean(held), np.std(held)
            limits = [mean + sigma * limit for limit in limits]
        kept = held >= limits[0]
        if len(limits) == 2:
            kept &= held <= limits[1]
        if np.count_nonzero(kept) < 2:
            raise FeatureError(
                "resegmented_away",
                f"re-segmentation to {[float(limit) for limit in limits]} leaves fewer than 2 of {held.size} voxels",
            )
        left = np.zeros_like(inside)
        left[inside] = kept
        return left


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Intensities as standard deviations from the mean of the whole image. PyRadiomics' ``normalize``.

    Parameters
    ----------
    scale : float
        What a standard deviation becomes. ``normalizeScale``.
    outliers : float, optional
        Greatest number of standard deviations; beyond, values are set to it. ``removeOutliers``.

    Raises
    ------
    DatasetError
        If a value makes no sense.
    """

    scale: float = 1.0
    outliers: float | None = None

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise DatasetError(f"the scale of normalisation must be positive, found {self.scale}")
        if self.outliers is not None and not self.outliers > 0:
            raise DatasetError(f"outliers begin a positive number of standard deviations away, found {self.outliers}")

    def __call__(self, volume: CTVolume) -> CTVolume:
        """Normalise a whole image.

        Raises
        ------
        GeometryError
            If the volume is a crop, which does not know the whole image's mean.
        """
        if volume.shape != volume.frame.shape:
            raise GeometryError(
                f"normalisation needs the mean of the whole image of {volume.frame.shape} voxels, but the volume is a "
                f"crop of {volume.shape}: give the whole image"
            )
        image = sitk.Normalize(sitk.GetImageFromArray(volume.hu))
        if self.outliers is not None:
            clipped = np.clip(sitk.GetArrayFromImage(image), -self.outliers, self.outliers)
            image = sitk.GetImageFromArray(clipped)
        return CTVolume(sitk.GetArrayFromImage(image * self.scale), volume.frame)
