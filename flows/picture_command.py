"""The command ``picture``: a nodule of a workspace in three views, with its regions and surroundings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from lungpipe.region.lung import Lungs
    from lungpipe.store.place import Place
    from lungpipe.volume import CTVolume, Mask


def picture(
    workspace: Annotated[str, typer.Argument(help="Workspace of a finished run: folder or address.")],
    nodule: Annotated[str, typer.Option(metavar="N-...", help="Pseudonym of the nodule.")],
    out: Annotated[Path, typer.Option(help="PNG to write.")],
    segmenter: Annotated[str | None, typer.Option(help="Whose mask; default: the first of the table.")] = None,
    radii: Annotated[str, typer.Option(metavar="MM,MM,...", help="Radii of the outlined regions, mm.")] = "2,4,8,12",
    structures: Annotated[
        bool, typer.Option("--structures", help="Look for large vessels and airways too (half a minute).")
    ] = False,
) -> None:
    """Draw axial, coronal and sagittal views of a nodule with its regions, clipped to its lung, in outline.

    Example: lungpipe picture results --nodule N-AAAAAAAAAAA2 --radii 4,8 --out nodule.png
    """
    from lungpipe.errors import RegionError
    from lungpipe.region.clip import lung_of
    from lungpipe.region.expand import expand_all
    from lungpipe.region.lung import find_lungs
    from lungpipe.region.specs import ShellSpec
    from lungpipe.report.region_views import region_views
    from lungpipe.store.contents import stored_mask, volume_name
    from lungpipe.store.place import Place, write_atomically
    from lungpipe.store.volumes import read_volume

    radii_mm = _radii(radii)
    place = Place.at(workspace)
    rows = _rows(place, nodule)
    row = next((row for row in rows if segmenter in (None, row["segmenter"])), None)
    if row is None:
        raise DatasetError(
            f"no mask of {nodule} by {segmenter}; there are: {', '.join(str(r['segmenter']) for r in rows)}"
        )
    volume, mask = read_volume(place, volume_name(row["volume_id"])), stored_mask(place, row)
    others = [stored_mask(place, other) for other in _neighbours(place, row)]
    try:
        lungs: Lungs | None = find_lungs(volume)
    except RegionError:
        lungs = None
    lung = lung_of(lungs, mask) if lungs is not None else None
    outlined = {"lung": lung} if lung is not None else {}
    if others:
        outlined["neighbours"] = _union(others)
    if structures and lungs is not None and lung is not None:
        outlined |= _structures(volume, lungs, lung, mask, max(radii_mm))
    specs = [ShellSpec("grown", radius_mm) for radius_mm in radii_mm]
    found = expand_all(mask, specs, within=lung, without=others)
    regions = {region.spec.radius_mm: region.mask for region in found}
    simulated = row["intensities"] == "simulated"
    write_atomically(
        out,
        region_views(volume, mask, regions, outlined, title=f"{nodule}, {row['segmenter']}", simulated=simulated),
    )
    print(out)  # noqa: T201  the command line's own output


def _radii(text: str) -> list[float]:
    try:
        radii_mm = sorted({float(part) for part in text.split(",")})
    except ValueError:
        radii_mm = []
    if not radii_mm or radii_mm[0] <= 0 or radii_mm[-1] > 100:
        raise DatasetError(f"--radii {text!r}: expected positive lengths up to 100 joined by commas, mm")
    return radii_mm


def _rows(place: Place, nodule: str) -> list[dict[str, Any]]:
    from lungpipe.store.contents import stored_nodules

    rows = [row for series in stored_nodules(place).values() for row in series if row["nodule_id"] == nodule]
    if not rows:
        raise DatasetError(f"no nodule {nodule} has a mask in {place}; tables/nodules.parquet names those that have")
    return rows


def _neighbours(place: Place, row: dict[str, Any]) -> list[dict[str, Any]]:
    from lungpipe.store.contents import stored_nodules

    return [
        other
        for other in stored_nodules(place)[str(row["series_uid"])]
        if other["segmenter"] == row["segmenter"] and other["nodule_id"] != row["nodule_id"]
    ]


def _union(masks: list[Mask]) -> Mask:
    import numpy as np

    from lungpipe.volume import Mask

    low = np.min([mask.start for mask in masks], axis=0).tolist()
    high = np.max([mask.stop for mask in masks], axis=0).tolist()
    start, stop = (low[0], low[1], low[2]), (high[0], high[1], high[2])
    return Mask(np.any([mask.within(start, stop).voxels for mask in masks], axis=0), masks[0].frame, start)


def _structures(volume: CTVolume, lungs: Lungs, lung: Mask, mask: Mask, reach_mm: float) -> dict[str, Mask]:
    from lungpipe.errors import RegionError
    from lungpipe.region.airways import airway_tree
    from lungpipe.region.clip import airways_with_wall, large_vessels

    try:
        tree: Mask | None = airway_tree(volume, lungs)
    except RegionError:
        tree = None
    found = {"large vessels": large_vessels(volume, lung, mask, reach_mm, tree)}
    if tree is not None:
        found["airways"] = airways_with_wall(tree, mask, reach_mm)
    return found
