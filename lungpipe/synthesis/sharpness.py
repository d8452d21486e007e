"""How sharp a scan is, read off its own borders of air and tissue: lung against its wall, skin against air.

A step that a Gaussian of the standard deviation s has blurred rises as that Gaussian. Looked at through the derivative of
another one, of the standard deviation g, the rise d mm beside the step is proportional to exp(-d^2 / 2 (s^2 + g^2)): three
places along the step's normal tell s, wherever between the voxels the step lies. Patients were first measured by such edges by
Sanders, Hurwitz and Samei (2016, doi:10.1118/1.4961984).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.volume import CTVolume

#: An edge runs from voxels darker than the first to voxels brighter than the second, HU, this many voxels further on.
DARK_HU, BRIGHT_HU, STEP_VOXELS = -700.0, -200.0, 3
#: Contrast of a step, HU: less is no border of air and tissue, more is bone or metal.
CONTRAST_HU = (500.0, 1300.0)
#: Edges looked at in each direction, and the fewest that say something.
EDGES, LEAST_EDGES = 1500, 30
#: Standard deviation of the Gaussian whose derivative looks, in voxels of each axis, and voxels to either side.
LOOK_VOXELS, HALF = 0.8, 5
#: Directions of one edge at its three places agree to this cosine, else it is bent.
STRAIGHT = 0.95
#: An edge counts as one along z, or in the slice, if its normal lies this close to it (cosine).
ALONG = 0.92


@dataclass(frozen=True, slots=True)
class Sharpness:
    """Blur of a scan as standard deviations of Gaussians, the voxels' own extent included.

    Parameters
    ----------
    in_plane_mm, axial_mm : float
        Within the slices and along z. Where nothing could be measured, that of the voxel alone.
    in_plane_edges, axial_edges : int
        Edges that each was measured at; 0 where nothing could be measured.
    """

    in_plane_mm: float
    axial_mm: float
    in_plane_edges: int
    axial_edges: int

    def beyond_voxels_mm(self, spacing_mm: Triple) -> Triple:
        """Blur along (z, y, x) that comes on top of averaging over voxels, mm: a box of the side h has the variance h^2/12."""
        blur = (self.axial_mm, self.in_plane_mm, self.in_plane_mm)
        z, y, x = (float(np.sqrt(max(0.0, b**2 - s**2 / 12))) for b, s in zip(blur, spacing_mm, strict=True))
        return z, y, x


def sharpness_of(volume: CTVolume, seed: int = 0) -> Sharpness:
    """Measure the blur of a scan, or of a crop that shows the border of the lung.

    Parameters
    ----------
    volume : CTVolume
        Its first axis is the one along which slices lie.
    seed : int
        Draws the edges that are looked at.
    """
    spacing = volume.frame.spacing_mm
    rng = np.random.default_rng(seed)
    found: dict[str, list[NDArray[np.float64]]] = {"axial": [], "in_plane": []}
    for axis in range(3):
        variance, normal = _edges(volume.hu, _places(volume.hu, axis, rng), spacing)
        steep = np.abs(normal[:, 0])
        found["axial"].append(variance[steep > ALONG])
        found["in_plane"].append(variance[steep < np.sqrt(1 - ALONG**2)])
    axial, n_axial = _median_mm(np.concatenate(found["axial"]), spacing[0])
    in_plane, n_in_plane = _median_mm(np.concatenate(found["in_plane"]), max(spacing[1:]))
    return Sharpness(in_plane, axial, n_in_plane, n_axial)


def _median_mm(variance: NDArray[np.float64], spacing_mm: float) -> tuple[float, int]:
    """Standard deviation of the middle edge and their count; that of a voxel, and none, where they are too few."""
    if len(variance) < LEAST_EDGES:
        return float(spacing_mm / np.sqrt(12)), 0
    return float(np.sqrt(max(0.0, np.median(variance)))), len(variance)


def _places(hu: NDArray[Any], axis: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Voxels (z, y, x) half way up a rise or fall along an axis, drawn from all, shape (n, 3)."""
    if min(hu.shape) < 2 * HALF + 1:
        return np.zeros((0, 3), dtype=np.intp)
    inner = hu[tuple(slice(HALF, n - HALF) for n in hu.shape)]
    near, far = (np.moveaxis(inner, axis, 0)[part] for part in (slice(None, -STEP_VOXELS), slice(STEP_VOXELS, None)))
    if not len(near):
        return np.zeros((0, 3), dtype=np.intp)
    rise = ((near < DARK_HU) & (far > BRIGHT_HU)) | ((near > BRIGHT_HU) & (far < DARK_HU))
    flat = np.flatnonzero(rise)
    chosen = rng.choice(flat, EDGES, replace=False) if len(flat) > EDGES else flat
    place = np.stack(np.unravel_index(chosen, rise.shape), axis=1)
    steps = np.arange(STEP_VOXELS + 1)
    along = np.moveaxis(inner, axis, 0)
    profile = along[place[:, :1] + steps, place[:, 1:2], place[:, 2:]].astype(np.float64)
    middle = (profile.max(axis=1) + profile.min(axis=1))[:, None] / 2
    place[:, 0] += np.abs(profile - middle).argmin(axis=1)
    order = [1, 2]
    order.insert(axis, 0)
    return np.asarray(place[:, order] + HALF)


