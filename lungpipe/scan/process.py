"""The chain for one scan, as a worker runs it.

It takes paths and small records and gives back a small record: arrays stay inside. Each stage looks in the ledger first and
makes only what does not stand.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from lungpipe.dicom import read
from lungpipe.dicom.source import digest
from lungpipe.errors import CaseError, DicomError, Exclusion, FeatureError, RegionError
from lungpipe.radiomics.undefined import Features
from lungpipe.region.airways import airway_tree
from lungpipe.region.lung import Lungs, find_lungs
from lungpipe.scan.controls import controls_of
from lungpipe.scan.embeddings import embeddings_of
from lungpipe.scan.locate import locate
from lungpipe.scan.regions import regions_of, why_empty
from lungpipe.scan.result import ScanResult
from lungpipe.scan.rows import Rows, rows_path
from lungpipe.scan.stages import Stages, stages_of
from lungpipe.segment.fusion import agreement_map, disagreement, fuse
from lungpipe.store import ledger
from lungpipe.store.history import counted_as
from lungpipe.store.parts import load_rows, write_rows
from lungpipe.store.place import Place
from lungpipe.store.volumes import read_labels, read_mask, read_volume, write_labels, write_mask, write_volume
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lungpipe.nodule import Nodule
    from lungpipe.scan.settings import ScanSettings
    from lungpipe.scan.stages import ScanJob
    from lungpipe.store.ledger import Record
    from lungpipe.volume import CTVolume

#: Trachea and main bronchi among the stored labels of the lungs (1 right, 2 left).
AIRWAY_LABEL = 3


def through_stages(job: ScanJob, settings: ScanSettings, workspace: str | Path) -> ScanResult:
    """See :func:`lungpipe.scan.process_scan`."""
    scan = _Scan(job, settings, Place.at(workspace), stages_of(job, settings))
    try:
        scan.store_volume()
    except CaseError as error:
        return scan.result(exclusion=Exclusion.of(error, patient_id=job.patient_id, series_uid=job.series_uid))
    stages = scan.stages
    if stages.annotations is not None:
        scan.write_annotations(stages.annotations)
        for name in stages.masks:
            scan.write_masks(name)
        if stages.agreement is not None:
            scan.write_agreement(stages.agreement)
        scan.store_lung()
        for name in stages.features:
            scan.write_features(name)
    parts = [entry.ref for entry in stages if entry.kind in {"annotations", "masks", "agreement", "features"}]
    return scan.result(volume_id=stages.volume.id, parts=tuple(parts))


class _Scan:
    """One scan on its way: what was read or made of it so far, and how long that took."""

    def __init__(self, job: ScanJob, settings: ScanSettings, place: Place, stages: Stages) -> None:
        self.job, self.settings, self.place, self.stages = job, settings, place, stages
        self._standing: dict[str, Record | None] = {}
        self._made: Counter[str] = Counter()
        self._masks: dict[str, dict[str, Mask]] = {}
        self._seconds: dict[str, float] = {}
        self._began_s = time.time()
        self._start = self._last = self._recorded = time.perf_counter()

    def result(
        self, volume_id: str = "", parts: tuple[str, ...] = (), exclusion: Exclusion | None = None
    ) -> ScanResult:
        """What became of the scan, with artefacts made and found standing by kind, and seconds by stage."""
        reused = Counter(counted_as(entry) for entry in self._standing.values() if entry)
        return ScanResult(
            self.job.series_uid,
            self.job.patient_id,
            volume_id,
            parts,
            dict(self._made),
            dict(reused),
            self._seconds,
            exclusion,
            self._began_s,
            time.perf_counter() - self._start,
        )

    def reuse(self, entry: Record) -> Record | None:
        """Record of an artefact that stands; looked up once."""
        if entry.ref not in self._standing:
            self._standing[entry.ref] = ledger.stands(self.place, entry.ref)
            self._lap("verify")
        return self._standing[entry.ref]

    def _record(self, entry: Record, outputs: list[str]) -> None:
        ledger.record(self.place, entry, outputs, time.perf_counter() - self._recorded)
        self._recorded = time.perf_counter()
        self._made[counted_as(entry)] += 1
        self._lap("record")

    def _lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._last
        self._last = now

    def store_volume(self) -> None:
        """Read the scan from the archive and store it, unless that was done."""
        entry = self.stages.volume
        standing = self.reuse(entry)
        if standing is not None:
            if standing.failed:
                raise DicomError(standing.failed["code"], standing.failed["message"])
            return
        try:
            source = digest(self.job.files)
        except (OSError, RuntimeError, NotImplementedError, BadZipFile) as error:
            message = f"a file of the series could not be read ({type(error).__name__}); check the archive, run again"
            raise DicomError("unreadable_file", message) from error
        if source != self.job.source_sha256:
            raise DicomError("changed_file", "a file of the series was changed since it was curated; run again")
        try:
            volume = read.read_volume(self.job.files, self.job.geometry)
        except CaseError as error:
            self._record(replace(entry, failed={"code": error.code, "message": error.message}), [])
            raise
        self._lap("read")
        self._forget_beside()
        attributes = {**self.job.who, "study_uid": self.job.study_uid, "codes": list(self.job.codes)}
        write_volume(self.place, self.stages.store, volume, attributes)
        self.__dict__["volume"] = volume
        self._lap("store")
        self._record(entry, [f"{self.stages.store}/ct", f"{self.stages.store}/zarr.json"])

    def _forget_beside(self) -> None:
        """Drop the records of what lies beside a volume that is about to be written again, and goes with the group.

        What other settings made of it goes too; what these settings ask for stands until its own turn comes.
        """
        if not self.place.exists(self.stages.store):
            return
        asked = {entry.ref for entry in self.stages}
        gone: set[str] = set()
        for entry in ledger.readable(self.place, self.job.patient_id):
            beside = any(name.startswith(f"{self.stages.store}/") for name in entry.outputs)
            if beside or (entry.ref not in asked and not gone.isdisjoint(entry.made_from)):
                gone.add(entry.ref)
                ledger.forget(self.place, entry.ref)

    @cached_property
    def volume(self) -> CTVolume:
        """HU of the whole scan."""
        volume = read_volume(self.place, self.stages.store)
        self._lap("read")
        return volume

    @cached_property
    def located(self) -> tuple[list[Nodule], list[tuple[Nodule, CaseError]]]:
        """Nodules with centre, box and rater masks, and those that do not fit the scan."""
        found, failed = [], []
        for nodule in self.job.nodules:
            try:
                found.append(locate(nodule, self.volume, self.job.files))
            except CaseError as error:
                failed.append((nodule, error))
        self._lap("locate")
        return found, failed

    @cached_property
    def lungs(self) -> Lungs | RegionError | None:
        """The lungs, or why there are none; None where nothing is clipped to them."""
        entry = self.stages.lung
        if entry is None:
            return None
        failed = (ledger.load(self.place, entry.ref)).failed
        if failed:
            return RegionError(failed["code"], failed["message"])
        stored = read_labels(self.place, self.stages.store, f"lung/{entry.id}")
        labels = np.where(stored.voxels == AIRWAY_LABEL, 0, stored.voxels).astype(np.uint8)
        airways = Mask(stored.voxels == AIRWAY_LABEL, stored.frame, stored.start)
        return Lungs(labels, stored.frame, stored.start, airways)

    @cached_property
    def airways(self) -> Mask | RegionError:
        """The lumen of the airways, or why there is none."""
        if not isinstance(self.lungs, Lungs):
            raise TypeError("airways are looked for where there are lungs")
        try:
            return airway_tree(self.volume, self.lungs)
        except RegionError as error:
            return error
        finally:
            self._lap("airways")

    def _rows(self, entry: Record) -> Rows:
        return Rows(self.job.who, self.stages.volume.id, self.job.source_sha256, self.volume.hu_sha256, entry.id)

    def _write(self, entry: Record, rows: Rows, others: tuple[str, ...] = (), outputs: Sequence[str] = ()) -> None:
        path = rows_path(entry.ref)
        write_rows(self.place, path, {table: getattr(rows, table) for table in ("exclusions", *others)})
        self._lap("write")
        self._record(entry, [path, *outputs])

    def write_annotations(self, entry: Record) -> None:
        """Record which nodules do not fit the scan."""
        if self.reuse(entry):
            return
        rows = self._rows(entry)
        for nodule, error in self.located[1]:
            rows.exclude(error, nodule)
        self._write(entry, rows)

    def store_lung(self) -> None:
        """Find the lungs, unless that was done or is not asked for."""
        entry = self.stages.lung
        if entry is None or self.reuse(entry):
            return
        path = f"lung/{entry.id}"
        try:
            lungs = (self.settings.outside_lungs or find_lungs)(self.volume)
        except RegionError as error:
            self._record(replace(entry, failed={"code": error.code, "message": error.message}), [])
            return
        self._lap("lung")
        for name in (path, "lung/zarr.json"):
            self.place.remove(f"{self.stages.store}/{name}")
        labels = np.where(lungs.airways.voxels, np.uint8(AIRWAY_LABEL), lungs.voxels)
        about = {"labels": {"1": "right lung", "2": "left lung", "3": "trachea and main bronchi"}}
        write_labels(self.place, self.stages.store, path, labels, lungs.start, about)
        self.__dict__["lungs"] = lungs
        self._lap("store")
        self._record(entry, self._stored("lung", path))

    def write_masks(self, name: str) -> None:
        """Segment every nodule with one method, or agree on one mask from those of all methods."""
        entry = self.stages.masks[name]
        if self.reuse(entry):
            return
        rows, made = self._rows(entry), dict[str, Mask]()
        self.place.remove(f"{self.stages.store}/masks/{entry.id}")
        for nodule in self.located[0]:
            try:
                mask = self._segment(name, nodule)
            except CaseError as error:
                rows.exclude(error, nodule, name)
                continue
            rows.nodule(nodule, name, mask, self.volume)
            self._lap("segment")
            if len(rows.nodules) == 1:  # a damaged group would stay damaged; this mask makes it anew
                self.place.remove(f"{self.stages.store}/masks/zarr.json")
            write_mask(self.place, self.stages.store, _mask_path(entry, nodule.nodule_id), mask, {"segmenter": name})
            made[nodule.nodule_id] = mask
            self._lap("store")
        self._masks[name] = made
        outputs = self._stored("masks", f"masks/{entry.id}") if rows.nodules else []
        self._write(entry, rows, ("nodules",), outputs)

    def _segment(self, name: str, nodule: Nodule) -> Mask:
        if name in self.settings.segmenters:
            return self.settings.segmenters[name](self.volume, nodule)
        return fuse(name, [*self._by_method(nodule.nodule_id).values()])

    def _by_method(self, nodule_id: str) -> dict[str, Mask]:
        """Masks of one nodule by method, without those of a consensus."""
        by_method = {name: self._masks_of(name).get(nodule_id) for name in sorted(self.settings.segmenters)}
        return {name: mask for name, mask in by_method.items() if mask is not None}

    def write_agreement(self, entry: Record) -> None:
        """Store how many methods hold each voxel of a nodule, and how far each mask is from those of the other methods."""
        if self.reuse(entry):
            return
        rows = self._rows(entry)
        for path in (f"agreement/{entry.id}", "agreement/zarr.json"):  # as in store_lung: a damaged group is made anew
            self.place.remove(f"{self.stages.store}/{path}")
        for nodule in self.located[0]:
            methods = self._by_method(nodule.nodule_id)
            if len(methods) < 2:
                continue
            self._write_map(entry, nodule.nodule_id, methods)
            for name in self.stages.masks:
                mask = self._masks_of(name).get(nodule.nodule_id)
                if mask is not None:
                    others = [other for method, other in methods.items() if method != name]
                    rows.agree(nodule.nodule_id, name, disagreement(mask, others))
        self._lap("agreement")
        outputs = self._stored("agreement", f"agreement/{entry.id}") if rows.agreement else []
        self._write(entry, rows, ("agreement",), outputs)

    def _write_map(self, entry: Record, nodule_id: str, methods: Mapping[str, Mask]) -> None:
        counts, start = agreement_map([*methods.values()])
        path = f"agreement/{entry.id}/{nodule_id}"
        write_labels(self.place, self.stages.store, path, counts, start, {"methods": sorted(methods)})

    def _stored(self, group: str, path: str) -> list[str]:
        """Outputs of an artefact in the zarr group: its own part, and the metadata of the group that holds it."""
        names = [f"{self.stages.store}/{path}", f"{self.stages.store}/{group}/zarr.json"]
        return [name for name in names if self.place.exists(name)]

    def _masks_of(self, name: str) -> dict[str, Mask]:
        """Masks of one method by nodule."""
        if name not in self._masks:
            entry = self.stages.masks[name]
            rows = load_rows(self.place, rows_path(entry.ref))["nodules"]
            self._masks[name] = {
                row["nodule_id"]: read_mask(self.place, self.stages.store, _mask_path(entry, row["nodule_id"]))
                for row in rows
            }
        return self._masks[name]

    def write_features(self, name: str) -> None:
        """Expand the masks of one method, extract features of every region, and embed every nodule."""
        entry = self.stages.features[name]
        if self.reuse(entry):
            return
        settings, rows = self.settings, self._rows(entry)
        masks = self._masks_of(name)
        lungs = self.lungs if masks else None
        self._lap("read")
        for nodule_id, mask in masks.items():
            if isinstance(lungs, RegionError):
                rows.exclude(lungs, nodule_id, name)
                continue
            others = [other for other_id, other in masks.items() if other_id != nodule_id]
            regions, codes = regions_of(mask, others, self.volume, lungs, lambda: self.airways, settings)
            self._lap("regions")
            values = settings.extractor(self.volume, [region.mask for region in regions], settings.radiomics)
            found = [(str(r.spec.kind), r, value, codes) for r, value in zip(regions, values, strict=True)]
            if settings.controls:
                found += [(*control, ()) for control in controls_of(self.volume, mask, settings)]
            found += [(*one, ()) for one in embeddings_of(self.volume, mask, settings.embedders)]
            for kind, region, value, about in found:
                lost = why_empty(region) or (value if isinstance(value, FeatureError) else None)
                if lost is not None:
                    rows.exclude(lost, nodule_id, f"{name}, {kind} {region.spec.radius_mm:g} mm")
                elif not isinstance(value, FeatureError):
                    own = value.codes if isinstance(value, Features) else ()
                    rows.feature(nodule_id, name, kind, region, value, (*about, *own))
            self._lap("features")
        self._write(entry, rows, ("features",))


def _mask_path(entry: Record, nodule_id: str) -> str:
    return f"masks/{entry.id}/{nodule_id}"
