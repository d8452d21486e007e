"""Where the surface of a voxelised object most likely runs between its voxels: position, direction and curvature.

A mask says of each voxel centre whether it lies inside, and no more. Distances from centre to centre take the surface to
run through the outermost centres, half a voxel and more too far in. Smoothed by a Gaussian, a mask is a sigmoid of the
distance to its surface; inverting that gives the distance to a fraction of a voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.special import ndtri

from lungpipe.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: Standard deviation of the smoothing: a voxel of each axis up to the length in mm, then this share of one. Less leaves
#: the sampling's own ripple.
SMOOTHING_VOXEL_MM, SMOOTHING_VOXELS = 1.0, 0.7
#: And at least this share of the object's radius, which leaves its shape, ...
SMOOTHING_OF_RADIUS = 0.3
#: ... from this, mm, against the stairs of finely sampled masks ...
SMOOTHING_LEAST_MM = 0.8
#: ... to this, mm, or to this share of the thickest spacing: less, and the terraces that thick slices make look flat.
SMOOTHING_MOST_MM, SMOOTHING_OF_SLICE = 1.25, 0.5
#: Smoothed values are kept this far from 0 and 1, where the sigmoid tells nothing.
SATURATION = 1e-6
#: Below this a smoothed mask has no direction, 1/mm.
LEAST_SLOPE_PER_MM = 1e-6
#: Mean curvatures are kept within these limits, 1/mm: a bump of 1 mm radius, a dent of 10 mm.
CURVATURE_PER_MM = (-0.1, 1.0)


@dataclass(frozen=True, eq=False, slots=True)
class Surface:
    """What is known of a surface near the voxels on both sides of it.

    Parameters
    ----------
    index : ndarray of int, shape (n, 3)
        Voxels with a face neighbour on the other side, (z, y, x).
    distance_mm : ndarray, shape (n,)
        Of their centres from the surface; negative inside.
    normal : ndarray, shape (n, 3)
        Unit vectors along (z, y, x), outwards.
    curvature_per_mm : ndarray, shape (n,)
        Mean of the two principal curvatures; positive where the object is convex.
    """

    index: NDArray[np.intp]
    distance_mm: NDArray[np.float64]
    normal: NDArray[np.float64]
    curvature_per_mm: NDArray[np.float64]


def surface_of(inside: NDArray[np.bool_], spacing_mm: Triple) -> Surface:
    """Estimate the surface of a mask.

    For a plane at the distance t, a mask smoothed by a Gaussian of the standard deviation s along the plane's normal has
    the value Phi(-t/s); so t = -s * Phi^-1(value). Over a curved surface the value is that of a plane further in, by half
    the trace of the product of the smoothing's covariance within the surface and the curvature; that is put back.

    Parameters
    ----------
    inside : ndarray of bool, shape (z, y, x)
        Not empty; what lies beyond the array is outside.
    spacing_mm : tuple of float
        Along (z, y, x).
    """
    spacing = np.asarray(spacing_mm)
    sigma_mm = _smoothing(inside, spacing)
    margin = [int(np.ceil(4 * s / h)) + 2 for s, h in zip(sigma_mm, spacing_mm, strict=True)]
    padded = np.pad(inside, [(m, m) for m in margin])
    smooth = ndimage.gaussian_filter(padded.astype(np.float64), sigma_mm / spacing, truncate=4.0)
    index, limit_mm = _both_sides(padded, spacing)
    depth = _depth(smooth, padded, index)
    gradient, hessian = _derivatives(depth, index, spacing)
    slope = np.linalg.norm(gradient, axis=1)
    pointless = slope < LEAST_SLOPE_PER_MM  # the middle of something as thin as a voxel: any direction is as good
    gradient[pointless], slope[pointless] = (LEAST_SLOPE_PER_MM, 0.0, 0.0), LEAST_SLOPE_PER_MM
    normal = gradient / slope[:, None]
    covariance = np.diag(sigma_mm**2)
    spread = normal @ covariance  # (n, 3)
    along = np.sqrt(np.einsum("ni,ni->n", spread, normal))
    tangent = np.eye(3) - normal[:, :, None] * normal[:, None, :]
    shape = tangent @ hessian @ tangent / slope[:, None, None]
    within = covariance - spread[:, :, None] * spread[:, None, :] / (along**2)[:, None, None]
    shift_mm = 0.5 * np.einsum("nij,nij->n", shape, within)
    value = depth[tuple(index.T)] * along - shift_mm
    sign = np.where(padded[tuple(index.T)], -1.0, 1.0)
    return Surface(
        index - np.asarray(margin),
        sign * np.clip(sign * value, 0.0, limit_mm),
        normal,
        np.clip(np.einsum("nii->n", shape) / 2, *CURVATURE_PER_MM),
    )


def _smoothing(inside: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations along (z, y, x), mm."""
    radius_mm = (3 * np.count_nonzero(inside) * float(spacing.prod()) / (4 * np.pi)) ** (1 / 3)
    most_mm = max(SMOOTHING_MOST_MM, SMOOTHING_OF_SLICE * float(spacing.max()))
    least_mm = min(max(SMOOTHING_LEAST_MM, SMOOTHING_OF_RADIUS * radius_mm), most_mm)
    sampling_mm = np.maximum(SMOOTHING_VOXELS * spacing, np.minimum(spacing, SMOOTHING_VOXEL_MM))
    return np.asarray(np.maximum(sampling_mm, least_mm))


