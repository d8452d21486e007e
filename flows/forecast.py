"""What a run would do, and at what cost, without doing any of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.utils import parse_bytes

from flows.plan import check_config, evaluation, plan_run
from flows.standing import WorkNeededError, nothing_new, run_entry
from lungpipe.curate import curate
from lungpipe.dicom.index import one_after_another
from lungpipe.dicom.memory import memory_path, remember
from lungpipe.embedding import PREFIX
from lungpipe.learn.baselines import baseline_keys
from lungpipe.learn.feature_sets import members
from lungpipe.lineage.tombstones import withdrawn
from lungpipe.scan import stages_by
from lungpipe.scan.memory import projected_bytes
from lungpipe.store import ledger
from lungpipe.store.history import counted_as, typical
from lungpipe.store.space import free_bytes
from tasks.progress import counted
from tasks.shards import shards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_catalog import DatasetSpec
    from flows.sections import RunConfig
    from lungpipe.cohort import Plan
    from lungpipe.curate import Curation
    from lungpipe.scan import ScanSettings
    from lungpipe.store.place import Place


@dataclass(frozen=True, slots=True)
class Work:
    """Artefacts of one kind.

    Parameters
    ----------
    kind : str
        ``"volume"``, ``"masks otsu"``, ``"configuration"`` ...
    standing, to_make : int
        How many have a record in the workspace's ledger, and how many have none. Configurations have names that depend on
        what is extracted: unless the run is finished all are to be made, though some may be found to stand.
    seconds, n_bytes : float or None
        To make the latter, by the workspace's own history; None if it has none.
    """

    kind: str
    standing: int
    to_make: int
    seconds: float | None
    n_bytes: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run would do.

    Parameters
    ----------
    series, scans, nodules, labelled : int
        Series found, accepted scans, nodules on them, and those of them with a label.
    pixels_seen : bool
        Whether every series was looked at by an earlier run; else its pixels may still exclude it.
    excluded : dict
        Series and annotations left out, by code.
    finished : bool
        Whether this very run has its record: the recipe, archive and code are those of the last one.
    done, begun, fresh : int
        Scans with all their artefacts, with some, and with none.
    rows, configurations : int
        Rows of features, and configurations and baselines of the benchmark, when all is done.
    work : tuple of Work
    workers : int
    scan_bytes : int
        Memory that the largest scan needs.
    worker_bytes : int
        Memory of a worker.
    too_large : int
        Scans that need more than a worker has.
    free_bytes : int or None
        Free on the workspace's disk; None where it is on none of this machine.
    shard_sizes : tuple of int
        Scans of each shard.
    """

    series: int
    scans: int
    nodules: int
    labelled: int
    pixels_seen: bool
    excluded: dict[str, int]
    finished: bool
    done: int
    begun: int
    fresh: int
    rows: int
    configurations: int
    work: tuple[Work, ...]
    workers: int
    scan_bytes: int
    worker_bytes: int
    too_large: int
    free_bytes: int | None
    shard_sizes: tuple[int, ...]

    @property
    def seconds(self) -> float | None:
        """Seconds of one worker for all that is to be made, as far as there is a history."""
        known = [one.seconds for one in self.work if one.seconds is not None]
        return sum(known) if known else None

    @property
    def n_bytes(self) -> float | None:
        """Bytes that it will take in the workspace, as far as there is a history."""
        known = [one.n_bytes for one in self.work if one.n_bytes is not None]
        return sum(known) if known else None

    @property
    def without_history(self) -> tuple[str, ...]:
        """Kinds of work of which nothing is known yet."""
        return tuple(one.kind for one in self.work if one.to_make and one.seconds is None)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            **asdict(self),
            "seconds": self.seconds,
            "bytes": self.n_bytes,
            "without_history": list(self.without_history),
        }


