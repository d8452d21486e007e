"""Verdicts on the masks of a whole table, and what follows from them for features and exclusions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lungpipe.segment.verdict import CODES, codes_of, verdict_of

if TYPE_CHECKING:
    import pandas as pd

    from lungpipe.segment.verdict import MaskLimits

_KEY = ["series_uid", "nodule_id", "segmenter"]


def judged(masks: pd.DataFrame, agreement: pd.DataFrame, limits: MaskLimits) -> pd.DataFrame:
    """Masks with ``disagreement``, ``codes`` and ``verdict``; codes of the annotation come before those of the mask.

    Parameters
    ----------
    masks, agreement : DataFrame
        Rows of ``nodules`` and ``agreement`` as the scans wrote them.
    limits : MaskLimits
    """
    if not len(masks):
        return masks
    columns = (agreement[name].astype(str) for name in _KEY)
    known = dict(zip(zip(*columns, strict=True), agreement["disagreement"], strict=True))
    rows = masks.to_dict("records")
    disagreement, codes, verdicts = [], [], []
    for row in rows:
        row["disagreement"] = known.get(
            (str(row["series_uid"]), str(row["nodule_id"]), str(row["segmenter"])), float("nan")
        )
        found = (*filter(None, str(row["codes"]).split(";")), *codes_of({str(k): v for k, v in row.items()}, limits))
        disagreement.append(row["disagreement"])
        codes.append(";".join(found))
        verdicts.append(verdict_of(found, limits))
    return masks.assign(disagreement=disagreement, codes=codes, verdict=verdicts)


def excluded_masks(masks: pd.DataFrame, limits: MaskLimits) -> list[dict[str, Any]]:
    """Exclusions of masks that are judged unfit, one a mask, under the first code that excludes it."""
    found = []
    for row in masks[masks["verdict"] == "exclude"].to_dict("records"):
        codes = str(row["codes"]).split(";")
        code = next(code for code in codes if verdict_of([code], limits) == "exclude")
        meaning = CODES[code].meaning if code in CODES else "the annotation needs a look"
        found.append(
            {
                "stage": "quality",
                "code": code,
                "message": f"{row['segmenter']}: {meaning}; its features are left out (segment.quality.verdicts decides)",
                **{name: str(row[name]) for name in ("intensities", "patient_id", "series_uid", "nodule_id")},
                "file": "",
            }
        )
    return found


def without_excluded(features: pd.DataFrame, masks: pd.DataFrame) -> pd.DataFrame:
    """Features without those of excluded masks."""
    gone = masks[masks["verdict"] == "exclude"]
    if not len(gone):
        return features
    out = set(zip(*(gone[name].astype(str) for name in _KEY), strict=True))
    keys = zip(*(features[name].astype(str) for name in _KEY), strict=True)
    return features[[key not in out for key in keys]].reset_index(drop=True)
