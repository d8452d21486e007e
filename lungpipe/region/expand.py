"""Grow a mask by millimetres: regions at a distance from the nodule's surface, and what anatomy takes from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lungpipe.errors import RegionError
from lungpipe.region.distance import signed_distance_mm
from lungpipe.region.intervals import classes_of, voxels_of
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple
    from lungpipe.region.specs import ShellSpec

#: What takes voxels from a region, in the order in which a voxel is counted: the edge of the scan, a neighbouring nodule,
#: a large vessel or airway, and whatever else is not lung (chest wall, mediastinum, diaphragm).
CAUSES = ("edge", "neighbour", "vessel", "wall")


@dataclass(frozen=True, eq=False, slots=True)
class Region:
    """A region after clipping.

    Parameters
    ----------
    spec : ShellSpec
    mask : Mask
    clipped_fraction : float
        Part of the region's volume that clipping took, the part beyond the scan included.
    taken : mapping
        The same by cause (:data:`CAUSES`); they add up to ``clipped_fraction``.
    """

    spec: ShellSpec
    mask: Mask
    clipped_fraction: float
    taken: Mapping[str, float] = field(default_factory=dict)


def expand(mask: Mask, spec: ShellSpec) -> Mask:
    """Grow one mask as a spec says, clipped to the image only.

    Parameters
    ----------
    mask : Mask
        The nodule; not empty.
    spec : ShellSpec

    Returns
    -------
    Mask
        On a box of the image's grid that holds the region; empty where a nodule has no such core.

    Raises
    ------
    RegionError
        If the mask is empty.
    """
    return expand_all(mask, [spec])[0].mask


def expand_all(
    mask: Mask,
    specs: Sequence[ShellSpec],
    *,
    within: Mask | None = None,
    without: Iterable[Mask] = (),
    structures: Iterable[Mask] = (),
) -> list[Region]:
    """Make every region of one nodule from one distance field.

    A voxel belongs by the distance of its centre from the nodule's surface, which is estimated to a fraction of a voxel
    (:func:`lungpipe.region.distance.signed_distance_mm`). Regions of growing radius are nested; the nodule and disjoint
    rings add up to the grown region, voxel for voxel.

    Parameters
    ----------
    mask : Mask
        The nodule; not empty.
    specs : sequence of ShellSpec
    within : Mask, optional
        Keep only these voxels (the lung) and the nodule's own. A region's voxels beyond this mask's block are lost too.
    without : iterable of Mask
        Remove these voxels (neighbouring nodules), but never the nodule's own.
    structures : iterable of Mask
        Remove these voxels too (large vessels, airways), but never the nodule's own.

    Returns
    -------
    list of Region
        In the order of ``specs``. A region that is empty, or that clipping empties, is there with an empty mask, so that
        the caller decides.

    Raises
    ------
    RegionError
        If the nodule's mask is empty.
    """
    if not mask.n_voxels:
        raise RegionError("empty_mask", "the nodule's mask is empty, so it has no surroundings")
    tight = mask.trimmed()
    reach_mm = max(spec.radius_mm for spec in specs)
    # A cuboid rounds to whole voxels and may reach half a voxel past its radius.
    z, y, x = (int(np.ceil(reach_mm / s)) + 1 if reach_mm else 0 for s in mask.frame.spacing_mm)
    margin = (z, y, x)
    nodule = np.pad(tight.voxels, [(m, m) for m in margin])
    window, start = _in_frame(tight, margin)
    cause = _causes(mask, nodule, window, start, within, without, structures)
    distance_mm = (
        signed_distance_mm(tight.voxels, mask.frame.spacing_mm, margin)
        if any(spec.radius_mm and spec.metric == "ball" for spec in specs)
        else np.where(nodule, 0.0, np.inf)
    )
    ranges = [_range_mm(spec) for spec in specs]
    classes = classes_of(distance_mm, cause, len(CAUSES), (edge for ends in ranges for edge in ends))
    code = np.ascontiguousarray(classes.code[window])
    regions = []
    for spec, ends in zip(specs, ranges, strict=True):
        if spec.metric == "cuboid":
            whole = _cuboid(nodule, spec, mask)
            kept = (whole & (cause == 0))[window]
            counts = np.bincount(cause[whole], minlength=len(CAUSES) + 1)
        else:
            chosen, counts = classes.between(*ends)
            kept = voxels_of(code, chosen)
        n_whole, n_kept = int(counts.sum()), int(counts[0])
        taken = {name: count / max(n_whole, 1) for name, count in zip(CAUSES, counts[1:].tolist(), strict=True)}
        lost = float(n_whole - n_kept) / max(n_whole, 1)
        regions.append(Region(spec, Mask(np.ascontiguousarray(kept), mask.frame, start), lost, taken))
    return regions


def _in_frame(tight: Mask, margin: IndexTriple) -> tuple[tuple[slice, slice, slice], IndexTriple]:
    """What of a padded mask lies in its image: the part of the padded array, and where that begins in the image."""
    slices: list[slice] = []
    start: list[int] = []
    for low, n, m, size in zip(tight.start, tight.shape, margin, tight.frame.shape, strict=True):
        first, last = max(0, low - m), min(size, low + n + m)
        slices.append(slice(first - low + m, last - low + m))
        start.append(first)
    return (slices[0], slices[1], slices[2]), (start[0], start[1], start[2])


def _causes(
    mask: Mask,
    nodule: NDArray[np.bool_],
    window: tuple[slice, slice, slice],
    start: IndexTriple,
    within: Mask | None,
    without: Iterable[Mask],
    structures: Iterable[Mask],
) -> NDArray[np.uint8]:
    """What takes each voxel (z, y, x): 0 for nothing, else the place in :data:`CAUSES` from 1."""
    cause = np.full(nodule.shape, 1 + CAUSES.index("edge"), dtype=np.uint8)
    z, y, x = (first + part.stop - part.start for first, part in zip(start, window, strict=True))
    inner = np.zeros(cause[window].shape, dtype=np.uint8)
    stop = (z, y, x)
    if within is not None:
        inner[~within.within(start, stop).voxels] = 1 + CAUSES.index("wall")
    for structure in structures:
        inner[structure.within(start, stop).voxels] = 1 + CAUSES.index("vessel")
    for other in without:
        inner[other.within(start, stop).voxels] = 1 + CAUSES.index("neighbour")
    cause[window] = inner
    cause[nodule] = 0
    return cause


def _range_mm(spec: ShellSpec) -> tuple[float, float]:
    """Distances of a region's voxels, mm: from the first, exclusive, to the second."""
    if spec.kind == "core":
        return -np.inf, -spec.radius_mm
    if spec.kind == "band":
        return float(np.nextafter(-spec.radius_mm, -np.inf)), spec.radius_mm
    if spec.kind in {"shell", "ring"}:
        return spec.inner_mm, spec.radius_mm
    return -np.inf, spec.radius_mm  # no voxel of the nodule has a positive distance, and no other one 0


def _cuboid(nodule: NDArray[np.bool_], spec: ShellSpec, mask: Mask) -> NDArray[np.bool_]:
    half = [round(spec.radius_mm / spacing_mm) for spacing_mm in mask.frame.spacing_mm]
    grown = ndimage.maximum_filter(nodule, size=[2 * n + 1 for n in half], mode="constant", cval=0)
    return np.asarray(grown & ~nodule if spec.kind == "shell" else grown)
