"""Steps that classical segmenters share, each of which a recipe can switch off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from lungpipe.errors import SegmentationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: HU are clipped to this window, so that metal or bone does not form a class of its own.
WINDOW_HU = (-1000.0, 400.0)
#: Darker than this is aerated lung, HU.
LUNG_HU = -500.0
#: Wall separation closes the lung over dents as deep as a ball of this share of the box's longest side fits in.
CLOSING_SHARE, CLOSING_MM = 0.75, (5.0, 20.0)
#: The closed lung is found on voxels of about this side, mm.
COARSE_MM = 1.5
#: A nodule is not eroded by more than this share of its half width to part it from what it touches.
LARGEST_EROSION = 0.7
#: Ground glass counts where it lies this deep, mm, between the solid part and the lung: nearer it is blur.
DEEP_MM = 1.5
#: Share of a mask that deep ground glass must have for the lower threshold to be taken.
GROUND_GLASS_SHARE = 0.2
#: Ground glass is denser than lung by this at least, HU: two halves of the lung's noise are not.
GROUND_GLASS_CONTRAST_HU = 120.0
#: The lower threshold lies at least this many robust standard deviations above the lung.
LUNG_DEVIATIONS = 4.0


@dataclass(frozen=True, slots=True)
class Steps:
    """What is done before and after a method has told inside from outside.

    Parameters
    ----------
    window_hu : tuple of float
        HU are clipped to this before a method sees them, so that metal or bone forms no class of its own. Scanner
        padding is always left out.
    subsolid : {"auto", "on", "off"}
        Look for ground glass below the first threshold: where it is found, always, never. For methods with a threshold.
    wall : bool
        Part a nodule from the chest wall or mediastinum along the lung's border.
    vessels : bool
        Part it from what is thinner and leaves the box.
    holes : bool
        Fill holes.
    opening_mm : float
        Remove what a ball of this radius, mm, does not fit into; 0 for none. Along an axis whose spacing is larger,
        nothing is removed, and neither is a nodule that the ball does not fit into at all.
    clip : {"box", "lung", "none"}
        Keep the mask to the box and a margin; also to the closed lung; or to neither.
    """

    window_hu: tuple[float, float] = WINDOW_HU
    subsolid: Literal["auto", "on", "off"] = "auto"
    wall: bool = True
    vessels: bool = True
    holes: bool = True
    opening_mm: float = 0.0
    clip: Literal["box", "lung", "none"] = "box"


def at_seed(
    inside: NDArray[np.bool_], seed: NDArray[np.bool_], box: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Face-connected component of ``inside`` (z, y, x) that touches the seed; of several, the largest within the box.

    Raises
    ------
    SegmentationError
        If none does.
    """
    labels, count = ndimage.label(inside)
    touching = np.unique(labels[seed])
    touching = touching[touching > 0]
    if not len(touching):
        raise SegmentationError(
            "nothing_at_seed",
            f"none of {count} bright components touches the annotated centre; check the centre, or annotate a mask",
        )
    sizes = np.bincount(labels.ravel() if box is None else labels[box], minlength=count + 1)
    return np.asarray(labels == touching[int(np.argmax(sizes[touching]))])


