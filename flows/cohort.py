"""The cohort flow: DICOM in, benchmark report out."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from data_catalog import load_dataset, read_annotations
from flows.config import RunConfig, load_config
from lungpipe import plugins
from lungpipe.cohort import Plan, plan_cohort
from lungpipe.dicom.pseudonymise import key_path, load_pseudonymiser, table_path
from lungpipe.errors import DatasetError
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.scan import ScanResult, ScanSettings, gather_parts, settings_from
from lungpipe.store.ledger import digest_files
from lungpipe.store.record import environment, write_run
from lungpipe.store.tables import conform, make_table, write_table
from tasks.cluster import dask_cluster
from tasks.curate import curate
from tasks.curation import write_curation_page
from tasks.learn import Evaluation, benchmark
from tasks.progress import progress, say
from tasks.report import report
from tasks.scans import process_shard, shards

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data_catalog import DatasetSpec
    from lungpipe.curate import Curation

#: Shards in flight at once; each keeps all workers busy, the second hides the end of the first.
SHARDS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    report: str
    scans: int
    reused: int
    exclusions: int
    auc: float | None = None


@dataclass(slots=True)
class Timings:
    """Wall seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)


@flow(
    name="cohort",
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
    root = Path(workspace).resolve()
    timings = Timings()
    with dask_cluster(dask or config.run.dask, workers or config.run.workers, config.run.memory_per_worker) as address:
        with timings.stage("curate"):
            curated = curate(address, config.cohort.dicom, config.quality.settings(), config.run.scan_timeout_s)
        plan = plan_run(config, spec, curated.curation)
        say(f"cohort: {len(plan.jobs)} scans accepted of {len(plan.series_rows)}, {len(plan.nodules)} nodules")
        with timings.stage("scans"):
            results = run_scans(address, plan, settings, root, config.run.scan_timeout_s)
        with timings.stage("tables"):
            n_exclusions = assemble(root, plan, results)
        if config.benchmark is not None:
            with timings.stage("benchmark"):
                benchmark(address, evaluation(config.benchmark, spec), str(root))
        else:
            for name in ("scores", "predictions"):
                (root / "tables" / f"{name}.parquet").unlink(missing_ok=True)
    _write_record(root, config, plan, settings, results, timings)
    say(f"curation: {write_curation_page(root, curated, plan, config.quality.settings(), _title(config))}")
    page = report(str(root), config.report.beside, config.report.planted_radius_mm)
    return Outcome(page, len(results), sum(r.reused for r in results), n_exclusions, _honest_auc(root))


def check_config(config: RunConfig) -> tuple[DatasetSpec, ScanSettings]:
    """Look up everything that a recipe names, before anything is started.

    Raises
    ------
    DatasetError, PluginError
        If a data set, plug-in, folder or setting is not there.
    """
    spec = load_dataset(config.cohort.dataset)
    settings = settings_from(
        **config.segment.model_dump(),
        **config.regions.model_dump(),
        extractor=config.features.extractor,
        radiomics=RadiomicsSettings(
            config.features.bin_width_hu,
            config.features.spacing_mm,
            config.features.interpolation,
            config.features.filters,
        ),
    )
    for name in config.benchmark.classifiers if config.benchmark else ():
        plugins.find("classifiers", name)
    config.quality.settings()
    if not Path(config.cohort.dicom).exists():
        raise DatasetError(f"the image folder {config.cohort.dicom} does not exist; set cohort.dicom")
    if config.cohort.annotations and not Path(config.cohort.annotations).exists():
        raise DatasetError(f"no annotations at {config.cohort.annotations}; set cohort.annotations")
    return spec, settings


def evaluation(section: Any, spec: DatasetSpec) -> Evaluation:
    """The benchmark section of a recipe for one data set."""
    return Evaluation(dataset=spec.name, **section.model_dump())


def plan_run(config: RunConfig, spec: DatasetSpec, curation: Curation) -> Plan:
    """Read the annotations, replace identifiers, and refuse what cannot end in the benchmark that is asked for.

    Raises
    ------
    DatasetError
        If there is nothing to work on, or the labels allow no benchmark.
    """
    path = Path(config.cohort.annotations) if config.cohort.annotations else None
    annotations = read_annotations(spec, path, curation.table)
    pseudonym, made = load_pseudonymiser()
    if made:
        say(f"pseudonyms: a key was made in {key_path()}; keep it safe, the same key gives the same pseudonyms")
    plan = plan_cohort(
        spec.name,
        spec.intensities,
        curation,
        annotations.nodules,
        annotations.exclusions,
        pseudonym,
        config.quality.settings(),
    )
    pseudonym.write_table(table_path())
    if not plan.nodules:
        reasons = sorted({row["code"] for row in plan.exclusions})
        raise DatasetError(f"no annotated nodule lies on an accepted series (reasons: {', '.join(reasons) or 'none'})")
    if config.benchmark is not None:
        rows = [
            {"patient_id": n.patient_id, "series_uid": n.series_uid, "nodule_id": n.nodule_id, "malignant": n.malignant}
            for n in plan.nodules
        ]
        evaluation(config.benchmark, spec).cohort(pd.DataFrame(rows).astype({"malignant": "Int64"}))
    return plan


def run_scans(address: str, plan: Plan, settings: ScanSettings, root: Path, timeout_s: float) -> list[ScanResult]:
    """Process every scan, shard by shard; every future is resolved."""
    with progress("scans", len(plan.jobs)) as advance:
        futures = [
            process_shard.submit(address, shard, settings, str(root), timeout_s, advance) for shard in shards(plan.jobs)
        ]
        return [result for future in futures for result in future.result()]


def assemble(root: Path, plan: Plan, results: list[ScanResult]) -> int:
    """Write series, nodules, features and exclusions tables; return the number of exclusions."""
    tables = root / "tables"
    volume_of = {r.series_uid: r.volume_id for r in results}
    series = [{**row, "volume_id": volume_of.get(row["series_uid"], "")} for row in plan.series_rows]
    write_table(make_table("series", series), tables / "series.parquet")
    artefacts = [r.artefact for r in results if r.artefact]
    for part in ("nodules", "features"):
        write_table(gather_parts(root, artefacts, part), tables / f"{part}.parquet")
    kind = {job.series_uid: job.intensities for job in plan.jobs}
    early = [*plan.exclusions]
    early += [{**asdict(r.exclusion), "intensities": kind[r.series_uid]} for r in results if r.exclusion]
    tables_of_both = [make_table("exclusions", early), gather_parts(root, artefacts, "exclusions")]
    exclusions = conform("exclusions", pd.concat(tables_of_both, ignore_index=True))
    write_table(exclusions, tables / "exclusions.parquet")
    return len(exclusions)


def _write_record(
    root: Path, config: RunConfig, plan: Plan, settings: ScanSettings, results: list[ScanResult], timings: Timings
) -> None:
    annotations = Path(config.cohort.annotations) if config.cohort.annotations else None
    kinds = {job.intensities for job in plan.jobs}
    classifiers = config.benchmark.classifiers if config.benchmark else ()
    by_stage: dict[str, float] = {}
    for result in results:
        for stage, seconds in result.seconds.items():
            by_stage[stage] = round(by_stage.get(stage, 0.0) + seconds, 2)
    write_run(
        root,
        {
            "title": _title(config),
            "intensities": "simulated" if "simulated" in kinds else "measured",
            "recipe": _without_paths(config),
            "environment": environment(),
            "pseudonym_key_fingerprint": load_pseudonymiser()[0].fingerprint,
            "inputs": {
                "volumes": {r.series_uid: r.volume_id for r in results if r.volume_id},
                "annotations_sha256": digest_files([annotations]) if annotations and annotations.is_file() else None,
            },
            "seeds": {"benchmark": config.benchmark.seed if config.benchmark else None},
            "plugins": {
                **settings.names(),
                "classifiers": {n: plugins.find("classifiers", n).version for n in classifiers},
            },
            "timings_s": {"stages": timings.seconds, "inside_scans": by_stage},
            "scans": {"processed": sum(not r.reused for r in results), "reused": sum(r.reused for r in results)},
        },
    )


def _title(config: RunConfig) -> str:
    return config.report.title or load_dataset(config.cohort.dataset).title


def _without_paths(config: RunConfig) -> dict[str, Any]:
    """The recipe as JSON values; folders are often named after patients, and the input hashes say more."""
    recipe: dict[str, Any] = json.loads(config.model_dump_json())
    for key in ("dicom", "annotations"):
        if recipe["cohort"][key]:
            recipe["cohort"][key] = "(path not recorded; see inputs)"
    recipe["report"]["beside"] = len(recipe["report"]["beside"])
    return recipe


def _honest_auc(root: Path) -> float | None:
    path = root / "tables" / "scores.parquet"
    if not path.is_file():
        return None
    scores = pd.read_parquet(path)
    return float(scores.loc[scores["selection"] == "inside", "auc"].iloc[0])
