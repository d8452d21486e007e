"""Frame check: look at a sample of scans over Dask, then judge the annotations."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from lungpipe.frame import VERSION, judge, look_at_grid, look_at_job, sample, takes_part
from lungpipe.region import lung
from lungpipe.store import ledger
from tasks.each import Failure, each
from tasks.progress import progress, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.frame import Evidence, FrameVerdict
    from lungpipe.scan import ScanJob
    from lungpipe.store.place import Place


@task(name="frame", cache_policy=NO_CACHE, persist_result=False)
def check_frame(address: str, jobs: Sequence[ScanJob], timeout_s: float) -> FrameVerdict:
    """Judge whether annotations are read in the frame that they were written in.

    A scan that cannot be read, or takes too long, tells only which readings lie inside its volume.

    Parameters
    ----------
    address : str
        Of the Dask scheduler.
    jobs : sequence of ScanJob
        The whole cohort.
    timeout_s : float
        Wall seconds that a worker may spend on one scan.

    Returns
    -------
    FrameVerdict
        Call its ``require`` to stop at a refused set.

    Raises
    ------
    DatasetError
        If a nodule declares an unknown frame.
    """
    chosen = sample(jobs)
    looked_at = {id(job) for job in chosen}
    evidence: list[Evidence] = []
    for job in jobs:
        if id(job) not in looked_at:
            evidence += look_at_grid(job.geometry, job.nodules)
    if not chosen:
        return judge(evidence)
    with progress("frame check", len(chosen)) as advance:
        for position, outcome in each(address, look_at_job, chosen, timeout_s=timeout_s):
            job = chosen[position]
            evidence += look_at_grid(job.geometry, job.nodules) if isinstance(outcome, Failure) else outcome
            advance(1, "")
    return judge(evidence)


def require_frame(
    address: str, jobs: Sequence[ScanJob], timeout_s: float, place: Place, *, refuse: bool
) -> tuple[str, bool]:
    """Refuse annotations that fit another frame better than the one that they declare; an accepted set is recorded.

    With ``refuse`` false, what would be refused is said and accepted.

    Returns
    -------
    ref : str
        Of the record of the verdict.
    reused : bool
        Whether the same set was accepted before.

    Raises
    ------
    DatasetError
        If the set is refused.
    """
    read = [
        (job.source_sha256, [(n.frame, n.centre_mm, n.size_mm) for n in job.nodules if takes_part(n)]) for job in jobs
    ]
    entry = ledger.named(
        ledger.COHORT,
        "frames",
        subject={"dataset": jobs[0].dataset if jobs else ""},
        inputs={"annotations": ledger.artefact_id("read", scans=sorted(read, key=repr))},
        settings={"refuse": refuse},
        versions={"frame": VERSION, "lung": lung.VERSION},
    )
    if ledger.stands(place, entry.ref):
        return entry.ref, True
    verdict = check_frame(address, jobs, timeout_s)
    for warning in verdict.warnings:
        say(f"frame check: {warning}")
    if refuse:
        verdict.require()
    elif verdict.refused:
        say(f"frame check: {verdict.message()}; the recipe says to go on (cohort.frame_check)")
    path = f"parts/frames-{entry.id}/verdict.json"
    place.write(path, json.dumps(verdict.as_dict(), indent=1, sort_keys=True).encode())
    ledger.record(place, entry, [path])
    return entry.ref, False
