"""Grow a mask by millimetres: regions at a distance from the nodule, measured on the true spacing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from lungpipe.errors import DatasetError, RegionError
from lungpipe.volume import Mask, box_around

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

#: Stage version: part of the name of every artefact made from a region.
VERSION = "1"

Kind = Literal["nodule", "grown", "shell"]
Metric = Literal["ball", "cuboid"]


@dataclass(frozen=True, slots=True, order=True)
class ShellSpec:
    """Which surroundings.

    Parameters
    ----------
    kind : {"nodule", "grown", "shell"}
        The nodule itself; the nodule and all within ``radius_mm`` of it; the latter without the nodule.
    radius_mm : float
        Distance from the nodule, mm; 0 for the nodule itself and for nothing else.
    metric : {"ball", "cuboid"}
        Euclidean distance, or the published tool's cuboid of ``round(mm / spacing)`` voxels an axis.

    Raises
    ------
    DatasetError
        If radius and kind contradict each other.
    """

    kind: Kind
    radius_mm: float = 0.0
    metric: Metric = "ball"

    def __post_init__(self) -> None:
        if (self.kind == "nodule") != (self.radius_mm == 0) or not 0 <= self.radius_mm < float("inf"):
            raise DatasetError(
                f"region {self.kind!r} with radius {self.radius_mm} mm: the nodule has radius 0, "
                "grown regions and shells a positive one"
            )


@dataclass(frozen=True, eq=False, slots=True)
class Region:
    """A region after clipping, and the fraction of its voxels that clipping took."""

    spec: ShellSpec
    mask: Mask
    clipped_fraction: float


def grid_of_specs(kinds: Iterable[Kind], radii_mm: Iterable[float], metric: Metric = "ball") -> list[ShellSpec]:
    """Every region of a recipe, each once: radius 0 is the nodule, whatever the kind."""
    specs = {
        ShellSpec("nodule", 0.0, metric) if radius_mm == 0 else ShellSpec(kind, radius_mm, metric)
        for kind in kinds
        for radius_mm in radii_mm
    }
    order = {"nodule": 0, "grown": 1, "shell": 2}
    return sorted(specs, key=lambda s: (order[s.kind], s.radius_mm))


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
        On a box of the image's grid that holds the region.

    Raises
    ------
    RegionError
        If the mask or the region is empty.
    """
    return expand_all(mask, [spec])[0].mask


def expand_all(
    mask: Mask, specs: Sequence[ShellSpec], *, within: Mask | None = None, without: Iterable[Mask] = ()
) -> list[Region]:
    """Make every region of one nodule from one distance field.

    The distance of a voxel is that of its centre to the nearest centre of a nodule voxel (Euclidean distance
    transform on the true spacing); it is measured between centres, which makes shells a little thin (documented
    in ``docs/design.md``).

    Parameters
    ----------
    mask : Mask
        The nodule; not empty.
    specs : sequence of ShellSpec
    within : Mask, optional
        Keep only these voxels (the lung) and the nodule's own. A region's voxels beyond this mask's block are lost
        too.
    without : iterable of Mask
        Remove these voxels (neighbouring nodules), but never the nodule's own.

    Returns
    -------
    list of Region
        In the order of ``specs``. A region that clipping empties is there with an empty mask and
        ``clipped_fraction`` 1, so that the caller decides.

    Raises
    ------
    RegionError
        If the nodule's mask is empty.
    """
    if not mask.n_voxels:
        raise RegionError("empty_mask", "the nodule's mask is empty, so it has no surroundings")
    # A cuboid rounds to whole voxels and may reach half a voxel past its radius.
    reach_mm = max(spec.radius_mm for spec in specs) + max(mask.frame.spacing_mm)
    box = box_around(mask.frame, *mask.bounds, reach_mm)
    nodule = mask.within(*box).voxels
    allowed = np.ones(nodule.shape, dtype=np.bool_) if within is None else within.within(*box).voxels.copy()
    for other in without:
        allowed &= ~other.within(*box).voxels
    allowed |= nodule
    distance_mm = ndimage.distance_transform_edt(~nodule, sampling=mask.frame.spacing_mm)
    regions = []
    for spec in specs:
        whole = _cuboid(nodule, spec, mask) if spec.metric == "cuboid" else np.asarray(distance_mm <= spec.radius_mm)
        if spec.kind == "shell":
            whole = whole & ~nodule
        kept = whole & allowed
        n_whole = int(np.count_nonzero(whole))
        lost = 1.0 - np.count_nonzero(kept) / n_whole if n_whole else 0.0
        regions.append(Region(spec, Mask(kept, mask.frame, box[0]), float(lost)))
    return regions


def _cuboid(nodule: NDArray[np.bool_], spec: ShellSpec, mask: Mask) -> NDArray[np.bool_]:
    half = [round(spec.radius_mm / spacing_mm) for spacing_mm in mask.frame.spacing_mm]
    return np.asarray(ndimage.maximum_filter(nodule, size=[2 * n + 1 for n in half], mode="constant", cval=0))
