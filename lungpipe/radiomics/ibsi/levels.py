"""Grey levels: intensities of the intensity mask, discretised (manual, section 2.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.radiomics.ibsi.configurations import Bins
    from lungpipe.radiomics.ibsi.prepare import Prepared


def discretise(
    samples: NDArray[np.float64], bins: Bins, range_hu: tuple[float, float] | None = None
) -> NDArray[np.int64]:
    """Number the bins that intensities fall into, from 1.

    Parameters
    ----------
    samples : ndarray, shape (n,)
        Intensities of a region.
    bins : Bins
    range_hu : tuple of float, optional
        Re-segmentation range. Bins of a fixed width (Q3RU) begin at its lower end, or at the least intensity without one.
        A fixed number of bins (K15C) divides the intensities that there are.

    Raises
    ------
    DatasetError
        If there are no bins, and an intensity is no whole number from 1.
    """
    low, high = float(samples.min()), float(samples.max())
    if bins.kind == "none":
        if low < 1 or np.any(samples != np.rint(samples)):
            raise DatasetError("grey levels without discretisation are whole numbers from 1; found others: choose bins")
        return samples.astype(np.int64)
    if bins.kind == "width":
        origin = low if range_hu is None else range_hu[0]
        return np.floor((samples - origin) / bins.size).astype(np.int64) + 1
    if low == high:
        return np.ones(samples.shape, dtype=np.int64)
    number = np.floor(bins.size * (samples - low) / (high - low)).astype(np.int64) + 1
    return np.minimum(number, int(bins.size))


def grey_levels(prepared: Prepared, bins: Bins) -> NDArray[np.int64]:
    """Levels of the intensity mask on the box around the morphological mask, 0 outside; shape (z, y, x)."""
    levels = np.zeros(prepared.values.shape, dtype=np.int64)
    samples = prepared.values[prepared.intensity]
    levels[prepared.intensity] = discretise(samples, bins, prepared.range_hu)
    cut: NDArray[np.int64] = levels[box(prepared.morphological)]
    return np.ascontiguousarray(cut)


def box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Slices of the tight box around a mask that is not empty."""
    found = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        found.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return found[0], found[1], found[2]
