"""The command ``plan``: what a run would do and at what cost, and nothing done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flows.forecast import Forecast


def plan(
    recipe: Annotated[Path, typer.Argument(help="Recipe (TOML).")],
    workspace: Annotated[
        str | None,
        typer.Option(help="Folder or address of the run's results; default: RECIPE's name + '-workspace'."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting; repeatable.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")] = False,
) -> None:
    """Say what a run would do, what is done already, and what the rest takes; runs nothing.

    Headers that no earlier run read are read now. Times and sizes come from the ledger of the workspace: what the same kinds
    of work took there before.

    Example: lungpipe plan recipes/lidc-0314.toml --set cohort.dicom=LIDC-IDRI-0314
    """
    from data_catalog import load_dataset
    from flows.config import load_config
    from flows.forecast import forecast
    from lungpipe.errors import DatasetError
    from lungpipe.store.place import Place

    config = load_config(recipe, overrides)
    if load_dataset(config.cohort.dataset).intensities == "none":
        raise DatasetError(f"{config.cohort.dataset} has no images to plan for: run it, it takes minutes")
    found = forecast(config, Place.at(workspace or Path.cwd() / f"{recipe.stem}-workspace"))
    print(json.dumps(found.as_dict()) if json_ else "\n".join(_lines(found)))  # noqa: T201  the command line's own output


def _lines(found: Forecast) -> Iterator[str]:
    from lungpipe.store.space import in_words
    from lungpipe.watching.pace import duration

    yield f"{found.series} series, {found.scans} scans accepted, {found.nodules} nodules, {found.labelled} with a label"
    if found.excluded:
        yield "left out: " + ", ".join(f"{n} {code}" for code, n in found.excluded.items())
    if not found.pixels_seen:
        yield "pixels were not looked at yet: more series may be left out, and what is done is not known for new ones"
    yield f"scans: {found.done} done, {found.begun} begun, {found.fresh} new"
    yield f"when all is done: {found.rows} rows of features" + (
        f", {found.configurations} configurations of the benchmark" if found.configurations else ""
    )
    yield ""
    yield f"{'work':<24}{'standing':>10}{'to make':>10}{'seconds':>12}{'size':>12}"
    for one in found.work:
        seconds = "-" if one.seconds is None else f"{one.seconds:.1f}"
        size = "-" if one.n_bytes is None else in_words(one.n_bytes)
        yield f"{one.kind:<24}{one.standing:>10}{one.to_make:>10}{seconds:>12}{size:>12}"
    yield ""
    if found.finished:
        yield "this run is finished: a run would find nothing to do, unless a file was damaged"
    elif found.seconds is None:
        yield "no time can be told: the workspace has no history yet; run it for a while, then plan again"
    else:
        yield f"about {duration(found.seconds / found.workers)} with {found.workers} workers" + (
            f", not counting {', '.join(found.without_history)}: no history of these" if found.without_history else ""
        )
    room = "" if found.free_bytes is None else f", {in_words(found.free_bytes)} are free"
    yield f"{'an unknown size' if found.n_bytes is None else in_words(found.n_bytes)} to be written{room}"
    need = f"the largest scan needs {in_words(found.scan_bytes)} of a worker's {in_words(found.worker_bytes)}"
    yield need + (
        f"; {found.too_large} scans need more and would be left out: raise run.memory_per_worker"
        if found.too_large
        else ""
    )
    yield f"scans a shard: {', '.join(map(str, found.shard_sizes[:5]))}{' ...' if len(found.shard_sizes) > 5 else ''}"
