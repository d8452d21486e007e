"""The command ``airways``: the airway tree of one image, branch by branch."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.image_out import check_mask_name, write_image
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from lungpipe.region.airway_graph import Branch

#: Columns of the table of branches.
COLUMNS = (
    "number", "parent", "generation", "length_mm", "calibre_mm", "narrowest_mm", "widest_mm", "tortuosity",
    "branching_angle_deg", "start_x_mm", "start_y_mm", "start_z_mm", "end_x_mm", "end_y_mm", "end_z_mm",
)  # fmt: skip


def airways(
    image: Annotated[Path, typer.Argument(help="NIfTI, NRRD, MetaImage, or a folder or zip with one DICOM series.")],
    out: Annotated[Path, typer.Option(help="Mask of the lumen to write: NIfTI or NRRD, on the image's grid.")],
    branches: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Table of branches: generation, length, calibre, angle, ends (LPS mm)."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")] = False,
) -> None:
    """Follow the airways of a chest CT from the trachea into the lungs; prints the measures of the tree.

    Example: lungpipe airways ct.nii.gz --out airways.nii.gz --branches branches.csv
    """
    import numpy as np

    from lungpipe.dicom.read import read_image, to_sitk
    from lungpipe.region.airway_graph import airway_graph, summary
    from lungpipe.region.airways import airway_tree
    from lungpipe.region.lung import find_lungs
    from lungpipe.store.place import write_atomically
    from lungpipe.volume import CTVolume

    check_mask_name(out)
    if branches is not None and branches.suffix.lower() != ".csv":
        raise DatasetError(f"{branches}: a table of branches is written as .csv")
    hu, geometry = read_image(image)
    volume = CTVolume(np.asarray(hu), geometry)
    tree = airway_tree(volume, find_lungs(volume))
    graph = airway_graph(tree)
    write_image(out, to_sitk(tree.within((0, 0, 0), geometry.shape).voxels.astype(np.uint8), geometry))
    if branches is not None:
        rows = [",".join(COLUMNS), *(",".join(map(_cell, _row(branch))) for branch in graph.branches)]
        write_atomically(branches, "".join(f"{row}\r\n" for row in rows).encode())
    figures = {"volume_ml": tree.volume_mm3 / 1000.0, **summary(graph)}
    if json_:
        known = {name: value if np.isfinite(value) else None for name, value in figures.items()}
        print(json.dumps({**known, "mask": str(out)}, indent=1))  # noqa: T201  the command line's own output
        return
    print(  # noqa: T201  the command line's own output
        f"{figures['n_branches']:.0f} branches to generation {figures['max_generation']:.0f}, "
        f"{figures['total_length_mm']:.0f} mm in all, {figures['volume_ml']:.0f} ml",
        file=sys.stderr,
    )
    print(out)  # noqa: T201  the command line's own output


def _row(branch: Branch) -> list[Any]:
    known = asdict(branch)
    return [known[name] for name in COLUMNS[:9]] + [*branch.start_mm, *branch.end_mm]


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
