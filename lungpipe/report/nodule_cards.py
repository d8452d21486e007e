"""What the page knows of each nodule: what its tile says, what it is found and sorted by, and what its own page shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from lungpipe.report.cohort_features import feature_rows, named_features
from lungpipe.store.schemas import CHOSEN

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Series and nodule; the series is empty where a table does not name it.
Key: TypeAlias = tuple[str, str]
LABELS = {0: "benign", 1: "malignant"}
NO_LABEL = "no label"


def nodule_cards(
    nodules: pd.DataFrame,
    exclusions: pd.DataFrame,
    predictions: pd.DataFrame | None,
    features: pd.DataFrame | None,
    series: pd.DataFrame,
    neighbours: pd.DataFrame | None,
    radius_mm: float,
) -> list[dict[str, Any]]:
    """Join the tables, a card a nodule.

    Parameters
    ----------
    nodules : DataFrame
        Rows of the one segmenter that is shown.
    exclusions : DataFrame
        Nodules that were left out have a card too.
    predictions, features, neighbours : DataFrame or None
        Tables of the workspace; features of the same segmenter.
    series : DataFrame
        Table of series, for its quality codes.
    radius_mm : float
        Of the surroundings that are shown.

    Returns
    -------
    list of dict
        In the order of the tables, those left out last.
    """
    table = _keyed(nodules)
    once = table[~table.index.duplicated()]
    labels = (
        pd.to_numeric(once["malignant"]).to_numpy(dtype=np.float64, na_value=np.nan)
        if "malignant" in once
        else np.full(len(once), np.nan)
    )
    values = feature_rows(*named_features(once, features, radius_mm), labels)
    predicted, near = _predicted(predictions), _near(neighbours)
    codes_of = _codes(series)
    datasets = (
        {key: list(dict.fromkeys(part)) for key, part in table.groupby(level=[0, 1])["dataset"]} if len(table) else {}
    )
    left_out = _left_out(exclusions if "series_uid" in nodules else exclusions.assign(series_uid=""))
    cards = []
    for key, row, label in zip(once.index, once.to_dict("records"), labels, strict=True):
        told = predicted.get(key, [])
        p = told[0]["p"] if told else None
        y = int(label) if np.isfinite(label) else None
        cards.append(
            {
                "key": key,
                "nodule_id": key[1],
                "series_uid": key[0],
                "patient_id": str(row.get("patient_id", "")),
                "datasets": datasets[key],
                "y": y,
                "label": NO_LABEL if y is None else LABELS[y],
                "p": p,
                "error": None if p is None or y is None else abs(y - p),
                "diameter_mm": _number(row.get("axial_mean_mm"), row.get("sphere_diameter_mm")),
                "size_class": row.get("size_class", ""),
                "verdict": row.get("verdict", "accept"),
                "codes": _split(row.get("codes", "")),
                "series_codes": codes_of.get(key[0], []),
                "left_out": left_out.pop(key, []),
                "excluded": False,
                "features": values.get(key, []),
                "predicted": told,
                "near": near.get(key, []),
                "row": row,
            }
        )
    return _named([*cards, *(_absent(key, rows, codes_of) for key, rows in left_out.items())])


def _keyed(table: pd.DataFrame) -> pd.DataFrame:
    """Index a table by series and nodule."""
    series = table["series_uid"] if "series_uid" in table else pd.Series("", table.index)
    return table.set_index(pd.MultiIndex.from_arrays([series.astype(str), table["nodule_id"].astype(str)]))


def _named(cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each card a name that no other has, for addresses within the page."""
    taken: set[str] = set()
    for card in cards:
        name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in card["nodule_id"])
        count = 1
        while (shown := name if count == 1 else f"{name}-{count}") in taken:
            count += 1
        taken.add(shown)
        card["name"] = shown
    return cards


