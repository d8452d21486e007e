"""Tiles of the contact sheet, read back from the stored volumes and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.region.expand import ShellSpec, expand
from lungpipe.report.figures import Tile
from lungpipe.store.volumes import read_mask, read_volume
from lungpipe.volume import box_around

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from lungpipe.store.place import Place

#: Shown round the outermost outline, mm.
MARGIN_MM = 6.0


def nodule_tiles(
    place: Place, nodules: pd.DataFrame, radius_mm: float, probability: Mapping[str, float], most: int = 24
) -> list[Tile]:
    """Axial slices through nodules, outlined with their mask and the region ``radius_mm`` round it.

    Parameters
    ----------
    place : Place
        The workspace.
    nodules : DataFrame
        Rows of one segmenter of ``nodules.parquet``; the first ``most`` of those with an image are shown.
    radius_mm : float
        Of the outlined surroundings before clipping, mm; 0 for none.
    probability : mapping
        Predicted probability of malignancy by nodule id, where there is one.
    most : int
        Most tiles.
    """
    tiles = []
    for row in nodules[nodules["volume_id"] != ""].head(most).to_dict("records"):
        store = f"volumes/{row['volume_id']}.zarr"
        mask = read_mask(place, store, f"masks/{row['artefact']}/{row['nodule_id']}")
        outlines = {"nodule": mask}
        if radius_mm > 0:
            outlines[f"{radius_mm:g} mm"] = expand(mask, ShellSpec("grown", radius_mm))
        low, high = box_around(mask.frame, *mask.bounds, radius_mm + MARGIN_MM)
        k = int(np.argmax(mask.voxels.sum(axis=(1, 2)))) + mask.start[0]
        box = (k, low[1], low[2]), (k + 1, high[1], high[2])
        label = {0: "benign", 1: "malignant"}.get(row["malignant"], "no label")
        p = probability.get(row["nodule_id"])
        tiles.append(
            Tile(
                title=row["nodule_id"],
                hu=read_volume(place, store, box).hu[0].astype(np.float32),
                spacing_mm=mask.frame.spacing_mm[1:],
                outlines={name: item.within(*box).voxels[0] for name, item in outlines.items()},
                note=label if p is None else f"{label}, p = {p:.2f}",
            )
        )
    return tiles
