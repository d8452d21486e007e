"""The chain for one scan, as a worker runs it.

It takes paths and small records and gives back a small record: arrays stay inside.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from lungpipe.dicom import read
from lungpipe.dicom.masks import mask_kind, read_mask_file, source_uids
from lungpipe.dicom.source import digest
from lungpipe.errors import AnnotationError, CaseError, DicomError, Exclusion, FeatureError, RegionError
from lungpipe.region import expand
from lungpipe.region.lung import lung_mask
from lungpipe.scan.rows import PARTS, Rows
from lungpipe.segment.roi import nodule_box
from lungpipe.store import ledger
from lungpipe.store.tables import make_table, write_table
from lungpipe.store.volumes import write_mask, write_volume
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lungpipe.dicom.rasterise import ContourReport
    from lungpipe.dicom.source import Source
    from lungpipe.geometry import Geometry
    from lungpipe.nodule import Nodule
    from lungpipe.scan.settings import ScanSettings


@dataclass(frozen=True, slots=True)
class ScanJob:
    """One scan and its annotated nodules; every identifier is a pseudonym, paths lead to the archive."""

    dataset: str
    intensities: str
    patient_id: str
    series_uid: str
    files: tuple[Source, ...]
    geometry: Geometry
    nodules: tuple[Nodule, ...]


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What became of a scan: where its rows are, or why it has none."""

    series_uid: str
    patient_id: str
    artefact: str = ""
    volume_id: str = ""
    reused: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)
    exclusion: Exclusion | None = None


def process_scan(job: ScanJob, settings: ScanSettings, workspace: Path) -> ScanResult:
    """Process one scan, or find that its rows are there already.

    Parameters
    ----------
    job : ScanJob
    settings : ScanSettings
    workspace : Path
        Gets ``volumes/<id>.zarr``, ``parts/<artefact>/*.parquet`` and their ledger entries.

    Returns
    -------
    ScanResult
        With an exclusion instead of rows where the scan cannot be read. Failures of single nodules, masks and
        regions are rows of ``parts/<artefact>/exclusions.parquet``.
    """
    who = {"patient_id": job.patient_id, "series_uid": job.series_uid}

    def excluded(error: CaseError) -> ScanResult:
        return ScanResult(job.series_uid, job.patient_id, exclusion=Exclusion.of(error, **who))

    try:
        source = digest(job.files)
    except (OSError, RuntimeError, NotImplementedError, BadZipFile) as error:
        message = f"a file of the series could not be read ({type(error).__name__}); check the archive and run again"
        return excluded(DicomError("unreadable_file", message))
    volume_id = ledger.artefact_id("volume", source=source, geometry=job.geometry, who=who, version=read.VERSION)
    inputs = {"volume": volume_id, "nodules": [_describe(n) for n in job.nodules], "settings": settings.names()}
    artefact = ledger.artefact_id("scan", dataset=job.dataset, **inputs)
    if ledger.stands(workspace, artefact, "scan") and ledger.stands(workspace, volume_id, "volume"):
        return ScanResult(job.series_uid, job.patient_id, artefact, volume_id, reused=True)
    clock = _Clock()
    try:
        volume = read.read_volume(job.files, job.geometry)
    except CaseError as error:
        return excluded(error)
    clock.lap("read")
    store = workspace / "volumes" / f"{volume_id}.zarr"
    if not ledger.stands(workspace, volume_id, "volume"):
        write_volume(store, volume, {"intensities": job.intensities, **who})
        ledger.record(
            workspace, volume_id, "volume", [store / "ct", store / "zarr.json"], {"source_sha256": source, **who}
        )
    clock.lap("store")
    rows = Rows({"dataset": job.dataset, "intensities": job.intensities, **who}, volume_id, source)
    _nodules(job, settings, volume, rows, store, clock)
    folder = workspace / "parts" / artefact
    for part in PARTS:
        write_table(make_table(part, getattr(rows, part)), folder / f"{part}.parquet")
    masks = [store / "masks" / row["nodule_id"] / row["segmenter"] for row in rows.nodules]
    ledger.record(workspace, artefact, "scan", [*(folder / f"{part}.parquet" for part in PARTS), *masks], inputs)
    clock.lap("write")
    return ScanResult(job.series_uid, job.patient_id, artefact, volume_id, seconds=clock.seconds)


