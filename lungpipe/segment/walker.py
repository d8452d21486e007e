"""Random walker: a voxel is inside if a walk from it, which shuns steps of HU, meets the seed before the surroundings.

Grady 2006, doi:10.1109/TPAMI.2006.233, on the graph of voxels that share a face, with priors (Grady 2005,
doi:10.1109/CVPR.2005.239): now and then a walk ends where it stands, inside as surely as the voxel's HU are the nodule's.
Without them small seeds draw the boundary towards themselves.

scikit-image has it too, for one voxel size: its ``spacing`` divides the steps of HU only, so on thick slices an edge
between two slices counts for little, and a walk goes 5 mm as readily as 0.7 mm. Here an edge conducts by the face's area
over the distance, as in diffusion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

from lungpipe.errors import SegmentationError
from lungpipe.segment.grow import contrast_shares, near

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.segment.classical import View

#: A voxel this share of the contrast above its surroundings, or less, is lung: a walk ends there.
LUNG_SHARE = 0.1
#: Conductance that an edge keeps however large its step, so that no voxel is cut off.
LEAST_CONDUCTANCE = 1e-6
#: Width of a scanner's blur, mm: closer neighbours split one step of HU between them, so theirs counts for more.
BLUR_MM = 2.0
#: Residual, relative, at which the equations count as solved: what is left moves no probability by more than about 1e-6.
RESIDUAL = 1e-9
MOST_STEPS = 5000


def random_walker(
    view: View,
    *,
    beta: float = 50.0,
    prior_mm: float = 6.0,
    margin_mm: float = 3.0,
) -> NDArray[np.bool_]:
    """Voxels from which a random walk meets the seed first with a probability of one half or more.

    Walks end inside at the seed, outside at clicks, at lung, and beyond the box and its margin. HU enter as shares of the
    contrast between surroundings and seed, from 0 to 1, so that ``beta`` means the same for solid nodules and ground
    glass.

    Parameters
    ----------
    view : View
    beta : float
        Conductance falls as ``exp(-beta * step**2)``, the step between two voxels as a share of the contrast and, for
        neighbours closer than :data:`BLUR_MM`, over that distance: at 50 it is halved by a step of 12 %, which is noise,
        and a hundredth at 30 %, which is the rim of a blurred nodule.
    prior_mm : float
        How far a walk goes, root of the mean square along an axis, before it ends where it stands, in even tissue.
    margin_mm : float
        Round the box, beyond which walks end outside.

    Returns
    -------
    ndarray of bool, shape (z, y, x)

    Raises
    ------
    SegmentationError
        As :func:`lungpipe.segment.grow.contrast_hu`; ``not_solved`` where the equations do not settle.
    """
    share = contrast_shares(view)
    inside = view.seed & view.tissue & ~view.outside
    free = near(view.box, view.spacing_mm, margin_mm) & view.tissue & ~view.outside & ~inside & (share > LUNG_SHARE)
    return inside | (free & (probability_inside(share, view.spacing_mm, inside, free, beta, prior_mm) >= 0.5))


def probability_inside(
    values: NDArray[np.float64],
    spacing_mm: Triple,
    inside: NDArray[np.bool_],
    free: NDArray[np.bool_],
    beta: float,
    prior_mm: float,
) -> NDArray[np.float64]:
    """Probability that a walk from each voxel ends inside.

    Parameters
    ----------
    values : ndarray, shape (z, y, x)
        From 0 to 1: where a walk ends by itself, the probability that it ends inside.
    spacing_mm : tuple of float
        Along (z, y, x).
    inside, free : ndarray of bool, shape (z, y, x)
        Where walks end inside, and where they go on; elsewhere they end outside.
    beta, prior_mm : float
        See :func:`random_walker`; no walk ends by itself where ``prior_mm`` is infinite.

    Returns
    -------
    ndarray of float64, shape (z, y, x)
        1 at ``inside``, 0 at what is neither inside nor free.

    Raises
    ------
    SegmentationError
        ``not_solved``.
    """
    number = np.full(values.shape, -1, dtype=np.int64)
    count = int(np.count_nonzero(free))
    number[free] = np.arange(count)
    least_mm = min(spacing_mm)
    ending = 2 * (least_mm / prior_mm) ** 2
    own = np.arange(count)
    diagonal, source = np.full(count, ending), ending * values[free]
    rows, columns, weights = [], [], []
    for axis, spacing in enumerate(spacing_mm):
        ahead = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        behind = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        steepness = (values[ahead] - values[behind]) * max(1.0, BLUR_MM / spacing)
        conductance = np.exp(-beta * steepness**2) + LEAST_CONDUCTANCE
        conductance *= (least_mm / spacing) ** 2  # face over distance, in units of a voxel's volume
        for here, there in ((ahead, behind), (behind, ahead)):
            open_edge = free[here]
            row, weight = number[here][open_edge], conductance[open_edge]
            diagonal += np.bincount(row, weight, count)
            source += np.bincount(row, weight * inside[there][open_edge], count)
            column = number[there][open_edge]
            both = column >= 0
            rows.append(row[both])
            columns.append(column[both])
            weights.append(-weight[both])
    result = inside.astype(np.float64)
    if not count:
        return result
    place = (np.concatenate([own, *rows]), np.concatenate([own, *columns]))
    matrix = sparse.csr_array((np.concatenate([diagonal, *weights]), place), (count, count))
    jacobi = LinearOperator((count, count), matvec=lambda vector: vector / diagonal, dtype=np.float64)
    solution, failed = cg(matrix, source, rtol=RESIDUAL, atol=0.0, maxiter=MOST_STEPS, M=jacobi)
    if failed:
        raise SegmentationError(
            "not_solved", f"the random walk's equations did not settle in {MOST_STEPS} steps; choose another segmenter"
        )
    result[free] = np.clip(solution, 0.0, 1.0)
    return result
