"""Bodies that enclose a set of points: the oriented minimum bounding box and the minimum volume enclosing ellipsoid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Degree at which the series of an ellipsoid's area stops (manual, section 3.1).
DEGREE = 20
#: Relative precision of the enclosing ellipsoid. The manual's default is 0.001; a finer one costs little.
PRECISION = 1e-6
#: Steps after which the search for the ellipsoid stops at the precision that it has.
MOST_STEPS = 100_000


def oriented_box(hull: ConvexHull) -> NDArray[np.float64]:
    """Sides (mm, ascending) of the smallest box with a side flush with a face of a convex hull.

    The smallest box of all can have none (O'Rourke 1985), but two of its sides hold an edge each, and it is seldom much
    smaller. Within the plane of a face the smallest rectangle has a side flush with an edge of the outline.

    Parameters
    ----------
    hull : ConvexHull
        Of points in space, mm.
    """
    points = hull.points[hull.vertices]
    normals = np.asarray(hull.equations[:, :3])
    normals = normals * np.where(normals[:, [2]] != 0, np.sign(normals[:, [2]]), 1)
    best = np.full(3, np.inf)
    for normal in np.unique(np.round(normals, 9), axis=0):
        axis = normal / np.linalg.norm(normal)
        first = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
        first /= np.linalg.norm(first)
        plane = points @ np.stack([first, np.cross(axis, first)], axis=1)
        outline = ConvexHull(plane)
        corners = plane[outline.vertices]
        edges = np.asarray(outline.equations[:, :2])
        along = corners @ edges.T
        across = corners @ np.stack([-edges[:, 1], edges[:, 0]])
        wide, deep, high = np.ptp(along, axis=0), np.ptp(across, axis=0), np.ptp(points @ axis)
        k = int(np.argmin(wide * deep))
        if wide[k] * deep[k] * high < best.prod():
            best = np.array([wide[k], deep[k], high])
    return np.sort(best)


def enclosing_ellipsoid(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Semi-axes (mm, descending) of the ellipsoid of least volume that holds all points (SWZ1).

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        Not all in one plane.

    Notes
    -----
    Khachiyan's barycentric coordinate descent with the steps away from a point that Todd and Yildirim (2007) added, until
    both conditions of optimality hold to :data:`PRECISION`. A last scaling makes sure that every point is inside.
    """
    n, d = points.shape
    centre = points.mean(axis=0)
    scale = float(np.abs(points - centre).max())
    lifted = np.column_stack([(points - centre) / scale, np.ones(n)])
    weights = np.full(n, 1 / n)
    inverse = np.linalg.inv(lifted.T @ (weights[:, None] * lifted))
    for step in range(MOST_STEPS):
        if step % 50 == 0:  # afresh, so that rounding errors do not grow
            inverse = np.linalg.inv(lifted.T @ (weights[:, None] * lifted))
        reach = np.sum(lifted @ inverse * lifted, axis=1)
        far = int(np.argmax(reach))
        near = int(np.argmin(np.where(weights > 0, reach, np.inf)))
        above, below = reach[far] / (d + 1) - 1, 1 - reach[near] / (d + 1)
        if max(above, below) <= PRECISION:
            break
        chosen = far if above > below else near
        change = (reach[chosen] - d - 1) / ((d + 1) * (reach[chosen] - 1))
        if chosen == near:
            change = max(change, -weights[near] / (1 - weights[near]))
        dropped = change < 0 and change == -weights[near] / (1 - weights[near])
        weights *= 1 - change
        weights[chosen] = 0.0 if dropped else weights[chosen] + change
        row = inverse @ lifted[chosen]
        inverse = (inverse - change / (1 - change + change * reach[chosen]) * np.outer(row, row)) / (1 - change)
    middle = weights @ lifted[:, :d]
    spread = lifted[:, :d].T @ (weights[:, None] * lifted[:, :d]) - np.outer(middle, middle)
    from_middle = lifted[:, :d] - middle
    farthest = float(np.sum(from_middle @ np.linalg.inv(spread) * from_middle, axis=1).max())
    semi_axes = np.sqrt(np.linalg.eigvalsh(spread) * farthest) * scale
    return np.asarray(semi_axes[::-1], dtype=np.float64)


def ellipsoid_area(semi_axes: NDArray[np.float64]) -> float:
    """Surface (mm2) of an ellipsoid by the manual's series of Legendre polynomials, up to degree 20 (RDD2).

    Parameters
    ----------
    semi_axes : ndarray, shape (3,)
        a >= b >= c, mm.

    Notes
    -----
    ``(alpha beta)^n P_n((alpha^2 + beta^2) / (2 alpha beta))`` follows Bonnet's recursion multiplied by ``(alpha beta)^n``,
    which has no division and so holds for ellipsoids of revolution and spheres too.

    The series would be the area with the eccentricities of c in a and of c in b. The manual takes those of b in a and of c in
    a, and the published values rest on it (1.36 for the digital phantom; the area itself gives 1.30), so it is followed.
    """
    a, b, c = (float(axis) for axis in semi_axes)
    if a == 0:
        return 0.0
    alpha_squared, beta_squared = 1 - (b / a) ** 2, 1 - (c / a) ** 2
    half, product = (alpha_squared + beta_squared) / 2, alpha_squared * beta_squared
    before, term = 1.0, half
    total = before - term / 3
    for n in range(1, DEGREE):
        before, term = term, ((2 * n + 1) * half * term - n * product * before) / (n + 1)
        total += term / (1 - 4 * (n + 1) ** 2)
    return 4 * np.pi * a * b * total
