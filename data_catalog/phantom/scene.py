"""Simulated HU of one patient: anatomy, nodules, the planted effect, and the scanner's blur and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from data_catalog.phantom.anatomy import BLOOD_HU, fit_chest, vessel_fraction, wall_hu
from data_catalog.phantom.fields import scanner_noise, smooth_field
from data_catalog.phantom.place import place_nodules
from data_catalog.phantom.plan import EFFECT_STREAM, NOISE_STREAM, SCENE_STREAM
from data_catalog.phantom.shapes import FINE_MM, MARGIN_MM, sample_distance_mm, surface_points_mm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from data_catalog.phantom.plan import PlannedNodule, PlannedPatient
    from data_catalog.phantom.shapes import Shape
    from lungpipe.geometry import Geometry, IndexTriple, Triple

#: Lung tissue: mean HU, its spread between patients, and texture as (standard deviation, correlation length in mm).
LUNG_HU, LUNG_SPREAD_HU = -860.0, 8.0
LUNG_TEXTURE = ((14.0, 2.0), (8.0, 6.0))
#: Rise of lung density towards the back, HU a mm.
GRAVITY_HU_PER_MM = 0.08
#: HU of a nodule by texture rating, 1 ground glass to 5 solid; their spread; and the texture inside.
NODULE_HU = ((1.0, 2.0, 3.0, 4.0, 5.0), (-600.0, -450.0, -290.0, -110.0, 30.0))
NODULE_SPREAD_HU, NODULE_TEXTURE = 15.0, (22.0, 1.5)
#: HU that a fully calcified nodule gains.
CALCIFIED_HU = 450.0
#: Every nodule, of either label, darkens or lightens the tissue near it: spread in HU, and reach in mm.
HALO_HU, HALO_MM = 12.0, (2.0, 7.0)
#: Planted effect at the outer edge of the shell for effect 1, HU; its spread between nodules (log), its rise from the
#: nodule outwards (power of the distance), and its texture as (share of it, correlation length in mm).
EFFECT_HU, EFFECT_SPREAD, EFFECT_POWER, EFFECT_TEXTURE = 46.0, 0.35, 2.0, (0.4, 2.0)
#: A shell this wide gets just that; thinner ones hold less tissue to tell by, so theirs is stronger by the root of the
#: ratio.
REFERENCE_SHELL_MM = 8.0
#: HU that a CT number can hold.
HU_RANGE = (-1024, 3071)
KV_NOISE = {100: 1.2, 120: 1.0, 140: 0.86}


@dataclass(frozen=True, eq=False, slots=True)
class Scene:
    """What was simulated.

    Parameters
    ----------
    hu : ndarray of int16, shape (z, y, x)
        The CT image on the planned grid.
    centres_mm : tuple
        LPS centre (x, y, z) of each nodule's box, mm, in the plan's order.
    strengths : tuple of float
        Strength of the effect planted around each nodule; 0 where there is none.
    """

    hu: NDArray[np.int16]
    centres_mm: tuple[Triple, ...]
    strengths: tuple[float, ...]


def simulate(patient: PlannedPatient, effect: float, shell_mm: float) -> Scene:
    """Simulate one patient's CT.

    Parameters
    ----------
    patient : PlannedPatient
        Nodules, grid and scanner.
    effect : float
        Strength of the effect around malignant nodules; 0 plants none and changes nothing else.
    shell_mm : float
        Distance from the nodule's surface at which the effect ends, mm.

    Returns
    -------
    Scene
        HU and the places of the nodules.
    """
    rng = patient.rng(SCENE_STREAM)
    grid, spacing = patient.grid, patient.grid.spacing_mm
    chest = fit_chest(grid, patient.left)
    shapes = [nodule.candidate.shape for nodule in patient.nodules]
    centres = place_nodules(rng, grid, chest, shapes)
    hu = _lung(rng, grid)
    covers = [nodule_cover(grid, centre, shape) for centre, shape in zip(centres, shapes, strict=True)]
    for nodule, centre in zip(patient.nodules, centres, strict=True):
        _add_halo(rng, hu, grid, centre, nodule.candidate.shape)
    vessels = vessel_fraction(rng, grid, chest, [(c, s.radius_mm) for c, s in zip(centres, shapes, strict=True)])
    hu += vessels * (BLOOD_HU - hu)
    for nodule, (window, share) in zip(patient.nodules, covers, strict=True):
        inside = _nodule_hu(rng, nodule, hu[window].shape, spacing)
        hu[window] += share * (inside - hu[window])
    wall, outside = wall_hu(grid, chest)
    hu += outside * (wall - hu)
    blur = patient.kernel.blur_mm / spacing[1]
    hu = ndimage.gaussian_filter(hu, (0, blur, blur), truncate=3)
    strengths = _effect_strengths(patient, effect)
    if any(strengths):
        tissue = (1 - vessels) * (1 - outside)
        for window, share in covers:
            tissue[window] *= 1 - share
        hu += tissue * _effect_hu(patient, centres, strengths, shell_mm)
    noise_hu = patient.kernel.noise_hu * np.sqrt(100 / patient.ma / spacing[0]) * KV_NOISE[patient.kv]
    hu += np.float32(noise_hu) * scanner_noise(
        patient.rng(NOISE_STREAM), grid.shape, spacing[1], patient.kernel.grain_mm
    )
    return Scene(np.clip(np.rint(hu), *HU_RANGE).astype(np.int16), tuple(centres), strengths)


def _lung(rng: np.random.Generator, grid: Geometry) -> NDArray[np.float32]:
    """HU of lung tissue on the whole grid, shape (z, y, x)."""
    back_mm = (np.arange(grid.shape[1], dtype=np.float32) - grid.shape[1] / 2) * grid.spacing_mm[1]
    base = LUNG_HU + LUNG_SPREAD_HU * rng.standard_normal() + GRAVITY_HU_PER_MM * back_mm
    hu = np.broadcast_to(base[None, :, None].astype(np.float32), grid.shape).copy()
    for spread_hu, length_mm in LUNG_TEXTURE:
        hu += np.float32(spread_hu) * smooth_field(rng, grid.shape, grid.spacing_mm, length_mm)
    return hu


def _window(grid: Geometry, centre_mm: Triple, reach_mm: Sequence[float]) -> tuple[slice, slice, slice]:
    """Voxels of the grid within a box around a point; ``reach_mm`` along (x, y, z)."""
    low = np.floor(grid.to_index(np.subtract(centre_mm, reach_mm)))
    high = np.ceil(grid.to_index(np.add(centre_mm, reach_mm))) + 1
    start = np.maximum(low, 0).astype(int).tolist()
    stop = np.minimum(high, grid.shape).astype(int).tolist()
    return slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2])


def _offsets_mm(grid: Geometry, window: tuple[slice, slice, slice], centre_mm: Triple) -> NDArray[np.float64]:
    """Points (x, y, z) of a window's voxel centres, mm from a point, shape (z, y, x, 3)."""
    z, y, x = (np.arange(part.start, part.stop) for part in window)
    index = np.stack(np.meshgrid(z, y, x, indexing="ij"), axis=-1)
    return np.asarray(grid.to_lps(index) - np.asarray(centre_mm))


