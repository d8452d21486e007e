"""A small analytic chest: HU at any point of space, so slices may lie in any direction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

    Volume = NDArray[np.float32]

PIXEL_MM, SIZE, STEP_MM, SLICES = 2.7, 128, 5.0, 50
#: LPS point (x, y, z) that the chest is drawn around, mm.
CENTRE_MM: Triple = (8.0, -25.0, -210.0)
AIR_HU, LUNG_HU, FAT_HU, MUSCLE_HU, LIVER_HU, SPINE_HU = -1000.0, -850.0, -95.0, 45.0, 60.0, 300.0
BLOOD_HU, CONTRAST_HU = 40.0, 280.0
NOISE_HU = 12.0
#: Scanners clip what they store to this range.
LOWEST_HU, HIGHEST_HU = -1024, 3071
#: Half axes along (x, y, z) and centres from :data:`CENTRE_MM`, mm. Left is +x, back +y, head +z.
BODY_MM, NECK_MM = (155.0, 105.0), (75.0, 95.0)
LUNG_MM, LUNG_AT_MM = (46.0, 68.0, 95.0), (72.0, -5.0, 0.0)
HEART_MM, HEART_AT_MM = (45.0, 40.0, 45.0), (25.0, -25.0, -30.0)
LIVER_MM, LIVER_AT_MM = (70.0, 80.0, 55.0), (-70.0, 0.0, -110.0)
SPINE_AT_MM, SPINE_RADIUS_MM = (0.0, 70.0), 16.0
TRACHEA_AT_MM, TRACHEA_RADIUS_MM, CARINA_MM = (0.0, 10.0), 8.0, 20.0
BRONCHUS_END_MM, BRONCHUS_RADIUS_MM = (45.0, 5.0, -5.0), 6.0
BOWEL_GAS_AT_MM, BOWEL_GAS_RADIUS_MM = (30.0, -45.0, -20.0), 11.0


@dataclass(frozen=True, slots=True)
class Planes:
    """Slices in space, all of one orientation.

    Parameters
    ----------
    first_mm : tuple of tuple of float
        LPS centre (x, y, z) of each slice's first pixel, mm.
    row, column : tuple of float
        LPS directions in which the column index and the row index grow.
    size : tuple of int
        Rows, columns.
    thickness_mm : float
        Thickness of a slice, mm.
    """

    first_mm: tuple[Triple, ...]
    row: Triple = (1.0, 0.0, 0.0)
    column: Triple = (0.0, 1.0, 0.0)
    size: tuple[int, int] = (SIZE, SIZE)
    thickness_mm: float = STEP_MM


def planes_at(
    centres_mm: Sequence[Triple],
    row: Triple = (1.0, 0.0, 0.0),
    column: Triple = (0.0, 1.0, 0.0),
    thickness_mm: float = STEP_MM,
) -> Planes:
    """Lay slices of :data:`SIZE` pixels around points given from :data:`CENTRE_MM`, mm."""
    half_mm = (SIZE - 1) / 2 * PIXEL_MM
    corner = np.asarray(CENTRE_MM) - half_mm * (np.asarray(row) + np.asarray(column))
    first = np.round(corner + np.asarray(centres_mm), 4)
    return Planes(tuple((x, y, z) for x, y, z in first.tolist()), row, column, thickness_mm=thickness_mm)


def axial(heights_mm: Sequence[float] | None = None, thickness_mm: float = STEP_MM) -> Planes:
    """Axial slices at heights from the middle of the chest, mm; by default :data:`SLICES` of :data:`STEP_MM`."""
    if heights_mm is None:
        heights_mm = ((np.arange(SLICES) - (SLICES - 1) / 2) * STEP_MM).tolist()
    return planes_at([(0.0, 0.0, z) for z in heights_mm], thickness_mm=thickness_mm)


def coronal(slices: int = 44) -> Planes:
    """Coronal slices, from front to back, :data:`STEP_MM` apart."""
    depths = (np.arange(slices) - (slices - 1) / 2) * STEP_MM
    return planes_at([(0.0, y, 0.0) for y in depths.tolist()], (1.0, 0.0, 0.0), (0.0, 0.0, -1.0))


def noisy_hu(
    planes: Planes, rng: np.random.Generator, *, lungs: bool = True, blood_hu: float = BLOOD_HU
) -> NDArray[np.int16]:
    """Simulate the slices of a scan.

    Parameters
    ----------
    planes : Planes
        Where the slices lie.
    rng : numpy.random.Generator
        Source of the noise.
    lungs : bool
        False makes a belly: the same body with neither lungs nor airways, but with some gas in the bowel.
    blood_hu : float
        HU of heart and vessels.

    Returns
    -------
    ndarray of int16, shape (z, y, x)
        HU from :data:`LOWEST_HU` to :data:`HIGHEST_HU`.
    """
    clean = clean_hu(planes, lungs, blood_hu)
    hu = rng.standard_normal(clean.shape, dtype=np.float32)
    hu *= np.float32(NOISE_HU)
    hu += clean
    np.rint(hu, out=hu)
    np.clip(hu, LOWEST_HU, HIGHEST_HU, out=hu)
    return hu.astype(np.int16)


@lru_cache(maxsize=2)
def clean_hu(planes: Planes, lungs: bool, blood_hu: float) -> Volume:
    """HU without noise, float32 of shape (z, y, x); for the parameters see :func:`noisy_hu`."""
    x, y, z = _points(planes)
    hu = np.full((len(planes.first_mm), *planes.size), AIR_HU, dtype=np.float32)
    body = _body_depth(x, y, z if lungs else np.zeros_like(z))
    _paint(hu, body, FAT_HU)
    _paint(hu, body + 12, MUSCLE_HU)
    if lungs:
        _paint(hu, _ellipsoid(np.abs(x), y, z, LUNG_AT_MM, LUNG_MM), LUNG_HU)
        lung = hu < (LUNG_HU + MUSCLE_HU) / 2
        lung &= body < -20
        _paint(hu, np.where(lung, _vessels(np.abs(x), y, z), np.float32(99)), blood_hu)
        _paint(hu, _ellipsoid(x, y, z, HEART_AT_MM, HEART_MM), blood_hu)
        _paint(hu, _airways(np.abs(x), y, z), AIR_HU)
    else:
        gas = (BOWEL_GAS_RADIUS_MM,) * 3
        _paint(hu, _ellipsoid(x, y, z, BOWEL_GAS_AT_MM, gas), AIR_HU)
    _paint(hu, _ellipsoid(x, y, z, LIVER_AT_MM, LIVER_MM), LIVER_HU)
    _paint(hu, np.hypot(x - SPINE_AT_MM[0], y - SPINE_AT_MM[1]) - SPINE_RADIUS_MM, SPINE_HU)
    hu.flags.writeable = False
    return hu


def _points(planes: Planes) -> list[Volume]:
    """x, y and z of every pixel from the chest's centre, mm; each broadcasts to (z, y, x)."""
    rows = (np.arange(planes.size[0], dtype=np.float32) * np.float32(PIXEL_MM))[:, None]
    columns = (np.arange(planes.size[1], dtype=np.float32) * np.float32(PIXEL_MM))[None, :]
    first = (np.asarray(planes.first_mm) - np.asarray(CENTRE_MM)).astype(np.float32)
    points = []
    for axis in range(3):
        # A direction that does not matter is left out, so that upright slices need no full arrays.
        point = first[:, axis, None, None]
        for steps, direction in ((columns, planes.row), (rows, planes.column)):
            if direction[axis]:
                point = point + steps * np.float32(direction[axis])
        points.append(point)
    return points


