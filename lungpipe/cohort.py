"""Join indexed series and annotated nodules into jobs, under pseudonyms."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from lungpipe.dicom.codes import CODES
from lungpipe.dicom.quality import check_limits
from lungpipe.errors import Exclusion
from lungpipe.lineage.tombstones import tombstone_id
from lungpipe.scan import ScanJob

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lungpipe.curate import Curation, Judged
    from lungpipe.dicom.pseudonymise import Pseudonymiser
    from lungpipe.dicom.quality import QualitySettings
    from lungpipe.nodule import Nodule


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do; nothing in it identifies a patient but the paths of the jobs' files.

    Parameters
    ----------
    jobs : tuple of ScanJob
        One an accepted series.
    series_rows : tuple of dict
        Rows of ``tables/series.parquet`` without ``volume_id``.
    exclusions : tuple of dict
        Rows of ``tables/exclusions.parquet`` known before any pixel is read.
    """

    jobs: tuple[ScanJob, ...]
    series_rows: tuple[dict[str, Any], ...]
    exclusions: tuple[dict[str, Any], ...]

    @property
    def nodules(self) -> list[Nodule]:
        """Every nodule that will be worked on."""
        return [nodule for job in self.jobs for nodule in job.nodules]


def plan_cohort(
    dataset: str,
    intensities: str,
    curation: Curation,
    nodules: Sequence[Nodule],
    exclusions: Iterable[Exclusion],
    pseudonym: Pseudonymiser,
    quality: QualitySettings,
    gone: frozenset[str] = frozenset(),
) -> Plan:
    """Hand every nodule to its series, leave out what is quarantined, and replace all identifiers.

    Parameters
    ----------
    dataset : str
        Name in the catalog.
    intensities : {"measured", "simulated"}
        What the catalog says; a series whose headers say "simulated" is simulated whatever the catalog says.
    curation : Curation
    nodules : sequence of Nodule
        With the archive's identifiers.
    exclusions : iterable of Exclusion
        Annotation rows that could not be used, with the archive's identifiers.
    pseudonym : Pseudonymiser
    quality : QualitySettings
        What was judged with.
    gone : frozenset of str
        Tombstones of patients who were withdrawn: nothing of them is in the plan but one exclusion that counts their
        series.
    """
    owner = {n.series_uid: n.patient_id for n in nodules}
    by_series: dict[str, list[Nodule]] = {}
    for nodule in nodules:
        by_series.setdefault(nodule.series_uid, []).append(nodule)
    left_out = [*curation.exclusions, *exclusions]
    jobs, rows = [], []
    n_gone = 0

    def is_gone(patient: str) -> bool:
        return bool(gone) and tombstone_id(pseudonym("patient", patient)) in gone

    for judged in curation.stacks:
        scan = judged.series
        # A volume file carries no patient; its annotations do.
        patient = owner.get(scan.series_uid, scan.patient_id) if scan.is_volume_file else scan.patient_id
        if is_gone(patient):
            n_gone += 1
            continue
        name = scan.name
        kind = "simulated" if scan.simulated else intensities
        rows.append(_series_row(judged, patient, dataset, kind, pseudonym))
        # Annotations name a series; of a series with several stacks, the largest answers to the name.
        found = by_series.get(name, [])
        if judged.verdict == "quarantine" or scan.geometry is None:
            codes = [code for code in judged.codes if quality.verdict([code]) == "quarantine"]
            detail = f" ({judged.detail})" if judged.detail else ""
            left_out += [Exclusion("quality", code, CODES[code].meaning + detail, patient, name) for code in codes]
            message = f"its series is quarantined: {', '.join(codes)}"
            left_out += [
                Exclusion("quality", "series_quarantined", message, patient, n.series_uid, n.nodule_id) for n in found
            ]
            continue
        hidden_patient, hidden_series = pseudonym("patient", patient), pseudonym("series", name)
        hidden = [
            replace(
                n,
                patient_id=hidden_patient,
                series_uid=hidden_series,
                nodule_id=pseudonym("nodule", f"{patient}/{n.nodule_id}"),
            )
            for n in found
        ]
        hidden.sort(key=lambda n: n.nodule_id)
        jobs.append(
            ScanJob(
                dataset,
                kind,
                hidden_patient,
                hidden_series,
                scan.files,
                scan.geometry,
                tuple(hidden),
                judged.source_sha256,
                pseudonym("study", scan.study_uid),
                () if scan.is_volume_file else tuple(pseudonym.uid(uid) for uid in scan.sop_uids),
                # Codes that depend on a recipe's limits say nothing about the volume.
                tuple(sorted(set(judged.codes) - check_limits(scan, quality))),
            )
        )
    left_out = [item for item in left_out if not is_gone(item.patient_id)]
    if n_gone:
        left_out.append(Exclusion("withdrawal", "withdrawn", f"{n_gone} series of withdrawn patients were left out"))
    return Plan(
        tuple(sorted(jobs, key=lambda j: (j.patient_id, j.series_uid))),
        tuple(rows),
        tuple(_exclusion_row(e, intensities, pseudonym) for e in left_out),
    )


def _exclusion_row(item: Exclusion, intensities: str, pseudonym: Pseudonymiser) -> dict[str, Any]:
    return {
        **asdict(item),
        "patient_id": pseudonym("patient", item.patient_id),
        "series_uid": pseudonym("series", item.series_uid),
        "nodule_id": pseudonym("nodule", f"{item.patient_id}/{item.nodule_id}") if item.nodule_id else "",
        "file": pseudonym("file", item.file),
        "intensities": intensities,
    }


def _series_row(
    judged: Judged, patient: str, dataset: str, intensities: str, pseudonym: Pseudonymiser
) -> dict[str, Any]:
    scan = judged.series
    grid = scan.geometry
    spacing = grid.spacing_mm if grid else (float("nan"),) * 3
    return {
        "dataset": dataset,
        "intensities": intensities,
        "patient_id": pseudonym("patient", patient),
        "series_uid": pseudonym("series", scan.name),
        "study_uid": pseudonym("study", scan.study_uid),
        "stack": scan.stack,
        "modality": scan.modality,
        "n_slices": grid.shape[0] if grid else len(scan.files),
        "rows": grid.shape[1] if grid else 0,
        "columns": grid.shape[2] if grid else 0,
        "spacing_z_mm": spacing[0],
        "spacing_y_mm": spacing[1],
        "spacing_x_mm": spacing[2],
        "manufacturer": str(scan.scanner.get("manufacturer") or ""),
        "model": str(scan.scanner.get("model") or ""),
        "kernel": str(scan.scanner.get("kernel") or ""),
        "kvp": scan.scanner.get("kvp"),
        "tube_current_ma": scan.scanner.get("tube_current_ma"),
        "slice_thickness_mm": scan.scanner.get("slice_thickness_mm"),
        "ctdi_vol_mgy": scan.scanner.get("ctdi_vol_mgy"),
        "exposure_mas": scan.scanner.get("exposure_mas"),
        "transfer_syntax": str(scan.scanner.get("transfer_syntax") or ""),
        "padding_voxels": judged.padding_voxels,
        "codes": ";".join(judged.codes),
        "detail": judged.detail,
        "verdict": judged.verdict,
    }
