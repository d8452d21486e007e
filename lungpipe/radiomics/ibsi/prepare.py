"""From an image and a region to what IBSI takes features of: interpolated, re-segmented, with its diagnostic features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lungpipe.errors import FeatureError, GeometryError
from lungpipe.radiomics.ibsi.levels import box
from lungpipe.radiomics.ibsi.local import RADIUS_MM
from lungpipe.radiomics.ibsi.resample import resample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.ibsi.configurations import Configuration
    from lungpipe.volume import CTVolume, Mask

#: Axes by the letter that diagnostic tags use.
_AXES = {"x": 2, "y": 1, "z": 0}


@dataclass(frozen=True, eq=False, slots=True)
class Prepared:
    """What features are taken of.

    Parameters
    ----------
    values : ndarray of float64, shape (z, y, x)
        Intensities of the image around the region.
    morphological, intensity : ndarray of bool, shape (z, y, x)
        The region as it was drawn (G5KJ), and what of it re-segmentation left (SEFI).
    spacing_mm : tuple of float
        Voxel sides along (z, y, x), mm.
    whole : bool
        Whether there is no image beyond the values' border where that is within reach of the region; else a crop was given,
        and what lies beyond is unknown.
    range_hu : tuple of float, optional
        The range of re-segmentation.
    diagnostics : mapping
        Diagnostic features by tag.
    """

    values: NDArray[np.float64]
    morphological: NDArray[np.bool_]
    intensity: NDArray[np.bool_]
    spacing_mm: Triple
    whole: bool = True
    range_hu: tuple[float, float] | None = None
    diagnostics: Mapping[str, float] = field(default_factory=dict)


def prepare(volume: CTVolume, region: Mask, configuration: Configuration) -> Prepared:
    """Interpolate an image and its region and re-segment it.

    Raises
    ------
    FeatureError
        ``empty_region`` if the region has no voxel, before or after interpolation; ``resegmented_away`` if no
        intensity lies in range; ``not_finite`` if one is no finite number.
    GeometryError
        If the region is on another grid than the image, or reaches out of it.
    """
    _check(volume, region)
    whole = volume.shape == volume.frame.shape
    old, drawn = volume.hu, region.within(volume.start, volume.stop).voxels
    new, morphological, spacing_mm = old, drawn, volume.frame.spacing_mm
    if configuration.spacing_mm is not None:
        made = resample(volume, region, configuration.spacing_mm, configuration.order, whole_hu=True)
        new, morphological, spacing_mm = made.values, made.inside, made.spacing_mm
    if not morphological.any():
        raise FeatureError("empty_region", "no voxel of the new grid lies half inside the region: it is too thin")
    intensity = resegment(new, morphological, configuration)
    diagnostics = {
        **_of_image("init_img", old, volume.frame.spacing_mm, whole=whole),
        **_of_image("interp_img", new, spacing_mm, whole=whole),
        **_of_region("init_roi", old, drawn, drawn, whole=whole),
        **_of_region("interp_roi", new, morphological, morphological, whole=whole),
        **_of_region("reseg_roi", new, morphological, intensity, whole=whole),
    }
    window = _around(morphological, spacing_mm)
    return Prepared(
        values=new[window].astype(np.float64),
        morphological=morphological[window],
        intensity=intensity[window],
        spacing_mm=spacing_mm,
        whole=whole,
        range_hu=configuration.range_hu,
        diagnostics=diagnostics,
    )


def _around(mask: NDArray[np.bool_], spacing_mm: Triple) -> tuple[slice, ...]:
    """A box that holds a mask and all within the reach of a local feature, as far as there is an image."""
    reach = [int(RADIUS_MM / side) + 1 for side in spacing_mm]
    return tuple(slice(max(0, one.start - n), one.stop + n) for one, n in zip(box(mask), reach, strict=True))


def resegment(values: NDArray[Any], inside: NDArray[np.bool_], configuration: Configuration) -> NDArray[np.bool_]:
    """Leave out voxels whose intensities are outside the range or are outliers (manual, section 2.5).

    Mean and standard deviation are those of the region before re-segmentation, and what both methods leave stays.

    Raises
    ------
    FeatureError
        If nothing is left.
    """
    left = inside.copy()
    if configuration.range_hu is not None:
        low, high = configuration.range_hu
        left &= (values >= low) & (values <= high)
    if configuration.outlier_sigma is not None:
        samples = values[inside].astype(np.float64)
        mean, reach = samples.mean(), configuration.outlier_sigma * samples.std()
        left &= (values >= mean - reach) & (values <= mean + reach)
    if not left.any():
        found = values[inside]
        raise FeatureError(
            "resegmented_away",
            f"no voxel of the region is left after re-segmentation: the profile {configuration.name} keeps "
            f"{configuration.range_hu} HU, and the region has {found.min():g} to {found.max():g} HU",
        )
    return left


def _check(volume: CTVolume, region: Mask) -> None:
    if not region.n_voxels:
        raise FeatureError("empty_region", "the region holds no voxel")
    if not np.isfinite(volume.hu).all():
        raise FeatureError("not_finite", "the image has values that are not finite numbers; features need finite HU")
    if (gap := volume.frame.mismatch(region.frame)) is not None:
        raise GeometryError(f"the region is not on the image's grid: {gap}")
    start, stop = region.bounds
    if min(np.subtract(start, volume.start)) < 0 or min(np.subtract(volume.stop, stop)) < 0:
        raise GeometryError(f"the region {start}..{stop} leaves the image block {volume.start}..{volume.stop}")


def _of_image(stage: str, values: NDArray[Any], spacing_mm: Triple, *, whole: bool) -> dict[str, float]:
    """Diagnostic features of an image; those that need all of it are NaN for a crop."""
    seen: NDArray[Any] = values if whole else np.full(1, np.nan)
    return {
        **{f"img_dim_{letter}_{stage}": _size(values, axis, whole) for letter, axis in _AXES.items()},
        **{f"vox_dim_{letter}_{stage}": float(spacing_mm[axis]) for letter, axis in _AXES.items()},
        f"mean_int_{stage}": float(seen.mean(dtype=np.float64)),
        f"min_int_{stage}": float(seen.min()),
        f"max_int_{stage}": float(seen.max()),
    }


def _of_region(
    stage: str,
    values: NDArray[Any],
    morphological: NDArray[np.bool_],
    intensity: NDArray[np.bool_],
    *,
    whole: bool,
) -> dict[str, float]:
    """Diagnostic features of a region's two masks."""
    found = {f"int_mask_dim_{letter}_{stage}": _size(values, axis, whole) for letter, axis in _AXES.items()}
    for name, mask in (("int", intensity), ("morph", morphological)):
        for letter, axis in _AXES.items():
            hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
            found[f"{name}_mask_bb_dim_{letter}_{stage}"] = float(hit[-1] - hit[0] + 1)
        found[f"{name}_mask_vox_count_{stage}"] = float(np.count_nonzero(mask))
    samples = values[intensity]
    return found | {
        f"int_mask_mean_int_{stage}": float(samples.mean(dtype=np.float64)),
        f"int_mask_min_int_{stage}": float(samples.min()),
        f"int_mask_max_int_{stage}": float(samples.max()),
    }


def _size(values: NDArray[Any], axis: int, whole: bool) -> float:
    return float(values.shape[axis]) if whole else float("nan")
