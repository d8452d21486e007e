"""Frame check: look at a sample of scans over Dask, then judge the annotations."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE

from lungpipe import versions
from lungpipe.frame import VERSION, Evidence, Reading, judge, look_at_grid, look_at_job, sample, takes_part
from lungpipe.store import ledger
from tasks.each import Failure, each
from tasks.progress import progress, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lungpipe.frame import FrameVerdict
    from lungpipe.scan import ScanJob
    from lungpipe.store.place import Place

#: What an earlier check saw in pixels, beside its verdict.
LOOKED = "looked.json"
_VERSIONS = {"frame": VERSION, "lung": versions.LUNG}


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
    return _judged(jobs, look_at_sample.fn(address, jobs, timeout_s, {}))


@task(name="frame", cache_policy=NO_CACHE, persist_result=False)
def look_at_sample(
    address: str, jobs: Sequence[ScanJob], timeout_s: float, known: Mapping[str, tuple[Evidence, ...]]
) -> dict[str, tuple[Evidence, ...]]:
    """Evidence of the scans whose pixels decide, by :func:`look_name`; those ``known`` are not looked at again."""
    chosen = {look_name(job): job for job in sample(jobs)}
    found = {name: known[name] for name in chosen if name in known}
    waiting = {name: job for name, job in chosen.items() if name not in found}
    if waiting:
        names, items = [*waiting], [*waiting.values()]
        with progress("frame check", len(waiting)) as advance:
            for position, outcome in each(address, look_at_job, items, timeout_s=timeout_s):
                if not isinstance(outcome, Failure):
                    found[names[position]] = outcome
                advance(1, "")
    return found


def _judged(jobs: Sequence[ScanJob], looked: Mapping[str, tuple[Evidence, ...]]) -> FrameVerdict:
    """The verdict on a cohort; of a scan that nobody looked at, its grid tells what it can."""
    return judge([one for job in jobs for one in looked.get(look_name(job)) or look_at_grid(job.geometry, job.nodules)])


def look_name(job: ScanJob) -> str:
    """Name of what looking at a scan comes to: files, annotations and code determine it."""
    return ledger.artefact_id(
        "look",
        source_sha256=job.source_sha256,
        nodules=[(n.nodule_id, n.frame, n.centre_mm, n.size_mm) for n in job.nodules if takes_part(n)],
        versions=_VERSIONS,
    )


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
        versions=_VERSIONS,
    )
    if ledger.stands(place, entry.ref):
        return entry.ref, True
    looked = look_at_sample(address, jobs, timeout_s, _looked_before(place))
    verdict = _judged(jobs, looked)
    for warning in verdict.warnings:
        say(f"frame check: {warning}")
    if refuse:
        verdict.require()
    elif verdict.refused:
        say(f"frame check: {verdict.message()}; the recipe says to go on (cohort.frame_check)")
    paths = [f"parts/frames-{entry.id}/{name}" for name in ("verdict.json", LOOKED)]
    place.write(paths[0], json.dumps(verdict.as_dict(), indent=1, sort_keys=True).encode())
    in_pixels = {
        name: [asdict(one) for one in seen] for name, seen in looked.items() if all(one.looked_at for one in seen)
    }
    place.write(paths[1], json.dumps(in_pixels).encode())
    ledger.record(place, entry, paths)
    return entry.ref, False


def _looked_before(place: Place) -> dict[str, tuple[Evidence, ...]]:
    """What earlier checks of this workspace saw in pixels."""
    found: dict[str, tuple[Evidence, ...]] = {}
    for ref in ledger.refs(place, ledger.COHORT):
        entry = ledger.stands(place, ref) if ref.startswith(f"{ledger.COHORT}/frames-") else None
        for path in entry.outputs if entry is not None else ():
            if path.endswith(f"/{LOOKED}"):
                for name, seen in json.loads(place.read(path)).items():
                    found[name] = tuple(_evidence(**one) for one in seen)
    return found


def _evidence(declared: str, readings: Mapping[str, Mapping[str, bool]]) -> Evidence:
    return Evidence(declared, {frame: Reading(**reading) for frame, reading in readings.items()})
