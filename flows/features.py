"""The flow up to the feature table: what a benchmark that somebody asks for later starts from."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.chain import chain, standing
from flows.config import load_config
from flows.standing import Outcome
from lungpipe.store.place import Place
from tasks.artifacts import run_name
from tasks.progress import say

#: Makes the benchmark's controls and compares nothing, so that the benchmark finds every feature made.
NO_COMPARISON = "benchmark.classifiers=[]"


@flow(name="features", flow_run_name=run_name, persist_result=False, validate_parameters=False)
def features(
    recipe: str,
    workspace: str,
    overrides: list[str] | None = None,
    dask: str | None = None,
    workers: int | None = None,
) -> Outcome:
    """Run a recipe without its benchmark; where it stands, with or without the benchmark, nothing is done.

    Scores of an earlier benchmark stay as long as what they were made from stays, and go with it.

    Raises
    ------
    DatasetError, PluginError
        As the flow of the recipe.
    """
    given = overrides or []
    config = load_config(Path(recipe), given)
    place = Place.at(workspace)
    ways = [given, [*given, NO_COMPARISON]] if config.benchmark else [given]
    for changes in ways:
        if (found := standing(load_config(Path(recipe), changes), place)) is not None:
            say("nothing to do: recipe, archive and results are as they were")
            return found
    outcome: Outcome = chain(config)(recipe, workspace, ways[-1], dask, workers)
    return outcome
