"""Morphological snakes: active contours without edges by erosions and dilations, on near-cubic voxels.

Márquez-Neila, Baumela and Álvarez 2014, doi:10.1109/TPAMI.2013.106, of the model of Chan and Vese 2001,
doi:10.1109/83.902291. scikit-image has them too, but which of its two smoothing operators comes first depends on how often
it was called before in the process, so the same nodule could get another mask; here the order begins anew with each call.
The operators know voxels and no mm, so the crop is resampled to voxels of one side, and the mask back.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.segment.contour import START_SHARE, refuse_no_boundary, start_ellipsoid
from lungpipe.segment.grow import contrast_shares, near

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lungpipe.segment.classical import View

#: Side of the cubic voxels, mm: the smoothing takes about a voxel off a small ball, so they are small; and the most of
#: them that a crop is resampled to, beyond which they are larger.
SIDE_MM, MOST_VOXELS = 0.4, 400_000
#: The three axes and the six diagonals of their planes.
AXES = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
DIAGONALS = ((0, 1, 1), (0, 1, -1), (1, 0, 1), (1, 0, -1), (1, 1, 0), (1, -1, 0))


def morphological_snake(
    view: View,
    *,
    smoothing: int = 1,
    iterations: int = 100,
    margin_mm: float = 3.0,
) -> NDArray[np.bool_]:
    """Voxels inside the snake at rest.

    It starts as the ellipsoid of three quarters of the box's axes, and each step moves it by one voxel to where the HU are nearer to
    its inside's mean than to its outside's. Both are taken within the box and its margin, so that no wall counts, and HU
    as shares of the contrast between surroundings and seed, from 0 to 1.

    Parameters
    ----------
    view : View
    smoothing : int
        Smoothing operators a step.
    iterations : int
        Stop after this many, at rest or not.
    margin_mm : float
        Round the box, in which the snake may move.

    Returns
    -------
    ndarray of bool, shape (z, y, x)

    Raises
    ------
    SegmentationError
        As :func:`lungpipe.segment.grow.contrast_hu` and :func:`lungpipe.segment.contour.refuse_no_boundary`.
    """
    share = contrast_shares(view)
    room, fixed = (
        near(view.box, view.spacing_mm, margin_mm) & view.tissue & ~view.outside,
        view.seed & view.tissue & ~view.outside,
    )
    window = tuple(slice(int(np.min(found)), int(np.max(found)) + 1) for found in np.nonzero(room | fixed))
    side_mm = max(SIDE_MM, float(room[window].size * np.prod(view.spacing_mm) / MOST_VOXELS) ** (1 / 3))
    lattices = [lattice(n, s, side_mm) for n, s in zip(room[window].shape, view.spacing_mm, strict=True)]
    to, back = [pair[0] for pair in lattices], [pair[1] for pair in lattices]
    start = start_ellipsoid(view.box, START_SHARE) | fixed
    cubes = [_resampled(part[window].astype(np.float64), to) for part in (share, room | fixed, start)]
    snake = chan_vese(cubes[0], cubes[2] >= 0.5, cubes[1] >= 0.5, smoothing=smoothing, iterations=iterations)
    inside = np.zeros_like(room)
    inside[window] = _resampled(snake.astype(np.float64), back) >= 0.5
    inside &= room
    inside |= fixed
    refuse_no_boundary(inside, room, fixed, share)
    return inside


def chan_vese(
    image: NDArray[np.float64],
    start: NDArray[np.bool_],
    room: NDArray[np.bool_],
    *,
    smoothing: int,
    iterations: int,
) -> NDArray[np.bool_]:
    """Evolve a mask until it is what it was two steps before, or for some steps.

    Parameters
    ----------
    image : ndarray, shape (z, y, x)
        On cubic voxels.
    start, room : ndarray of bool, shape (z, y, x)
        The first mask, and where it may be.
    smoothing, iterations : int
        See :func:`morphological_snake`.
    """
    operators: Sequence[Callable[[NDArray[np.bool_]], NDArray[np.bool_]]]
    operators = (lambda u: _sup_inf(_inf_sup(u)), lambda u: _inf_sup(_sup_inf(u)))
    inside = start & room
    before: NDArray[np.bool_] | None = None
    turn = 0
    for _ in range(iterations):
        if not inside.any() or not np.any(room & ~inside):
            break
        nearer = (image - image[inside].mean()) ** 2 - (image - image[room & ~inside].mean()) ** 2
        edge = _edge(inside)
        moved = (inside | (edge & (nearer < 0))) & ~(edge & (nearer > 0))
        for _ in range(smoothing):
            moved = operators[turn % 2](moved)
            turn += 1
        moved &= room
        if before is not None and np.array_equal(moved, before):
            break
        before, inside = inside, moved
    return inside


def lattice(n: int, spacing_mm: float, side_mm: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrices that take n samples along an axis to samples of another spacing about the same middle, and back.

    There by linear interpolation; back by the mean over a sample's length where the others lie closer, else linearly.
    """
    count = max(1, round(n * spacing_mm / side_mm))
    where = np.asarray((np.arange(count) - (count - 1) / 2) * side_mm / spacing_mm) + (n - 1) / 2
    to = _linear(where, n)
    home = np.asarray((np.arange(n) - (n - 1) / 2) * spacing_mm / side_mm) + (count - 1) / 2
    if side_mm >= spacing_mm:
        return to, _linear(home, count)
    half = spacing_mm / side_mm / 2
    low = np.maximum(home[:, None] - half, np.arange(count) - 0.5)
    high = np.minimum(home[:, None] + half, np.arange(count) + 0.5)
    overlap = np.maximum(high - low, 0.0)
    return to, overlap / overlap.sum(axis=1, keepdims=True)