def nodule_cover(
    grid: Geometry, centre_mm: Triple, shape: Shape
) -> tuple[tuple[slice, slice, slice], NDArray[np.float32]]:
    """Share of each voxel inside a nodule, by sampling every voxel at several points.

    Parameters
    ----------
    grid : Geometry
        The patient's grid.
    centre_mm : tuple of float
        LPS centre (x, y, z) of the nodule's box, mm.
    shape : Shape
        The nodule.

    Returns
    -------
    window : tuple of slice
        Voxels (z, y, x) of the grid around the nodule.
    share : ndarray of float32, shape (z, y, x) of the window
        From 0 outside to 1 inside.
    """
    window = _window(grid, centre_mm, [side / 2 + MARGIN_MM / 2 for side in shape.size_mm])
    offsets = _offsets_mm(grid, window, centre_mm)
    counts = [int(np.ceil(s / FINE_MM)) for s in grid.spacing_mm[::-1]]
    parts = [(np.arange(n) + 0.5) / n - 0.5 for n in counts]
    share = np.zeros(offsets.shape[:-1], dtype=np.float32)
    steps = np.stack(np.meshgrid(*parts, indexing="ij"), axis=-1).reshape(-1, 3) * grid.spacing_mm[::-1]
    for step in steps:
        share += np.clip(0.5 - sample_distance_mm(shape, offsets + step) / FINE_MM, 0, 1)
    return window, share / np.float32(len(steps))


