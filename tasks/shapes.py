"""Stage 2 of a cohort without images: from outlines to feature rows, one Dask future a batch of scans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from lungpipe.scan.outlines import failed_scans, process_outlines
from tasks.each import Failure, each

if TYPE_CHECKING:
    from collections.abc import Callable

    from lungpipe.scan import ScanResult
    from lungpipe.scan.outlines import OutlinedScan

#: Scans in a future: a scan takes some 20 ms, checking the contracts of its tables alone 200 ms.
SCANS_A_BATCH = 40


@task(name="shapes", cache_policy=NO_CACHE, persist_result=False)
def extract_shapes(
    address: str, scans: list[OutlinedScan], workspace: str, timeout_s: float, tell: Callable[[ScanResult], None]
) -> list[ScanResult]:
    """Draw masks and extract shape features of every scan; each ends as a result, with rows or with an exclusion.

    Parameters
    ----------
    address : str
        Of the Dask scheduler.
    scans : list of OutlinedScan
    workspace : str
    timeout_s : float
        Wall seconds that a scan may take; a batch may take as long as all of its scans.
    tell : callable
        Called with each result.
    """
    batches = [scans[i : i + SCANS_A_BATCH] for i in range(0, len(scans), SCANS_A_BATCH)]
    results: list[ScanResult] = []
    for position, outcome in each(address, process_outlines, batches, workspace, timeout_s=timeout_s * SCANS_A_BATCH):
        batch = batches[position]
        found = failed_scans(batch, outcome.code, outcome.message) if isinstance(outcome, Failure) else outcome
        for result in found:
            tell(result)
        results += found
    return sorted(results, key=lambda r: (r.patient_id, r.series_uid))
