"""The report: one page that holds everything it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from markupsafe import Markup

from lungpipe.errors import DatasetError
from lungpipe.report import MEASURED, NONE, SIMULATED, summary
from lungpipe.report.checklist import checklist_content
from lungpipe.report.cohort_flow import cohort_diagram, cohort_steps, flow_table
from lungpipe.report.drawing import Tile
from lungpipe.report.evaluation import evaluation_content
from lungpipe.report.explanation import explanation_content
from lungpipe.report.figures import SETS, of_one_set, plain
from lungpipe.report.html import csv_uri, environment
from lungpipe.report.latents import Traversed, latents_content
from lungpipe.report.lineage import lineage_section, stage_table
from lungpipe.report.nodule_cards import nodule_cards
from lungpipe.report.nodules_section import nodules_section
from lungpipe.report.page_charts import profile_pictures, radius_pictures, roc_pictures
from lungpipe.report.settings_text import flat, toml
from lungpipe.report.stage_counts import stage_counts

TOP_SCORES = 20


def report_html(report: Report) -> str:
    """Make the report: one HTML page without references to anything outside it.

    Raises
    ------
    DatasetError
        If the intensities are neither "simulated" nor "measured" nor "none".
    """
    for intensities in (report.intensities, *(one[2] for one in report.beside)):
        if intensities not in (SIMULATED, MEASURED, NONE):
            raise DatasetError(f'Intensities must be "{SIMULATED}", "{MEASURED}" or "{NONE}", not "{intensities}".')
    pages = environment()
    pages.filters |= {"figure": _figure, "plain": plain}
    return pages.get_template("page.html.j2").render(_content(report))


def _content(report: Report) -> dict[str, Any]:
    run = dict(report.run)
    counts = summary.cohort_counts(report.series, report.nodules, report.exclusions)
    scores = report.scores if report.scores is not None and len(report.scores) else None
    counted = stage_counts(report.run, report.series)
    simulated, imaged = report.intensities == SIMULATED, report.intensities != NONE
    runs = [
        (report.title, scores, simulated),
        *((name, table, kind == SIMULATED) for name, table, kind in report.beside),
    ]
    return {
        "title": report.title,
        "simulated": simulated,
        "images": imaged,
        "verdicts": summary.verdicts(scores) if scores is not None else [],
        "external": report.run.get("external", {}),
        "sets": _sets(scores),
        "pictures": radius_pictures(runs, report.planted_radius_mm) if imaged else [],
        "profiles": profile_pictures(report.features, report.nodules, report.planted_radius_mm, simulated=simulated)
        if imaged
        else [],
        "rocs": roc_pictures(scores, report.predictions, simulated=simulated),
        "evaluations": _evaluations(report, scores),
        "explanation": explanation_content(
            report.importance, report.neighbours, scores, report.predictions, simulated=simulated
        ),
        "latents": latents_content(report.latents, report.features, report.nodules, simulated=simulated),
        "sheet": _sheet(report),
        "flow": _flow(report),
        "counts": [(_numbered(name, count), count) for name, count in counts],
        "patients_with_nodules": int(report.nodules["patient_id"].nunique()),
        "segmented": _segmented(report.nodules),
        "subsets": report.run.get("subsets", {"largest_mm3": {}}),
        "scanners": summary.scanner_table(report.series),
        "reasons": summary.reasons(report.exclusions),
        "exclusions": report.exclusions.fillna("").to_dict("records"),
        "exclusions_csv": csv_uri(report.exclusions),
        "score_rows": summary.score_rows(scores) if scores is not None else [],
        "scores_csv": csv_uri(scores) if scores is not None else "",
        "top": TOP_SCORES,
        "no_benchmark": report.no_benchmark,
        "lineage": Markup(lineage_section(counted)) if counted else "",
        "lineage_csv": csv_uri(stage_table(counted)),
        "checklists": checklist_content(report),
        "recipe": toml(run.pop("recipe", {})),
        "records": [(_heading(str(name)), _rows(value)) for name, value in run.items() if value not in (None, {}, [])],
    }


def _sets(scores: pd.DataFrame | None) -> list[str]:
    """Sets of features in words, that of the charts first; empty where there is only one."""
    if scores is None or "feature_set" not in scores:
        return []
    fixed = scores[scores["selection"] == "fixed"]
    shown = of_one_set(fixed)["feature_set"].unique().tolist()
    names = [*shown, *(name for name in fixed["feature_set"].unique() if name not in shown)]
    return [SETS.get(name, name) for name in names] if len(names) > 1 else []


def _datasets(report: Report, scores: pd.DataFrame | None) -> list[str]:
    """Names of the own data sets that have scores, or nodules where there are no scores."""
    table = summary.taught_here(scores) if scores is not None else report.nodules
    return [str(name) for name in table["dataset"].unique()] if "dataset" in table else []


def _evaluations(report: Report, scores: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Collect the section on the evaluation, once a data set, those of external validation last."""
    if scores is None:
        return []
    found = [
        evaluation_content(
            scores,
            report.predictions,
            report.nodules,
            report.series,
            report.features,
            simulated=report.intensities == SIMULATED,
            dataset=dataset,
        )
        for dataset in map(str, scores["dataset"].unique())
    ]
    return [one for one in found if one is not None]


