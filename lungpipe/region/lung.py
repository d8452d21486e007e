"""A plain lung mask by threshold and components, to keep surroundings out of the chest wall."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.errors import RegionError
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Raise it when the same volume gives another mask.
VERSION = "1"
#: Lung lies below this, soft tissue above.
AIR_HU = -400
#: A component darker than this on average is air outside the patient (or padding), not lung.
OUTSIDE_AIR_HU = -950
#: A component smaller than this is not lung, ml.
MIN_LUNG_ML = 20.0
#: The mask is made on voxels of about this side, mm.
COARSE_MM = 2.0
#: Vessels and nodules up to this radius, mm, are closed into the lung.
CLOSING_MM = 6.0


def lung_mask(volume: CTVolume) -> Mask:
    """Voxels of both lungs with the vessels inside them.

    Threshold, components large enough and brighter than outside air, closing; made on a grid of about 2 mm and
    enlarged again by nearest neighbour, so the lung's border is right to about 1 mm.

    Parameters
    ----------
    volume : CTVolume
        HU; a whole image.

    Returns
    -------
    Mask
        On the volume's whole grid.

    Raises
    ------
    RegionError
        If no component looks like lung; the message says what was found.
    """
    step = [max(1, round(COARSE_MM / s)) for s in volume.frame.spacing_mm]
    coarse_mm = np.multiply(step, volume.frame.spacing_mm)
    coarse = volume.hu[:: step[0], :: step[1], :: step[2]]
    labels, count = ndimage.label(coarse < AIR_HU)
    voxel_ml = float(np.prod(coarse_mm)) / 1000.0
    index = np.arange(1, count + 1)
    size_ml = ndimage.sum_labels(np.ones(coarse.shape), labels, index) * voxel_ml
    mean_hu = ndimage.mean(coarse, labels, index)
    chosen = index[(size_ml >= MIN_LUNG_ML) & (mean_hu > OUTSIDE_AIR_HU)]
    if not len(chosen):
        largest = float(size_ml.max()) if count else 0.0
        raise RegionError(
            "no_lung_found",
            f"no aerated component of {MIN_LUNG_ML:g} ml or more (largest {largest:.1f} ml); "
            'set regions.clip = "none" if the images show no lung',
        )
    closed = _close(np.isin(labels, chosen), coarse_mm)
    fine = closed
    for axis, (k, n) in enumerate(zip(step, volume.shape, strict=True)):
        nearest = np.minimum((np.arange(n) + (k - 1) // 2) // k, closed.shape[axis] - 1)
        fine = np.take(fine, nearest, axis=axis)
    return Mask(fine, volume.frame, volume.start)


def _close(lung: NDArray[np.bool_], spacing_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Closing with a ball of :data:`CLOSING_MM` by two distance transforms; the border counts as lung, not as wall."""
    dilated = ndimage.distance_transform_edt(~lung, sampling=spacing_mm) <= CLOSING_MM
    if dilated.all():
        return np.ones(lung.shape, dtype=np.bool_)
    return np.asarray(ndimage.distance_transform_edt(dilated, sampling=spacing_mm) > CLOSING_MM) | lung
