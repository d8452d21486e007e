"""Names of everything that one scan comes to: what each artefact is made from, before any of it is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lungpipe import versions
from lungpipe.store import ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lungpipe.dicom.source import Source
    from lungpipe.geometry import Geometry
    from lungpipe.nodule import Nodule
    from lungpipe.scan.settings import ScanSettings
    from lungpipe.store.ledger import Record


@dataclass(frozen=True, slots=True)
class ScanJob:
    """One scan and its annotated nodules; every identifier is a pseudonym, paths lead to the archive.

    Parameters
    ----------
    dataset, intensities, patient_id, series_uid, study_uid : str
    files : tuple of Source
    geometry : Geometry
    nodules : tuple of Nodule
    source_sha256 : str
        :func:`lungpipe.dicom.source.digest` of the files when they were curated.
    instances : tuple of str
        Pseudonym of the SOP instance UID of each slice; empty for a volume file.
    codes : tuple of str
        Quality codes of the series.
    """

    dataset: str
    intensities: str
    patient_id: str
    series_uid: str
    files: tuple[Source, ...]
    geometry: Geometry
    nodules: tuple[Nodule, ...]
    source_sha256: str
    study_uid: str = ""
    instances: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()

    @property
    def who(self) -> dict[str, str]:
        """What every row and record of the scan says of whose it is."""
        return {
            "dataset": self.dataset,
            "intensities": self.intensities,
            "patient_id": self.patient_id,
            "series_uid": self.series_uid,
        }


@dataclass(frozen=True, slots=True)
class Stages:
    """Records, without outputs, of what a scan comes to.

    ``lung`` is None where nothing is clipped to it, ``agreement`` where there is only one method. ``masks`` and
    ``features`` are by segmenter, those of a consensus after those of the methods.
    """

    volume: Record
    annotations: Record | None
    lung: Record | None
    masks: Mapping[str, Record]
    features: Mapping[str, Record]
    agreement: Record | None = None

    def __iter__(self) -> Iterator[Record]:
        """Every record, in the order in which they are made."""
        yield self.volume
        yield from (entry for entry in (self.annotations, self.lung) if entry is not None)
        yield from self.masks.values()
        if self.agreement is not None:
            yield self.agreement
        yield from self.features.values()

    @property
    def store(self) -> str:
        """The zarr group of the volume, its lung and its masks, relative to the workspace."""
        return f"volumes/{self.volume.id}.zarr"


def stages_of(job: ScanJob, settings: ScanSettings) -> Stages:
    """Name the artefacts of a scan; a setting counts only for those that depend on it.

    A scan without nodules has a volume and no more.
    """
    return stages_by(settings)(job)


@lru_cache(maxsize=2)
def stages_by(settings: ScanSettings) -> Callable[[ScanJob], Stages]:
    """:func:`stages_of` for many scans: what the settings come to is put into words once."""
    segmenters, consensus = settings.segmenter_names(), settings.consensus_names()
    lung_names = settings.lung_names() if settings.needs_lungs else None
    features_by: dict[str, Any] = {"settings": settings.feature_names(), "versions": settings.feature_versions()}

    def stages(job: ScanJob) -> Stages:
        def named(kind: str, made_from: list[Record], **what: Any) -> Record:
            subject = {**job.who, **what.pop("subject", {})}
            return ledger.named(job.patient_id, kind, subject=subject, made_from=[r.ref for r in made_from], **what)

        volume = named("volume", [], **_source(job))
        if not job.nodules:
            return Stages(volume, None, None, {}, {})
        annotations = named(
            "annotations",
            [volume],
            inputs={"nodules": [_describe(nodule) for nodule in job.nodules]},
            versions={"scan": versions.SCAN},
        )
        lungs = (
            None
            if lung_names is None
            else named("lung", [volume], settings=lung_names, versions={"lung": versions.LUNG})
        )
        masks = {
            name: named(
                "masks",
                [volume, annotations],
                subject={"segmenter": name},
                settings={"segmenter": plugin},
                versions={"scan": versions.SCAN},
            )
            for name, plugin in segmenters.items()
        }
        methods = list(masks.values())
        for name, way in consensus.items():
            masks[name] = named(
                "masks",
                [volume, annotations, *methods],
                subject={"segmenter": name},
                settings={"consensus": way},
                versions={"scan": versions.SCAN},
            )
        agreement = (
            named("agreement", [volume, *masks.values()], versions={"scan": versions.SCAN, "fusion": versions.FUSION})
            if len(methods) > 1
            else None
        )
        features = {
            name: named(
                "features", [volume, entry, *([lungs] if lungs else [])], subject={"segmenter": name}, **features_by
            )
            for name, entry in masks.items()
        }
        return Stages(volume, annotations, lungs, masks, features, agreement)

    return stages


def _source(job: ScanJob) -> dict[str, Any]:
    """What a volume is made from."""
    return {
        "subject": {"study_uid": job.study_uid},
        "inputs": {
            "source_sha256": job.source_sha256,
            "n_files": len({source.file for source in job.files}),
            "instances": list(job.instances),
            "shape_zyx": list(job.geometry.shape),
            "spacing_zyx_mm": list(job.geometry.spacing_mm),
            "origin_lps_mm": list(job.geometry.origin_mm),
            "direction": list(job.geometry.direction),
            "codes": list(job.codes),
        },
        "versions": {"read": versions.READ, "volumes": versions.VOLUMES},
    }


def _describe(nodule: Nodule) -> dict[str, Any]:
    """What of a nodule determines its masks; its label does not."""
    return {
        "nodule_id": nodule.nodule_id,
        "centre_mm": nodule.centre_mm,
        "size_mm": nodule.size_mm,
        "frame": nodule.frame,
        "raters": [mask.content_id for mask in nodule.raters],
        "mask_sha256": _mask_digest(nodule),
        "mask_roi": nodule.mask_roi,
        "clicks": [asdict(click) for click in nodule.clicks],
    }


def _mask_digest(nodule: Nodule) -> str | None:
    if nodule.mask_path is None:
        return None
    try:
        return ledger.digest_files([nodule.mask_path])
    except OSError:
        return "unreadable"  # becomes an exclusion when the nodule's turn comes
