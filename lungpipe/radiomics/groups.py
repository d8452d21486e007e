"""Regions of a nodule by the grid that they share: what every engine computes features of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lungpipe.errors import DatasetError, FeatureError, GeometryError
from lungpipe.radiomics.filters import filtered, support_of
from lungpipe.radiomics.lattice import lattice_for, resample_mask, whole_lattice
from lungpipe.radiomics.whole import Whole, cropped_image, normalised, spacing_for, whole_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple, Triple
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.radiomics.whole import Box
    from lungpipe.volume import CTVolume, Mask


@dataclass(frozen=True, slots=True, eq=False)
class RegionGroup:
    """Regions of one nodule that share a resampled grid and its filtered images, on one common box.

    Parameters
    ----------
    indices : tuple of int
        Which of the caller's regions.
    spacing_mm : tuple of float
        Voxel sides of the grid along (z, y, x), mm.
    masks : ndarray of bool, shape (n, z, y, x)
        Regions on the box, after re-segmentation if the settings ask for it.
    shape_masks : ndarray of bool, shape (n, z, y, x)
        Regions whose shape counts. Without re-segmentation, or if the settings say so, the same array; else the region
        before re-segmentation, cut to the bounding box of what is left of it, as PyRadiomics cuts it.
    images : callable
        Makes an iterator over the images of the settings' image types, one after the other: PyRadiomics' name and the
        values on the box, shape (z, y, x), in PyRadiomics' type. Where PyRadiomics leaves an image out, so does this.
    """

    indices: tuple[int, ...]
    spacing_mm: Triple
    masks: NDArray[np.bool_]
    shape_masks: NDArray[np.bool_]
    images: Callable[[], Iterator[tuple[str, NDArray[Any]]]]


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """A region on the grid of a whole image, cut to its bounding box."""

    index: int
    start: IndexTriple
    voxels: NDArray[np.bool_]

    @property
    def box(self) -> Box:
        stop = np.add(self.start, self.voxels.shape).tolist()
        return self.start, (stop[0], stop[1], stop[2])

    def on(self, box: Box) -> NDArray[np.bool_]:
        """The region on a box that holds it."""
        out = np.zeros(np.subtract(box[1], box[0]), dtype=np.bool_)
        low = np.subtract(self.start, box[0])
        out[tuple(slice(a, a + n) for a, n in zip(low, self.voxels.shape, strict=True))] = self.voxels
        return out


def region_groups(
    volume: CTVolume, regions: Sequence[Mask], settings: RadiomicsSettings
) -> tuple[list[RegionGroup], dict[int, FeatureError]]:
    """Place regions on their grids.

    Parameters
    ----------
    volume : CTVolume
        HU; whole, or a crop that reaches as far past the regions as the filters do.
    regions : sequence of Mask
        On the volume's frame.
    settings : RadiomicsSettings

    Returns
    -------
    list of RegionGroup
        Regions that share a grid stand together, so that a filter runs once for all of them.
    dict
        By the region's index, why it is in no group: ``empty_region``, ``region_too_small``, ``region_is_a_line``,
        ``resegmented_away``, ``unequal_voxel_sides``.

    Raises
    ------
    GeometryError
        If a region is on another grid than the volume.
    """
    if settings.normalise is not None:
        volume = normalised(volume, settings.normalise)
    errors: dict[int, FeatureError] = {}
    grids: dict[Triple, Whole] = {}
    members: dict[Triple, list[_Placed]] = {}
    groups: list[RegionGroup] = []
    for index, region in enumerate(regions):
        if region.frame != volume.frame and (told := volume.frame.mismatch(region.frame)):
            raise GeometryError(f"region {index} is not on the volume's grid: {told}")
        try:
            if not region.n_voxels:
                raise FeatureError("empty_region", "the region holds no voxel")  # noqa: TRY301  recorded like the others
            spacing_mm = spacing_for(region, settings)
            _check_filters(spacing_mm, settings)
            placed = _place(index, region, spacing_mm, settings)
        except FeatureError as error:
            errors[index] = error
            continue
        if settings.crops_first:
            own, start = cropped_image(volume, region, spacing_mm, settings)
            low = np.subtract(placed.start, start).tolist()
            inner = _Placed(index, (low[0], low[1], low[2]), placed.voxels)
            groups += _group(own, [inner], settings, errors)
        else:
            grids.setdefault(spacing_mm, whole_image(volume, spacing_mm, settings))
            members.setdefault(spacing_mm, []).append(placed)
    for spacing_mm, placed_here in members.items():
        groups += _group(grids[spacing_mm], placed_here, settings, errors)
    return groups, errors


def _check_filters(spacing_mm: Triple, settings: RadiomicsSettings) -> None:
    """Refuse a region that is too thin to be resampled along an axis, where a filter needs equal voxel sides."""
    if settings.spacing_mm is not None and spacing_mm == settings.spacing_mm[::-1]:
        return
    for one in settings.ibsi:
        try:
            one.check(spacing_mm)
        except DatasetError as error:
            raise FeatureError(
                "unequal_voxel_sides",
                f"the region is one voxel thick and so keeps voxels of {spacing_mm} mm (z, y, x); {error}",
            ) from error


def _place(index: int, region: Mask, spacing_mm: Triple, settings: RadiomicsSettings) -> _Placed:
    """Put a region on its grid."""
    if spacing_mm == region.frame.spacing_mm:
        start, voxels = region.bounds[0], region.trimmed().voxels
    else:
        pad = {} if settings.pad_distance is None else {"pad": settings.pad_distance}
        lattice = lattice_for(region.frame, region.bounds, spacing_mm, **pad)
        within = whole_lattice(region.frame, spacing_mm) if settings.filters_whole_image else None
        start, voxels = lattice.start, resample_mask(region, lattice, within)
    return _checked(_Placed(index, start, voxels), region.n_voxels, settings)


def _checked(placed: _Placed, n_before: int, settings: RadiomicsSettings) -> _Placed:
    """Cut a region to its bounding box, if it is large enough for features (PyRadiomics' own checks)."""
    found = np.nonzero(placed.voxels)
    n_voxels = len(found[0])
    least = max(1, settings.min_voxels or 0)
    if n_voxels <= least:
        raise FeatureError(
            "region_too_small",
            f"{n_before} voxels of the scan leave {n_voxels} on the grid of the features; they need more than {least}",
        )
    window = tuple(slice(int(at.min()), int(at.max()) + 1) for at in found)
    voxels = placed.voxels[window]
    if sum(n > 1 for n in voxels.shape) < settings.min_dimensions:
        raise FeatureError(
            "region_is_a_line",
            f"the region is {voxels.shape} voxels (z, y, x); features need {settings.min_dimensions} dimensions",
        )
    z, y, x = (a + part.start for a, part in zip(placed.start, window, strict=True))
    return _Placed(placed.index, (z, y, x), voxels)


def _group(
    whole: Whole, placed: Sequence[_Placed], settings: RadiomicsSettings, errors: dict[int, FeatureError]
) -> list[RegionGroup]:
    """Make the group of regions on one grid; none if re-segmentation leaves no region."""
    box = _union([one.box for one in placed])
    read = _kept(whole, box, settings)
    whole = Whole(whole.shape, whole.spacing_mm, read, whole.peak)
    kept: list[int] = []
    after: list[NDArray[np.bool_]] = []
    before: list[NDArray[np.bool_]] = []
    for one in placed:
        region = one.on(box)
        try:
            inside, of_shape = _resegmented(one, region, box, read, settings)
        except FeatureError as error:
            errors[one.index] = error
            continue
        kept.append(one.index)
        after.append(inside)
        before.append(of_shape)
    if not kept:
        return []
    masks = np.stack(after)
    shape_masks = masks if settings.resegment is None or settings.resegment.shape else np.stack(before)
    counted = np.asarray(masks.any(axis=0))

    def images() -> Iterator[tuple[str, NDArray[Any]]]:
        for kind in settings.filters:
            yield from filtered(kind, settings, box, whole, counted)

    return [RegionGroup(tuple(kept), whole.spacing_mm, masks, shape_masks, images)]


def _resegmented(
    one: _Placed,
    region: NDArray[np.bool_],
    box: Box,
    read: Callable[[IndexTriple, IndexTriple], NDArray[Any]],
    settings: RadiomicsSettings,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What is left of a region on a box, and what of it counts for shape."""
    if settings.resegment is None:
        return region, region
    left = settings.resegment(read(*box), region)
    bounds = _checked(_Placed(one.index, box[0], left), int(np.count_nonzero(region)), settings).box
    of_shape = np.zeros_like(region)
    window = tuple(slice(a - s, b - s) for a, b, s in zip(*bounds, box[0], strict=True))
    of_shape[window] = region[window]
    return left, of_shape


def _kept(whole: Whole, box: Box, settings: RadiomicsSettings) -> Callable[[IndexTriple, IndexTriple], NDArray[Any]]:
    """Read from a box of the image that is large enough for every filter, made when first asked for."""
    around = _union([support_of(kind, settings, box, whole) for kind in settings.filters] or [box])
    held: list[NDArray[Any]] = []

    def read(start: IndexTriple, stop: IndexTriple) -> NDArray[Any]:
        if not held:
            held.append(whole.read(*around))
        window = tuple(slice(a - s, b - s) for a, b, s in zip(start, stop, around[0], strict=True))
        return held[0][window]

    return read


def _union(boxes: Sequence[Box]) -> Box:
    z0, y0, x0 = np.min([start for start, _ in boxes], axis=0).tolist()
    z1, y1, x1 = np.max([stop for _, stop in boxes], axis=0).tolist()
    return (z0, y0, x0), (z1, y1, x1)