def _describe(nodule: Nodule) -> dict[str, Any]:
    return {
        "nodule_id": nodule.nodule_id,
        "centre_mm": nodule.centre_mm,
        "size_mm": nodule.size_mm,
        "malignant": nodule.malignant,
        "split": nodule.split,
        "raters": [mask.content_id for mask in nodule.raters],
        "mask_sha256": _mask_digest(nodule),
        "mask_roi": nodule.mask_roi,
    }


def _mask_digest(nodule: Nodule) -> str | None:
    if nodule.mask_path is None:
        return None
    try:
        return ledger.digest_files([nodule.mask_path])
    except OSError:
        return "unreadable"  # becomes an exclusion when the nodule's turn comes


class _Clock:
    """Wall seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def _nodules(job: ScanJob, settings: ScanSettings, volume: CTVolume, rows: Rows, store: Path, clock: _Clock) -> None:
    nodules = []
    for nodule in job.nodules:
        try:
            located = _with_mask(nodule, volume, job.files)
            nodule_box(volume.frame, located)
            nodules.append(located)
        except CaseError as error:
            rows.exclude(error, nodule)
    lung = None
    if settings.clip == "lung" and nodules:
        try:
            lung = lung_mask(volume)
        except RegionError as error:
            for nodule in nodules:
                rows.exclude(error, nodule)
            nodules = []
    clock.lap("lung")
    for name, segmenter in settings.segmenters.items():
        masks: list[tuple[Nodule, Mask]] = []
        for nodule in nodules:
            try:
                mask = segmenter(volume, nodule)
            except CaseError as error:
                rows.exclude(error, nodule, name)
                continue
            masks.append((nodule, mask))
            window = volume.crop(mask.start, mask.stop)
            rows.nodule(nodule, name, mask, window.hu[mask.voxels])
            write_mask(store, f"{nodule.nodule_id}/{name}", mask)
        clock.lap("segment")
        for nodule, mask in masks:
            others = [m for n, m in masks if n is not nodule] if settings.exclude_neighbours else []
            regions = expand.expand_all(mask, settings.specs, within=lung, without=others)
            clock.lap("regions")
            values = settings.extractor(volume, [region.mask for region in regions], settings.radiomics)
            for region, value in zip(regions, values, strict=True):
                if isinstance(value, FeatureError):
                    rows.exclude(value, nodule, f"{name}, {region.spec.kind} {region.spec.radius_mm:g} mm")
                else:
                    rows.feature(nodule, name, region, value)
            clock.lap("features")


def _with_mask(nodule: Nodule, volume: CTVolume, files: tuple[Source, ...]) -> Nodule:
    """The nodule with its mask file read, and centre and size taken from the mask where it has none."""
    raters = nodule.raters
    reports: list[ContourReport] = []
    if nodule.mask_path is not None:
        # DICOM names the images that a mask was drawn on.
        series_uid, sop_uids = source_uids(files if mask_kind(nodule.mask_path) != "image" else ())
        mask = read_mask_file(
            nodule.mask_path,
            volume.frame,
            roi=nodule.mask_roi,
            series_uid=series_uid,
            sop_uids=sop_uids,
            on_contours=reports.append,
        )
        raters = (*raters, mask)
    nodule = replace(nodule, raters=raters, codes=tuple(code for report in reports for code in report.codes))
    if nodule.centre_mm is not None:
        return nodule
    if not raters or not any(mask.n_voxels for mask in raters):
        raise AnnotationError("empty_annotation", "the annotation's mask holds no voxel")
    bounds = np.asarray([mask.bounds for mask in raters if mask.n_voxels])
    low, high = bounds[:, 0].min(axis=0), bounds[:, 1].max(axis=0)
    x, y, z = volume.frame.to_lps((low + high - 1) / 2.0).tolist()
    dz, dy, dx = ((high - low) * np.asarray(volume.frame.spacing_mm)).tolist()
    return replace(nodule, centre_mm=(x, y, z), size_mm=(dx, dy, dz))
