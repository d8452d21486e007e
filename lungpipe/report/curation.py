"""The curation report: what an archive held, what was kept, and why the rest was not."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from lungpipe.dicom.codes import VERDICTS
from lungpipe.errors import DatasetError
from lungpipe.report import MEASURED, SIMULATED
from lungpipe.report import curation_counts as counts
from lungpipe.report.curation_figures import histogram
from lungpipe.report.curation_flow import flow_diagram
from lungpipe.report.flow_boxes import total
from lungpipe.report.html import data_uri, environment
from lungpipe.report.settings_text import flat

#: Columns of the tables that the page and its downloads may hold; a table's other columns stay out of both.
SERIES_COLUMNS = (
    "dataset", "intensities", "patient_id", "study_uid", "series_uid", "stack", "verdict", "codes", "detail",
    "modality", "n_slices", "rows", "columns", "spacing_z_mm", "spacing_y_mm", "spacing_x_mm", "slice_thickness_mm",
    "manufacturer", "model", "kernel", "kvp", "tube_current_ma", "exposure_mas", "ctdi_vol_mgy", "transfer_syntax",
    "padding_voxels", "volume_id",
)  # fmt: skip
FILE_COLUMNS = ("stage", "code", "file", "message", "patient_id", "series_uid", "intensities")
QUANTITIES = (
    ("spacing_z_mm", "Slice spacing (mm)", False),
    ("slice_thickness_mm", "Slice thickness (mm)", False),
    ("spacing_x_mm", "In-plane spacing (mm)", False),
    ("n_slices", "Slices a series", True),
    ("kvp", "Tube voltage (kV)", True),
    ("tube_current_ma", "Tube current (mA)", True),
    ("exposure_mas", "Exposure (mAs)", True),
    ("ctdi_vol_mgy", "Dose, CTDIvol (mGy)", False),
)
MOST_BARS, TOP_TILES, MOST_TILES, TOP_ROWS, MOST_ROWS = 12, 36, 200, 20, 500
#: The page stays below 10 MB with 100,000 series: pictures share this, and a larger CSV file is zipped.
PICTURE_BYTES, PLAIN_CSV_BYTES = 2_000_000, 1_000_000


def curation_html(curation: Curation) -> str:
    """Make the curation report: one HTML page without references to anything outside it.

    Raises
    ------
    DatasetError
        If the intensities are neither "simulated" nor "measured" or call simulated series measured, a column is
        missing, or a verdict is unknown.
    """
    _check(curation)
    return environment().get_template("curation.html.j2").render(_content(curation))


def _check(curation: Curation) -> None:
    if curation.intensities not in (SIMULATED, MEASURED):
        raise DatasetError(f'Intensities must be "{SIMULATED}" or "{MEASURED}", not "{curation.intensities}".')
    for name, table, columns in (
        ("series", curation.series, SERIES_COLUMNS),
        ("exclusions", curation.exclusions, FILE_COLUMNS),
    ):
        missing = [column for column in columns if column not in table]
        if missing:
            raise DatasetError(f"The curation report needs columns {missing} in the table of {name}; write it anew.")
    if curation.intensities == MEASURED and (curation.series["intensities"] == SIMULATED).any():
        raise DatasetError("Some series have simulated intensities, so the report cannot call them measured.")
    unknown = sorted({*curation.series["verdict"], *curation.verdicts.values()} - set(VERDICTS))
    if unknown:
        raise DatasetError(f"Verdicts must be among {VERDICTS}, not {unknown}.")


def _content(curation: Curation) -> dict[str, Any]:
    series = curation.series[list(SERIES_COLUMNS)].reset_index(drop=True)
    words = ["codes", "detail", "manufacturer", "model", "kernel", "modality"]
    series[words] = series[words].fillna("")
    files = curation.exclusions.loc[curation.exclusions["stage"] == "index", list(FILE_COLUMNS)].fillna("")
    in_force = counts.verdicts_in_force(curation.verdicts)
    decided = counts.deciding_codes(series, in_force)
    quarantined = (series["verdict"] == "quarantine").to_numpy(dtype=bool)
    n_files = curation.run.get("files")
    flow = counts.count_flow(series, files, curation.others, in_force, None if n_files is None else int(n_files))
    flagged = series[series["verdict"] != "accept"].sort_values("verdict", kind="stable")  # "quarantine" < "warn"
    messages = files.groupby(["code", "message"]).size().sort_values(ascending=False, kind="stable")
    return {
        "title": curation.title,
        "simulated": curation.intensities == SIMULATED,
        "flow": flow,
        "warned": total(flow.warned),
        "quarantined": total(flow.quarantined),
        "diagram": Markup(flow_diagram(flow)),
        "bars": [
            (name, counts.bar_rows(values, quarantined, MOST_BARS))
            for name, values in (("Scanner", counts.scanner_names(series)), ("Kernel", series["kernel"]))
        ],
        "histograms": [_histogram(series, quarantined, *quantity) for quantity in QUANTITIES],
        "tiles": _tiles(curation, series, decided[quarantined]),
        "codes": counts.code_rows(series, in_force),
        "flagged": _rows(flagged),
        "flagged_n": len(flagged),
        "flagged_csv": _csv(flagged, "flagged_series"),
        "messages": [(*key, int(n)) for key, n in zip(messages.index[:MOST_ROWS], messages, strict=False)],
        "messages_n": len(messages),
        "files_n": len(files),
        "files_csv": _csv(files, "excluded_files"),
        "top": TOP_ROWS,
        "run": flat(curation.run),
    }


def _histogram(
    series: pd.DataFrame, quarantined: np.ndarray[Any, np.dtype[np.bool_]], column: str, name: str, whole: bool
) -> dict[str, Any]:
    """Draw one quantity, and count the series that do not record it."""
    values = pd.to_numeric(series[column], errors="coerce").to_numpy(dtype=np.float64)
    known = np.isfinite(values)
    return {
        "name": name,
        "figure": Markup(histogram(values[known & ~quarantined], values[known & quarantined], name=name, whole=whole))
        if known.any()
        else "",
        "unknown_accepted": int((~known & ~quarantined).sum()),
        "unknown_quarantined": int((~known & quarantined).sum()),
    }


def _tiles(curation: Curation, series: pd.DataFrame, decided: pd.Series[str]) -> dict[str, Any]:
    """Choose the quarantined series that are shown, and say of how many no picture is."""
    shown, spent = [], 0
    rows = series.loc[decided.index]
    keys = rows["series_uid"] + "/" + rows["stack"].astype("int64").astype("str")
    known = keys[keys.isin([*curation.thumbnails, *curation.withheld])]
    for label in counts.pick(decided[known.index], MOST_TILES):
        row, key = rows.loc[label], known[label]
        codes = counts.split(row["codes"])
        reason = curation.withheld.get(key, "")
        if not reason and counts.READABLE.intersection(codes):
            reason = "text may be burned in"
        picture = b"" if reason else curation.thumbnails[key]
        spent += len(picture)
        if spent > PICTURE_BYTES:
            spent -= len(picture)
            continue
        shown.append(
            {
                "src": data_uri("image/png", picture) if picture else "",
                "reason": reason,
                "code": decided[label],
                "codes": codes or [counts.NO_CODE],
                "patient": row["patient_id"],
                "series": row["series_uid"],
                "stack": int(row["stack"]),
            }
        )
    groups = [sorted(part, key=itemgetter("code")) for part in (shown[:TOP_TILES], shown[TOP_TILES:])]
    return {
        "top": groups[0],
        "rest": groups[1],
        "shown": len(shown),
        "more": len(known) - len(shown),
        "none": len(rows) - len(known),
    }


def _rows(flagged: pd.DataFrame) -> list[dict[str, Any]]:
    """Put the first rows of the table of series in words."""
    head = flagged.head(MOST_ROWS)
    rows = []
    for scanner, row in zip(counts.scanner_names(head), head.to_dict("records"), strict=True):
        spacing = [row[f"spacing_{axis}_mm"] for axis in "zyx"]
        rows.append(
            {str(key): value for key, value in row.items()}
            | {
                "scanner": scanner,
                "codes": ", ".join(counts.split(row["codes"])),
                "spacing": ", ".join("?" if pd.isna(one) else f"{one:.3g}" for one in spacing),
            }
        )
    return rows


def _csv(table: pd.DataFrame, name: str) -> dict[str, str]:
    """Return a link that holds a whole table, zipped if it is large."""
    content = table.to_csv(index=False, float_format="%.7g").encode()
    if len(content) <= PLAIN_CSV_BYTES:
        return {"name": f"{name}.csv", "href": data_uri("text/csv;charset=utf-8", content)}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{name}.csv"), content, zipfile.ZIP_DEFLATED)  # no date
    return {"name": f"{name}.csv.zip", "href": data_uri("application/zip", target.getvalue())}


@dataclass(frozen=True, slots=True, eq=False)
class Curation:
    """What the page shows. All identifiers in it are pseudonyms.

    Parameters
    ----------
    title : str
        Of the page: what was curated.
    intensities : str
        ``"simulated"``, which the page then says, or ``"measured"``.
    series, exclusions : DataFrame
        Tables of the workspace. Of the exclusions, those of stage ``"index"`` are files.
    others : mapping
        Objects passed over because they are not images, by kind.
    thumbnails : mapping
        PNG files of quarantined series, by ``"series_uid/stack"``.
    withheld : mapping
        Why a series has no picture, by the same key. It goes before a thumbnail of the same key.
    run : mapping
        Small record of the run, shown as names and values; ``files``, if there, is the number of files found.
    verdicts : mapping
        Verdict by code where a recipe says so; the other codes have their own.
    """

    title: str
    intensities: str
    series: pd.DataFrame
    exclusions: pd.DataFrame
    others: Mapping[str, int]
    thumbnails: Mapping[str, bytes]
    withheld: Mapping[str, str]
    run: Mapping[str, Any]
    verdicts: Mapping[str, str]
