"""The command ``lung``: right and left lung of one image, and a picture to look at them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.image_out import check_mask_name, write_image
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from lungpipe.region.lung import Lungs
    from lungpipe.volume import CTVolume


def lung(
    image: Annotated[Path, typer.Argument(help="NIfTI, NRRD, MetaImage, or a folder or zip with one DICOM series.")],
    out: Annotated[Path, typer.Option(help="Mask to write: NIfTI or NRRD, 1 right lung, 2 left, on the image's grid.")],
    picture: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Slices with outlines of right and left lung and large airways.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")] = False,
) -> None:
    """Find the lungs of a chest CT, right and left, without trachea and main bronchi; prints their volumes.

    Example: lungpipe lung ct.nii.gz --out lungs.nii.gz --picture lungs.png
    """
    import numpy as np

    from lungpipe.dicom.read import read_image, to_sitk
    from lungpipe.region.lung import find_lungs
    from lungpipe.volume import CTVolume

    check_mask_name(out)
    if picture is not None and picture.suffix.lower() != ".png":
        raise DatasetError(f"{picture}: a picture is written as .png")
    hu, geometry = read_image(image)
    volume = CTVolume(np.asarray(hu), geometry)
    lungs = find_lungs(volume)
    write_image(out, to_sitk(lungs.voxels, geometry))
    if picture is not None:
        _draw(picture, volume, lungs)
    figures = _figures(lungs)
    if json_:
        written = {"mask": str(out), **({"picture": str(picture)} if picture is not None else {})}
        print(json.dumps({**figures, **written}, indent=1))  # noqa: T201  the command line's own output
        return
    print(  # noqa: T201  the command line's own output
        f"right lung {figures['right_ml']:.0f} ml, left lung {figures['left_ml']:.0f} ml, "
        f"trachea and main bronchi {figures['airways_ml']:.0f} ml",
        file=sys.stderr,
    )
    print(out)  # noqa: T201  the command line's own output


def _figures(lungs: Lungs) -> dict[str, Any]:
    right, left = (one.volume_mm3 / 1000.0 for one in (lungs.right, lungs.left))
    return {
        "right_ml": right,
        "left_ml": left,
        "lungs_ml": right + left,
        "airways_ml": lungs.airways.volume_mm3 / 1000.0,
    }


def _draw(path: Path, volume: CTVolume, lungs: Lungs) -> None:
    from lungpipe.report.lung_picture import lung_picture
    from lungpipe.store.place import write_atomically

    write_atomically(path, lung_picture(volume, lungs))