def _edges(
    hu: NDArray[Any], places: NDArray[np.intp], spacing_mm: Triple
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variance of the blur along the normal of each straight, strong edge, mm2, and the normals (z, y, x)."""
    spacing = np.asarray(spacing_mm)
    around = np.arange(-HALF, HALF + 1)
    z, y, x = (places[:, axis, None] + around for axis in range(3))
    patch = hu[z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]].astype(np.float64)
    slope = _slopes(patch, spacing, np.zeros((len(places), 3)))
    steepest = np.linalg.norm(slope, axis=1)
    keep = steepest > 0
    patch, slope, steepest = patch[keep], slope[keep], steepest[keep]
    normal = slope / steepest[:, None]
    look = (normal**2) @ (LOOK_VOXELS * spacing) ** 2
    step = np.sqrt(look)
    beside = [_slopes(patch, spacing, sign * step[:, None] * normal) for sign in (-1.0, 1.0)]
    before, after = (np.einsum("ij,ij->i", one, normal) for one in beside)
    straight = np.ones(len(step), dtype=np.bool_)
    for one in beside:
        straight &= np.einsum("ij,ij->i", one, normal) > STRAIGHT * np.linalg.norm(one, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        bend = 2 * np.log(steepest) - np.log(before) - np.log(after)
        total = step**2 / bend
        peak = steepest * np.exp((np.log(after / before)) ** 2 / (8 * bend))
        contrast = peak * np.sqrt(2 * np.pi * total)
    good = straight & (bend > 0) & (contrast > CONTRAST_HU[0]) & (contrast < CONTRAST_HU[1])
    return (total - look)[good], normal[good]


def _slopes(
    patch: NDArray[np.float64], spacing: NDArray[np.float64], shift_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Gradient of smoothed patches (n, k, k, k) beside their middles, HU/mm along (z, y, x), shape (n, 3)."""
    offset = np.arange(-HALF, HALF + 1) * spacing[:, None] - shift_mm[:, :, None]  # (n, 3, k)
    width = LOOK_VOXELS * spacing[:, None]
    smooth = np.exp(-((offset / width) ** 2) / 2)
    smooth /= smooth.sum(axis=2, keepdims=True)
    # A constant has no slope, and a ramp of 1 HU/mm has 1, however coarse the voxels are.
    slope = smooth * (offset - (smooth * offset).sum(axis=2, keepdims=True))
    slope /= (slope * offset).sum(axis=2, keepdims=True)
    kernels = [[slope[:, a] if a == axis else smooth[:, a] for a in range(3)] for axis in range(3)]
    return np.stack([np.einsum("nzyx,nz,ny,nx->n", patch, *three, optimize=True) for three in kernels], axis=1)
