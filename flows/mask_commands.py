"""The command ``evaluate-masks``: masks or probability maps against those of several raters."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lungpipe.errors import AnnotationError, DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lungpipe.geometry import Geometry
    from lungpipe.segment.curvas import ProbabilityMap
    from lungpipe.segment.evaluate_masks import Row
    from lungpipe.volume import Mask

#: Segmenter that gives back the annotation: in a workspace it is a rater, not a method.
ANNOTATED = "annotated"
#: Digits after the point in what is printed; files and JSON hold all of them.
_DIGITS = {
    "hd95_mm": 2,
    "assd_mm": 2,
    "volume_mm3": 1,
    "reference_mm3": 1,
    "calibration_error": 4,
    "crps_mm3": 1,
}


def evaluate_masks(
    predictions: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PREDICTION", help="Masks: NIfTI, NRRD, MetaImage, DICOM SEG or RTSTRUCT."),
    ] = None,
    raters: Annotated[list[Path] | None, typer.Option(help="Mask of one rater; repeatable.")] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            help="Image whose grid the masks are on: a file, or a folder or zip with one DICOM series. Default: the first "
            "rater's; needed if all masks are DICOM."
        ),
    ] = None,
    workspace: Annotated[
        str | None, typer.Option(help="Workspace of a finished run, for the masks of its segmenters; needs --nodule.")
    ] = None,
    nodule: Annotated[str | None, typer.Option(help="Nodule of the workspace.")] = None,
    label: Annotated[
        int | None, typer.Option(help="Value of the region in the mask images; default: all but 0.")
    ] = None,
    roi: Annotated[str | None, typer.Option(help="Name or number of the ROI (RTSTRUCT) or segment (SEG).")] = None,
    probability: Annotated[
        bool, typer.Option("--probability", help="PREDICTION are probability maps: images of values from 0 to 1.")
    ] = False,
    tolerance_mm: Annotated[
        float, typer.Option(min=0, help="Surface distance that the normalised surface Dice forgives, mm.")
    ] = 1.0,
    out: Annotated[Path | None, typer.Option(help="CSV to write, one row a comparison.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")] = False,
) -> None:
    """Compare masks with those of raters: Dice, HD95, ASSD, NSD, volumes and the figures of the CURVAS challenge.

    Each mask is held against every rater and their majority, union, intersection and STAPLE; the raters' own agreement
    stands below. With --workspace and without --raters the segmenter `annotated` is the reference. Calibration error and
    confidence are over what any rater drew and 20 mm around it; crps_mm3 is of the volume.

    Example: lungpipe evaluate-masks mine.nii.gz --raters a.nii.gz --raters b.nii.gz --raters c.nii.gz
    """
    from lungpipe.segment import evaluate_masks as comparison

    methods: dict[str, Mask | ProbabilityMap] = {}
    drawn: dict[str, Mask] = {}
    frame: Geometry | None = None
    files, rater_files = list(predictions or []), list(raters or [])
    if (workspace is None) != (nodule is None):
        raise DatasetError("--workspace and --nodule go together")
    if workspace is not None and nodule is not None:
        stored = _stored(workspace, nodule)
        frame = next(iter(stored.values())).frame
        if not rater_files and ANNOTATED in stored:
            drawn[ANNOTATED] = stored.pop(ANNOTATED)
        methods.update(stored)
    elif not files:
        raise DatasetError("nothing to evaluate: name mask files, or --workspace and --nodule")
    if not (drawn or rater_files):
        raise DatasetError(
            f"no rater: give the masks of at least one as --raters FILE{_or_annotated(workspace is not None)}"
        )
    source: tuple[str, tuple[str, ...]] = ("", ())
    if image is not None:
        frame, source = _grid(image, frame)
    elif frame is None:
        frame = _first_grid([*rater_files, *files])
    names = _names([*files, *rater_files])
    for path in files:
        read = _read_map if probability else _read_mask
        _add(methods, names[path], read(path, frame, roi, label, source))
    for path in rater_files:
        _add(drawn, names[path], _read_mask(path, frame, roi, label, source))
    rows = comparison.evaluate_masks(methods, drawn, tolerance_mm)
    if out is not None:
        from lungpipe.store.place import write_atomically

        write_atomically(out, _csv(rows).encode())
    among = comparison.pairwise_dice(rows)
    if json_:
        print(_json(rows, among, tolerance_mm))  # noqa: T201  the command line's own output
        return
    print(_text(rows))  # noqa: T201  the command line's own output
    if among:
        mean = statistics.fmean(among)
        text = f"raters among themselves: Dice {mean:.3f} (lowest {min(among):.3f}, {len(among)} pairs)"
        print(text, file=sys.stderr)  # noqa: T201  the command line's own output


def _or_annotated(in_workspace: bool) -> str:
    return f"; the segmenter '{ANNOTATED}' has no mask of this nodule" if in_workspace else ""


def _add(masks: dict[str, Any], name: str, mask: object) -> None:
    if name in masks:
        raise DatasetError(f"two masks are called {name}; give one of the files another name")
    masks[name] = mask


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Short names that tell the files apart: the name, with its folder where names repeat, the path if those do."""
    names: dict[Path, str] = {}
    stems = {path: path.name.removesuffix(".gz").rsplit(".", 1)[0] for path in paths}
    longer = {path: f"{path.resolve().parent.name}/{stem}" for path, stem in stems.items()}
    for path in stems:
        if list(stems.values()).count(stems[path]) == 1:
            names[path] = stems[path]
        else:
            names[path] = longer[path] if list(longer.values()).count(longer[path]) == 1 else str(path)
    return names


