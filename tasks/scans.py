"""Stage 2: from DICOM to feature rows, one Prefect task a shard of scans, one Dask future a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from lungpipe.errors import Exclusion
from lungpipe.scan import ScanResult, process_scan, stages_of
from lungpipe.scan.memory import projected_bytes
from lungpipe.store import ledger
from lungpipe.store.place import Place
from tasks.each import Failure, each

if TYPE_CHECKING:
    from collections.abc import Callable

    from lungpipe.scan import ScanJob, ScanSettings

#: Prefect records a task run a shard; a task run a scan would drown its server.
SCANS_A_SHARD = 100


def shards(jobs: tuple[ScanJob, ...]) -> list[list[ScanJob]]:
    """Split the jobs into shards of :data:`SCANS_A_SHARD`."""
    return [list(jobs[i : i + SCANS_A_SHARD]) for i in range(0, len(jobs), SCANS_A_SHARD)]


@task(name="scans", cache_policy=NO_CACHE, persist_result=False)
def process_shard(
    address: str,
    jobs: list[ScanJob],
    settings: ScanSettings,
    workspace: str,
    timeout_s: float,
    tell: Callable[[ScanResult], None],
) -> list[ScanResult]:
    """Process every scan of a shard; each ends as a result, with rows or with an exclusion, and is told at once."""
    results = []
    place = Place.at(workspace)
    needs = [_needs_bytes(job, settings, place) for job in jobs]
    for position, outcome in each(
        address, process_scan, jobs, settings, workspace, timeout_s=timeout_s, needs_bytes=needs
    ):
        result = _failed(jobs[position], outcome) if isinstance(outcome, Failure) else outcome
        results.append(result)
        tell(result)
    return sorted(results, key=lambda r: (r.patient_id, r.series_uid))


def _needs_bytes(job: ScanJob, settings: ScanSettings, place: Place) -> int:
    """Memory for a scan, by its headers; one whose artefacts all have records is only looked over."""
    known = set(ledger.refs(place, job.patient_id))
    if all(entry.ref in known for entry in stages_of(job, settings)):
        return 0
    return projected_bytes(job.geometry, needs_lungs=settings.needs_lungs)


def _failed(job: ScanJob, failure: Failure) -> ScanResult:
    exclusion = Exclusion("scan", failure.code, failure.message, job.patient_id, job.series_uid)
    return ScanResult(job.series_uid, job.patient_id, exclusion=exclusion)
