"""The pictures of nodules, read back from the stored volumes and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.region.expand import expand
from lungpipe.region.lung import patient_turn
from lungpipe.region.specs import ShellSpec
from lungpipe.report.contact import View, draw
from lungpipe.report.drawing import Tile
from lungpipe.store.place import Place
from lungpipe.store.volumes import read_mask, read_volume
from lungpipe.volume import box_around

if TYPE_CHECKING:
    from lungpipe.report.pictures import Sitter
    from lungpipe.volume import CTVolume, Mask

#: Shown round the outermost outline, mm.
MARGIN_MM = 6.0
#: Views by the axis that they look along: z, y, x of the patient.
VIEWS = ("axial", "coronal", "sagittal")


def nodule_tile(sitter: Sitter, workspace: str) -> Tile:
    """Axial, coronal and sagittal slices through a nodule, outlined with its mask and the region round it.

    Parameters
    ----------
    sitter : Sitter
    workspace : str
        Folder or address.
    """
    place = Place.at(workspace)
    store = f"volumes/{sitter.volume_id}.zarr"
    mask = read_mask(place, store, f"masks/{sitter.artefact}/{sitter.nodule_id}")
    outlines = {"nodule": mask}
    if sitter.radius_mm > 0:
        outlines[f"{sitter.radius_mm:g} mm"] = expand(mask, ShellSpec("grown", sitter.radius_mm))
    box = box_around(mask.frame, *mask.bounds, sitter.radius_mm + MARGIN_MM)
    views = nodule_views(read_volume(place, store, box), mask, outlines)
    return Tile(sitter.nodule_id, {name: draw(view, sitter.side_px) for name, view in views.items()}, sitter.series_uid)


def nodule_views(volume: CTVolume, nodule: Mask, outlines: dict[str, Mask]) -> dict[str, View]:
    """Cut three slices through the middle of a nodule.

    Parameters
    ----------
    volume : CTVolume
        A crop that holds the nodule; all of it is shown.
    nodule : Mask
        Each slice is the one with most of it.
    outlines : dict of str to Mask
        On the volume's grid.

    Returns
    -------
    dict of str to View
        Axial slices are seen from the feet and coronal ones from the front: the patient's right is on the left; sagittal
        ones have the front on the left. The head is on top of the latter two.
    """
    turn = patient_turn(volume.frame)
    hu, spacing_mm = turn(volume.hu), turn.lengths(volume.frame.spacing_mm)
    turned = {name: turn(mask.within(volume.start, volume.stop).voxels) for name, mask in outlines.items()}
    inside = turn(nodule.within(volume.start, volume.stop).voxels)
    views = {}
    for axis, name in enumerate(VIEWS):
        others = tuple(other for other in range(3) if other != axis)
        k = int(np.argmax(inside.sum(axis=others)))
        step = 1 if axis == 0 else -1  # z grows to the head, rows to the bottom
        views[name] = View(
            np.take(hu, k, axis=axis)[::step].astype(np.float32),
            (float(spacing_mm[others[0]]), float(spacing_mm[others[1]])),
            {one: np.take(voxels, k, axis=axis)[::step] for one, voxels in turned.items()},
        )
    return views
