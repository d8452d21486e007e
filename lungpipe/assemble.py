"""From the parts of all scans to the tables of the workspace."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lungpipe.clinical import RATING
from lungpipe.judge_masks import excluded_masks, judged, without_excluded
from lungpipe.region.codes import RegionLimits, with_codes
from lungpipe.scan import ScanResult, rows_path
from lungpipe.segment.verdict import MaskLimits
from lungpipe.store import ledger
from lungpipe.store.parts import gather_rows
from lungpipe.store.tables import conform, make_table, read_table, write_table
from lungpipe.subsets import with_subsets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lungpipe.cohort import Plan
    from lungpipe.store.place import Place

#: Raise it when the same parts give other tables.
VERSION = "3"
TABLES = ("series", "exclusions", "nodules", "agreement", "features")


@dataclass(frozen=True, slots=True)
class Assembled:
    """References of the tables' records by name, how many artefacts were made and reused, and the exclusions by count."""

    refs: Mapping[str, str]
    made: Mapping[str, int]
    reused: Mapping[str, int]
    n_exclusions: int


def plan_digest(plan: Plan) -> str:
    """SHA-256 of what the tables hold besides the rows of the scans: series, early exclusions, labels and splits."""
    labels = [
        (n.series_uid, n.nodule_id, n.malignant, n.split, *([n.clinical, n.ratings] if n.clinical or n.ratings else []))
        for n in plan.nodules
    ]
    text = json.dumps([plan.series_rows, plan.exclusions, labels], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def assemble(
    place: Place,
    plan: Plan,
    results: Sequence[ScanResult],
    names: Sequence[str] = TABLES,
    limits: MaskLimits | None = None,
    region_limits: RegionLimits | None = None,
    subsets: Mapping[str, float] | None = None,
) -> Assembled:
    """Write the tables of a plan with their records; those that stand are left alone.

    Parameters
    ----------
    place : Place
    plan : Plan
    results : sequence of ScanResult
        One a job of the plan; none where nothing but the archive was looked at.
    names : sequence of str
        Tables to write, exclusions among them.
    limits : MaskLimits, optional
        By which masks are judged; features of an excluded mask are left out, and the exclusion says so.
    region_limits : RegionLimits, optional
        By which regions get codes.
    subsets : mapping of str to float, optional
        Largest volume (mm3) by name: the rows of nodules and features up to it are there once more under that data set.
    """
    limits, region_limits = limits or MaskLimits(), region_limits or RegionLimits()
    judged_by: dict[str, dict[str, Any]] = {"series": {}, "agreement": {}}
    judged_by["features"] = {"mask_quality": asdict(limits), "region_quality": asdict(region_limits)}
    parts = [ref for result in results for ref in result.parts]
    failed = [asdict(r.exclusion) for r in results if r.exclusion]
    inputs = {"plan_sha256": plan_digest(plan), "failed": failed, **({"subsets_mm3": dict(subsets)} if subsets else {})}
    volumes = [f"{result.patient_id}/volume-{result.volume_id}" for result in results if result.volume_id]
    sources = {"series": volumes, "agreement": [ref for ref in parts if "/agreement-" in ref]}
    rows = cache(lambda: gather_rows(place, [rows_path(ref) for ref in parts]))
    masks = cache(lambda: judged(_of(rows(), "nodules"), _of(rows(), "agreement"), limits))
    refs: dict[str, str] = {}
    made: Counter[str] = Counter()
    reused: Counter[str] = Counter()
    for name in names:
        entry = ledger.named(
            ledger.COHORT,
            "table",
            subject={"table": name},
            made_from=sorted(sources.get(name, parts)),
            inputs=inputs,
            settings=judged_by.get(name, {"mask_quality": asdict(limits)}),
            versions={"tables": VERSION},
        )
        path = f"tables/{name}.parquet"
        standing = ledger.stands(place, entry.ref)
        if standing is None:
            frame = _table(name, plan, results, limits, rows, masks)
            if name == "features":
                frame = with_codes(frame, region_limits)
            if subsets and name in {"nodules", "features"}:
                frame = conform(name, with_subsets(frame, masks(), subsets))
            write_table(frame, place, path)
            ledger.replace_older(place, ledger.record(place, entry, [path]))
            made["table"] += 1
        else:
            reused["table"] += 1
        refs[name] = entry.ref
    return Assembled(refs, made, reused, len(read_table(place, "tables/exclusions.parquet")))


def _of(rows: Mapping[str, pd.DataFrame], name: str) -> pd.DataFrame:
    """Rows of a table; none where no scan has any."""
    return rows[name] if name in rows else make_table(name, [])


def _table(
    name: str,
    plan: Plan,
    results: Sequence[ScanResult],
    limits: MaskLimits,
    gathered: Callable[[], Mapping[str, pd.DataFrame]],
    masks: Callable[[], pd.DataFrame],
) -> pd.DataFrame:
    """Rows of one table; ``gathered`` gives those of the scans and ``masks`` the judged ones, asked only where they count."""
    if name == "series":
        volume_of = {r.series_uid: r.volume_id for r in results}
        return make_table(
            name, [{**row, "volume_id": volume_of.get(row["series_uid"], "")} for row in plan.series_rows]
        )
    if name == "nodules":
        return _labelled(plan, masks())
    rows = _of(gathered(), name)
    if name == "exclusions":
        kind = {job.series_uid: job.intensities for job in plan.jobs}
        early: list[dict[str, Any]] = [*plan.exclusions]
        early += [{**asdict(r.exclusion), "intensities": kind[r.series_uid]} for r in results if r.exclusion]
        early += excluded_masks(masks(), limits)
        return conform(name, pd.concat([make_table(name, early), rows], ignore_index=True))
    return without_excluded(rows, masks()) if name == "features" else rows


def _labelled(plan: Plan, rows: pd.DataFrame) -> pd.DataFrame:
    """Masks with the label and split of their nodule, and what else is known of it."""
    known = {(n.series_uid, n.nodule_id): n for n in plan.nodules}
    nodules = [known[key] for key in zip(rows["series_uid"].astype(str), rows["nodule_id"].astype(str), strict=True)]
    labels = pd.array([n.malignant for n in nodules], dtype="Int64")
    table = rows.assign(malignant=labels, split=[n.split or "" for n in nodules])
    clinical = dict.fromkeys(name for n in plan.nodules for name, _ in n.clinical)
    ratings = dict.fromkeys(name for n in plan.nodules for name, _ in n.ratings)
    for name in clinical:
        # The type is that of the whole cohort's values, also where the masks at hand have none.
        text = any(isinstance(dict(n.clinical).get(name), str) for n in plan.nodules)
        values = [dict(n.clinical).get(name) for n in nodules]
        table[name] = pd.array([v or "" for v in values], dtype="str") if text else np.array(values, dtype=np.float64)
    for name in ratings:
        table[RATING + name] = np.array([dict(n.ratings).get(name, np.nan) for n in nodules], dtype=np.float64)
    return conform("nodules", table)
