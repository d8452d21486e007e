"""How far two masks' surfaces lie apart, mm: HD95, ASSD and NSD on the true spacing.

The surface of a mask is made of the elements that cross each cell of eight neighbouring voxels, each with its area from
the spacing, and a distance is that from an element to the nearest one of the other mask (Nikolov et al. 2021,
doi:10.2196/26151). Every figure weights elements by area. Without it, a slice surface on 0.7 x 0.7 x 2.5 mm voxels counts
3.6 times as much as a side of the same area, and a box shifted across the slices gets an ASSD 1.6 times too large.

Surfaces and distances come from MONAI (Apache 2.0, in development, knows NumPy 2 and Python 3.11 to 3.13); it brings
PyTorch and is an extra. Its own HD95 and average distance do not weight by area, so the sums are made here. Not chosen:
``surface-distance``, the origin of the method, has had no release since 2024 and uses names that NumPy 2 and SciPy 2
take away; ``seg-metrics`` depends on a graphical toolkit that is not free; ``medpy`` is GPL.

A voxel grid knows a surface to about half a voxel's diagonal, and no better here: a sphere's staircase has more area than the
sphere, and where two surfaces touch, the distance is zero along the steps that they share.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import PluginError
from lungpipe.segment.consensus import joint_stack
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

    Floats = NDArray[np.float64]

#: Share of the surface, in each direction, that lies no farther than HD95.
HD_SHARE = 0.95
#: Distances come in single precision, mm: one that exceeds a tolerance by no more than this is within it.
ROUNDING_MM = 1e-4


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """Distances between the surfaces of two masks; all NaN if one of them is empty and has none.

    Parameters
    ----------
    hd95_mm : float
        The larger of the two directed distances within which 95 % of a surface's area lies.
    assd_mm : float
        Mean distance over the area of both surfaces together.
    nsd : float
        Share of the area of both surfaces that lies within the tolerance of the other, 0 to 1.
    """

    hd95_mm: float
    assd_mm: float
    nsd: float


UNDEFINED = SurfaceDistances(math.nan, math.nan, math.nan)


def surface_distances(first: Mask, second: Mask, tolerance_mm: float) -> SurfaceDistances:
    """Compare the surfaces of two masks of one grid; the order does not matter.

    Parameters
    ----------
    first, second : Mask
        On one frame, each on a crop of its own. A mask's surface is closed where its crop or the image ends.
    tolerance_mm : float
        Distance that the normalised surface Dice (NSD) forgives.

    Raises
    ------
    GeometryError
        If the masks are on different grids.
    PluginError
        If MONAI is not installed.
    ValueError
        If the tolerance is negative or not a number.
    """
    if not tolerance_mm >= 0:
        raise ValueError(f"a tolerance is a length of at least 0 mm, found {tolerance_mm}")
    stack, start = joint_stack([first, second])
    if not (first.n_voxels and second.n_voxels):
        return UNDEFINED
    low, high = Mask(np.asarray(stack.any(axis=0)), first.frame, start).bounds
    one, two = (mask.within(low, high).voxels for mask in (first, second))
    (near, near_mm2), (far, far_mm2) = _surfaces(one, two, first.frame.spacing_mm)
    distances, areas = np.concatenate([near, far]), np.concatenate([near_mm2, far_mm2])
    return SurfaceDistances(
        hd95_mm=max(_within(near, near_mm2), _within(far, far_mm2)),
        assd_mm=float(np.average(distances, weights=areas)),
        nsd=float(areas[distances <= tolerance_mm + ROUNDING_MM].sum() / areas.sum()),
    )


def _surfaces(
    one: NDArray[np.bool_], two: NDArray[np.bool_], spacing_mm: Triple
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Distance (mm) and area (mm2) of each element of the first surface, and of the second."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what else the library imports
            import torch
            from monai.metrics.utils import get_mask_edges, get_surface_distance
    except ImportError as error:
        raise PluginError(
            f"surface distances need MONAI and PyTorch ({error}): pip install 'lungpipe[surfaces]'"
        ) from error
    masks = [torch.from_numpy(np.pad(mask, 1)) for mask in (one, two)]
    one_edges, two_edges, one_mm2, two_mm2 = get_mask_edges(*masks, spacing=spacing_mm)
    found = []
    for edges, others, areas in ((one_edges, two_edges, one_mm2), (two_edges, one_edges, two_mm2)):
        distances = get_surface_distance(edges, others, spacing=spacing_mm)
        found.append((_floats(distances), _floats(areas[edges])))
    return found[0], found[1]


def _floats(values: object) -> Floats:
    return np.asarray(values, dtype=np.float64).ravel()


def _within(distances: Floats, areas: Floats) -> float:
    """Smallest distance within which 95 % of the area lies."""
    order = np.argsort(distances, kind="stable")
    share = np.cumsum(areas[order]) / areas.sum()
    return float(distances[order][min(int(np.searchsorted(share, HD_SHARE)), len(order) - 1)])
