"""The chest around the nodules: lung, wall, ribs, outside air and vessels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lungpipe.geometry import Geometry, Triple

AIR_HU, FAT_HU, MUSCLE_HU, BONE_HU, BLOOD_HU = -1000.0, -95.0, 50.0, 350.0, 35.0
#: Room left for the mediastinum and the front and back wall, and for the wall and the air at the side, mm.
MEDIAL_MM, LATERAL_MM = 6.0, 16.0
#: Thickness of the chest wall, and of its inner layer of muscle and ribs, mm.
WALL_MM, MUSCLE_MM = 11.0, 7.0
#: Distance from one rib to the next along z, mm, and how steeply ribs run.
RIB_PERIOD_MM, RIB_SLOPE = 24.0, 0.35
#: Vessels that leave the mediastinum, the step along them, and the radii that they start and end with, mm.
VESSELS, STEP_MM, WIDEST_MM, NARROWEST_MM = 14, 1.0, 2.1, 0.6
#: Clear space between a vessel and the ball around a nodule, mm.
VESSEL_CLEARANCE_MM = 2.0


@dataclass(frozen=True, slots=True)
class Chest:
    """The lung of a simulated patient: an upright cylinder with a rounded square as its outline.

    Parameters
    ----------
    centre_mm : tuple of float
        LPS (x, y) of its axis.
    half_mm : tuple of float
        Half widths along x and y.
    lateral : int
        Sign of x on the side of the chest wall.
    """

    centre_mm: tuple[float, float]
    half_mm: tuple[float, float]
    lateral: int

    def depth_mm(self, x_mm: NDArray[np.float64], y_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Approximate distance from the pleura at LPS points, mm; negative inside the lung."""
        across = np.abs(x_mm - self.centre_mm[0]) / self.half_mm[0]
        along = np.abs(y_mm - self.centre_mm[1]) / self.half_mm[1]
        return ((across**4 + along**4) ** 0.25 - 1) * min(self.half_mm)


def fit_chest(grid: Geometry, left: bool) -> Chest:
    """Place the lung in a patient's grid, the chest wall at large x for the left lung."""
    x_mm, y_mm, _ = grid.origin_mm
    width_mm, height_mm = grid.shape[2] * grid.spacing_mm[2], grid.shape[1] * grid.spacing_mm[1]
    low_mm, high_mm = (MEDIAL_MM, LATERAL_MM) if left else (LATERAL_MM, MEDIAL_MM)
    centre = (x_mm + (low_mm + width_mm - high_mm) / 2, y_mm + height_mm / 2)
    half = ((width_mm - MEDIAL_MM - LATERAL_MM) / 2, height_mm / 2 - MEDIAL_MM)
    return Chest(centre, half, 1 if left else -1)


def axes_mm(grid: Geometry) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """LPS z, y and x of the voxel centres of an upright grid, mm, each shaped to broadcast to (z, y, x)."""
    x, y, z = (
        o + s * np.arange(n, dtype=np.float64)
        for o, s, n in zip(grid.origin_mm, grid.spacing_mm[::-1], grid.shape[::-1], strict=True)
    )
    return z[:, None, None], y[None, :, None], x[None, None, :]


