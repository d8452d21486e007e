"""Clicks correct a mask: what a person calls inside comes in, what they call outside goes, the rest stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.graph import MCP_Geometric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: A path pays its length once more for every step of this many HU.
HU_STEP = 100.0
#: A click inside brings in what lies within this factor of its distance to the mask, and at least this far, mm.
REACH_FACTOR, REACH_MM = 1.25, 4.0
#: What comes in has HU within this of the click's, at least, and within so many of its robust standard deviations.
SIMILAR_HU, SIMILAR_DEVIATIONS = 150.0, 3.0


def corrected(
    mask: NDArray[np.bool_],
    hu: NDArray[np.float64],
    tissue: NDArray[np.bool_],
    seed: NDArray[np.bool_],
    clicked: NDArray[np.bool_],
    outside: NDArray[np.bool_],
    spacing_mm: Triple,
) -> NDArray[np.bool_]:
    """Bring a mask in line with clicks.

    A voxel of the mask goes where the cheapest path to a click outside is cheaper than the one to a click inside or the
    seed, in length and change of HU. Around a click inside that the mask misses, voxels of similar HU come in if they
    are nearer to it than to a click outside, in the same sense. Voxels that were clicked are as clicked.

    Parameters
    ----------
    mask, tissue, seed, clicked, outside : ndarray of bool, shape (z, y, x)
        ``seed`` is where the nodule is, ``clicked`` holds the clicks inside and ``outside`` those outside.
    hu : ndarray, shape (z, y, x)
    spacing_mm : tuple of float
        Along (z, y, x).
    """
    missed, inside = clicked & ~mask, (seed & mask) | clicked
    if not (outside.any() or missed.any()):
        return mask
    result = mask.copy()
    if outside.any() and inside.any():
        cost = 1.0 + ndimage.gaussian_gradient_magnitude(hu, 1.0) / HU_STEP
        to_inside, to_outside = _costs(cost, inside, spacing_mm), _costs(cost, outside, spacing_mm)
        result &= to_inside < to_outside
        nearer = to_inside < to_outside
    else:
        nearer = np.ones_like(mask)
    if missed.any():
        result |= _taken_in(mask, hu, tissue, missed, nearer, spacing_mm)
    return (result | clicked) & ~outside


def _taken_in(
    mask: NDArray[np.bool_],
    hu: NDArray[np.float64],
    tissue: NDArray[np.bool_],
    missed: NDArray[np.bool_],
    nearer: NDArray[np.bool_],
    spacing_mm: Triple,
) -> NDArray[np.bool_]:
    """What clicks inside bring in: similar voxels, connected to the click, within its reach."""
    distance = ndimage.distance_transform_edt(~mask, sampling=spacing_mm) if mask.any() else np.zeros(mask.shape)
    taken = np.zeros_like(mask)
    clicks, count = ndimage.label(missed, np.ones((3, 3, 3)))
    for number in range(1, count + 1):
        click = clicks == number
        values = hu[click]
        centre = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - centre)))
        similar = np.abs(hu - centre) <= max(SIMILAR_HU, SIMILAR_DEVIATIONS * spread)
        reach = max(REACH_MM, REACH_FACTOR * float(distance[click].max()))
        near = ndimage.distance_transform_edt(~click, sampling=spacing_mm) <= reach
        labels, _ = ndimage.label((similar & near & tissue & nearer) | click)
        taken |= np.isin(labels, np.unique(labels[click]))
    return taken


def _costs(cost: NDArray[np.float64], starts: NDArray[np.bool_], spacing_mm: Triple) -> NDArray[np.float64]:
    """Cheapest path from each voxel (z, y, x) to the starts: length in mm times cost."""
    found, _ = MCP_Geometric(cost, sampling=spacing_mm).find_costs(np.argwhere(starts).tolist())
    return np.asarray(np.round(found, 9))
