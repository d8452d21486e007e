"""Stage 4: the page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from lungpipe.errors import DatasetError
from lungpipe.report import MOST_NODULES
from lungpipe.report.nodule_lineage import nodule_lineage
from lungpipe.store.page import write_page
from lungpipe.store.place import Place
from lungpipe.store.tables import read_table
from tasks.progress import progress, say

if TYPE_CHECKING:
    import pandas as pd

    from lungpipe.report.contact import Tile


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def report(workspace: str, beside: tuple[str, ...], planted_radius_mm: float | None, made_from: list[str]) -> str:
    """Write ``report/index.html`` from what the workspace holds, and return the reference of its record."""
    from lungpipe.report.page import Report, report_html  # no earlier stage draws

    place = Place.at(workspace)
    nodules, scores, predictions = _table(place, "nodules"), _optional(place, "scores"), _optional(place, "predictions")
    run: dict[str, Any] = json.loads(place.read("run.json"))
    segmenter, radius_mm = _shown(nodules, scores)
    shown, features = nodules[nodules["segmenter"] == segmenter], _of_segmenter(place, segmenter)
    page = Report(
        title=run["title"],
        intensities=run["intensities"],
        run=run,
        tiles=_tiles(place, shown, radius_mm),
        beside=[_beside(Place.at(path)) for path in beside],
        planted_radius_mm=planted_radius_mm,
        series=_table(place, "series"),
        exclusions=_table(place, "exclusions"),
        nodules=nodules,
        scores=scores,
        predictions=predictions,
        features=features,
        segmenter=segmenter,
        radius_mm=radius_mm,
        lineage=nodule_lineage(place, shown, features),
        importance=_optional(place, "importance"),
        neighbours=_optional(place, "neighbours"),
    )
    return write_page(place, "report", "report/index.html", report_html(page), made_from)[1]


def _table(place: Place, name: str) -> pd.DataFrame:
    return read_table(place, f"tables/{name}.parquet")


def _optional(place: Place, name: str) -> pd.DataFrame | None:
    path = f"tables/{name}.parquet"
    return read_table(place, path) if place.exists(path) else None


def _of_segmenter(place: Place, segmenter: str) -> pd.DataFrame:
    features = _table(place, "features")
    return features[features["segmenter"] == segmenter]


def _shown(nodules: pd.DataFrame, scores: pd.DataFrame | None) -> tuple[str, float]:
    """Segmenter and radius of the contact sheet: the configuration with the best inner AUC, or the first segmenter."""
    if scores is not None:
        fixed = scores[(scores["selection"] == "fixed") & (scores["dataset"] == scores["dataset"].iloc[0])]
        if fixed["inner_auc"].notna().any():
            best = fixed.iloc[int(fixed["inner_auc"].fillna(-1.0).to_numpy().argmax())]
            return str(best["segmenter"]), float(best["radius_mm"])
    return (str(nodules["segmenter"].iloc[0]) if len(nodules) else ""), 8.0


def _tiles(place: Place, shown: pd.DataFrame, radius_mm: float) -> list[Tile]:
    """Read the pictures of the nodules, with progress."""
    n = min(MOST_NODULES, int((shown["volume_id"] != "").sum()))
    if not n:
        return []
    from lungpipe.report.tiles import nodule_tiles

    with progress("report", n) as advance:
        return nodule_tiles(place, shown, radius_mm, n, lambda: advance(1, ""))


def _beside(place: Place) -> tuple[str, pd.DataFrame, str]:
    try:
        run: dict[str, Any] = json.loads(place.read("run.json"))
        scores = read_table(place, "tables/scores.parquet")
    except OSError as error:
        raise DatasetError(f"report.beside names {place}, which is no finished workspace with a benchmark") from error
    say(f"report: with {run['title']} beside it")
    return run["title"], scores, run["intensities"]
