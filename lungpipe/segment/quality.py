"""Figures by which a mask can be doubted, measured when it is made; what they mean is judged later, by recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.segment.roi import nodule_box
from lungpipe.segment.steps import depth_mm
from lungpipe.volume import Mask, box_around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.nodule import Nodule
    from lungpipe.volume import CTVolume

#: Denser than this is calcification, HU.
CALCIFIED_HU = 200.0
#: Denser than this is soft tissue or ground glass rather than lung, HU.
SOFT_HU = -400.0
#: What lies within this distance of a mask is its rim, mm: beyond the blur of a kernel.
RIM_MM = (1.0, 3.0)
#: Background round a crop on which a mask is measured, mm.
MARGIN_MM = 4.0


@dataclass(frozen=True, slots=True)
class MaskQuality:
    """What can be said of one mask without knowing the truth.

    Parameters
    ----------
    n_slices : int
        Slices (planes of the image's first axis) that it reaches.
    n_components : int
        Face-connected components.
    centre_inside, at_edge : int
        1 if the annotated centre's voxel is inside, and if it touches an edge of the image; else 0.
    box_excess_mm : float
        How far it reaches beyond the annotated box, at the most, mm; 0 within it, NaN without a box.
    outside_fraction : float
        Share of it outside the annotated box; NaN without a box.
    box_fraction : float
        Share of the annotated box that it fills; NaN without a box.
    thickness_ratio : float
        Radius of the largest ball that fits into it over that of the ball of its volume: 1 for a ball, small for sheets
        and vessels.
    median_hu : float
    calcified_fraction : float
        Share of it denser than :data:`CALCIFIED_HU`.
    soft_rim_fraction : float
        Share of the voxels 1 to 3 mm outside of it that are denser than :data:`SOFT_HU`.
    """

    n_slices: int
    n_components: int
    centre_inside: int
    at_edge: int
    box_excess_mm: float
    outside_fraction: float
    box_fraction: float
    thickness_ratio: float
    median_hu: float
    calcified_fraction: float
    soft_rim_fraction: float


def measure_quality(mask: Mask, volume: CTVolume | None, nodule: Nodule) -> MaskQuality:
    """Measure a mask that is not empty.

    Parameters
    ----------
    mask : Mask
    volume : CTVolume or None
        The image that it is of, HU; without one, what HU tell is NaN.
    nodule : Nodule
        Its annotation, with a centre.

    Raises
    ------
    GeometryError
        If the mask is empty.
    AnnotationError
        If the annotation's centre lies outside the image.
    """
    low, high = mask.bounds
    frame = mask.frame if volume is None else volume.frame
    start, stop = box_around(frame, low, high, MARGIN_MM)
    inside = mask.within(start, stop).voxels
    spacing_mm = frame.spacing_mm
    padded = np.pad(inside, 1)
    half_mm = float(depth_mm(padded, spacing_mm).max()) - min(spacing_mm) / 2
    ball_mm = (3.0 * mask.volume_mm3 / (4.0 * np.pi)) ** (1 / 3)
    excess_mm, outside, filled = _against_box(mask, nodule)
    return MaskQuality(
        n_slices=int(inside.any(axis=(1, 2)).sum()),
        n_components=int(ndimage.label(inside)[1]),
        centre_inside=int(_centre_inside(mask, nodule)),
        at_edge=int(min(low) == 0 or any(b == n for b, n in zip(high, frame.shape, strict=True))),
        box_excess_mm=excess_mm,
        outside_fraction=outside,
        box_fraction=filled,
        thickness_ratio=half_mm / ball_mm,
        **_by_hu(inside, None if volume is None else volume.crop(start, stop).hu, spacing_mm),
    )


def _by_hu(inside: NDArray[np.bool_], hu: NDArray[np.int16] | None, spacing_mm: Triple) -> dict[str, float]:
    """What the HU of a crop (z, y, x) say of a mask on it; NaN where there are none."""
    if hu is None:
        return dict.fromkeys(("median_hu", "calcified_fraction", "soft_rim_fraction"), float("nan"))
    here = hu[inside].astype(np.float64)
    beyond = ndimage.distance_transform_edt(~inside, sampling=spacing_mm)
    rim = hu[(beyond > RIM_MM[0]) & (beyond <= RIM_MM[1])]
    return {
        "median_hu": float(np.median(here)),
        "calcified_fraction": float(np.mean(here > CALCIFIED_HU)),
        "soft_rim_fraction": float(np.mean(rim > SOFT_HU)) if rim.size else 0.0,
    }


def _centre_inside(mask: Mask, nodule: Nodule) -> bool:
    if nodule.centre_mm is None:
        return True
    index = np.rint(mask.frame.to_index(nodule.centre_mm)).astype(int)
    low = (int(index[0]), int(index[1]), int(index[2]))
    return bool(mask.within(low, (low[0] + 1, low[1] + 1, low[2] + 1)).n_voxels)


def _against_box(mask: Mask, nodule: Nodule) -> tuple[float, float, float]:
    """Reach beyond the annotated box (mm), share outside of it, share of it that is filled."""
    if nodule.size_mm is None or nodule.centre_mm is None:
        return float("nan"), float("nan"), float("nan")
    low, high = nodule_box(mask.frame, nodule)
    kept = mask.within(low, high)
    tight: NDArray[np.int_] = np.asarray(mask.bounds)
    excess = np.maximum(np.asarray(low) - tight[0], tight[1] - np.asarray(high)) * np.asarray(mask.frame.spacing_mm)
    return (
        max(float(excess.max()), 0.0),
        1.0 - kept.n_voxels / mask.n_voxels,
        kept.n_voxels / kept.voxels.size,
    )