def _paint(hu: Volume, depth_mm: Volume, value: float) -> None:
    """Blend a tissue into ``hu`` where its signed distance is negative; a pixel wide, the border is soft."""
    share = np.clip(0.5 - depth_mm / np.float32(PIXEL_MM), 0, 1)
    hu += share * (np.float32(value) - hu)


def _body_depth(x: Volume, y: Volume, z: Volume) -> Volume:
    """Signed distance from the skin (negative inside), mm, about: a trunk that narrows to a neck above the lungs."""
    neck = np.clip((z - np.float32(105)) / np.float32(35), 0, 1)
    a, b = (np.float32(t) + neck * np.float32(n - t) for t, n in zip(BODY_MM, NECK_MM, strict=True))
    return np.asarray((np.hypot(x / a, y / b) - 1) * b)


def _ellipsoid(x: Volume, y: Volume, z: Volume, at_mm: Triple, half_mm: Triple) -> Volume:
    """Signed distance from an ellipsoid's surface (negative inside), mm, about."""
    away = [((v - np.float32(c)) / np.float32(h)) ** 2 for v, c, h in zip((x, y, z), at_mm, half_mm, strict=True)]
    return np.asarray((np.sqrt(away[0] + away[1] + away[2]) - 1) * np.float32(min(half_mm)))


def _vessels(side: Volume, y: Volume, z: Volume) -> Volume:
    """Signed distance from tubes that run outwards, mm; ``side`` is the distance from the midline, mm."""
    across = (y + np.float32(0.3) * side) % 24 - 12
    along = (z + np.float32(0.2) * side) % 26 - 13
    radius = np.float32(3.6) - np.float32(0.025) * (side - 26)
    return np.asarray(np.hypot(across, along) - radius)


def _airways(side: Volume, y: Volume, z: Volume) -> Volume:
    """Signed distance from the trachea and both main bronchi, mm."""
    below = np.maximum(np.float32(CARINA_MM) - z, 0)
    across = np.hypot(side - np.float32(TRACHEA_AT_MM[0]), y - np.float32(TRACHEA_AT_MM[1]))
    trachea = np.hypot(across, below) - np.float32(TRACHEA_RADIUS_MM)
    start = (*TRACHEA_AT_MM, CARINA_MM)
    way = np.subtract(BRONCHUS_END_MM, start).astype(np.float32)
    offset = [v - np.float32(s) for v, s in zip((side, y, z), start, strict=True)]
    travelled = (offset[0] * way[0] + offset[1] * way[1] + offset[2] * way[2]) / (way @ way)
    travelled = np.clip(travelled, 0, 1)
    away = [(o - travelled * w) ** 2 for o, w in zip(offset, way, strict=True)]
    bronchus = np.sqrt(away[0] + away[1] + away[2]) - np.float32(BRONCHUS_RADIUS_MM)
    return np.asarray(np.minimum(trachea, bronchus))