def filled(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask (z, y, x) with its holes: what no path of faces joins to the border."""
    box = around(inside)
    result = inside.copy()
    result[box] = ndimage.binary_fill_holes(inside[box])
    return result


def around(inside: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Box of a mask (z, y, x) and one voxel more, as far as the array reaches; empty where the mask is."""
    slices = []
    for axis in range(3):
        held = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        slices.append(slice(max(0, int(held[0]) - 1), int(held[-1]) + 2) if len(held) else slice(0, 0))
    return slices[0], slices[1], slices[2]


def depth_mm(inside: NDArray[np.bool_], spacing_mm: Triple) -> NDArray[np.float64]:
    """Distance of each voxel (z, y, x) inside to the nearest outside, mm, to a nanometre; the border is no outside."""
    if inside.all():
        return np.full(inside.shape, np.inf)
    return np.round(ndimage.distance_transform_edt(inside, sampling=spacing_mm), 6)


def closed_lung(
    hu: NDArray[np.float64], tissue: NDArray[np.bool_], spacing_mm: Triple, radius_mm: float
) -> NDArray[np.bool_] | None:
    """Lung of a crop with the dents closed that vessels and nodules make in it, or None where the crop shows no lung.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
    tissue : ndarray of bool, shape (z, y, x)
        False for scanner padding.
    spacing_mm : tuple of float
        Along (z, y, x).
    radius_mm : float
        Of the closing.
    """
    step = [max(1, int(COARSE_MM / s + 1e-6)) for s in spacing_mm]
    lattice = tuple(slice(None, None, k) for k in step)
    air = ndimage.binary_opening((hu < LUNG_HU) & tissue)[lattice]
    if not air.any():
        return None
    coarse_mm = np.multiply(step, spacing_mm)
    reached = ndimage.distance_transform_edt(~air, sampling=coarse_mm) <= radius_mm
    closed = air | (
        reached if reached.all() else ndimage.distance_transform_edt(reached, sampling=coarse_mm) > radius_mm
    )
    for axis, (k, n) in enumerate(zip(step, hu.shape, strict=True)):
        nearest = np.minimum((np.arange(n) + k // 2) // k, closed.shape[axis] - 1)
        closed = np.take(closed, nearest, axis=axis)
    return np.asarray(closed)


def without_wall(
    component: NDArray[np.bool_], lung: NDArray[np.bool_] | None, seed: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The component (z, y, x) within the closed lung; whole where there is no lung or the seed lies outside it.

    A mass that is wider than the closing bridges stands half outside the closed lung, and is not cut.
    """
    if lung is None or np.count_nonzero(seed & lung) < 0.9 * np.count_nonzero(seed):
        return component
    cut = component & lung
    return at_seed(cut, seed) if (cut & seed).any() else component


def without_vessels(
    component: NDArray[np.bool_],
    bright: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    seed: NDArray[np.bool_],
    spacing_mm: Triple,
) -> NDArray[np.bool_]:
    """Part a component that leaves the allowed voxels from what it is attached to, where that is thinner.

    The smallest erosion after which what is left at the seed stays within the allowed voxels; it is grown back by as
    much (the opening of Kuhnigk et al. 2006, doi:10.1109/TMI.2006.871547, with a box in place of their lung hull).

    Parameters
    ----------
    component, bright, allowed, seed : ndarray of bool, shape (z, y, x)
        ``component`` is of ``bright``, at the seed.
    spacing_mm : tuple of float
        Along (z, y, x).

    Returns
    -------
    ndarray of bool, shape (z, y, x)
        The component itself where it stays within, or where no erosion parts it.
    """
    if not np.any(component & ~allowed):
        return component
    depth = depth_mm(bright, spacing_mm)
    deepest = float(depth[component & seed].max(initial=0.0))
    steps = np.unique(depth[component])
    steps = steps[steps <= LARGEST_EROSION * deepest]
    low, high = 0, len(steps)
    while low < high:  # the core shrinks with the erosion, so the first that stays within is found by halving
        middle = (low + high) // 2
        core = _core(depth > steps[middle], seed)
        if core is not None and np.any(core & ~allowed):
            low = middle + 1
        else:
            high = middle
    core = _core(depth > steps[low], seed) if low < len(steps) else None
    if core is None:
        return component
    reach = float(steps[low]) + min(spacing_mm)
    grown = ndimage.distance_transform_edt(~core, sampling=spacing_mm) <= reach
    return at_seed(component & grown & allowed, seed & core)


def _core(eroded: NDArray[np.bool_], seed: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    return at_seed(eroded, seed) if np.any(eroded & seed) else None


def opened(inside: NDArray[np.bool_], radius_mm: float, spacing_mm: Triple) -> NDArray[np.bool_]:
    """Opening with a ball of a radius in mm, along the axes whose spacing supports it; unchanged if nothing were left."""
    reach = [int(radius_mm / s + 1e-6) for s in spacing_mm]
    if not any(reach):
        return inside
    axes = [np.arange(-n, n + 1) * s for n, s in zip(reach, spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    ball = z**2 + y**2 + x**2 <= radius_mm**2 + 1e-6
    padded = np.pad(inside, [(n, n) for n in reach])
    result = ndimage.binary_opening(padded, ball)[
        tuple(slice(n, n + m) for n, m in zip(reach, inside.shape, strict=True))
    ]
    return np.asarray(result) if result.any() else inside


def ground_glass_threshold(
    hu: NDArray[np.float64], tissue: NDArray[np.bool_], first_hu: float, split_hu: float
) -> float:
    """Threshold between lung and ground glass: the split of what is darker than the first, clear of the lung's noise.

    Where the darker voxels do not fall into two classes, the first threshold.

    Parameters
    ----------
    hu, tissue : ndarray, shape (z, y, x)
    first_hu : float
        Threshold between what is solid and the rest.
    split_hu : float
        Threshold of the same method among voxels not above ``first_hu``.
    """
    lung, rest = hu[tissue & (hu <= split_hu)], hu[tissue & (hu > split_hu) & (hu <= first_hu)]
    if not rest.size or rest.mean() - lung.mean() < GROUND_GLASS_CONTRAST_HU:
        return first_hu
    centre = float(np.median(lung))
    spread = 1.4826 * float(np.median(np.abs(lung - centre)))
    return min(first_hu, max(split_hu, centre + LUNG_DEVIATIONS * spread))


def has_ground_glass(solid: NDArray[np.bool_], wider: NDArray[np.bool_], spacing_mm: Triple) -> bool:
    """Whether a mask at the lower threshold holds more than the blurred rim of the one at the upper threshold.

    Parameters
    ----------
    solid, wider : ndarray of bool, shape (z, y, x)
        The components at the seed at both thresholds, one within the other; ``solid`` may be empty.
    spacing_mm : tuple of float
        Along (z, y, x).
    """
    if not solid.any():
        return True
    if np.count_nonzero(wider & ~solid) <= GROUND_GLASS_SHARE * np.count_nonzero(wider):
        return False
    box = around(wider)  # every distance that is compared here starts and ends within
    deep = depth_mm(wider[box], spacing_mm) > DEEP_MM
    deep &= ndimage.distance_transform_edt(~solid[box], sampling=spacing_mm) > DEEP_MM
    return bool(np.count_nonzero(deep) > GROUND_GLASS_SHARE * np.count_nonzero(wider))
