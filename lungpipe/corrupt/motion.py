"""Motion: the patient moves once while the table does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: Length of table, mm, of which projections of before and after the movement meet in one slice.
TRANSITION_MM = 4.0
#: The movement falls into this part of the image's height.
WITHIN = (0.45, 0.55)


def moved(
    hu: NDArray[np.float32], spacing_mm: Triple, shift_mm: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Shift the slices on one side of a level within their plane, with double contours where both places meet.

    The level and the direction are drawn. Over :data:`TRANSITION_MM` a slice is the mean of both places, weighted by how far it
    is past the level; what moves in from outside repeats the edge.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
    spacing_mm : tuple of float
        Along (z, y, x).
    shift_mm : float
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (z, y, x)
    """
    level = rng.uniform(*WITHIN) * (len(hu) - 1)
    angle = rng.uniform(0.0, 2.0 * math.pi)
    shift = (shift_mm * math.sin(angle) / spacing_mm[1], shift_mm * math.cos(angle) / spacing_mm[2])
    past = np.clip(0.5 + (np.arange(len(hu)) - level) * spacing_mm[0] / TRANSITION_MM, 0.0, 1.0)
    found = hu.astype(np.float32)
    for k in np.flatnonzero(past > 0):
        there = ndimage.shift(found[k], shift, order=1, mode="nearest")
        found[k] += np.float32(past[k]) * (there - found[k])
    return found
