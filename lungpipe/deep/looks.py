"""Another look of the same nodule: tissue, neighbours and scanner drawn anew, its outline kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How often each change is made.
OFTEN = {"nodule": 0.8, "uneven": 0.5, "wall": 0.35, "vessels": 0.6, "blur": 0.5, "thick": 0.4, "noise": 0.9}
#: The nodule's HU move by up to this, and stay at least so far above the lung's.
SHIFT_HU, LEAST_CONTRAST_HU = 350.0, 100.0
#: Largest spread of HU inside, and its correlation length in voxels.
UNEVEN_HU, UNEVEN_VOXELS = 120.0, (1.5, 6.0)
#: HU of wall and vessels; a wall ends between these shares of the nodule's extent from its centre.
WALL_HU, WALL_AT = (-60.0, 120.0), (0.8, 1.7)
VESSEL_HU, VESSEL_RADIUS = (-150.0, 150.0), (0.08, 0.35)
#: Blur (standard deviation) and noise grain in voxels, noise and global changes in HU.
BLUR_VOXELS, GRAIN_VOXELS, NOISE_HU = (0.2, 1.3), (0.2, 1.6), (0.0, 75.0)
SCALE, OFFSET_HU = (0.93, 1.07), (-40.0, 40.0)
THICK_VOXELS = (2, 3, 4)


def other_look(hu: NDArray[np.float32], target: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw tissue, neighbours and scanner anew.

    Parameters
    ----------
    hu, target : ndarray of float32, shape (z, y, x)
        Patch and the share of each voxel inside the nodule.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (z, y, x)
        HU.
    """
    hu = _tissue(hu.copy(), target, rng)
    inside = np.argwhere(target >= 0.5) if (target >= 0.5).any() else np.argwhere(target == target.max())
    centre = inside.mean(axis=0)
    if rng.random() < OFTEN["wall"]:
        hu = _with(hu, target, _wall(target.shape, inside, centre, rng), rng.uniform(*WALL_HU))
    if rng.random() < OFTEN["vessels"]:
        for _ in range(int(rng.integers(1, 4))):
            hu = _with(hu, target, _vessel(target.shape, inside, centre, rng), rng.uniform(*VESSEL_HU))
    return _scanned(hu, rng)


def _tissue(hu: NDArray[np.float32], target: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    core, around = target >= min(0.9, float(target.max())), target <= 0.05
    contrast = float(hu[core].mean() - np.median(hu[around])) if around.any() else SHIFT_HU
    if rng.random() < OFTEN["nodule"]:
        hu += target * np.float32(max(rng.uniform(-SHIFT_HU, SHIFT_HU), LEAST_CONTRAST_HU - contrast))
    if rng.random() < OFTEN["uneven"]:
        field = _field(hu.shape, rng.uniform(*UNEVEN_VOXELS), rng)
        hu += target * field * np.float32(rng.uniform(0, UNEVEN_HU))
    return hu


def _with(
    hu: NDArray[np.float32], target: NDArray[np.float32], share: NDArray[np.float32], value_hu: float
) -> NDArray[np.float32]:
    """Blend a tissue in wherever the nodule is not."""
    return hu + share * (1 - target) * (np.float32(value_hu) - hu)


def _wall(
    shape: tuple[int, ...], inside: NDArray[np.int64], centre: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Share of each voxel beyond a curved surface beside the nodule."""
    towards = _direction(rng)
    extent = float(((inside - centre) @ towards).max()) + 0.5
    offset = _offsets(shape, centre)
    height = offset @ towards
    across = np.sum(offset**2, axis=-1) - height**2
    bend = rng.uniform(-0.6, 1.0) / (2 * max(shape))
    beyond = height + bend * across - extent * rng.uniform(*WALL_AT)
    return np.asarray(np.clip(0.5 + beyond / rng.uniform(1.0, 2.5), 0, 1), dtype=np.float32)


def _vessel(
    shape: tuple[int, ...], inside: NDArray[np.int64], centre: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Share of each voxel inside a straight tube that passes by the nodule or ends in it."""
    extent = max(float(np.ptp(inside, axis=0).max() + 1) / 2, 1.0)
    along = _direction(rng)
    by = _direction(rng)
    by -= (by @ along) * along
    offset = _offsets(shape, centre + by * extent * rng.uniform(0.0, 2.0))
    length = offset @ along
    radius = max(extent * rng.uniform(*VESSEL_RADIUS), 0.7)
    away = np.sqrt(np.maximum(np.sum(offset**2, axis=-1) - length**2, 0))
    share = np.clip(0.5 + (radius - away), 0, 1)
    if rng.random() < 0.5:
        share = share * (length > 0)
    return np.asarray(share, dtype=np.float32)


def _scanned(hu: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    hu = (hu + 1000) * np.float32(rng.uniform(*SCALE)) - 1000 + np.float32(rng.uniform(*OFFSET_HU))
    if rng.random() < OFTEN["blur"]:
        hu = ndimage.gaussian_filter(hu, rng.uniform(*BLUR_VOXELS), truncate=3)
    if rng.random() < OFTEN["thick"]:
        hu = ndimage.uniform_filter1d(hu, int(rng.choice(THICK_VOXELS)), axis=0, mode="nearest")
    if rng.random() < OFTEN["noise"]:
        hu = hu + np.float32(rng.uniform(*NOISE_HU)) * _field(hu.shape, rng.uniform(*GRAIN_VOXELS), rng)
    return np.asarray(hu, dtype=np.float32)


def _field(shape: tuple[int, ...], width: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Gaussian field of unit variance, correlated over a width in voxels."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), width, mode="wrap", truncate=3)
    return np.asarray(field / max(float(field.std()), 1e-6), dtype=np.float32)


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    vector = rng.standard_normal(3)
    return np.asarray(vector / np.linalg.norm(vector))


def _offsets(shape: tuple[int, ...], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    axes = [np.arange(n) - c for n, c in zip(shape, centre, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
