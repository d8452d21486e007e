"""A chest of ellipsoids whose lungs, airways and nodules are known at every point, on any grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lungpipe.geometry import Geometry
from lungpipe.volume import CTVolume

#: LPS half axes and middles (x, y, z), mm.
HALF_MM = {"right": (45.0, 68.0, 88.0), "left": (41.0, 64.0, 84.0)}
MIDDLE_MM = {"right": (-72.0, 0.0, 0.0), "left": (70.0, 2.0, 0.0)}
LABEL = {"right": 1, "left": 2}
TRACHEA_MM, TRACHEA_RADIUS_MM, CARINA_MM = (0.0, 15.0), 9.0, 10.0
BRONCHUS_RADIUS_MM, BRONCHUS_END_MM, WALL_MM = 6.0, (44.0, 10.0, -14.0), 3.5
BALL_MM, BALL_RADIUS_MM = (-72.0 - 45.0 + 7.0, 0.0, 0.0), 8.0
STOMACH_MM, STOMACH_RADIUS_MM = (55.0, -20.0, -118.0), 22.0


def ml(side: str) -> float:
    """Volume of an ellipsoid, ml."""
    return 4 / 3 * np.pi * float(np.prod(HALF_MM[side])) / 1000.0


def grid(spacing_mm=(4.0, 2.4, 2.4), half_mm=(148.0, 136.0, 156.0)) -> Geometry:
    """An axial grid around the origin; half sides along (z, y, x)."""
    shape = tuple(int(2 * h / s) for h, s in zip(half_mm, spacing_mm, strict=True))
    origin = [-(n - 1) / 2 * s for n, s in zip(shape, spacing_mm, strict=True)][::-1]
    return Geometry(shape, spacing_mm, tuple(origin))


@dataclass(frozen=True)
class Scene:
    volume: CTVolume
    truth: np.ndarray
    lumen: np.ndarray
    ball: np.ndarray


@lru_cache(maxsize=3)
def scene(
    frame: Geometry | None = None,
    *,
    sides=("right", "left"),
    trachea: bool = False,
    bridge_mm: float = 0.0,
    table: bool = False,
    ball: bool = False,
    stomach: bool = False,
    open_mouth: bool = False,
    lung_hu: float = -860.0,
) -> Scene:
    """HU of a chest and what is what in it."""
    frame = frame or grid()
    points = frame.to_lps(np.indices(frame.shape).transpose(1, 2, 3, 0))
    x, y, z = np.moveaxis(points, -1, 0)
    hu = np.where((x / 150) ** 2 + (y / 108) ** 2 < 1, 40.0, -1000.0)
    truth = np.zeros(frame.shape, np.uint8)
    for side in sides:
        scaled = (points - MIDDLE_MM[side]) / HALF_MM[side]
        truth[np.einsum("...i,...i", scaled, scaled) < 1] = LABEL[side]
    hu[truth > 0] = lung_hu
    if bridge_mm:
        hu[(np.abs(x) < 40) & (np.abs(y + 20) < bridge_mm / 2) & (np.abs(z) < 12) & (truth == 0)] = lung_hu
    lumen = np.zeros(frame.shape, bool)
    if trachea:
        radius = np.hypot(x - TRACHEA_MM[0], y - TRACHEA_MM[1])
        wall = (radius < TRACHEA_RADIUS_MM + WALL_MM) & (z > CARINA_MM)
        lumen = (radius < TRACHEA_RADIUS_MM) & (z > CARINA_MM)
        start = np.array([*TRACHEA_MM, CARINA_MM + 4])
        for sign in (-1, 1):
            along = np.array(BRONCHUS_END_MM) * (sign, 1, 1) - start
            share = np.clip((points - start) @ along / (along @ along), 0, 1)
            away = np.linalg.norm(points - start - share[..., None] * along, axis=-1)
            wall |= (away < BRONCHUS_RADIUS_MM + WALL_MM) & (share < 1)
            lumen |= (away < BRONCHUS_RADIUS_MM) & (share < 1)
        truth[wall] = 0
        hu[wall & ~lumen] = 40.0
        hu[lumen] = -1000.0
    if open_mouth:
        hu[(np.abs(x) < 8) & (y < TRACHEA_MM[1]) & (z > 140)] = -1000.0
    if table:
        inside = (np.abs(x) < 140) & (y > 112) & (y < 132)
        shell = inside & ~((np.abs(x) < 137) & (y > 115) & (y < 129))
        hu[inside], hu[shell] = -880.0, 200.0
    in_ball = np.linalg.norm(points - BALL_MM, axis=-1) < BALL_RADIUS_MM
    if ball:
        hu[in_ball] = 30.0
    if stomach:
        hu[np.linalg.norm(points - STOMACH_MM, axis=-1) < STOMACH_RADIUS_MM] = -1000.0
    hu += np.random.default_rng(5).normal(0, 15, frame.shape)
    return Scene(CTVolume(np.rint(hu).astype(np.int16), frame), truth, lumen, in_ball & (truth > 0))


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth))


def stored(volume: CTVolume, order=(0, 1, 2), reverse=(False, False, False)) -> CTVolume:
    """The same image in the same place, with its axes permuted and reversed in storage."""
    frame = volume.frame
    turned = np.transpose(volume.hu, order)[tuple(slice(None, None, -1 if r else 1) for r in reverse)]
    first = [0, 0, 0]
    for axis, is_reversed in zip(order, reverse, strict=True):
        first[axis] = frame.shape[axis] - 1 if is_reversed else 0
    columns = [frame.matrix[:, 2 - axis] * (-1 if r else 1) for axis, r in zip(order, reverse, strict=True)]
    direction = np.column_stack(columns[::-1]).ravel()
    spacing = tuple(frame.spacing_mm[axis] for axis in order)
    origin = tuple(frame.to_lps(first).tolist())
    return CTVolume(np.ascontiguousarray(turned), Geometry(turned.shape, spacing, origin, tuple(direction.tolist())))