def _shown(report: Report) -> str:
    """Name the segmenter whose masks the page shows: the one that the caller says, or the first."""
    names = report.nodules["segmenter"] if "segmenter" in report.nodules else pd.Series(dtype="str")
    return report.segmenter or (str(names.iloc[0]) if len(names) else "")


def _flow(report: Report) -> dict[str, Any]:
    """Draw and tabulate the way of each data set."""
    segmenter = _shown(report)
    steps = {
        dataset: cohort_steps(
            report.series,
            report.nodules,
            report.exclusions,
            report.predictions,
            dataset=dataset,
            segmenter=segmenter,
            segmented_by=plain(segmenter),
            run=report.run,
        )
        for dataset in _datasets(report, report.scores)
    }
    drawn = [(dataset, Markup(cohort_diagram(found, number))) for number, (dataset, found) in enumerate(steps.items())]
    return {"diagrams": drawn, "csv": csv_uri(flow_table(steps))}


def _sheet(report: Report) -> dict[str, Any] | None:
    segmenter = _shown(report)
    nodules = report.nodules[report.nodules["segmenter"] == segmenter] if segmenter else report.nodules
    cards = nodule_cards(
        nodules,
        report.exclusions,
        report.predictions,
        report.features,
        report.series,
        report.neighbours,
        report.radius_mm,
    )
    sheet = nodules_section(cards, report.tiles, report.lineage)
    return sheet if sheet is None else {**sheet, "segmenter": segmenter, "segmented_by": plain(segmenter)}


def _segmented(nodules: pd.DataFrame) -> list[tuple[str, int]]:
    if "segmenter" not in nodules:
        return []
    once = nodules.drop_duplicates([name for name in (*summary.NODULE, "segmenter") if name in nodules])
    return [(plain(name), int(count)) for name, count in once.groupby("segmenter").size().items()]


def _rows(value: Any) -> list[tuple[str, str]]:
    return flat(value) if isinstance(value, Mapping) else flat({"": value})


def _heading(name: str) -> str:
    """Write a key of the run record as a heading, a unit at its end in brackets."""
    words = name.removesuffix("_s").replace("_", " ").capitalize()
    return f"{words} (s)" if name.endswith("_s") else words


def _numbered(name: str, count: int) -> str:
    """Put the noun that a name begins with in the singular where there is one of it."""
    noun, _, rest = name.partition(" ")
    return " ".join([noun.removesuffix("s"), rest]).strip() if count == 1 and noun != "series" else name


def _figure(value: float | None) -> str:
    """Write an AUC or its like with two digits; a dash where there is none."""
    return "\u2013" if value is None or pd.isna(value) else f"{value:.2f}"


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What the page shows.

    Parameters
    ----------
    title : str
        Of the page: what was run.
    intensities : str
        ``"simulated"``, which the page and every figure then say, ``"measured"``, or ``"none"`` for outlines without images.
    run : mapping
        As in ``run.json``; ``recipe`` may be text or tables.
    series, nodules, exclusions : DataFrame
        Tables of the workspace.
    scores, predictions : DataFrame or None
        The benchmark's tables; None for a run that stopped at features.
    tiles : sequence of Tile
        Pictures of nodules by the one segmenter that is shown.
    beside : sequence of (str, DataFrame, str)
        Caption, table of scores and intensities of runs to compare with, such as one without planted effect.
    planted_radius_mm : float or None
        How far a simulated effect reaches from the nodule's edge.
    no_benchmark : str
        Why there are no scores, if the caller knows.
    features : DataFrame or None
        Rows of the one segmenter that is shown.
    segmenter : str
        The one that is shown; by default the first of the table of nodules.
    radius_mm : float
        Of the surroundings that are shown, mm; 0 for none.
    lineage : mapping
        By series and nodule, names and references of what its rows were made from.
    importance, neighbours : DataFrame or None
        What explains the benchmark's choice; None where it could not be explained.
    latents : sequence of Traversed
        Autoencoders among the embedders.
    """

    title: str
    intensities: str
    run: Mapping[str, Any]
    series: pd.DataFrame
    nodules: pd.DataFrame
    exclusions: pd.DataFrame
    scores: pd.DataFrame | None = None
    predictions: pd.DataFrame | None = None
    tiles: Sequence[Tile] = ()
    beside: Sequence[tuple[str, pd.DataFrame, str]] = field(default=())
    planted_radius_mm: float | None = None
    no_benchmark: str = ""
    features: pd.DataFrame | None = None
    segmenter: str = ""
    radius_mm: float = 0.0
    lineage: Mapping[tuple[str, str], Sequence[tuple[str, str]]] = field(default_factory=dict)
    importance: pd.DataFrame | None = None
    neighbours: pd.DataFrame | None = None
    latents: Sequence[Traversed] = ()