def _stored(workspace: str, nodule: str) -> dict[str, Mask]:
    """Masks of a nodule in a workspace by segmenter."""
    from lungpipe.store.contents import stored_mask, stored_nodules
    from lungpipe.store.place import Place

    place = Place.at(workspace)
    rows = [row for found in stored_nodules(place).values() for row in found if row["nodule_id"] == nodule]
    if not rows:
        raise DatasetError(f"{place} has no mask of the nodule {nodule}; tables/nodules.parquet names those it has")
    return {str(row["segmenter"]): stored_mask(place, row) for row in rows}


def _grid(image: Path, stored: Geometry | None) -> tuple[Geometry, tuple[str, tuple[str, ...]]]:
    """Grid of the image, and the series and instances that a DICOM mask must refer to."""
    from lungpipe.dicom.index import index_series
    from lungpipe.dicom.read import read_image

    if image.is_dir() or image.suffix.lower() == ".zip":
        series = [one for one in index_series(image).series if one.geometry is not None]
        if len(series) != 1 or series[0].geometry is None:
            raise DatasetError(f"{image} holds {len(series)} series; expected exactly one: name its own folder")
        frame, source = series[0].geometry, (series[0].series_uid, tuple(series[0].sop_uids))
    else:
        frame, source = read_image(image)[1], ("", ())
    if stored is not None and (difference := stored.mismatch(frame)):
        raise DatasetError(f"{image} is not on the grid of the workspace's volume: {difference}")
    return stored or frame, source


def _first_grid(paths: Iterable[Path]) -> Geometry:
    """Grid of the first file that has one of its own."""
    from lungpipe.dicom.read import read_image

    for path in paths:
        if _is_image(path):
            return read_image(path)[1]
    raise DatasetError("all masks are DICOM; name the image that they are drawn on with --image")


def _is_image(path: Path) -> bool:
    from lungpipe.dicom.masks import mask_kind

    try:
        return mask_kind(path) == "image"
    except AnnotationError as error:
        raise DatasetError(f"{path}: {error.message}") from error


def _read_mask(
    path: Path, frame: Geometry, roi: str | None, label: int | None, source: tuple[str, tuple[str, ...]]
) -> Mask:
    """A mask file on the grid of the others; one without any voxel is an empty mask."""
    import numpy as np

    from lungpipe.dicom.masks import read_mask_file
    from lungpipe.dicom.read import read_image

    if _is_image(path):
        source = "", ()
        voxels = np.asarray(read_image(path)[0])
        fractions = np.issubdtype(voxels.dtype, np.floating) and not np.array_equal(
            voxels, np.rint(voxels), equal_nan=True
        )
        if fractions:
            raise DatasetError(f"{path} holds values that are no whole numbers; a probability map needs --probability")
        if not voxels.any():
            roi = label = None  # an empty mask has no value to choose
    try:
        return read_mask_file(path, frame, roi=roi, label=label, series_uid=source[0], sop_uids=source[1])
    except AnnotationError as error:
        raise DatasetError(f"{path}: {error.message}") from error


def _read_map(
    path: Path, frame: Geometry, roi: str | None, label: int | None, source: tuple[str, tuple[str, ...]]
) -> Mask | ProbabilityMap:
    """A probability map; what is no image is a mask."""
    import numpy as np

    from lungpipe.dicom.read import read_image
    from lungpipe.segment.curvas import ProbabilityMap

    if not _is_image(path):
        return _read_mask(path, frame, roi, label, source)
    voxels, geometry = read_image(path)
    if voxels.ndim != 3:
        raise DatasetError(f"{path} has several values a voxel; expected the probability of one region")
    if difference := geometry.mismatch(frame):
        raise DatasetError(f"{path}: the map is not on the grid of the others: {difference}")
    try:
        return ProbabilityMap(np.asarray(voxels), frame)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def _json(rows: Sequence[Row], among: Sequence[float], tolerance_mm: float) -> str:
    from lungpipe.segment.curvas import BACKGROUND_MM, CALIBRATION_BINS

    plain = [
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(row).items()}
        for row in rows
    ]
    raters = {"mean_dice": statistics.fmean(among), "lowest_dice": min(among)} if among else None
    settings = {"tolerance_mm": tolerance_mm, "calibration_bins": CALIBRATION_BINS, "background_mm": BACKGROUND_MM}
    return json.dumps({**settings, "raters": raters, "rows": plain}, indent=1, allow_nan=False)


def _text(rows: Sequence[Row]) -> str:
    """The table in columns; what a row does not have is a dash, what is undefined ``nan``."""
    lines = [_columns(), *([_cell(key, value) for key, value in asdict(row).items()] for row in rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(n) for cell, n in zip(line, widths, strict=True)).rstrip() for line in lines)


def _columns() -> list[str]:
    from lungpipe.segment.evaluate_masks import Row

    return [field.name for field in fields(Row)]


def _cell(key: str, value: float | str | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.{_DIGITS.get(key, 3)}f}"
