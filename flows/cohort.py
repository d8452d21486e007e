"""The cohort flow: DICOM in, benchmark report out."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.config import load_config
from flows.external import about_outside, read_outside, require_apart, require_images_apart, warn
from flows.plan import check_config, evaluation, plan_run, recipe_of, title_of
from flows.standing import Outcome, outcome_of, run_entry, stage_refs
from lungpipe import plugins
from lungpipe.assemble import TABLES, Assembled, assemble
from lungpipe.deep.vae.header import weights_of
from lungpipe.dicom.pseudonymise import load_pseudonymiser
from lungpipe.lineage.openlineage import Data, Events, open_lineage, table_data
from lungpipe.lineage.tombstones import withdrawn
from lungpipe.scan import stages_by
from lungpipe.scan.memory import stored_bytes
from lungpipe.store import ledger
from lungpipe.store.ledger import digest_files
from lungpipe.store.lock import one_run
from lungpipe.store.place import Place
from lungpipe.store.record import environment, write_run
from lungpipe.store.schemas import BENCHMARK_TABLES
from lungpipe.store.space import require_room
from lungpipe.watching.watch import Watch, watched
from tasks.artifacts import run_name, show_results, shown_progress
from tasks.cluster import dask_cluster
from tasks.curate import curate
from tasks.curation import write_curation_page
from tasks.frame import require_frame
from tasks.progress import say, scan_progress
from tasks.report import report
from tasks.scans import process_shard
from tasks.shards import shards

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flows.sections import RunConfig
    from lungpipe.cohort import Plan
    from lungpipe.learn.scores import Scored
    from lungpipe.scan import ScanResult, ScanSettings

#: Shards in flight at once; each keeps all workers busy, the second hides the end of the first.
SHARDS_AT_ONCE = 2


@dataclass(slots=True)
class Account:
    """Wall seconds by stage, and artefacts made and found standing by kind; stages are told to ``events`` and ``watch``."""

    events: Events
    watch: Watch
    seconds: dict[str, float] = field(default_factory=dict)
    made: Counter[str] = field(default_factory=Counter)
    reused: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def stage(self, name: str, inputs: Sequence[Data] = (), outputs: Sequence[Data] = ()) -> Iterator[None]:
        """Time a block, and report what it reads and writes."""
        start = time.perf_counter()
        with self.watch.stage(name), self.events.stage(name, inputs, outputs):
            yield
        self.seconds[name] = round(time.perf_counter() - start, 2)

    def add(self, done: ScanResult | Assembled | Scored) -> None:
        """Count what a stage made and found standing."""
        self.made.update(done.made)
        self.reused.update(done.reused)

    def count(self, kind: str, *, reused: bool) -> None:
        """Count one artefact."""
        (self.reused if reused else self.made)[kind] += 1

    def artefacts(self) -> dict[str, dict[str, int]]:
        """Counts by kind, as in ``run.json``."""
        kinds = sorted({*self.made, *self.reused})
        return {kind: {"made": self.made[kind], "reused": self.reused[kind]} for kind in kinds}


@flow(
    name="cohort",
    flow_run_name=run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=SHARDS_AT_ONCE),  # type: ignore[arg-type]
    persist_result=False,
    validate_parameters=False,
)
def cohort(
    recipe: str,
    workspace: str,
    overrides: list[str] | None = None,
    dask: str | None = None,
    workers: int | None = None,
) -> Outcome:
    """Index, check, store, segment, expand, extract, evaluate, report; see ``lungpipe run --help``.

    Raises
    ------
    DatasetError, PluginError
        Before any pixel is read, if recipe, images or annotations cannot give what is asked.
    """
    config = load_config(Path(recipe), overrides)
    spec, settings = check_config(config)
    outside = read_outside(config, spec, settings.names())
    warn(outside)
    place = Place.at(workspace)
    workers_of = (dask or config.run.dask, workers or config.run.workers, config.run.memory_per_worker)
    archive = Data(f"{spec.name}/archive")
    tables_of = {name: table_data(spec.name, name) for name in (*TABLES, *BENCHMARK_TABLES)}
    scored = None
    with (
        one_run(place),
        watched(place, title_of(config), config.cohort.dicom, config.cohort.annotations or "") as watch,
        open_lineage("cohort", told(config), [archive], [*tables_of.values()], watch.run_id) as events,
    ):
        account = Account(events, watch)
        with dask_cluster(*workers_of, config.run.named()) as address:
            with account.stage("curate", [archive]):
                curated = curate(address, config.cohort.dicom, config.quality.settings(), config.run.scan_timeout_s)
            plan = plan_run(config, spec, curated.curation, withdrawn(place))
            require_apart(outside, plan)
            shown, curation_page = write_curation_page(
                place, curated, plan, config.quality.settings(), title_of(config)
            )
            say(f"curation: {shown}")
            files = {"read": curated.curation.n_files, "left_out": len(curated.curation.exclusions)}
            del curated  # headers of every series: the plan has what the rest needs
            say(f"cohort: {len(plan.jobs)} scans accepted of {len(plan.series_rows)}, {len(plan.nodules)} nodules")
            with account.stage("frame", [archive]):
                refuse = config.cohort.frame_check == "refuse"
                frames, known = require_frame(address, plan.jobs, config.run.scan_timeout_s, place, refuse=refuse)
                account.count("frames", reused=known)
            with account.stage("scans", [archive], [Data(f"{spec.name}/parts")]):
                results = run_scans(address, plan, settings, place, config.run.scan_timeout_s, watch)
            with account.stage("tables", [Data(f"{spec.name}/parts")], [tables_of[name] for name in TABLES]):
                tables = assemble(place, plan, results, limits=settings.limits, region_limits=settings.region_limits)
            if config.evaluated is not None:
                from tasks.learn import benchmark  # and with it what learns

                read, written = (("nodules", "features"), BENCHMARK_TABLES)
                with account.stage("benchmark", [tables_of[n] for n in read], [tables_of[n] for n in written]):
                    design = evaluation(config.evaluated, spec)
                    require_images_apart(outside, place, spec.name)
                    refs = tuple(tables.refs[name] for name in read)
                    scored = benchmark(address, design, str(place), refs, external=tuple(o.external for o in outside))
            else:
                without_benchmark(place)
            for result in results:
                account.add(result)
            account.add(tables)
            if scored is not None:
                account.add(scored)
            entry = run_entry(config, spec, stage_refs(plan, settings), plan)
            write_record(place, config, plan, settings.names(), results, account, files, **about_outside(outside))
            made_from = [frames, *tables.refs.values(), *(scored.refs if scored else ())]
            with account.stage("report", [*tables_of.values()]):
                autoencoders = tuple(weights_of(settings.embedders).items())
                asked = config.report.beside, config.report.planted_radius_mm, made_from, autoencoders
                page = report(address, str(place), *asked)
            close(
                place,
                entry,
                results,
                [*made_from, curation_page, page],
                whole=scored is None or bool(scored.explanation),
            )
    outcome = outcome_of(place, len(results), tables.n_exclusions, sum(map(is_reused, results)))
    show_results(place, outcome.report, title_of(config))
    return outcome


def told(config: RunConfig) -> dict[str, str]:
    """What tells a run from others, for a lineage server: no path and no identifier."""
    here = environment()
    return {
        "lungpipe": here["lungpipe"],
        "code_sha256": here["code_sha256"],
        "recipe_sha256": ledger.artefact_id("recipe", recipe=recipe_of(config)),
    }


def is_reused(result: ScanResult) -> bool:
    """Whether all of a scan stood already."""
    return not result.made and result.exclusion is None


def run_scans(
    address: str, plan: Plan, settings: ScanSettings, place: Place, timeout_s: float, watch: Watch
) -> list[ScanResult]:
    """Process every scan, shard by shard; every future is resolved."""
    if place.local is not None:
        stages_of = stages_by(settings)
        volumes = ((job, ledger.path_of(stages_of(job).volume.ref)) for job in plan.jobs)
        sizes = [stored_bytes(job.geometry) for job, path in volumes if not place.exists(path)]
        require_room(place, sum(sizes), f"{len(sizes)} scans that are not stored yet")
    with (
        scan_progress(watch, plan.jobs, place) as watching,
        shown_progress("scans", place, len(plan.jobs), watching) as tell,
    ):
        futures = [
            process_shard.submit(address, shard, settings, str(place), timeout_s, tell) for shard in shards(plan.jobs)
        ]
        return [result for future in futures for result in future.result()]


def without_benchmark(place: Place) -> None:
    """Remove scores and explanation of an earlier recipe that had a benchmark."""
    for ref in ledger.refs(place, ledger.COHORT):
        if ref.startswith((f"{ledger.COHORT}/scores-", f"{ledger.COHORT}/explanation-")):
            ledger.forget(place, ref)
    for name in BENCHMARK_TABLES:
        place.remove(f"tables/{name}.parquet")


def write_record(
    place: Place,
    config: RunConfig,
    plan: Plan,
    names: Mapping[str, Any],
    results: list[ScanResult],
    account: Account,
    files: Mapping[str, int],
    annotations: Path | None = None,
    **more: Any,
) -> None:
    """Write ``run.json``: ``names`` are what was done, ``files`` how many were read and left out."""
    annotations = Path(config.cohort.annotations) if config.cohort.annotations else annotations
    kinds = {job.intensities for job in plan.jobs}
    classifiers = config.benchmark.classifiers if config.benchmark else ()
    by_stage: dict[str, float] = {}
    for result in results:
        for stage, seconds in result.seconds.items():
            by_stage[stage] = round(by_stage.get(stage, 0.0) + seconds, 2)
    write_run(
        place,
        {
            "title": title_of(config),
            "intensities": next((kind for kind in ("simulated", "none") if kind in kinds), "measured"),
            "recipe": recipe_of(config),
            "environment": environment(),
            "pseudonym_key_fingerprint": load_pseudonymiser()[0].fingerprint,
            "inputs": {
                "files": dict(files),
                "volumes": {r.series_uid: r.volume_id for r in results if r.volume_id},
                "annotations_sha256": digest_files([annotations]) if annotations and annotations.is_file() else None,
            },
            "seeds": {"benchmark": config.benchmark.seed if config.benchmark else None},
            "plugins": {
                **names,
                "classifiers": {n: plugins.find("classifiers", n).version for n in classifiers},
            },
            "timings_s": {"stages": account.seconds, "inside_scans": by_stage},
            "scans": {
                "processed": sum(bool(r.made) for r in results),
                "reused": sum(map(is_reused, results)),
                "excluded": sum(r.exclusion is not None for r in results),
            },
            "artefacts": account.artefacts(),
            **more,
        },
    )


def close(
    place: Place, entry: ledger.Record, results: list[ScanResult], made_from: list[str], *, whole: bool = True
) -> None:
    """Write the run's own record, unless something may go better next time or the run is not whole."""
    passing = [r for r in results if r.exclusion is not None and not r.made and not r.reused]
    for ref in ledger.refs(place, ledger.COHORT):
        if ref.startswith(f"{ledger.COHORT}/run-"):
            ledger.forget(place, ref)
    if whole and not passing:
        ledger.record(place, replace(entry, made_from=tuple(made_from)), ["run.json"])
