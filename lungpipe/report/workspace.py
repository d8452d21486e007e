"""The report of a workspace, from its tables and pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lungpipe.report.nodule_lineage import nodule_lineage
from lungpipe.report.pictures import drawn_before, shown_configuration
from lungpipe.store.page import write_page
from lungpipe.store.place import Place
from lungpipe.store.tables import read_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Asked:
    """What a report shows besides its own workspace.

    Parameters
    ----------
    beside : tuple of (str, DataFrame, str)
        Title, scores and kind of intensities of other runs.
    planted_radius_mm : float, optional
        How far a simulated effect reaches, mm.
    made_from : tuple of str
        References of the records of what is shown.
    autoencoders : tuple of (str, str)
        Name and file of weights of the autoencoders among the embedders.
    """

    beside: tuple[tuple[str, pd.DataFrame, str], ...] = ()
    planted_radius_mm: float | None = None
    made_from: tuple[str, ...] = ()
    autoencoders: tuple[tuple[str, str], ...] = ()


def write_report(asked: Asked, workspace: str) -> str:
    """Write ``report/index.html`` from what a workspace holds, and return the reference of its record.

    Parameters
    ----------
    asked : Asked
    workspace : str
        Folder or address.
    """
    from lungpipe.report.latents import traversed
    from lungpipe.report.page import (  # and with it what draws; whoever hands this out needs none of it
        Report,
        report_html,
    )

    place = Place.at(workspace)
    nodules, scores, predictions = _table(place, "nodules"), _optional(place, "scores"), _optional(place, "predictions")
    run: dict[str, Any] = json.loads(place.read("run.json"))
    segmenter, radius_mm = shown_configuration(nodules, scores)
    features = _table(place, "features")
    features = features[features["segmenter"] == segmenter]
    page = Report(
        title=run["title"],
        intensities=run["intensities"],
        run=run,
        tiles=[*drawn_before(place).values()],
        beside=[*asked.beside],
        planted_radius_mm=asked.planted_radius_mm,
        series=_table(place, "series"),
        exclusions=_table(place, "exclusions"),
        nodules=nodules,
        scores=scores,
        predictions=predictions,
        features=features,
        segmenter=segmenter,
        radius_mm=radius_mm,
        lineage=nodule_lineage(place, nodules[nodules["segmenter"] == segmenter], features),
        importance=_optional(place, "importance"),
        neighbours=_optional(place, "neighbours"),
        latents=traversed(dict(asked.autoencoders)),
    )
    return write_page(place, "report", "report/index.html", report_html(page), asked.made_from)[1]


def _table(place: Place, name: str) -> pd.DataFrame:
    return read_table(place, f"tables/{name}.parquet")


def _optional(place: Place, name: str) -> pd.DataFrame | None:
    path = f"tables/{name}.parquet"
    return read_table(place, path) if place.exists(path) else None
