"""From a recipe to the plan of a run; no workflow engine is needed yet."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from data_catalog import load_dataset, read_annotations, shortfall
from lungpipe import plugins
from lungpipe.clinical import clinical_columns, column_name
from lungpipe.cohort import Plan, plan_cohort
from lungpipe.dicom.pseudonymise import key_path, load_pseudonymiser, table_path
from lungpipe.embedding import PLUGIN, RANDOM
from lungpipe.errors import DatasetError
from lungpipe.plugin_parameters import here_only
from lungpipe.scan import ScanSettings, settings_from
from lungpipe.store.ledger import digest_files
from tasks.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_catalog import DatasetSpec
    from flows.sections import RunConfig
    from lungpipe.curate import Curation
    from lungpipe.learn.evaluation import Evaluation
    from lungpipe.nodule import Nodule


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
        radiomics=config.features.settings(),
        controls=config.benchmark.controls if config.benchmark else (),
        embedders=config.features.embedders,
        embedder_parameters=config.features.embedder_parameters,
        datasets=(spec.name, *spec.same_patients),
    )
    outside: dict[str, Any] = {"regions.lung": settings.outside_lungs.model} if settings.outside_lungs else {}
    outside |= {f"segment.parameters.{name}": segmenter for name, segmenter in settings.segmenters.items()}
    for where, segmenter in outside.items():
        limit_s = getattr(segmenter, "time_limit_s", 0.0)
        if limit_s >= config.run.scan_timeout_s:
            raise DatasetError(
                f"{where}: time_limit_s is {limit_s:g} s, and run.scan_timeout_s of "
                f"{config.run.scan_timeout_s:g} s would end the whole scan before that; raise run.scan_timeout_s above it"
            )
    if config.benchmark:
        check_benchmark(config.benchmark)
    config.quality.settings()
    if not Path(config.cohort.dicom).exists():
        raise DatasetError(f"the image folder {config.cohort.dicom} does not exist; set cohort.dicom")
    if config.cohort.annotations and not Path(config.cohort.annotations).exists():
        raise DatasetError(f"no annotations at {config.cohort.annotations}; set cohort.annotations")
    return spec, settings


def evaluation(section: Any, spec: DatasetSpec) -> Evaluation:
    """The benchmark section of a recipe for one data set."""
    from lungpipe.learn.evaluation import Evaluation  # a run without a benchmark does without what learns
    from lungpipe.learn.feature_sets import feature_sets

    sets = feature_sets(section.feature_sets)
    given = section.model_dump(exclude={"controls", "external", "feature_sets", "stability"})
    return Evaluation(dataset=spec.name, feature_sets=sets, stability=section.stability or "", **given)


def check_benchmark(section: Any) -> None:
    """Look up what a benchmark section names, before anything is started.

    Raises
    ------
    DatasetError, PluginError
        If a plug-in, a set of features, a name of a column or the table of copies is not there.
    """
    from lungpipe.learn.feature_sets import feature_sets
    from lungpipe.learn.stable_step import read_copies

    for name in section.classifiers:
        plugins.find("classifiers", name)()
    for name in section.clinical:
        column_name(name)
    feature_sets(section.feature_sets)
    if section.stability:
        read_copies(Path(section.stability))


def plan_run(config: RunConfig, spec: DatasetSpec, curation: Curation, gone: frozenset[str] = frozenset()) -> Plan:
    """Read the annotations, replace identifiers, and refuse what cannot end in the benchmark that is asked for.

    ``gone`` are the tombstones of the workspace (:func:`lungpipe.lineage.tombstones.withdrawn`).

    Raises
    ------
    DatasetError
        If there is nothing to work on, or the labels allow no benchmark.
    """
    path = Path(config.cohort.annotations) if config.cohort.annotations else None
    annotations = read_annotations(spec, path, curation.table)
    if less := shortfall(spec, len(curation.stacks), len(annotations.nodules)):
        say(less)
    nodules = with_clinical(annotations.nodules, config.benchmark.clinical if config.benchmark else ())
    pseudonym, made = load_pseudonymiser()
    if made:
        say(f"pseudonyms: a key was made in {key_path()}; keep it safe, the same key gives the same pseudonyms")
    plan = plan_cohort(
        spec.name,
        spec.intensities,
        curation,
        nodules,
        annotations.exclusions,
        pseudonym,
        config.quality.settings(),
        gone,
    )
    pseudonym.write_table(table_path())
    if not plan.nodules:
        reasons = sorted({row["code"] for row in plan.exclusions})
        raise DatasetError(f"no annotated nodule lies on an accepted series (reasons: {', '.join(reasons) or 'none'})")
    if config.evaluated is not None:
        rows = [
            {
                "patient_id": n.patient_id,
                "series_uid": n.series_uid,
                "nodule_id": n.nodule_id,
                "malignant": n.malignant,
                "split": n.split,
            }
            for n in plan.nodules
        ]
        evaluation(config.evaluated, spec).cohort(pd.DataFrame(rows).astype({"malignant": "Int64"}))
    return plan


def with_clinical(nodules: Sequence[Nodule], names: Sequence[str]) -> list[Nodule]:
    """Nodules with the clinical columns that a recipe names, and no others; what was changed is said.

    Raises
    ------
    DatasetError
        As :func:`lungpipe.clinical.clinical_columns`.
    """
    rows = [{name: str(value) for name, value in nodule.clinical} for nodule in nodules]
    columns, notes = clinical_columns(rows, names, [nodule.patient_id for nodule in nodules])
    for note in notes:
        say(f"clinical columns: {note}")
    return [
        replace(nodule, clinical=tuple((name, values[k]) for name, values in columns.items()))
        for k, nodule in enumerate(nodules)
    ]


def title_of(config: RunConfig) -> str:
    """Title of a run: the recipe's, or the data set's."""
    return config.report.title or load_dataset(config.cohort.dataset).title


def recipe_of(config: RunConfig) -> dict[str, Any]:
    """The recipe as JSON values; folders are often named after patients, and the input hashes say more."""
    recipe: dict[str, Any] = json.loads(config.model_dump_json())
    for key in ("dicom", "annotations"):
        if recipe["cohort"][key]:
            recipe["cohort"][key] = "(path not recorded; see inputs)"
    for name, given in recipe["segment"]["parameters"].items():
        for key in here_only(plugins.find("segmenters", name)) & given.keys():
            given[key] = "(path not recorded; see the version and weights of the segmenter)"
    lung = recipe["regions"]["lung"]
    for key in (
        here_only(plugins.find("segmenters", lung["method"])) & lung["parameters"].keys() if lung["parameters"] else ()
    ):
        lung["parameters"][key] = "(path not recorded; see the version and weights of the model)"
    for name, given in recipe["features"]["embedder_parameters"].items():
        for key in here_only(plugins.find("embedders", given.get(PLUGIN, name))) & given.keys():
            if given[key] != RANDOM:
                given[key] = "(path not recorded; see the hash of the weights of the embedder)"
    if recipe["features"]["parameter_file"]:
        recipe["features"]["parameter_file"] = "(path not recorded; what the file says is under radiomics)"
    if recipe["run"]["cluster"]:
        recipe["run"]["cluster"]["options"] = (
            "(not recorded: names of machines and accounts, and no number depends on them)"
        )
    recipe["report"]["beside"] = len(recipe["report"]["beside"])
    if recipe["benchmark"]:
        recipe["benchmark"]["external"] = sorted(recipe["benchmark"]["external"])
        if path := recipe["benchmark"]["stability"]:
            recipe["benchmark"]["stability"] = f"sha256 {digest_files([path])}"
    if load_dataset(config.cohort.dataset).intensities == "none":  # what asks for images was refused, and says nothing
        recipe = {name: recipe[name] for name in recipe if name not in {"quality", "regions", "features"}}
        recipe["segment"] = {"quality": recipe["segment"]["quality"]}
    return recipe
