"""Local intensity features (9ST6): mean intensities of balls of 1 cm3 around voxels of the region."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.ibsi.prepare import Prepared

#: Radius of a ball of 1 cm3, mm.
RADIUS_MM = float((3000 / (4 * np.pi)) ** (1 / 3))


def local_features(prepared: Prepared) -> dict[str, float]:
    """Compute the local (VJGA) and the global (0F91) intensity peak, HU, by tag (manual, section 3.2).

    A ball takes every voxel of the image whose centre lies within 6.2 mm, in the region or not. The local peak is the mean
    of the ball around the greatest intensity of the region, the highest where several voxels have it; the global peak is the
    highest of all voxels of the region. Both are NaN where a crop of an image does not reach so far beyond the region.
    """
    offsets = ball(prepared.spacing_mm)
    centres = np.argwhere(prepared.intensity)
    reach = np.abs(offsets).max(axis=0)
    cut = np.any(centres.min(axis=0) < reach) or np.any(centres.max(axis=0) + reach >= prepared.values.shape)
    if cut and not prepared.whole:
        return {"loc_peak_loc": float("nan"), "loc_peak_glob": float("nan")}
    means = ball_means(prepared.values, centres, offsets)
    samples = prepared.values[prepared.intensity]
    return {
        "loc_peak_loc": float(means[samples == samples.max()].max()),
        "loc_peak_glob": float(means.max()),
    }


def ball(spacing_mm: Triple) -> NDArray[np.int64]:
    """Steps (z, y, x) to the voxels whose centres lie within the radius; shape (n, 3)."""
    n = [int(RADIUS_MM / side) for side in spacing_mm]
    steps = np.stack(np.meshgrid(*(np.arange(-k, k + 1) for k in n), indexing="ij"), axis=-1).reshape(-1, 3)
    return np.ascontiguousarray(steps[np.linalg.norm(steps * np.asarray(spacing_mm), axis=1) <= RADIUS_MM])


@compiled
def ball_means(
    values: NDArray[np.float64], centres: NDArray[np.int64], offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Mean of the voxels at the offsets from each centre, as far as they lie in the image; shape (centres,)."""
    nz, ny, nx = values.shape
    means = np.empty(len(centres))
    for c in range(len(centres)):
        total, n = 0.0, 0
        for k in range(len(offsets)):
            z, y, x = centres[c, 0] + offsets[k, 0], centres[c, 1] + offsets[k, 1], centres[c, 2] + offsets[k, 2]
            if 0 <= z < nz and 0 <= y < ny and 0 <= x < nx:
                total += values[z, y, x]
                n += 1
        means[c] = total / n
    return means
