"""Which flow a recipe needs, and whether what it comes to stands already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from data_catalog import load_dataset

if TYPE_CHECKING:
    from flows.sections import RunConfig
    from flows.standing import Outcome
    from lungpipe.store.place import Place


def standing(config: RunConfig, place: Place) -> Outcome | None:
    """What an earlier run of the recipe on the same inputs came to, if all of it stands; no workflow engine is started.

    Raises
    ------
    DatasetError, PluginError
        If the recipe or its inputs allow no run.
    """
    if without_images(config):
        from flows.shape_plan import standing_shapes

        return standing_shapes(config, place)
    from flows.plan import check_config
    from flows.standing import standing_run

    return standing_run(config, *check_config(config), place)


def chain(config: RunConfig) -> Any:
    """The flow of a recipe: over images, or over outlines alone."""
    if without_images(config):
        from flows.shape_cohort import shape_cohort

        return shape_cohort
    from flows.cohort import cohort

    return cohort


def without_images(config: RunConfig) -> bool:
    """Whether a recipe's data set is outlines alone."""
    return load_dataset(config.cohort.dataset).intensities == "none"
