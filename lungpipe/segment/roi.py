"""The box in which a nodule is looked for, and what a plug-in needs to segment within it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.errors import AnnotationError
from lungpipe.segment.steps import at_seed
from lungpipe.volume import CTVolume, Mask, box_around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Geometry, IndexTriple, Triple
    from lungpipe.nodule import Nodule

#: Side of the box, mm, that stands in for the extent of a nodule annotated by a point alone, where none was found.
SEED_BOX_MM = 20.0


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


def ball_at(crop: CTVolume, centre_mm: Triple, radius_mm: float) -> NDArray[np.bool_]:
    """Voxels (z, y, x) of a crop within a distance of an LPS point (x, y, z), at least the nearest."""
    centre = crop.frame.to_index(centre_mm) - np.asarray(crop.start)
    axes = [(np.arange(n) - c) * s for n, c, s in zip(crop.shape, centre, crop.frame.spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    distance_mm = np.sqrt(z**2 + y**2 + x**2)
    return np.asarray(distance_mm <= max(radius_mm, float(distance_mm.min()) + 1e-6))


def crop_for(volume: CTVolume, nodule: Nodule, margin_mm: float) -> CTVolume:
    """Crop of the volume round the annotation's box with a margin, mm."""
    return volume.crop(*box_around(volume.frame, *nodule_box(volume.frame, nodule), margin_mm))


def component_at_seed(bright: NDArray[np.bool_], crop: CTVolume, nodule: Nodule) -> Mask:
    """Largest face-connected component of ``bright`` that touches the seed ball, its holes filled.

    Raises
    ------
    SegmentationError
        If no bright voxel lies in the seed ball.
    """
    seed = ball_at(crop, nodule.centre_mm or (0.0, 0.0, 0.0), min(nodule.size_mm or (SEED_BOX_MM,) * 3) / 4.0)
    chosen = at_seed(bright, seed)
    return Mask(np.asarray(ndimage.binary_fill_holes(chosen)), crop.frame, crop.start).trimmed()
