"""Reader ``table``: one CSV row a nodule, under the generic column names or a data set's own."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import pandas as pd

from data_catalog.lidc.database import read_scans
from data_catalog.spec import Annotations
from lungpipe.clinical import RATING
from lungpipe.dicom.index import volume_stem
from lungpipe.errors import AnnotationError, DatasetError, Exclusion
from lungpipe.nodule import Click, Nodule

if TYPE_CHECKING:
    from pathlib import Path

    from data_catalog.spec import DatasetSpec
    from lungpipe.dicom.series import Series, SeriesTable
    from lungpipe.geometry import Triple

COLUMNS = (
    "patient_id", "nodule_id", "series_uid", "x", "y", "z", "width_mm", "height_mm", "depth_mm", "diameter_mm",
    "malignant", "split", "frame", "mask", "roi", "prompt_inside", "prompt_outside",
)  # fmt: skip
_SPLITS = {
    "": None, "train": "train", "training": "train", "val": "validation", "validation": "validation", "test": "test",
}  # fmt: skip
_LABELS = {"": None, "0": 0, "1": 1, "0.0": 0, "1.0": 1, "benign": 0, "malignant": 1, "false": 0, "true": 1}


def read(spec: DatasetSpec, path: Path | None, series: SeriesTable) -> Annotations:
    """Read a nodule table; a row that cannot be used becomes an exclusion.

    Coordinates are LPS mm unless the column ``frame`` or the data set says ``ras`` or ``voxel`` (x, y, z index).
    Sides are ``width_mm`` (x), ``height_mm`` (y), ``depth_mm`` (z), or ``diameter_mm`` for all three; a row with
    neither is a seed point. A row with ``mask`` needs no centre: the path, from the table's folder, of a DICOM SEG, an RT
    structure set, or an image (NIfTI, NRRD, MetaImage) on the grid of the scan. ``roi`` says which ROI or segment of it,
    by name or number, or which value of an image; it may be empty where there is only one.

    Columns that begin with ``rating_`` are radiologists' ratings, numbers. All other columns are kept as text with the nodule, of
    which a recipe may name some as clinical; the rest goes no further.

    ``prompt_inside`` and ``prompt_outside`` hold points that correct masks, ``x y z`` in the row's frame, joined by ``;``.

    Raises
    ------
    DatasetError
        If the file is no CSV, lacks a column, or names a nodule twice.

    Notes
    -----
    Where the data set's entry has patients from elsewhere (``patients``), the table may lack ``patient_id`` and
    ``nodule_id``; nodules are then numbered by series, in the file's order.
    """
    if path is None:
        raise DatasetError(f"data set {spec.name!r} needs cohort.annotations: the path of a CSV file")
    try:
        table = pd.read_csv(path, dtype="str", keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as CSV ({type(error).__name__})") from error
    table = table.rename(columns={own: generic for generic, own in spec.columns.items()})
    _check_columns(spec, table, path)
    if "nodule_id" not in table:
        number = table.groupby("series_uid").cumcount() + 1
        table = table.assign(nodule_id=table["series_uid"] + "-" + number.astype(str))
    known = series.by_uid()
    patients = _patients(spec, table, known)
    by_patient: dict[str, list[Series]] = {}
    for item in series.series:
        by_patient.setdefault(item.patient_id, []).append(item)
    nodules, exclusions = [], []
    for raw in table.to_dict("records"):
        row = {str(key): str(value).strip() for key, value in raw.items()}
        row.setdefault("patient_id", patients.get(volume_stem(row.get("series_uid", "")), ""))
        try:
            nodules.append(_nodule(spec, row, known, by_patient, path))
        except AnnotationError as error:
            ids = {name: row.get(name, "") for name in ("patient_id", "series_uid", "nodule_id")}
            exclusions.append(Exclusion.of(error, **ids))
    return Annotations(tuple(nodules), tuple(exclusions))


def _check_columns(spec: DatasetSpec, table: pd.DataFrame, path: Path) -> None:
    required = set() if "mask" in table else {"x", "y", "z"}
    # Only a data set whose entry says so has patients from elsewhere, and numbers its nodules by series.
    required |= {"patient_id", "nodule_id"} if spec.patients == "table" else {"series_uid"}
    missing = sorted(required - set(table))
    if missing:
        own = ", ".join(spec.columns.get(name, name) for name in missing)
        raise DatasetError(f"{path} lacks the columns {own}; it has {', '.join(map(str, table))}")
    if "nodule_id" not in table:
        return
    names = [name for name in ("patient_id", "series_uid", "nodule_id") if name in table]
    repeated = table.duplicated(names, keep=False)
    if repeated.any():
        lines = (table.index[repeated] + 2).tolist()
        raise DatasetError(f"{path} names a nodule twice (lines {lines[:10]}); nodule_id must be unique in its series")


def _patients(spec: DatasetSpec, table: pd.DataFrame, known: dict[str, Series]) -> dict[str, str]:
    """Patient of each series, for a table that names none; a scan that nobody knows is a patient of its own."""
    if "patient_id" in table:
        return {}
    found = {uid: scan.patient_id for uid, scan in known.items()}
    if spec.patients == "lidc-idri":
        found |= {scan.series_uid: scan.patient_id for scan in read_scans() if scan.series_uid in known}
    return found


def _nodule(
    spec: DatasetSpec, row: dict[str, str], known: dict[str, Series], by_patient: dict[str, list[Series]], path: Path
) -> Nodule:
    scan = _series_of(row, known, by_patient)
    numbers = {name: _number(row, name) for name in COLUMNS[3:10]}
    label = row.get("malignant", "").lower()
    if label not in _LABELS:
        raise AnnotationError("unknown_label", "the label must be 0, 1 or empty; correct the annotation file")
    split = row.get("split", "").lower()
    if split not in _SPLITS:
        raise AnnotationError(
            "unknown_split", "the split must be train, validation, test or empty; correct or drop the column"
        )
    mask = row.get("mask", "")
    centre = _centre(spec, row, numbers, scan) if not mask or numbers["x"] is not None else None
    return Nodule(
        patient_id=row["patient_id"],
        series_uid=scan.series_uid,
        nodule_id=row["nodule_id"],
        centre_mm=centre,
        size_mm=_size(numbers),
        malignant=_LABELS[label],
        split=_SPLITS[split],
        mask_path=path.parent / mask if mask else None,
        mask_roi=(row.get("roi") or None) if mask else None,
        frame=row.get("frame", "").lower() or spec.frame,
        clicks=_clicks(spec, row, scan),
        clinical=tuple(
            (name, text) for name, text in row.items() if name not in COLUMNS and not name.startswith(RATING)
        ),
        ratings=_ratings(row),
    )


def _ratings(row: dict[str, str]) -> tuple[tuple[str, float], ...]:
    """Numbers of the columns of ratings, by their names in snake_case."""
    found = []
    for name in row:
        plain = re.sub(r"[^a-z0-9]+", "_", name.removeprefix(RATING).lower()).strip("_")
        if name.startswith(RATING) and plain and (number := _number(row, name)) is not None:
            found.append((plain, number))
    return tuple(found)


def _series_of(row: dict[str, str], known: dict[str, Series], by_patient: dict[str, list[Series]]) -> Series:
    name = row.get("series_uid", "")
    if name:
        scan = known.get(name) or known.get(volume_stem(name))
        if scan is None:
            raise AnnotationError("series_not_found", "the annotated series is not among the indexed images")
        if not scan.is_volume_file and scan.patient_id != row["patient_id"]:
            raise AnnotationError("patient_differs", "the annotated series belongs to another patient by its headers")
        return scan
    scans = by_patient.get(row["patient_id"], [])
    if len(scans) != 1:
        raise AnnotationError(
            "series_not_found" if not scans else "series_ambiguous",
            f"the row names no series and its patient has {len(scans)}; fill in series_uid",
        )
    return scans[0]


def _number(row: dict[str, str], name: str, column: str = "") -> float | None:
    text = row.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise AnnotationError(
            "not_a_number", f"column {column or name} does not hold a finite number; correct the file"
        )
    return value


def _centre(spec: DatasetSpec, row: dict[str, str], numbers: dict[str, float | None], scan: Series) -> Triple:
    x, y, z = numbers["x"], numbers["y"], numbers["z"]
    if x is None or y is None or z is None:
        raise AnnotationError("no_centre", "the row gives neither x, y, z nor a mask")
    return _to_lps((x, y, z), row.get("frame", "").lower() or spec.frame, scan)


def _to_lps(point: Triple, frame: str, scan: Series) -> Triple:
    x, y, z = point
    if frame == "lps":
        return x, y, z
    if frame == "ras":
        return -x, -y, z
    if frame == "voxel":
        if scan.geometry is None:
            raise AnnotationError("missing_geometry", "voxel coordinates need a series with a grid")
        x, y, z = scan.geometry.to_lps((z, y, x)).tolist()
        return x, y, z
    raise AnnotationError("unknown_frame", "frame must be lps, ras or voxel")


def _clicks(spec: DatasetSpec, row: dict[str, str], scan: Series) -> tuple[Click, ...]:
    frame = row.get("frame", "").lower() or spec.frame
    clicks = []
    for name in ("prompt_inside", "prompt_outside"):
        for text in filter(None, (part.strip() for part in row.get(name, "").split(";"))):
            numbers = [_number({"n": part}, "n", name) for part in text.replace(",", " ").split()]
            if len(numbers) != 3:
                raise AnnotationError("bad_prompt", f"column {name} holds points 'x y z' joined by ;; correct the file")
            x, y, z = (number or 0.0 for number in numbers)
            clicks.append(Click(_to_lps((x, y, z), frame, scan), inside=name == "prompt_inside"))
    return tuple(clicks)


def _size(numbers: dict[str, float | None]) -> Triple | None:
    diameter = numbers["diameter_mm"]
    sides = [numbers[name] if numbers[name] is not None else diameter for name in ("width_mm", "height_mm", "depth_mm")]
    width, height, depth = sides
    if width is None or height is None or depth is None:
        if any(side is not None for side in sides):
            raise AnnotationError("incomplete_size", "give all of width_mm, height_mm, depth_mm, or diameter_mm")
        return None
    if min(width, height, depth) <= 0:
        raise AnnotationError("bad_size", f"sides must be positive, found {width:g}, {height:g}, {depth:g} mm")
    return width, height, depth
