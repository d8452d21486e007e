"""The command ``segment``: one nodule of one image, from a box or a point and clicks."""

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
    from lungpipe.geometry import Triple
    from lungpipe.nodule import Nodule
    from lungpipe.volume import CTVolume, Mask

#: The method that ``segment`` uses unless told otherwise.
DEFAULT_METHOD = "connected_threshold"


def segment(
    image: Annotated[Path, typer.Argument(help="NIfTI, NRRD, MetaImage, or a folder or zip with one DICOM series.")],
    out: Annotated[Path, typer.Option(help="Mask to write: NIfTI or NRRD, 1 inside, on the grid of the image.")],
    box: Annotated[
        str | None, typer.Option(metavar="X,Y,Z,W,H,D", help="Centre (LPS mm) and full sides of the nodule's box, mm.")
    ] = None,
    point: Annotated[
        str | None, typer.Option(metavar="X,Y,Z", help="A point inside (LPS mm); the nodule finds its own extent.")
    ] = None,
    inside: Annotated[
        list[str] | None, typer.Option(metavar="X,Y,Z", help="A further point inside, to correct; repeatable.")
    ] = None,
    outside: Annotated[
        list[str] | None, typer.Option(metavar="X,Y,Z", help="A point outside, to correct; repeatable.")
    ] = None,
    method: Annotated[str, typer.Option(help="Segmenter plug-in (`lungpipe segmenters`).")] = DEFAULT_METHOD,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A step of segment.steps, such as clip=lung; repeatable."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")] = False,
) -> None:
    """Segment one nodule from its box, or from one point and clicks; prints volume, diameters and what is doubtful.

    Example: lungpipe segment ct.nii.gz --point=-86.6,-54.8,-147.1 --out nodule.nii.gz
    """
    import numpy as np

    from flows.config import parsed_steps
    from lungpipe.dicom.read import read_image, to_sitk
    from lungpipe.scan.settings import segmenters_of
    from lungpipe.segment.prompt import with_extent
    from lungpipe.volume import CTVolume

    nodule = _nodule(box, point, inside or [], outside or [])
    segmenter = segmenters_of((method,), "", parsed_steps(changes or []), {})[method]
    check_mask_name(out)
    hu, geometry = read_image(image)
    volume = CTVolume(np.asarray(hu), geometry)
    nodule = with_extent(volume, nodule)
    mask = segmenter(volume, nodule)
    figures = _figures(mask, volume, nodule)
    voxels = mask.within((0, 0, 0), geometry.shape).voxels.astype(np.uint8)
    write_image(out, to_sitk(voxels, geometry))
    figures["method"] = method
    if json_:
        print(json.dumps(figures, indent=1))  # noqa: T201  the command line's own output
        return
    print(  # noqa: T201  the command line's own output
        f"{method}: {figures['volume_mm3']:.0f} mm3, {figures['axial_long_mm']:.1f} x {figures['axial_short_mm']:.1f} mm, "
        f"{figures['verdict']}{': ' if figures['codes'] else ''}{', '.join(figures['codes'])}",
        file=sys.stderr,
    )
    for code, meaning in figures["codes"].items():
        print(f"  {code}: {meaning}", file=sys.stderr)  # noqa: T201  the command line's own output
    print(out)  # noqa: T201  the command line's own output


def _figures(mask: Mask, volume: CTVolume, nodule: Nodule) -> dict[str, Any]:
    from lungpipe.segment.diameters import measure, size_class
    from lungpipe.segment.quality import measure_quality
    from lungpipe.segment.verdict import CODES, MaskLimits, codes_of, verdict_of

    lengths, quality = measure(mask), asdict(measure_quality(mask, volume, nodule))
    row = {**quality, "n_voxels": mask.n_voxels, "disagreement": float("nan")}
    codes = (*nodule.codes, *codes_of(row, MaskLimits()))
    return {
        "n_voxels": mask.n_voxels,
        **asdict(lengths),
        "size_class": size_class(lengths.axial_mean_mm),
        **quality,
        "centre_lps_mm": mask.centre_mm.tolist(),
        "mask_id": mask.content_id,
        "verdict": verdict_of(codes, MaskLimits()),
        "codes": {code: CODES[code].meaning for code in codes},
    }


def _nodule(box: str | None, point: str | None, inside: list[str], outside: list[str]) -> Nodule:
    from lungpipe.nodule import Click, Nodule

    if (box is None) == (point is None):
        raise DatasetError("give either --box X,Y,Z,W,H,D or --point X,Y,Z, in LPS mm")
    clicks = tuple(
        Click(_triple(text, flag), is_inside)
        for flag, texts, is_inside in (("--inside", inside, True), ("--outside", outside, False))
        for text in texts
    )
    if point is not None:
        return Nodule("", "", "", _triple(point, "--point"), clicks=clicks)
    x, y, z, width, height, depth = _numbers(str(box), "--box", 6)
    if min(width, height, depth) <= 0:
        raise DatasetError(f"--box {box}: sides must be positive, mm")
    return Nodule("", "", "", (x, y, z), (width, height, depth), clicks=clicks)


def _triple(text: str, flag: str) -> Triple:
    x, y, z = _numbers(text, flag, 3)
    return x, y, z


def _numbers(text: str, flag: str, count: int) -> list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise DatasetError(f"{flag} {text!r}: expected {count} numbers joined by commas, mm (LPS)")
    return values
