"""Join indexed series and annotated nodules into jobs, under pseudonyms."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from lungpipe.dicom.quality import MEANINGS, check_series
from lungpipe.errors import Exclusion
from lungpipe.scan import ScanJob

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lungpipe.dicom.index import Series, SeriesTable
    from lungpipe.dicom.pseudonymise import Pseudonymiser
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
    table: SeriesTable,
    nodules: Sequence[Nodule],
    exclusions: Iterable[Exclusion],
    pseudonym: Pseudonymiser,
) -> Plan:
    """Check every series, hand its nodules to it, and replace all identifiers.

    Parameters
    ----------
    dataset : str
        Name in the catalog.
    intensities : {"measured", "simulated"}
        What the catalog says; a series whose headers say "simulated" is simulated whatever the catalog says.
    table : SeriesTable
    nodules : sequence of Nodule
        With the archive's identifiers.
    exclusions : iterable of Exclusion
        Annotation rows that could not be used, with the archive's identifiers.
    pseudonym : Pseudonymiser
    """
    owner = {n.series_uid: n.patient_id for n in nodules}
    by_series: dict[str, list[Nodule]] = {}
    for nodule in nodules:
        by_series.setdefault(nodule.series_uid, []).append(nodule)
    left_out = [*table.exclusions, *exclusions]
    jobs, rows = [], []
    for scan in table.series:
        # A volume file carries no patient; its annotations do.
        patient = scan.patient_id if scan.headers else owner.get(scan.series_uid, scan.patient_id)
        codes = check_series(scan)
        kind = "simulated" if scan.simulated else intensities
        rows.append(_series_row(scan, patient, codes, dataset, kind, pseudonym))
        found = by_series.get(scan.series_uid, [])
        if codes or scan.geometry is None:
            left_out += [Exclusion("quality", code, MEANINGS[code], patient, scan.series_uid) for code in codes]
            message = f"its series is quarantined: {', '.join(codes)}"
            left_out += [
                Exclusion("quality", "series_quarantined", message, patient, n.series_uid, n.nodule_id) for n in found
            ]
            continue
        hidden_patient, hidden_series = pseudonym("patient", patient), pseudonym("series", scan.series_uid)
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
        jobs.append(ScanJob(dataset, kind, hidden_patient, hidden_series, scan.files, scan.geometry, tuple(hidden)))
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
        "intensities": intensities,
    }


def _series_row(
    scan: Series, patient: str, codes: tuple[str, ...], dataset: str, intensities: str, pseudonym: Pseudonymiser
) -> dict[str, Any]:
    grid = scan.geometry
    spacing = grid.spacing_mm if grid else (float("nan"),) * 3
    first = scan.headers[0].size if scan.headers else (0, 0)
    return {
        "dataset": dataset,
        "intensities": intensities,
        "patient_id": pseudonym("patient", patient),
        "series_uid": pseudonym("series", scan.series_uid),
        "study_uid": pseudonym("study", scan.study_uid),
        "modality": scan.modality,
        "n_slices": grid.shape[0] if grid else len(scan.files),
        "rows": grid.shape[1] if grid else first[0],
        "columns": grid.shape[2] if grid else first[1],
        "spacing_z_mm": spacing[0],
        "spacing_y_mm": spacing[1],
        "spacing_x_mm": spacing[2],
        "manufacturer": str(scan.scanner.get("manufacturer") or ""),
        "model": str(scan.scanner.get("model") or ""),
        "kernel": str(scan.scanner.get("kernel") or ""),
        "kvp": scan.scanner.get("kvp"),
        "tube_current_ma": scan.scanner.get("tube_current_ma"),
        "slice_thickness_mm": scan.scanner.get("slice_thickness_mm"),
        "codes": ";".join(codes),
        "verdict": "quarantine" if codes else "accept",
    }
