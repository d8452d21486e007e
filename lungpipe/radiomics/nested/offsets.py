"""Steps to a voxel's neighbours."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import FeatureError

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.texture import Norm, TextureSettings


def half_of_neighbours(distances: tuple[int, ...], settings: TextureSettings) -> NDArray[np.int64]:
    """One of each pair of opposite steps, shape (n, 3) along (z, y, x).

    Parameters
    ----------
    distances : tuple of int
        Greatest component of a step, voxels.
    settings : TextureSettings
        ``force_2d`` keeps the steps within planes.
    """
    reach = max(distances)
    steps = [
        step
        for step in product(range(reach, -reach - 1, -1), repeat=3)
        if step > (0, 0, 0)
        and max(abs(part) for part in step) in distances
        and not (settings.force_2d and step[settings.force_2d_axis])
    ]
    return np.array(steps, dtype=np.int64).reshape(-1, 3)


def check_directions(shape: tuple[int, ...], settings: TextureSettings, classes: Collection[str]) -> None:
    """Refuse a region in whose box no step to a neighbour fits, as PyRadiomics does.

    Parameters
    ----------
    shape : tuple of int
        Of the region's bounding box along (z, y, x).
    settings : TextureSettings
    classes : collection of str
        Feature classes that are asked for; those that look for neighbours count.

    Raises
    ------
    FeatureError
    """
    far = {"glcm", "gldm", "ngtdm"} & set(classes)
    near = {"glrlm", "glszm"} & set(classes)
    for wanted, distances in ((far, settings.distances), (near, (1,))):
        if wanted and not np.any(np.all(np.abs(half_of_neighbours(distances, settings)) < shape, axis=1)):
            raise FeatureError(
                "no_direction",
                f"no neighbour at a distance of {', '.join(map(str, distances))} voxels fits in the region's box of {tuple(shape)} "
                f"voxels (z, y, x), so {', '.join(sorted(wanted))} have nothing to count",
            )


def pair_weights(offsets: NDArray[np.int64], spacing_mm: Triple, norm: Norm) -> NDArray[np.float64]:
    """Weight of each step for pairs of voxels: exp(-length^2), as in PyRadiomics' GLCM."""
    return np.ones(len(offsets)) if norm == "no_weighting" else np.exp(-(lengths_mm(offsets, spacing_mm, norm) ** 2))


def run_weights(offsets: NDArray[np.int64], spacing_mm: Triple, norm: Norm) -> NDArray[np.float64]:
    """Weight of each step for runs of voxels: its length, as in PyRadiomics' GLRLM."""
    return np.ones(len(offsets)) if norm == "no_weighting" else lengths_mm(offsets, spacing_mm, norm)


def lengths_mm(offsets: NDArray[np.int64], spacing_mm: Triple, norm: Norm) -> NDArray[np.float64]:
    """Lengths of steps in a norm, mm."""
    parts = np.abs(offsets) * np.asarray(spacing_mm)
    if norm == "infinity":
        return np.asarray(parts.max(axis=1))
    return np.asarray(parts.sum(axis=1) if norm == "manhattan" else np.sqrt((parts**2).sum(axis=1)))