def forecast(config: RunConfig, place: Place) -> Forecast:
    """Say what a run of a recipe in a workspace would do.

    Headers that no earlier run read are read, here and one after another; no pixel is, and the workspace is only read.

    Raises
    ------
    DatasetError, PluginError
        As the run would before its first scan.
    """
    spec, settings = check_config(config)
    curation, pixels_seen = _curated(config)
    plan = plan_run(config, spec, curation, withdrawn(place))
    standing, to_make, done, begun, refs = _scans(plan, settings, place)
    regions = [(name, spec.kind, spec.radius_mm) for name in _segmenters(settings) for spec in settings.specs]
    configurations = _configurations(config, spec, plan, regions, settings.controls)
    entry = run_entry(config, spec, refs, plan)
    finished = entry.ref in ledger.refs(place, ledger.COHORT)
    if configurations:
        (standing if finished else to_make)["configuration"] = configurations
    history = typical(place)
    of_settings = {"needs_lungs": settings.needs_lungs, "learned": settings.learned}
    needs = [projected_bytes(job.geometry, **of_settings) for job in plan.jobs]
    worker_bytes = int(parse_bytes(config.run.memory_per_worker))
    return Forecast(
        series=len(plan.series_rows),
        scans=len(plan.jobs),
        nodules=len(plan.nodules),
        labelled=sum(nodule.malignant is not None for nodule in plan.nodules),
        pixels_seen=pixels_seen,
        finished=finished,
        excluded=dict(sorted(Counter(str(row["code"]) for row in plan.exclusions).items())),
        done=done,
        begun=begun,
        fresh=len(plan.jobs) - done - begun,
        rows=len(plan.nodules)
        * len(_segmenters(settings))
        * (len(settings.specs) + len(settings.controls) + len(settings.embedders)),
        configurations=configurations,
        work=tuple(
            Work(
                kind,
                standing[kind],
                to_make[kind],
                to_make[kind] * history[kind].seconds if kind in history else None,
                to_make[kind] * history[kind].n_bytes if kind in history else None,
            )
            for kind in dict.fromkeys([*standing, *to_make])
        ),
        workers=config.run.workers,
        scan_bytes=max(needs, default=0),
        worker_bytes=worker_bytes,
        too_large=sum(need > worker_bytes for need in needs),
        free_bytes=free_bytes(place),
        shard_sizes=tuple(map(len, shards(plan.jobs))),
    )


def _curated(config: RunConfig) -> tuple[Curation, bool]:
    """The archive as an earlier run left it, or by its headers alone."""
    archive, quality = Path(config.cohort.dicom), config.quality.settings()
    with remember(memory_path(archive)) as memory:
        try:
            return curate(archive, memory, nothing_new, quality), True
        except WorkNeededError:
            with counted() as advance:
                return curate(archive, memory, one_after_another, quality, pixels=False, advance=advance), False


def _scans(plan: Plan, settings: ScanSettings, place: Place) -> tuple[Counter[str], Counter[str], int, int, list[str]]:
    """Artefacts with and without a record by kind, scans that have all and some of theirs, and the names of all."""
    standing: Counter[str] = Counter()
    to_make: Counter[str] = Counter()
    done = begun = 0
    known = set(ledger.patients(place))
    there: dict[str, set[str]] = {}
    refs: list[str] = []
    for job, stages in zip(plan.jobs, map(stages_by(settings), plan.jobs), strict=True):
        if job.patient_id not in there:
            records = ledger.refs(place, job.patient_id) if job.patient_id in known else ()
            there = {job.patient_id: set(records)}  # jobs come patient by patient
        found = [(counted_as(entry), entry.ref in there[job.patient_id]) for entry in stages]
        refs += [entry.ref for entry in stages]
        standing.update(kind for kind, stands in found if stands)
        to_make.update(kind for kind, stands in found if not stands)
        n_standing = sum(stands for _, stands in found)
        done += n_standing == len(found)
        begun += 0 < n_standing < len(found)
    return standing, to_make, done, begun, sorted(refs)


def _segmenters(settings: ScanSettings) -> list[str]:
    return [*settings.segmenters, *settings.consensus]


def _configurations(
    config: RunConfig,
    spec: DatasetSpec,
    plan: Plan,
    regions: Sequence[tuple[str, str, float]],
    controls: tuple[str, ...],
) -> int:
    """How many models a benchmark evaluates."""
    if config.evaluated is None:
        return 0
    design = evaluation(config.evaluated, spec)
    rated = any(nodule.ratings for nodule in plan.nodules)
    baselines = baseline_keys(regions, design.classifiers, clinical=bool(design.clinical), ratings=rated)
    both = [(name, kind, 0.0) for name, *_ in regions for kind in controls]
    embedded = {(name, embedder) for name, *_ in regions for embedder in config.features.embedders}
    patterns = [own for _, own in design.feature_sets]
    found = len({*regions, *both}) * sum(not all(one.startswith(PREFIX) for one in own) for own in patterns)
    found += len(embedded) * sum(bool(members(own, [f"{PREFIX}0001"])) for own in patterns)
    return found * len(design.classifiers) + len(baselines)