def wall_hu(grid: Geometry, chest: Chest) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Simulate what lies outside the lung.

    Parameters
    ----------
    grid : Geometry
        The patient's grid.
    chest : Chest
        The lung's outline.

    Returns
    -------
    hu, fraction : ndarray of float32, shape (z, y, x)
        HU of wall, ribs, mediastinum and air, and the share of each voxel that lies outside the lung.
    """
    z, y, x = axes_mm(grid)
    depth = chest.depth_mm(x, y)
    side = chest.lateral * (x - chest.centre_mm[0]) > 0
    skin = np.clip(0.5 + (depth - WALL_MM), 0, 1) * side
    fat = np.clip(0.5 + (depth - MUSCLE_MM), 0, 1) * side
    soft = MUSCLE_HU + fat * (FAT_HU - MUSCLE_HU)
    wave = np.cos(2 * np.pi * (z + RIB_SLOPE * (y - chest.centre_mm[1])) / RIB_PERIOD_MM)
    in_layer = np.clip(2 - np.abs(depth - MUSCLE_MM / 2), 0, 1) * side
    bone = np.clip(4 * (wave - 0.6), 0, 1) * in_layer
    body = soft + bone * (BONE_HU - soft)
    fraction = np.broadcast_to(np.clip(0.5 + depth, 0, 1), grid.shape)
    return (body + skin * (AIR_HU - body)).astype(np.float32), fraction.astype(np.float32)


def vessel_fraction(
    rng: np.random.Generator, grid: Geometry, chest: Chest, balls: list[tuple[Triple, float]]
) -> NDArray[np.float32]:
    """Share of each voxel inside a vessel.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the vessels' paths.
    grid : Geometry
        The patient's grid.
    chest : Chest
        The lung that the vessels run through, from the mediastinum to the chest wall.
    balls : list of (centre, radius)
        Balls around the nodules (LPS mm, mm); a vessel that would touch one ends before it.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
    """
    fraction = np.zeros(grid.shape, dtype=np.float32)
    for _ in range(VESSELS):
        trunk = _path(rng, grid, chest)
        for points, radii in _with_branches(rng, trunk):
            for point, radius in zip(points, radii, strict=True):
                if any(np.linalg.norm(point - c) < r + radius + VESSEL_CLEARANCE_MM for c, r in balls):
                    break
                _draw_ball(fraction, grid, point, float(radius))
    return fraction


def _path(rng: np.random.Generator, grid: Geometry, chest: Chest) -> NDArray[np.float64]:
    """Points (x, y, z) along a curved way from the mediastinum outwards, LPS mm, shape (n, 3)."""
    length_mm = rng.uniform(0.5, 1.0) * 2 * chest.half_mm[0]
    steps = int(length_mm / STEP_MM)
    depth_mm = grid.shape[0] * grid.spacing_mm[0]
    start = np.array(
        [
            chest.centre_mm[0] - chest.lateral * chest.half_mm[0],
            chest.centre_mm[1] + rng.uniform(-0.5, 0.5) * chest.half_mm[1],
            grid.origin_mm[2] + rng.uniform(0.05, 0.95) * depth_mm,
        ]
    )
    heading = np.array([chest.lateral * 1.0, rng.normal(0, 0.5), rng.normal(0, 0.4)])
    return start + _wander(rng, heading, steps)


def _wander(rng: np.random.Generator, heading: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Way of unit speed that starts in a direction and turns slowly, mm, shape (steps, 3)."""
    turns = np.cumsum(rng.normal(0, 0.06, (steps, 3)), axis=0)
    direction = heading / np.linalg.norm(heading) + turns
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.cumsum(direction * STEP_MM, axis=0)


def _with_branches(
    rng: np.random.Generator, trunk: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield a vessel and two branches: points (n, 3), LPS mm, and tapering radii (n,), mm."""
    widest = rng.uniform(0.6, 1.0) * WIDEST_MM
    radii = np.linspace(widest, NARROWEST_MM, len(trunk))
    yield trunk, radii
    for _ in range(2):
        fork = int(rng.uniform(0.2, 0.7) * len(trunk))
        steps = max(4, int((len(trunk) - fork) * rng.uniform(0.5, 0.9)))
        heading = trunk[fork] - trunk[max(0, fork - 5)] + rng.normal(0, 2.0, 3)
        yield trunk[fork] + _wander(rng, heading, steps), np.linspace(0.75 * radii[fork], NARROWEST_MM, steps)


def _draw_ball(fraction: NDArray[np.float32], grid: Geometry, point_mm: NDArray[np.float64], radius_mm: float) -> None:
    """Raise ``fraction`` to a ball's share of each voxel near a point (LPS mm)."""
    spacing = np.asarray(grid.spacing_mm)
    centre = (point_mm - np.asarray(grid.origin_mm))[::-1] / spacing
    reach = (radius_mm + 1.0) / spacing
    low = np.maximum(np.ceil(centre - reach), 0).astype(int)
    high = np.minimum(np.floor(centre + reach) + 1, grid.shape).astype(int)
    if np.any(high <= low):
        return
    window = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    z, y, x = (
        ((np.arange(a, b) - c) * s) ** 2
        for a, b, c, s in zip(low.tolist(), high.tolist(), centre.tolist(), grid.spacing_mm, strict=True)
    )
    distance = np.sqrt(z[:, None, None] + y[None, :, None] + x[None, None, :])
    share = np.clip(0.5 + (radius_mm - distance), 0, 1)
    np.maximum(fraction[window], share, out=fraction[window], casting="same_kind")
