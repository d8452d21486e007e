"""Stage 4: the page, drawn by the workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from lungpipe.errors import DatasetError, LungpipeError
from lungpipe.report import MOST_NODULES
from lungpipe.report.pictures import draw_nodule, drawn_before, keep, sitters_of
from lungpipe.report.workspace import Asked, write_report
from lungpipe.store.place import Place
from lungpipe.store.tables import read_table
from tasks.each import Failure, each
from tasks.progress import progress, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from lungpipe.report.pictures import Sitter


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def report(
    address: str,
    workspace: str,
    beside: tuple[str, ...],
    planted_radius_mm: float | None,
    made_from: list[str],
    autoencoders: tuple[tuple[str, str], ...] = (),
) -> str:
    """Write ``report/index.html`` from what the workspace holds, and return the reference of its record.

    Nodules that an earlier report pictured in the same way are not drawn again.

    Raises
    ------
    DatasetError
        If a workspace that is to be shown beside this one is not finished.
    LungpipeError
        If the page could not be made.
    """
    place = Place.at(workspace)
    others = tuple(_beside(Place.at(path)) for path in beside)
    scores = read_table(place, "tables/scores.parquet") if place.exists("tables/scores.parquet") else None
    pictures = _pictures(address, place, sitters_of(read_table(place, "tables/nodules.parquet"), scores, MOST_NODULES))
    asked = Asked(others, planted_radius_mm, (*made_from, pictures), autoencoders)
    ((_, ref),) = each(address, write_report, [asked], workspace)
    if isinstance(ref, Failure):
        raise LungpipeError(f"report: {ref.message}")
    return str(ref)


def _pictures(address: str, place: Place, sitters: Sequence[Sitter]) -> str:
    """Draw what was not drawn before, with progress, and return the reference of the record of all pictures."""
    before = drawn_before(place)
    tiles = {sitter.key: before[sitter.key] for sitter in sitters if sitter.key in before}
    waiting = [sitter for sitter in sitters if sitter.key not in tiles]
    if waiting:
        with progress("report", len(waiting)) as advance:
            for position, tile in each(address, draw_nodule, waiting, str(place)):
                sitter = waiting[position]
                if isinstance(tile, Failure):
                    say(f"report: nodule {sitter.nodule_id} has no picture: {tile.message}")
                else:
                    tiles[sitter.key] = tile
                advance(1, "")
    return keep(place, sitters, tiles)


def _beside(place: Place) -> tuple[str, pd.DataFrame, str]:
    try:
        run: dict[str, Any] = json.loads(place.read("run.json"))
        scores = read_table(place, "tables/scores.parquet")
    except OSError as error:
        raise DatasetError(f"report.beside names {place}, which is no finished workspace with a benchmark") from error
    say(f"report: with {run['title']} beside it")
    return run["title"], scores, run["intensities"]
