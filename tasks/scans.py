"""Stage 2: from DICOM to feature rows, one Prefect task a shard of scans, one Dask future a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from lungpipe.errors import Exclusion, LungpipeError
from lungpipe.scan import ScanResult, process_scan, stages_by
from lungpipe.scan.memory import projected_bytes
from lungpipe.store import ledger
from lungpipe.store.place import Place
from tasks.each import IO_FAILED, NO_ROOM, Failure, each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lungpipe.scan import ScanJob, ScanSettings


@task(name="scans", cache_policy=NO_CACHE, persist_result=False)
def process_shard(
    address: str,
    jobs: list[ScanJob],
    settings: ScanSettings,
    workspace: str,
    timeout_s: float,
    tell: Callable[[ScanResult], None],
) -> list[ScanResult]:
    """Process every scan of a shard; each ends as a result, with rows or with an exclusion, and is told at once.

    A scan for which a disk or server failed is tried once more, after all others.

    Raises
    ------
    LungpipeError
        If the disk of the workspace is full: every further scan would fail.
    """
    results = []
    for job, outcome in _outcomes(address, jobs, settings, workspace, timeout_s):
        result = _failed(job, outcome) if isinstance(outcome, Failure) else outcome
        results.append(result)
        tell(result)
    return sorted(results, key=lambda r: (r.patient_id, r.series_uid))


def _outcomes(
    address: str, jobs: list[ScanJob], settings: ScanSettings, workspace: str, timeout_s: float
) -> Iterator[tuple[ScanJob, ScanResult | Failure]]:
    place = Place.at(workspace)
    left = jobs
    for try_again in (True, False):
        failed = []
        needs = _needs_bytes(left, settings, place)
        for position, outcome in each(
            address,
            process_scan,
            left,
            settings,
            workspace,
            timeout_s=timeout_s,
            needs_bytes=needs,
            resource=settings.resource,
        ):
            if isinstance(outcome, Failure) and outcome.code == NO_ROOM:
                raise LungpipeError(f"{outcome.message}; free some")
            if try_again and isinstance(outcome, Failure) and outcome.code == IO_FAILED:
                failed.append(left[position])
            else:
                yield left[position], outcome
        left = failed
        if not left:
            return


def _needs_bytes(jobs: list[ScanJob], settings: ScanSettings, place: Place) -> list[int]:
    """Memory for each scan, by its headers; one whose artefacts all have records is only looked over."""
    needs = []
    for job, stages in zip(jobs, map(stages_by(settings), jobs), strict=True):
        known = set(ledger.refs(place, job.patient_id))
        standing = all(entry.ref in known for entry in stages)
        needs.append(
            0 if standing else projected_bytes(job.geometry, needs_lungs=settings.needs_lungs, learned=settings.learned)
        )
    return needs


def _failed(job: ScanJob, failure: Failure) -> ScanResult:
    exclusion = Exclusion("scan", failure.code, failure.message, job.patient_id, job.series_uid)
    return ScanResult(job.series_uid, job.patient_id, exclusion=exclusion)
