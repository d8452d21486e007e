"""Grey level run length matrices (GLRLM, TP0I) and their 16 features (manual, section 3.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.compiled import compiled
from lungpipe.radiomics.ibsi.aggregate import average, directions, merged
from lungpipe.radiomics.ibsi.emphases import emphases, tagged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lungpipe.radiomics.ibsi.catalogue import Aggregation


def run_features(levels: NDArray[np.int64], aggregations: Sequence[Aggregation]) -> dict[str, float]:
    """Compute the features for each aggregation, by tag with its suffix.

    Parameters
    ----------
    levels : ndarray of int, shape (z, y, x)
        Grey levels from 1 within the intensity mask, 0 outside.
    aggregations : sequence of Aggregation
        All by slice, or none.
    """
    by_slice = aggregations[0].by_slice
    steps = directions(by_slice=by_slice)
    runs = count_runs(levels, steps, int(levels.max()), max(levels.shape), by_slice)
    inside = np.count_nonzero(levels, axis=(1, 2)) if by_slice else np.array([np.count_nonzero(levels)])
    n_voxels = np.tile(inside, (len(steps), 1))
    found: dict[str, float] = {}
    for aggregation in aggregations:
        each = zip(merged(runs, aggregation), merged(n_voxels, aggregation), strict=True)
        features = average([_matrix_features(matrix, int(n)) for matrix, n in each if n])
        found |= {f"{name}_{aggregation.suffix}": value for name, value in features.items()}
    return found


@compiled
def count_runs(
    levels: NDArray[np.int64], steps: NDArray[np.int64], n_levels: int, longest: int, by_slice: bool
) -> NDArray[np.int64]:
    """Count runs; shape (steps, slices or 1, levels, longest), level 1 and length 1 at index 0."""
    nz, ny, nx = levels.shape
    found = np.zeros((len(steps), nz if by_slice else 1, n_levels, longest), dtype=np.int64)
    for k in range(len(steps)):
        dz, dy, dx = steps[k, 0], steps[k, 1], steps[k, 2]
        for z in range(nz):
            for y in range(ny):
                for x in range(nx):
                    level = levels[z, y, x]
                    if level == 0:
                        continue
                    z1, y1, x1 = z - dz, y - dy, x - dx
                    within = 0 <= z1 < nz and 0 <= y1 < ny and 0 <= x1 < nx
                    if within and levels[z1, y1, x1] == level:
                        continue  # the run began before
                    length = 1
                    z1, y1, x1 = z + dz, y + dy, x + dx
                    while 0 <= z1 < nz and 0 <= y1 < ny and 0 <= x1 < nx and levels[z1, y1, x1] == level:
                        length += 1
                        z1, y1, x1 = z1 + dz, y1 + dy, x1 + dx
                    found[k, z if by_slice else 0, level - 1, length - 1] += 1
    return found


def _matrix_features(counts: NDArray[np.int64], n_voxels: int) -> dict[str, float]:
    level, length = np.nonzero(counts)
    return tagged("runs", emphases(level + 1, length + 1, counts[level, length], n_voxels))
