"""Neighbourhood grey tone difference and neighbouring grey level dependence matrices (NGTDM IPET, NGLDM REK0).

Both look at the neighbours of a voxel within Chebyshev distance 1 that lie in the intensity mask (manual, sections 3.10 and
3.11). The first takes the difference between a level and its neighbours' mean; the second counts the neighbours of the same
level (coarseness 0), the voxel itself included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.compiled import compiled
from lungpipe.radiomics.ibsi.aggregate import average
from lungpipe.radiomics.ibsi.emphases import counted, emphases, tagged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lungpipe.radiomics.ibsi.catalogue import Aggregation

#: Coarseness where there is no difference at all; the manual's own number.
MAXIMUM_COARSENESS = 1e6


def neighbourhood_features(levels: NDArray[np.int64], aggregations: Sequence[Aggregation]) -> dict[str, float]:
    """Compute the features of both matrices for each aggregation, by tag with its suffix.

    Parameters
    ----------
    levels : ndarray of int, shape (z, y, x)
        Grey levels from 1 within the intensity mask, 0 outside.
    aggregations : sequence of Aggregation
        All by slice, or none.
    """
    voxels = look_around(levels, aggregations[0].by_slice)
    found: dict[str, float] = {}
    for aggregation in aggregations:
        slices = [] if aggregation.merge_slices else np.unique(voxels[:, 0]).tolist()
        parts = [voxels[voxels[:, 0] == z] for z in slices] or [voxels]
        each = [tone_differences(part) | dependences(part) for part in parts]
        found |= {f"{name}_{aggregation.suffix}": value for name, value in average(each).items()}
    return found


@compiled
def look_around(levels: NDArray[np.int64], by_slice: bool) -> NDArray[np.int64]:
    """Of each voxel inside: slice, level, number of neighbours, sum of their levels, how many have its own; shape (n, 5)."""
    nz, ny, nx = levels.shape
    found = np.empty((np.count_nonzero(levels), 5), dtype=np.int64)
    n = 0
    reach = 0 if by_slice else 1
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                level = levels[z, y, x]
                if level == 0:
                    continue
                neighbours, total, same = -1, -level, -1  # the voxel itself is met too
                for z1 in range(max(z - reach, 0), min(z + reach + 1, nz)):
                    for y1 in range(max(y - 1, 0), min(y + 2, ny)):
                        for x1 in range(max(x - 1, 0), min(x + 2, nx)):
                            other = levels[z1, y1, x1]
                            if other > 0:
                                neighbours += 1
                                total += other
                                same += other == level
                found[n, 0], found[n, 1], found[n, 2], found[n, 3], found[n, 4] = z, level, neighbours, total, same
                n += 1
    return found


def tone_differences(voxels: NDArray[np.int64]) -> dict[str, float]:
    """The five features of the NGTDM, by tag; NaN where no voxel has a neighbour."""
    valid = voxels[voxels[:, 2] > 0]
    if not len(valid):
        return tagged("tone_differences", (float("nan"),) * 5)
    level, neighbours, total = valid[:, 1], valid[:, 2], valid[:, 3]
    number = np.bincount(level)
    difference = np.bincount(level, weights=np.abs(level - total / neighbours))
    i = np.flatnonzero(number).astype(np.float64)
    p, s = number[number > 0] / len(valid), difference[number > 0]
    weighted, whole = float(np.sum(p * s)), float(np.sum(s))
    apart = i[:, None] - i
    sums = p[:, None] + p
    several = len(i) > 1
    contrast = float(np.sum(np.outer(p, p) * apart**2)) * whole / len(valid)
    products = i * number[number > 0]  # whole numbers, so that equal ones are equal
    busy = float(np.sum(np.abs(products[:, None] - products))) / len(valid)
    values = (
        min(1 / weighted, MAXIMUM_COARSENESS) if weighted else MAXIMUM_COARSENESS,
        contrast / (len(i) * (len(i) - 1)) if several else 0.0,
        _busyness(weighted, busy) if several else 0.0,
        float(np.sum(np.abs(apart) * ((p * s)[:, None] + p * s) / sums)) / len(valid),
        float(np.sum(sums * apart**2)) / whole if whole else 0.0,
    )
    return tagged("tone_differences", values)


def _busyness(weighted: float, busy: float) -> float:
    """The quotient, NaN where every level has the same product of level and probability."""
    return weighted / busy if busy else float("nan")


def dependences(voxels: NDArray[np.int64]) -> dict[str, float]:
    """The 17 features of the NGLDM, by tag."""
    level, dependence, count = counted(voxels[:, 1], voxels[:, 4] + 1)
    energy = float(np.sum((count / len(voxels)) ** 2))
    return tagged("dependence", (*emphases(level, dependence, count, len(voxels)), energy))
