"""The report: one page that holds everything it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from markupsafe import Markup

from lungpipe.errors import DatasetError
from lungpipe.report import summary
from lungpipe.report.checklist import checklist_content
from lungpipe.report.contact import FEW, MAX_TILES, Tile, contact_sheet
from lungpipe.report.evaluation import evaluation_content
from lungpipe.report.explanation import explanation_content
from lungpipe.report.figures import SETS, auc_against_radius, auc_limits, of_one_set, plain, roc_curves
from lungpipe.report.html import data_uri, environment
from lungpipe.report.lineage import lineage_section
from lungpipe.report.profile import CLASSES, hu_profile, profiles, ring_means
from lungpipe.report.settings_text import flat, toml
from lungpipe.report.stage_counts import stage_counts

SIMULATED, MEASURED, NONE = "simulated", "measured", "none"
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
    return {
        "title": report.title,
        "simulated": report.intensities == SIMULATED,
        "images": report.intensities != NONE,
        "verdicts": summary.verdicts(scores) if scores is not None else [],
        "external": report.run.get("external", {}),
        "sets": _sets(scores),
        "pictures": _radius_pictures(report, scores),
        "profile": _profile(report),
        "roc": _roc(report, scores),
        "evaluation": evaluation_content(
            scores,
            report.predictions,
            report.nodules,
            report.series,
            report.features,
            simulated=report.intensities == SIMULATED,
        ),
        "explanation": explanation_content(
            report.importance,
            report.neighbours,
            scores,
            report.predictions,
            simulated=report.intensities == SIMULATED,
        ),
        "sheet": _sheet(report),
        "counts": [(_numbered(name, count), count) for name, count in counts],
        "patients_with_nodules": int(report.nodules["patient_id"].nunique()),
        "segmented": _segmented(report.nodules),
        "subsets": report.run.get("subsets", {"largest_mm3": {}}),
        "scanners": summary.scanner_table(report.series),
        "reasons": summary.reasons(report.exclusions),
        "exclusions": report.exclusions.fillna("").to_dict("records"),
        "exclusions_csv": _csv(report.exclusions),
        "score_rows": summary.score_rows(scores) if scores is not None else [],
        "scores_csv": _csv(scores) if scores is not None else "",
        "top": TOP_SCORES,
        "no_benchmark": report.no_benchmark,
        "lineage": Markup(lineage_section(counted)) if counted else "",
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


def _radius_pictures(report: Report, scores: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Draw AUC against radius for this run and those beside it, on one scale; without images there is one radius, 0."""
    if report.intensities == NONE:
        return []
    runs = [(report.title, scores, report.intensities), *report.beside]
    runs = [(caption, None if table is None else summary.at_home(table), kind) for caption, table, kind in runs]
    drawable = [
        (caption, table, intensities)
        for caption, table, intensities in runs
        if table is not None and ((table["selection"] == "fixed") & table["auc"].notna()).any()
    ]
    if not drawable:
        return []
    limits = auc_limits([table[table["selection"] == "fixed"] for _, table, _ in drawable])
    pictures = []
    for position, (caption, table, intensities) in enumerate(drawable):
        simulated = intensities == SIMULATED
        planted_radius_mm = report.planted_radius_mm if position == 0 else None
        image = auc_against_radius(table, planted_radius_mm=planted_radius_mm, simulated=simulated, limits=limits)
        verdict = summary.verdicts(table)[0]
        alt = f"AUC against radius, one line a segmenter. The highest is {verdict['best']['auc']:.2f}: "
        pictures.append(
            {
                "caption": caption,
                "simulated": simulated,
                "verdict": verdict,
                "src": data_uri("image/svg+xml", image.encode()),
                "alt": alt + verdict["best_name"] + ".",
            }
        )
    return pictures


def _profile(report: Report) -> dict[str, str] | None:
    """Draw mean HU against distance for the segmenter that the page shows, where its regions allow it."""
    if report.features is None or not len(report.features) or report.intensities == NONE:
        return None
    profile = profiles(ring_means(report.features), report.nodules)
    if not (profile["outer_mm"] > 0).any():
        return None
    simulated = report.intensities == SIMULATED
    image = hu_profile(profile, planted_radius_mm=report.planted_radius_mm, simulated=simulated)
    nearest = profile[profile["outer_mm"] > 0].sort_values("outer_mm").drop_duplicates("malignant")
    said = ", ".join(f"{CLASSES[int(row['malignant'])]} {row['mean_hu']:.0f} HU" for row in nearest.to_dict("records"))
    return {
        "src": data_uri("image/svg+xml", image.encode()),
        "alt": f"Mean HU against the distance from the nodule's surface; nearest to it: {said}.",
        "segmenter": plain(report.features["segmenter"].iloc[0]),
    }


def _roc(report: Report, scores: pd.DataFrame | None) -> dict[str, str] | None:
    if scores is None or report.predictions is None:
        return None
    curves, figures = summary.roc_selection(scores, report.predictions)
    if not curves:
        return None
    image = roc_curves(curves, figures, simulated=report.intensities == SIMULATED)
    areas = "; ".join(f"{name}, AUC {figures[name]['auc']:.2f}" for name in curves)
    return {"src": data_uri("image/svg+xml", image.encode()), "alt": f"ROC curves: {areas}."}


def _sheet(report: Report) -> dict[str, Any] | None:
    if not report.tiles:
        return None
    image = contact_sheet(report.tiles, simulated=report.intensities == SIMULATED)
    names = ", ".join(dict.fromkeys(name for tile in report.tiles for name in tile.outlines))
    shown = min(len(report.tiles), MAX_TILES)
    alt = f"{shown} nodules, one axial slice each at lung window, outlined: {names or 'nothing'}."
    return {
        "src": data_uri("image/png", image),
        "alt": alt,
        "shown": shown,
        "of": len(report.tiles),
        "width_px": 145 * min(8, shown) if shown > FEW else 240 * shown,
    }


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


def _csv(table: pd.DataFrame) -> str:
    return data_uri("text/csv;charset=utf-8", table.to_csv(index=False).encode())


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
        Nodules on the contact sheet.
    beside : sequence of (str, DataFrame, str)
        Caption, table of scores and intensities of runs to compare with, such as one without planted effect.
    planted_radius_mm : float or None
        How far a simulated effect reaches from the nodule's edge.
    no_benchmark : str
        Why there are no scores, if the caller knows.
    features : DataFrame or None
        Rows of the one segmenter whose HU are drawn against distance.
    importance, neighbours : DataFrame or None
        What explains the benchmark's choice; None where it could not be explained.
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
    importance: pd.DataFrame | None = None
    neighbours: pd.DataFrame | None = None
