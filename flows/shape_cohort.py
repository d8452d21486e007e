"""The flow of a cohort of outlines without images: contours in, benchmark report out."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from prefect import flow

from data_catalog.lidc import database_path
from flows.cohort import Account, close, is_reused, told, without_benchmark, write_record
from flows.config import load_config
from flows.external import about_outside, read_outside, require_apart, require_images_apart, warn
from flows.plan import evaluation, title_of
from flows.shape_plan import SMALL, SMALL_SHARE, check_shapes, shape_plan, shape_refs, small_limit
from flows.standing import Outcome, outcome_of, run_entry
from lungpipe.assemble import TABLES, assemble
from lungpipe.lineage.openlineage import Data, open_lineage, table_data
from lungpipe.scan.outlines import outline_names, volumes_of
from lungpipe.store.lock import one_run
from lungpipe.store.place import Place
from lungpipe.store.schemas import BENCHMARK_TABLES
from lungpipe.watching.watch import watched
from tasks.artifacts import run_name, show_results
from tasks.cluster import dask_cluster
from tasks.learn import benchmark
from tasks.progress import say, scan_progress
from tasks.report import report
from tasks.shapes import extract_shapes


@flow(name="shape-cohort", flow_run_name=run_name, persist_result=False, validate_parameters=False)
def shape_cohort(
    recipe: str,
    workspace: str,
    overrides: list[str] | None = None,
    dask: str | None = None,
    workers: int | None = None,
) -> Outcome:
    """Read outlines, draw masks, extract their shape, evaluate, report; see ``lungpipe run --help``.

    Raises
    ------
    DatasetError, PluginError
        Before any work, if the recipe asks for what outlines alone cannot give, or the file is not there.
    """
    config = load_config(Path(recipe), overrides)
    spec, limits = check_shapes(config)
    outside = read_outside(config, spec, outline_names(), [f"{spec.name}-{SMALL}"])
    warn(outside)
    place = Place.at(workspace)
    workers_of = (dask or config.run.dask, workers or config.run.workers, config.run.memory_per_worker)
    outlines = Data(f"{spec.name}/outlines")
    tables_of = {name: table_data(spec.name, name) for name in (*TABLES, *BENCHMARK_TABLES)}
    scored = None
    with (
        one_run(place),
        watched(place, title_of(config), config.cohort.annotations or "") as watch,
        open_lineage("cohort", told(config), [outlines], [*tables_of.values()], watch.run_id) as events,
    ):
        account = Account(events, watch)
        with account.stage("plan", [outlines]):
            plan, scans = shape_plan(config, spec, place)
            require_apart(outside, plan)
        say(f"cohort: {len(plan.jobs)} scans with outlines of {len(plan.series_rows)}, {len(plan.nodules)} nodules")
        with dask_cluster(*workers_of, config.run.named()) as address:
            with (
                account.stage("shapes", [outlines], [Data(f"{spec.name}/parts")]),
                scan_progress(watch, plan.jobs, place) as tell,
            ):
                results = extract_shapes(address, scans, str(place), config.run.scan_timeout_s, tell)
            volumes_mm3 = volumes_of(place, results)
            subsets = small_limit(spec, volumes_mm3)
            with account.stage("tables", [Data(f"{spec.name}/parts")], [tables_of[name] for name in TABLES]):
                tables = assemble(place, plan, results, limits=limits, subsets=subsets)
            if config.evaluated is not None:
                read, written = (("nodules", "features"), BENCHMARK_TABLES)
                with account.stage("benchmark", [tables_of[n] for n in read], [tables_of[n] for n in written]):
                    whole = evaluation(config.evaluated, spec)
                    others = tuple(replace(whole, dataset=name) for name in subsets)
                    require_images_apart(outside, place, spec.name)
                    refs, tested_on = tuple(tables.refs[name] for name in read), tuple(o.external for o in outside)
                    scored = benchmark(address, whole, str(place), refs, others, tested_on)
            else:
                without_benchmark(place)
            for result in results:
                account.add(result)
            account.add(tables)
            if scored is not None:
                account.add(scored)
            names = {**outline_names(), "mask_quality": asdict(limits)}
            about = {"nodules": len(volumes_mm3), "share": SMALL_SHARE, "largest_mm3": subsets}
            files = {"read": 1, "left_out": 0}
            write_record(
                place,
                config,
                plan,
                names,
                results,
                account,
                files,
                database_path(),
                subsets=about,
                **about_outside(outside),
            )
            made_from = [*tables.refs.values(), *(scored.refs if scored else ())]
            with account.stage("report", [*tables_of.values()]):
                page = report(address, str(place), config.report.beside, None, made_from)
            entry = run_entry(config, spec, shape_refs(plan), plan)
            close(place, entry, results, [*made_from, page], whole=scored is None or bool(scored.explanation))
    outcome = outcome_of(place, len(results), tables.n_exclusions, sum(map(is_reused, results)))
    show_results(place, outcome.report, title_of(config))
    return outcome
