"""Contours drawn in a slice, and what they should enclose."""

import numpy as np

from lungpipe.dicom.rasterise import Contour, rasterise
from lungpipe.geometry import Geometry

GRID = Geometry((6, 40, 50), (2.5, 0.7, 0.9), (-30.0, 12.0, -400.0))
TILTED = np.linalg.qr(np.array([[0.9, -0.3, 0.2], [0.4, 0.8, -0.1], [-0.1, 0.3, 0.95]]))[0]


def in_slice(points_yx, k=2, grid=GRID, kind="CLOSED_PLANAR", **more):
    """A contour through fractional (row, column) indices of slice ``k``."""
    points = np.asarray(points_yx, dtype=float).reshape(-1, 2)
    index = np.column_stack([np.full(len(points), float(k)), points])
    return Contour(grid.to_lps(index), kind, **more)


def square(low, high):
    return [(low, low), (low, high), (high, high), (high, low)]


def ring(radius, centre=(20.3, 24.1), n=3000, turn=1):
    angle = turn * np.arange(n) * 2 * np.pi / n
    return np.column_stack([centre[0] + radius * np.sin(angle), centre[1] + radius * np.cos(angle)])


def radius_of_centres(grid=GRID, centre=(20.3, 24.1)):
    y, x = np.indices(grid.shape[1:])
    return np.hypot(y - centre[0], x - centre[1])


def voxels_of(contours, grid=GRID):
    mask, _ = rasterise(contours, grid)
    return mask.within((0, 0, 0), grid.shape).voxels


def report_of(*contours):
    return rasterise(contours, GRID)[1]