def _both_sides(
    inside: NDArray[np.bool_], spacing: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Voxels (n, 3) with a face neighbour on the other side, and the distance of the nearest such, mm."""
    nearest = _nearest_other(inside, spacing)
    index = np.argwhere(np.isfinite(nearest))
    return index, nearest[tuple(index.T)]


@compiled
def _nearest_other(inside: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of the nearest face neighbour on the other side (z, y, x), mm; infinite without one."""
    nearest = np.full(inside.shape, np.inf)
    nz, ny, nx = inside.shape
    for i in range(nz):
        for j in range(ny):
            for k in range(nx):
                here = inside[i, j, k]
                if k + 1 < nx and inside[i, j, k + 1] != here:
                    nearest[i, j, k] = min(nearest[i, j, k], spacing[2])
                    nearest[i, j, k + 1] = min(nearest[i, j, k + 1], spacing[2])
                if j + 1 < ny and inside[i, j + 1, k] != here:
                    nearest[i, j, k] = min(nearest[i, j, k], spacing[1])
                    nearest[i, j + 1, k] = min(nearest[i, j + 1, k], spacing[1])
                if i + 1 < nz and inside[i + 1, j, k] != here:
                    nearest[i, j, k] = min(nearest[i, j, k], spacing[0])
                    nearest[i + 1, j, k] = min(nearest[i + 1, j, k], spacing[0])
    return nearest


def _depth(smooth: NDArray[np.float64], inside: NDArray[np.bool_], index: NDArray[np.intp]) -> NDArray[np.float64]:
    """Distance from the surface in standard deviations (z, y, x), at some voxels (n, 3) and their neighbours."""
    strides = np.array([inside.shape[1] * inside.shape[2], inside.shape[2], 1])
    near = np.zeros(inside.shape, dtype=np.bool_)
    centre, flat = index @ strides, near.ravel()
    for a in (-1, 0, 1):
        for b in (-1, 0, 1):
            for c in (-1, 0, 1):
                flat[centre + int(np.dot(strides, (a, b, c)))] = True
    depth = np.where(inside, ndtri(SATURATION), -ndtri(SATURATION))
    at = np.flatnonzero(near)
    values = smooth.ravel()[at]
    told = (values > SATURATION) & (values < 1 - SATURATION)
    depth.ravel()[at[told]] = -ndtri(values[told])
    return depth


def _derivatives(
    field: NDArray[np.float64], index: NDArray[np.intp], spacing: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gradient (n, 3) and Hessian (n, 3, 3) of a field (z, y, x) at some voxels, per mm, by central differences."""
    strides = np.array([field.shape[1] * field.shape[2], field.shape[2], 1])
    flat, centre = field.ravel(), index @ strides
    gradient, hessian = np.empty((len(index), 3)), np.empty((len(index), 3, 3))
    middle = flat[centre]
    for a in range(3):
        ahead, behind = flat[centre + strides[a]], flat[centre - strides[a]]
        gradient[:, a] = (ahead - behind) / (2 * spacing[a])
        hessian[:, a, a] = (ahead - 2 * middle + behind) / spacing[a] ** 2
        for b in range(a):
            both, across = strides[a] + strides[b], strides[a] - strides[b]
            mixed = flat[centre + both] + flat[centre - both] - flat[centre + across] - flat[centre - across]
            hessian[:, a, b] = hessian[:, b, a] = mixed / (4 * spacing[a] * spacing[b])
    return gradient, hessian
