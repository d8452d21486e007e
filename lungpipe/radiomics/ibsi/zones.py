"""Grey level size zone and distance zone matrices (GLSZM 9SAK, GLDZM VMDZ) and their 16 features each.

A zone is a group of linked voxels of one grey level (manual, sections 3.8 and 3.9). Voxels are linked within Chebyshev
distance 1: to 26 neighbours in space, to 8 in a slice. A zone's distance is the least of its voxels' distances to the
edge of the morphological mask, counted in steps through faces, 1 on the edge itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.compiled import compiled
from lungpipe.radiomics.ibsi.aggregate import average
from lungpipe.radiomics.ibsi.emphases import counted, emphases, tagged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lungpipe.radiomics.ibsi.catalogue import Aggregation


def zone_features(
    levels: NDArray[np.int64], morphological: NDArray[np.bool_], aggregations: Sequence[Aggregation]
) -> dict[str, float]:
    """Compute the features of both matrices for each aggregation, by tag with its suffix.

    Parameters
    ----------
    levels : ndarray of int, shape (z, y, x)
        Grey levels from 1 within the intensity mask, 0 outside.
    morphological : ndarray of bool, shape (z, y, x)
        The mask whose edge distances are counted from.
    aggregations : sequence of Aggregation
        All by slice, or none.
    """
    by_slice = aggregations[0].by_slice
    zones = find_zones(levels, edge_distance(morphological, by_slice=by_slice), by_slice)
    found: dict[str, float] = {}
    for aggregation in aggregations:
        if aggregation.merge_slices:
            parts, n_voxels = [zones], [np.count_nonzero(levels)]
        else:
            n_in_slice = np.count_nonzero(levels, axis=(1, 2))
            parts = [zones[zones[:, 3] == z] for z in np.flatnonzero(n_in_slice)]
            n_voxels = n_in_slice[n_in_slice > 0].tolist()
        each = [_part_features(part, int(n)) for part, n in zip(parts, n_voxels, strict=True)]
        found |= {f"{name}_{aggregation.suffix}": value for name, value in average(each).items()}
    return found


def edge_distance(mask: NDArray[np.bool_], *, by_slice: bool) -> NDArray[np.int64]:
    """Steps through voxel faces from each voxel of a mask to the outside of it, 0 outside; beyond the array is outside."""
    if by_slice:
        return np.stack([_city_blocks(plane) for plane in mask])
    return _city_blocks(mask)


def _city_blocks(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    inner = (slice(1, -1),) * mask.ndim
    distance = ndimage.distance_transform_cdt(np.pad(mask, 1), metric="taxicab")
    return np.asarray(distance, dtype=np.int64)[inner]


@compiled
def find_zones(levels: NDArray[np.int64], distance: NDArray[np.int64], by_slice: bool) -> NDArray[np.int64]:
    """Find every zone: its level, size, distance and the slice of its first voxel; shape (n, 4)."""
    nz, ny, nx = levels.shape
    left = levels.copy()
    stack = np.empty((levels.size, 3), dtype=np.int64)
    zones = np.empty((levels.size, 4), dtype=np.int64)
    n = 0
    reach = 0 if by_slice else 1
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                level = left[z, y, x]
                if level == 0:
                    continue
                left[z, y, x] = 0
                stack[0, 0], stack[0, 1], stack[0, 2] = z, y, x
                depth, size, nearest = 1, 0, distance[z, y, x]
                while depth > 0:
                    depth -= 1
                    z0, y0, x0 = stack[depth, 0], stack[depth, 1], stack[depth, 2]
                    size += 1
                    nearest = min(nearest, distance[z0, y0, x0])
                    for z1 in range(max(z0 - reach, 0), min(z0 + reach + 1, nz)):
                        for y1 in range(max(y0 - 1, 0), min(y0 + 2, ny)):
                            for x1 in range(max(x0 - 1, 0), min(x0 + 2, nx)):
                                if left[z1, y1, x1] == level:
                                    left[z1, y1, x1] = 0
                                    stack[depth, 0], stack[depth, 1], stack[depth, 2] = z1, y1, x1
                                    depth += 1
                zones[n, 0], zones[n, 1], zones[n, 2], zones[n, 3] = level, size, nearest, z
                n += 1
    return zones[:n].copy()


def _part_features(zones: NDArray[np.int64], n_voxels: int) -> dict[str, float]:
    """Features of a set of zones and the number of voxels they divide."""
    level, size, distance = zones[:, 0], zones[:, 1], zones[:, 2]
    return {
        **tagged("size_zones", emphases(*counted(level, size), n_voxels)),
        **tagged("distance_zones", emphases(*counted(level, distance), n_voxels)),
    }