def _add_halo(
    rng: np.random.Generator, hu: NDArray[np.float32], grid: Geometry, centre_mm: Triple, shape: Shape
) -> None:
    """Vary the tissue next to a nodule, whatever its label, in place."""
    amplitude_hu, reach_mm = HALO_HU * rng.standard_normal(), rng.uniform(*HALO_MM)
    window = _window(grid, centre_mm, [shape.radius_mm + 3 * reach_mm] * 3)
    distance = np.linalg.norm(_offsets_mm(grid, window, centre_mm), axis=-1) - shape.diameter_mm / 2
    hu[window] += (amplitude_hu * np.exp(-((np.maximum(distance, 0) / reach_mm) ** 2))).astype(np.float32)


def _nodule_hu(
    rng: np.random.Generator, nodule: PlannedNodule, shape: IndexTriple, spacing_mm: Triple
) -> NDArray[np.float32]:
    """HU inside a nodule, from its pair's mean ratings, shape (z, y, x)."""
    calcified = (6 - nodule.calcification) / 3
    mean_hu = np.interp(nodule.texture, *NODULE_HU) + CALCIFIED_HU * min(max(calcified, 0.0), 1.0)
    spread_hu, length_mm = NODULE_TEXTURE
    texture = np.float32(spread_hu) * smooth_field(rng, shape, spacing_mm, length_mm)
    return texture + np.float32(mean_hu + NODULE_SPREAD_HU * rng.standard_normal())


def _effect_strengths(patient: PlannedPatient, effect: float) -> tuple[float, ...]:
    """Strength of the effect around each nodule: about ``effect`` for malignant ones, 0 for benign ones."""
    rng = patient.rng(EFFECT_STREAM)
    varied = [float(np.exp(rng.normal(-(EFFECT_SPREAD**2) / 2, EFFECT_SPREAD))) for _ in patient.nodules]
    return tuple(effect * v * n.candidate.malignant for v, n in zip(varied, patient.nodules, strict=True))


def _effect_hu(
    patient: PlannedPatient, centres_mm: Sequence[Triple], strengths: Sequence[float], shell_mm: float
) -> NDArray[np.float32]:
    """HU planted around the nodules, as if all were lung tissue, shape (z, y, x)."""
    grid = patient.grid
    share, length_mm = EFFECT_TEXTURE
    rng = np.random.default_rng([patient.seed, patient.number, EFFECT_STREAM, 1])
    texture = 1 + share * smooth_field(rng, grid.shape, grid.spacing_mm, length_mm)
    planted = np.zeros(grid.shape, dtype=np.float32)
    peak_hu = EFFECT_HU * np.sqrt(REFERENCE_SHELL_MM / shell_mm)
    for nodule, centre, strength in zip(patient.nodules, centres_mm, strengths, strict=True):
        shape = nodule.candidate.shape
        window = _window(grid, centre, [side / 2 + shell_mm for side in shape.size_mm])
        offsets = _offsets_mm(grid, window, centre)
        tree = cKDTree(surface_points_mm(shape))
        nearest, _ = tree.query(offsets.reshape(-1, 3), distance_upper_bound=shell_mm)
        far = np.reshape(nearest, offsets.shape[:-1])
        reached = np.isfinite(far) & (sample_distance_mm(shape, offsets) > 0)
        rise = np.where(reached, np.minimum(far, shell_mm) / shell_mm, 0) ** EFFECT_POWER
        np.maximum(planted[window], (peak_hu * strength * rise).astype(np.float32), out=planted[window])
    return planted * texture
