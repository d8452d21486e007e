"""The axis of one airway: cross-sections by rays to the wall, a centred line, and where lines meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.region.airway_skeleton import Lumen

#: Rays from the axis to the wall in one cross-section.
RAYS = 32
#: Samples a voxel along a ray.
SAMPLES_A_VOXEL = 2.0
#: A section whose longest ray exceeds its median ray by more than this opens into another airway.
OPEN_RATIO = 1.45
#: An axis is smoothed by a Gaussian of this share of its radius, and of one voxel at least.
SMOOTHING_RADII = 0.5
#: Directions at a fork are fitted over this many radii of airway ...
FIT_RADII = 3.0
#: ... and over this length at least, in voxels.
FIT_VOXELS = 6.0
#: Weight of the thinned fork against one fitted line, where lines are almost parallel.
FORK_WEIGHT = 0.02


@dataclass(frozen=True, eq=False, slots=True)
class Axis:
    """The well-defined part of an airway's centreline, away from forks and ends.

    Parameters
    ----------
    points_mm : ndarray, shape (n, 3)
        Centres of cross-sections, mm along (z, y, x), from the start on.
    diameter_mm : ndarray, shape (n,)
        Diameter of the circle with the cross-section's area.
    """

    points_mm: NDArray[np.float64]
    diameter_mm: NDArray[np.float64]


def axis_of(lumen: Lumen, path_mm: NDArray[np.float64], clear_mm: tuple[float, float]) -> Axis:
    """Centre a thinned path in its lumen.

    Parameters
    ----------
    lumen : Lumen
    path_mm : ndarray, shape (n, 3)
        Thinned path from start to end, mm along (z, y, x).
    clear_mm : tuple of float
        How much to leave out at the start and at the end, where a fork or a cap spoils cross-sections.

    Returns
    -------
    Axis
        Of two points at least; where the airway is too short for a clean section, of its middle third.
    """
    step_mm = min(lumen.spacing_mm)
    line = evenly(path_mm, step_mm)
    line = smooth(line, step_mm, max(1.5 * step_mm, 0.5 * float(np.median(lumen.at(line)))))
    inner = _between(line, clear_mm)
    diameter = np.empty(0)
    for _ in range(3):
        centre, diameter, clean = sections(lumen, inner)
        if np.count_nonzero(clean) >= 3:
            first, last = np.flatnonzero(clean)[[0, -1]]
            at = np.flatnonzero(clean)
            inner, diameter = centre[at], diameter[at]
            if last - first + 1 != len(at):
                inner = np.column_stack([np.interp(np.arange(first, last + 1), at, inner[:, a]) for a in range(3)])
        else:
            inner = _between(line, (length_of(line) / 3,) * 2)
            _, diameter, _ = sections(lumen, inner)
        inner = smooth(inner, step_mm, SMOOTHING_RADII * float(np.median(diameter)) / 2)
    return Axis(inner, diameter)


def sections(
    lumen: Lumen, line_mm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Cross-sections perpendicular to a line of shape (n, 3): centres (n, 3), diameters (n,), and which are closed."""
    tangent = np.gradient(line_mm, axis=0) if len(line_mm) > 1 else np.array([[1.0, 0.0, 0.0]])
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-12)
    # The axis least along the tangent gives a stable normal.
    helper = np.eye(3)[np.argmin(np.abs(tangent), axis=1)]
    first = np.cross(tangent, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(tangent, first)
    angle = np.arange(RAYS) * (2 * np.pi / RAYS)
    ray = first[:, None] * np.cos(angle)[None, :, None] + second[:, None] * np.sin(angle)[None, :, None]
    reach = ray_lengths(lumen, line_mm, ray)
    # The area of a fan of triangles, and its centroid.
    other = np.roll(reach, -1, axis=1)
    area = 0.5 * reach * other * np.sin(2 * np.pi / RAYS)
    corner = (ray * reach[..., None] + np.roll(ray * reach[..., None], -1, axis=1)) / 3
    total = np.maximum(area.sum(axis=1), 1e-12)
    centre = line_mm + (corner * area[..., None]).sum(axis=1) / total[:, None]
    # A regular polygon within a circle has a little less area than the circle.
    share = RAYS / (2 * np.pi) * np.sin(2 * np.pi / RAYS)
    clean = (reach.max(axis=1) <= OPEN_RATIO * np.median(reach, axis=1)) & (reach.min(axis=1) > 0)
    return centre, 2 * np.sqrt(total / share / np.pi), clean


def ray_lengths(lumen: Lumen, start_mm: NDArray[np.float64], ray: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from n points (n, 3) along m directions each (n, m, 3) to the wall, mm; 0 where the start is outside."""
    step_mm = min(lumen.spacing_mm) / SAMPLES_A_VOXEL
    longest_mm = 3.0 * max(float(lumen.at(start_mm).max()), 0.0) + 4 * step_mm
    far = np.arange(0.0, longest_mm, step_mm)
    wall = lumen.at(start_mm[:, None, None] + ray[:, :, None] * far[:, None])
    outside = wall <= 0
    outside[..., -1] = True
    hit = np.argmax(outside, axis=-1)
    before = np.maximum(hit - 1, 0)
    inner = np.take_along_axis(wall, before[..., None], -1)[..., 0]
    outer = np.take_along_axis(wall, hit[..., None], -1)[..., 0]
    part = np.where(outer < 0, inner / np.maximum(inner - outer, 1e-9), 1.0)
    return np.asarray(np.where(hit == 0, 0.0, (before + np.clip(part, 0, 1)) * step_mm))


def end_line(axis: Axis, at_end: bool, step_mm: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Point and unit direction (start to end) of the straight line through one end of an axis."""
    points = axis.points_mm[::-1] if at_end else axis.points_mm
    window_mm = max(FIT_RADII * float(np.median(axis.diameter_mm)) / 2, FIT_VOXELS * step_mm)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    near = points[: max(2, int(np.count_nonzero(along <= window_mm)))]
    middle = near.mean(axis=0)
    direction = np.linalg.svd(near - middle)[2][0]
    forward = axis.points_mm[-1] - axis.points_mm[0]
    return middle, direction if direction @ forward >= 0 else -direction


def meeting_point(
    lines: list[tuple[NDArray[np.float64], NDArray[np.float64]]], near_mm: NDArray[np.float64], limit_mm: float
) -> NDArray[np.float64]:
    """Point nearest to some lines in least squares, drawn a little to ``near_mm`` and at most ``limit_mm`` from it."""
    system = FORK_WEIGHT * np.eye(3)
    right = FORK_WEIGHT * near_mm
    for point, direction in lines:
        across = np.eye(3) - np.outer(direction, direction)
        system += across
        right = right + across @ point
    shift = np.linalg.solve(system, right) - near_mm
    far = float(np.linalg.norm(shift))
    return near_mm + shift * min(1.0, limit_mm / max(far, 1e-12))


def evenly(line_mm: NDArray[np.float64], step_mm: float) -> NDArray[np.float64]:
    """The polyline (n, 3) at even steps of about ``step_mm``, both ends kept."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line_mm, axis=0), axis=1))])
    at = np.linspace(0.0, along[-1], max(2, round(along[-1] / step_mm) + 1))
    return np.column_stack([np.interp(at, along, line_mm[:, a]) for a in range(3)])


def smooth(line_mm: NDArray[np.float64], step_mm: float, sigma_mm: float) -> NDArray[np.float64]:
    """Gaussian smoothing along an even polyline (n, 3), mirrored through its ends, which therefore stay."""
    n = len(line_mm)
    if n < 3:
        return line_mm
    before, after = 2 * line_mm[0] - line_mm[:0:-1], 2 * line_mm[-1] - line_mm[-2::-1]
    whole = np.concatenate([before, line_mm, after])
    sigma = min(max(sigma_mm / step_mm, 1.0), n / 4)
    return np.asarray(ndimage.gaussian_filter1d(whole, sigma, axis=0, mode="nearest", truncate=3.0)[n - 1 : 2 * n - 1])


def length_of(line_mm: NDArray[np.float64]) -> float:
    """Length of a polyline (n, 3), mm."""
    return float(np.linalg.norm(np.diff(line_mm, axis=0), axis=1).sum())


def _between(line_mm: NDArray[np.float64], clear_mm: tuple[float, float]) -> NDArray[np.float64]:
    """The polyline without both ends; its middle third where too little would be left."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line_mm, axis=0), axis=1))])
    total = along[-1]
    kept = line_mm[(along >= clear_mm[0]) & (along <= total - clear_mm[1])]
    if len(kept) >= 5:
        return np.asarray(kept)
    third = line_mm[(along >= total / 3 - 1e-9) & (along <= 2 * total / 3 + 1e-9)]
    return np.asarray(third if len(third) >= 2 else line_mm)
