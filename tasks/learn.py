"""Stage 3: evaluate every configuration over Dask, one future a segmenter, region and classifier; then explain the choice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from lungpipe.errors import LungpipeError
from lungpipe.learn.asked import sets_of_regions
from lungpipe.learn.baselines import baseline_keys, is_baseline
from lungpipe.learn.clinical import rating_columns
from lungpipe.learn.cohort import ConfigurationKey
from lungpipe.learn.evaluation import Configuration, Evaluation, evaluate_recorded
from lungpipe.learn.explanation import KIND, explain_task, forget_explanation, write_explanation
from lungpipe.learn.external import External, evaluate_external
from lungpipe.learn.scores import write_scores
from lungpipe.store.place import Place
from lungpipe.store.tables import read_table
from tasks.each import Failure, each
from tasks.progress import progress, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lungpipe.learn.explanation import FoldTask
    from lungpipe.learn.scores import Scored


def evaluate_one(key: ConfigurationKey, evaluation: Evaluation, workspace: str) -> Configuration:
    """Evaluate one configuration in a worker, which reads the tables itself."""
    return evaluate_recorded(Place.at(workspace), key, evaluation)


def apply_one(
    key: ConfigurationKey, evaluation: Evaluation, workspace: str, external: tuple[External, ...]
) -> Configuration:
    """Fit one configuration to all of a workspace in a worker, and apply it to others."""
    return evaluate_external(Place.at(workspace), key, evaluation, external)


@task(name="benchmark", cache_policy=NO_CACHE, persist_result=False)
def benchmark(
    address: str,
    evaluation: Evaluation,
    workspace: str,
    tables: tuple[str, ...],
    others: tuple[Evaluation, ...] = (),
    external: tuple[External, ...] = (),
) -> Scored:
    """Evaluate every configuration and write the tables of the benchmark.

    They are ``predictions.parquet`` and ``scores.parquet``; ``importance.parquet`` and ``neighbours.parquet`` explain the choice,
    and where they cannot be made the scores stand without them.

    Parameters
    ----------
    address : str
        Of the Dask scheduler.
    evaluation : Evaluation
    workspace : str
    tables : tuple of str
        References of the tables of nodules and features.
    others : tuple of Evaluation
        Of further data sets in the same tables.
    external : tuple of External
        Workspaces whose nodules every configuration is tested on besides.

    Raises
    ------
    LungpipeError
        If a configuration could not be evaluated at all.
    """
    place = Place.at(workspace)
    runs = {one: _evaluated(address, place, evaluate_one, one, str(place)) for one in (evaluation, *others)}
    tested = _evaluated(address, place, apply_one, evaluation, str(place), external) if external else {}
    others_found = {one: found for one, found in runs.items() if one != evaluation}
    scored = write_scores(place, evaluation, runs[evaluation], tables, others_found, external, tested)
    return _with_explanation(address, place, runs, scored)


def explain_one(task: FoldTask) -> Any:
    """Explain one fold in a worker; what cannot be explained is told in its own words."""
    try:
        return explain_task(task)
    except LungpipeError as error:
        return Failure("not_explained", str(error))


def _with_explanation(
    address: str, place: Place, runs: Mapping[Evaluation, Mapping[ConfigurationKey, Configuration]], scored: Scored
) -> Scored:
    def over_workers(_: Callable[[Any], Any], tasks: Sequence[FoldTask]) -> Iterator[tuple[int, Any]]:
        with progress("explanations", len(tasks)) as advance:
            for position, outcome in each(address, explain_one, tasks):
                if isinstance(outcome, Failure):
                    raise LungpipeError(outcome.message)
                advance(1, "")
                yield position, outcome

    try:
        found = write_explanation(place, scored.ref, runs, over_workers)
    except Exception as error:  # noqa: BLE001  whatever it is, the scores are not lost by it
        forget_explanation(place)
        words = (
            str(error)
            if isinstance(error, LungpipeError)
            else f"{type(error).__name__}; this is a bug: please report it"
        )
        say(f"benchmark: scores stand, but the choice could not be explained: {words}")
        return scored
    scored = replace(scored, explanation=found.ref)
    if found.reused:
        return replace(scored, reused={**scored.reused, KIND: 1})
    return replace(scored, made={**scored.made, KIND: 1})


def _evaluated(
    address: str, place: Place, function: Callable[..., Configuration], evaluation: Evaluation, *more: Any
) -> dict[ConfigurationKey, Configuration]:
    """Every configuration of one data set, in the order of the tables."""
    regions = sets_of_regions(read_table(place, "tables/features.parquet"), evaluation)
    keys = [
        ConfigurationKey(*region, classifier, name)
        for region, sets in regions.items()
        for classifier in evaluation.classifiers
        for name in sets
    ]
    nodules = read_table(place, "tables/nodules.parquet")
    rated = bool(rating_columns(nodules[nodules["dataset"] == evaluation.dataset]))
    keys += baseline_keys([*regions], evaluation.classifiers, clinical=bool(evaluation.clinical), ratings=rated)
    results: dict[ConfigurationKey, Configuration] = {}
    with progress("configurations", len(keys)) as advance:
        for position, outcome in each(address, function, keys, evaluation, *more):
            if isinstance(outcome, Failure):
                key = keys[position]
                where = key.region if is_baseline(key) else f"{key.region} {key.radius_mm:g} mm"
                raise LungpipeError(f"{key.classifier} on {key.segmenter}, {where}: {outcome.message}")
            results[keys[position]] = outcome
            advance(1, "")
    return {key: results[key] for key in keys}
