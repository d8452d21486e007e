"""The box in which a nodule is looked for, and the steps that every classical segmenter shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.errors import AnnotationError, SegmentationError
from lungpipe.volume import PADDING_HU, CTVolume, Mask, box_around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Geometry, IndexTriple
    from lungpipe.nodule import Nodule

#: Side of the box, mm, that stands in for the extent of a nodule annotated by a point alone.
SEED_BOX_MM = 20.0
#: HU are clipped to this window before clustering, so that metal or bone does not form a class of its own.
WINDOW_HU = (-1000.0, 400.0)


def nodule_box(frame: Geometry, nodule: Nodule) -> tuple[IndexTriple, IndexTriple]:
    """Half-open voxel box (frame indices, z, y, x) of an annotation, clipped to the image.

    Raises
    ------
    AnnotationError
        If the annotation has no centre, or the centre lies outside the image.
    """
    if nodule.centre_mm is None:
        raise AnnotationError("no_centre", "the annotation has neither a centre nor a mask; give one of the two")
    if not frame.contains(nodule.centre_mm):
        index = ", ".join(f"{v:.1f}" for v in frame.to_index(nodule.centre_mm))
        raise AnnotationError(
            "outside_volume",
            f"the centre falls on voxel (z, y, x) = ({index}) of a volume of {frame.shape}; "
            "check the annotation's frame (lps, ras or voxel) and its series",
        )
    half_mm = np.asarray(nodule.size_mm or (SEED_BOX_MM,) * 3) / 2.0
    corners = [frame.to_index(np.asarray(nodule.centre_mm) + sign * half_mm) for sign in (-1.0, 1.0)]
    low = np.maximum(np.ceil(np.minimum(*corners) - 0.5), 0).astype(int)
    high = np.minimum(np.floor(np.maximum(*corners) + 0.5) + 1, frame.shape).astype(int)
    centre = np.rint(frame.to_index(nodule.centre_mm)).astype(int)
    low, high = np.minimum(low, centre), np.maximum(high, centre + 1)
    return (int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2]))


def seed_ball(crop: CTVolume, nodule: Nodule) -> NDArray[np.bool_]:
    """Voxels (z, y, x) of the crop within a quarter of the box's shortest side of the centre, at least one voxel."""
    size_mm = nodule.size_mm or (SEED_BOX_MM,) * 3
    centre = crop.geometry.to_index(nodule.centre_mm or (0.0, 0.0, 0.0))
    axes = [(np.arange(n) - c) * s for n, c, s in zip(crop.shape, centre, crop.frame.spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    distance_mm = np.sqrt(z**2 + y**2 + x**2)
    radius_mm = max(min(size_mm) / 4.0, float(distance_mm.min()))
    return np.asarray(distance_mm <= radius_mm)


def crop_for(volume: CTVolume, nodule: Nodule, margin_mm: float) -> CTVolume:
    """Crop of the volume round the annotation's box with a margin, mm."""
    return volume.crop(*box_around(volume.frame, *nodule_box(volume.frame, nodule), margin_mm))


def tissue_samples(crop: CTVolume) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """HU of a crop clipped to :data:`WINDOW_HU`, shape (z, y, x), and which voxels are not scanner padding.

    Raises
    ------
    SegmentationError
        If the crop is constant, or nothing but padding.
    """
    tissue = np.asarray(crop.hu > PADDING_HU)
    hu = np.clip(crop.hu.astype(np.float64), *WINDOW_HU)
    if not tissue.any():
        raise SegmentationError("only_padding", "the annotation lies in scanner padding; check its frame and series")
    if np.ptp(hu[tissue]) == 0:
        raise SegmentationError(
            "constant_region", f"every voxel of the box has {hu[tissue][0]:g} HU, so there is nothing to segment"
        )
    return hu, tissue


def component_at_seed(bright: NDArray[np.bool_], crop: CTVolume, nodule: Nodule) -> Mask:
    """Largest face-connected component of ``bright`` that touches the seed ball, its holes filled.

    Raises
    ------
    SegmentationError
        If no bright voxel lies in the seed ball.
    """
    labels, count = ndimage.label(bright)
    touching = np.unique(labels[seed_ball(crop, nodule)])
    touching = touching[touching > 0]
    if not len(touching):
        raise SegmentationError(
            "nothing_at_seed",
            f"none of {count} bright components touches the annotated centre; check the centre, or annotate a mask",
        )
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    chosen = labels == touching[int(np.argmax(sizes[touching]))]
    return Mask(np.asarray(ndimage.binary_fill_holes(chosen)), crop.frame, crop.start).trimmed()