def _linear(where: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Matrix (m, n) of linear interpolation of n samples at m fractional indices; the ends reach on."""
    return np.asarray(np.maximum(1.0 - np.abs(np.clip(where, 0, n - 1)[:, None] - np.arange(n)), 0.0))


def _resampled(image: NDArray[np.float64], matrices: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("zyx,az,by,cx->abc", image, *matrices, optimize=True))


def _edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels one of whose two neighbours along an axis is inside and the other is not: where the gradient is not zero."""
    padded = np.pad(inside, 1, mode="edge")
    middle = slice(1, -1)
    found = np.zeros_like(inside)
    for axis, n in enumerate(inside.shape):
        ahead = tuple(slice(2, None) if a == axis else middle for a in range(3))
        behind = tuple(slice(0, n) if a == axis else middle for a in range(3))
        found |= padded[ahead] != padded[behind]
    return found


def _sup_inf(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Union of the erosions by the nine planes through a voxel of 3 x 3 x 3; what lies beyond the array is outside."""
    lines = {step: _line_eroded(inside, step) for step in AXES}
    result = np.zeros_like(inside)
    for first, second in pairwise((*AXES, AXES[0])):
        result |= _line_eroded(lines[first], second)
    for step in DIAGONALS:
        across = AXES[step.index(0)]
        result |= _line_eroded(lines[across], step)
    return result


def _inf_sup(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Intersection of the dilations by the nine planes; what lies beyond the array is outside."""
    padded = np.pad(~inside, 2, constant_values=True)
    return ~_sup_inf(padded)[2:-2, 2:-2, 2:-2]


def _line_eroded(inside: NDArray[np.bool_], step: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Voxels that are inside with both neighbours along a line of the lattice."""
    padded = np.pad(inside, 1)
    shifted = [
        padded[tuple(slice(1 + sign * d, 1 + sign * d + n) for d, n in zip(step, inside.shape, strict=True))]
        for sign in (-1, 1)
    ]
    return np.asarray(inside & shifted[0] & shifted[1])
