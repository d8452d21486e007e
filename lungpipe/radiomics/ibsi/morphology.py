"""Morphological features (HCUG): 29 of the mesh, of the voxels' centres and of both masks (manual, section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from skimage.measure import marching_cubes

from lungpipe.radiomics.ibsi.autocorrelation import spatial_autocorrelation
from lungpipe.radiomics.ibsi.enclosing import ellipsoid_area, enclosing_ellipsoid, oriented_box
from lungpipe.radiomics.ibsi.levels import box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.ibsi.prepare import Prepared

#: A variance below so much of the largest is a rounding error of 0: the voxels' centres lie in a plane or on a line.
_FLAT = 1e-12
_NAN = float("nan")


def morphological_features(prepared: Prepared) -> dict[str, float]:
    """Compute the features by tag; mm, mm2 and mm3, and HU mm3 for the integrated intensity."""
    spacing = np.asarray(prepared.spacing_mm)
    window = box(prepared.morphological)
    morphological, intensity = prepared.morphological[window], prepared.intensity[window]
    values = prepared.values[window]
    vertices, faces = mesh(morphological, prepared.spacing_mm)
    area, volume = mesh_area(vertices, faces), mesh_volume(vertices, faces)
    hull = ConvexHull(vertices)
    corners = vertices[hull.vertices]
    centres = np.argwhere(morphological) * spacing
    semi_axes = principal_semi_axes(centres)
    moran, geary = spatial_autocorrelation(values, intensity, prepared.spacing_mm)
    a, b, c = (float(axis) for axis in semi_axes)
    compactness = 36 * np.pi * volume**2 / area**3
    return {
        "morph_volume": volume,
        "morph_vol_approx": float(len(centres) * spacing.prod()),
        "morph_area_mesh": area,
        "morph_av": area / volume,
        "morph_comp_1": volume / (np.sqrt(np.pi) * area**1.5),
        "morph_comp_2": compactness,
        "morph_sph_dispr": compactness ** (-1 / 3),
        "morph_sphericity": compactness ** (1 / 3),
        "morph_asphericity": compactness ** (-1 / 3) - 1,
        "morph_com": _centre_shift(values, intensity, centres, spacing),
        "morph_diam": float(pdist(corners).max()),
        "morph_pca_maj_axis": 2 * a,
        "morph_pca_min_axis": 2 * b,
        "morph_pca_least_axis": 2 * c,
        "morph_pca_elongation": b / a,
        "morph_pca_flatness": c / a,
        **_densities("aabb", volume, area, *_box_measures(np.ptp(vertices, axis=0))),
        **_densities("ombb", volume, area, *_box_measures(oriented_box(hull))),
        **_densities("aee", volume, area, *_ellipsoid_measures(semi_axes)),
        **_densities("mvee", volume, area, *_ellipsoid_measures(enclosing_ellipsoid(corners))),
        **_densities("conv_hull", volume, area, float(hull.volume), float(hull.area)),
        "morph_integ_int": volume * float(values[intensity].mean()),
        "morph_moran_i": moran,
        "morph_geary_c": geary,
    }


def mesh(mask: NDArray[np.bool_], spacing_mm: Triple) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mesh a mask with marching cubes, half way between voxel centres (Lewiner et al. 2003).

    Returns
    -------
    vertices : ndarray, shape (n, 3)
        Points (z, y, x), mm, from the centre of the mask's first voxel.
    faces : ndarray of int, shape (m, 3)
        Vertices of each triangle, all turned the same way.
    """
    vertices, faces, _, _ = marching_cubes(np.pad(mask, 1).astype(np.float32), level=0.5)
    points = (np.asarray(vertices, dtype=np.float64) - 1) * np.asarray(spacing_mm)
    return points, np.asarray(faces, dtype=np.int64)


def mesh_area(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> float:
    """Area of a mesh, mm2."""
    p, q, r = (vertices[faces[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(q - p, r - p), axis=1).sum() / 2)


def mesh_volume(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> float:
    """Volume that a closed mesh encloses, mm3: signed tetrahedra from the middle of the vertices."""
    p, q, r = ((vertices - vertices.mean(axis=0))[faces[:, k]] for k in range(3))
    return float(abs(np.sum(p * np.cross(q, r))) / 6)


def principal_semi_axes(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two standard deviations of the voxel centres along their principal axes, mm, descending; NaN for a single voxel.

    The covariance divides by n - 1, with which IBSI's values agree.
    """
    if len(centres) < 2:
        return np.full(3, _NAN)
    variance = np.linalg.eigvalsh(np.cov(centres.T))[::-1]
    variance = np.where(variance > _FLAT * variance[0], variance, 0.0)
    return np.asarray(2 * np.sqrt(variance), dtype=np.float64)


def _centre_shift(
    values: NDArray[np.float64],
    intensity: NDArray[np.bool_],
    centres: NDArray[np.float64],
    spacing: NDArray[np.float64],
) -> float:
    """Distance between the centre of the morphological mask and that of the intensities (KLMA), mm."""
    weight = values[intensity]
    if weight.sum() == 0:
        return _NAN
    heavy = weight @ (np.argwhere(intensity) * spacing) / weight.sum()
    return float(np.linalg.norm(centres.mean(axis=0) - heavy))


def _densities(
    name: str, volume: float, area: float, enclosing_volume: float, enclosing_area: float
) -> dict[str, float]:
    """Volume and area as parts of those of an enclosing body; NaN where that has none."""
    solid = enclosing_volume > 0
    return {
        f"morph_vol_dens_{name}": volume / enclosing_volume if solid else _NAN,
        f"morph_area_dens_{name}": area / enclosing_area if enclosing_area > 0 else _NAN,
    }


def _box_measures(sides: NDArray[np.float64]) -> tuple[float, float]:
    a, b, c = (float(side) for side in sides)
    return a * b * c, 2 * (a * b + b * c + c * a)


def _ellipsoid_measures(semi_axes: NDArray[np.float64]) -> tuple[float, float]:
    return float(4 / 3 * np.pi * semi_axes.prod()), ellipsoid_area(semi_axes)