def _absent(key: Key, rows: list[dict[str, str]], codes_of: dict[str, list[str]]) -> dict[str, Any]:
    """Card of a nodule that was left out."""
    nothing: dict[str, Any] = dict.fromkeys(("y", "p", "error", "diameter_mm"))
    lists: dict[str, Any] = {name: [] for name in ("datasets", "codes", "features", "predicted", "near")}
    return {
        "key": key,
        "nodule_id": key[1],
        "series_uid": key[0],
        "patient_id": rows[0]["patient_id"],
        "label": "left out",
        "size_class": "",
        "verdict": "exclude",
        "series_codes": codes_of.get(key[0], []),
        "left_out": rows,
        "excluded": True,
        "row": {},
        **nothing,
        **lists,
    }


def _left_out(exclusions: pd.DataFrame) -> dict[Key, list[dict[str, str]]]:
    """Why each nodule was left out, wholly or by one segmenter."""
    rows = exclusions[exclusions["nodule_id"].fillna("") != ""] if len(exclusions) else exclusions
    found: dict[Key, list[dict[str, str]]] = {}
    for key, row in zip(_keyed(rows).index, rows.fillna("").to_dict("records"), strict=True):
        found.setdefault(key, []).append(
            {name: str(row.get(name, "")) for name in ("stage", "code", "message", "patient_id")}
        )
    return found


def _predicted(predictions: pd.DataFrame | None) -> dict[Key, list[dict[str, Any]]]:
    """Predictions of the choice made inside the training folds, an entry a data set."""
    found: dict[Key, list[dict[str, Any]]] = {}
    if predictions is None or not len(predictions):
        return found
    own = _keyed(predictions[predictions["segmenter"] == CHOSEN])
    for dataset, part in own.groupby("dataset", sort=False):
        mean = part.groupby(level=[0, 1])["p"].mean()
        rank = mean.rank(ascending=False, method="min").astype(int)
        each = part.sort_values("repeat", kind="stable").groupby(level=[0, 1])["p"].apply(list)
        for (series, nodule), p, place, values in zip(mean.index, mean, rank, each.reindex(mean.index), strict=True):
            entry = {"dataset": dataset, "p": float(p), "rank": int(place), "of": len(mean), "each": values}
            found.setdefault((series, nodule), []).append(entry)
    return found


def _near(neighbours: pd.DataFrame | None) -> dict[Key, list[dict[str, Any]]]:
    """Nearest labelled nodules and distance from the training cases, an entry a data set."""
    found: dict[Key, list[dict[str, Any]]] = {}
    if neighbours is None:
        return found
    for key, row in zip(_keyed(neighbours).index, neighbours.to_dict("records"), strict=True):
        entry = {
            "dataset": row["dataset"],
            "ood": _number(row.get("ood")),
            "ood_percentile": _number(row.get("ood_percentile")),
            "nodules": [
                {**one, "label": LABELS.get(one.get("malignant"), NO_LABEL)} for one in json.loads(row["neighbours"])
            ],
        }
        found.setdefault(key, []).append(entry)
    return found


def _codes(series: pd.DataFrame) -> dict[str, list[str]]:
    if "codes" not in series or "series_uid" not in series:
        return {}
    return {str(uid): _split(codes) for uid, codes in zip(series["series_uid"], series["codes"], strict=True)}


def _split(codes: Any) -> list[str]:
    return [code for code in codes.split(";") if code] if isinstance(codes, str) else []


def _number(*values: Any) -> float | None:
    """Return the first that is known."""
    return next((float(value) for value in values if value is not None and not pd.isna(value)), None)


def card_table(cards: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Tabulate the cards, for the download.

    Parameters
    ----------
    cards : iterable of dict
        As :func:`nodule_cards` gives them.
    """
    rows = []
    for card in cards:
        row = {
            name: card[name] for name in ("nodule_id", "patient_id", "series_uid", "label", "p", "error", "diameter_mm")
        }
        row |= {
            "datasets": ";".join(card["datasets"]),
            "codes": ";".join([*card["codes"], *card["series_codes"]]),
            "left_out": ";".join(dict.fromkeys(one["code"] for one in card["left_out"])),
        }
        for one in card["features"]:
            row |= {one["column"]: one["number"], f"{one['column']}_percentile": one["all"]}
        rows.append(row)
    return pd.DataFrame(rows)
