"""The regions of one nodule as a recipe asks for them, clipped to its anatomy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lungpipe.errors import FeatureError, RegionError
from lungpipe.region.clip import airways_with_wall, large_vessels, lung_of
from lungpipe.region.expand import expand_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lungpipe.region.expand import Region
    from lungpipe.region.lung import Lungs
    from lungpipe.scan.settings import ScanSettings
    from lungpipe.volume import CTVolume, Mask


def why_empty(region: Region) -> FeatureError | None:
    """Why a region holds no voxel, or None if it holds one."""
    if region.mask.n_voxels:
        return None
    if region.clipped_fraction:
        takers = ", ".join(f"{cause} {part:.0%}" for cause, part in region.taken.items() if part)
        return FeatureError(
            "clipped_away", f"clipping took all of the region ({takers}); see regions.clip and exclude_*"
        )
    if region.spec.kind == "core":
        return FeatureError("empty_region", f"no part of the nodule lies {region.spec.radius_mm:g} mm deep")
    return FeatureError("empty_region", "no voxel's centre lies in the region: it is thinner than the voxels there")


def regions_of(
    mask: Mask,
    neighbours: Sequence[Mask],
    volume: CTVolume,
    lungs: Lungs | None,
    airways: Callable[[], Mask | RegionError],
    settings: ScanSettings,
) -> tuple[list[Region], tuple[str, ...]]:
    """Regions of a nodule, and codes of what could not be left out of them.

    Parameters
    ----------
    mask : Mask
        The nodule.
    neighbours : sequence of Mask
        The other nodules of the scan.
    volume : CTVolume
    lungs : Lungs, optional
        None where nothing depends on them.
    airways : callable
        Finds the lumen of the airways; called only where they are left out.
    settings : ScanSettings
    """
    lung = lung_of(lungs, mask) if lungs is not None else None
    structures: list[Mask] = []
    codes: tuple[str, ...] = ()
    if lung is not None and settings.exclude_structures:
        reach_mm = max(spec.radius_mm for spec in settings.specs)
        tree = airways()
        known = None if isinstance(tree, RegionError) else tree
        if "airways" in settings.exclude_structures:
            if isinstance(tree, RegionError):
                codes = (tree.code,)
            else:
                structures.append(airways_with_wall(tree, mask, reach_mm))
        if "vessels" in settings.exclude_structures:
            structures.append(large_vessels(volume, lung, mask, reach_mm, known))
    regions = expand_all(
        mask,
        settings.specs,
        within=lung if settings.clip == "lung" else None,
        without=neighbours if settings.exclude_neighbours else (),
        structures=structures,
    )
    return regions, codes
