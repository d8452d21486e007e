"""How many nodules a detector finds at how many false alarms a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Marks = NDArray[np.bool_]
    Ints = NDArray[np.int64]

#: False positives a scan at which sensitivity is read.
RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
PLACE = ("x", "y", "z")
#: Weights held at once.
_AT_ONCE = 2_000_000
#: Draws without a nodule for each that has one, above which there is nothing to draw from.
_MOST_LOST = 50


def froc(
    candidates: pd.DataFrame,
    nodules: pd.DataFrame,
    scans: Sequence[Any],
    *,
    ignored: pd.DataFrame | None = None,
    rates: Sequence[float] = RATES,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Froc:
    """Measure detections against reference nodules as LUNA16 does.

    Setio et al. (2017), *Validation, comparison, and combination of algorithms for automatic detection of pulmonary nodules
    in computed tomography images: the LUNA16 challenge*, Medical Image Analysis 42:1-13. A candidate hits a nodule of its scan
    if it is nearer to its centre than the radius. A nodule counts once, with its highest candidate; further hits on it are
    neither hits nor false positives. A candidate within two nodules hits both. One that hits no nodule but an ignored finding
    is left out. All others are false positives. Sensitivity at a rate of false positives a scan is interpolated linearly
    between operating points, and stays at the last one beyond it; candidates of equal score are taken together. The
    competition performance metric (CPM; Niemeijer et al. 2011, IEEE Transactions on Medical Imaging 30:215-223) is the mean
    over the rates.

    Limits are percentiles over scans drawn with replacement, as in LUNA16; a draw without a nodule is drawn anew.

    Parameters
    ----------
    candidates : DataFrame
        Columns scan, x, y, z (mm) and score, higher meaning surer.
    nodules : DataFrame
        Columns scan, x, y, z (mm) and diameter_mm.
    scans : sequence
        All scans that were searched, also those without nodule or candidate.
    ignored : DataFrame, optional
        Findings that are neither, with the columns of `nodules`.
    rates : sequence of float
        False positives a scan, above 0.
    level : float
        Confidence level.
    draws : int
        Number of draws; 0 for no limits.
    seed : int
        Seed of the draws.

    Returns
    -------
    Froc

    Raises
    ------
    DatasetError
        If a column is missing or holds what is no finite number, a scan is not in the list, or there is no nodule.
    """
    names = pd.Index(pd.unique(np.asarray(scans, dtype=object)))
    if not len(names) or not len(rates) or min(rates) <= 0:
        raise DatasetError("A FROC curve needs a scan at least, and rates of false positives a scan above 0.")
    marks, mark_scan = _table(candidates, (*PLACE, "score"), names, "candidates")
    truth, truth_scan = _table(nodules, (*PLACE, "diameter_mm"), names, "nodules")
    if not len(truth):
        raise DatasetError("No reference nodule was given, so there is no sensitivity.")
    spared, spared_scan = _table(nodules[:0] if ignored is None else ignored, (*PLACE, "diameter_mm"), names, "ignored")
    score, hit = _best_hits(marks, mark_scan, truth, truth_scan)
    aside = _touched(marks, mark_scan, spared, spared_scan) & ~hit
    false = ~hit & ~aside
    found = np.isfinite(score)
    events = _Events(
        score=np.concatenate([score[found], marks[false, 3]]),
        scan=np.concatenate([truth_scan[found], mark_scan[false]]),
        hit=np.arange(found.sum() + false.sum()) < found.sum(),
    )
    events = _ordered(events)
    per_scan = np.bincount(truth_scan, minlength=len(names))
    alarms, sensitivity = (one[0] for one in _curve(events, per_scan, np.ones((1, len(names)), dtype=np.int64)))
    at_rates = np.interp(rates, alarms, sensitivity)
    drawn = _drawn(events, per_scan, np.asarray(rates, dtype=float), draws, seed)
    drawn = np.column_stack([drawn, drawn.mean(axis=1)])
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(drawn, tails, axis=0) if draws else np.full((2, len(rates) + 1), np.nan)
    thresholds = np.concatenate([[np.inf], events.score[_last_of_equals(events.score)]])
    return Froc(
        curve=pd.DataFrame({"threshold": thresholds, "false_positives_per_scan": alarms, "sensitivity": sensitivity}),
        points=pd.DataFrame(
            {"false_positives_per_scan": rates, "sensitivity": at_rates, "low": low[:-1], "high": high[:-1]}
        ),
        cpm=float(at_rates.mean()),
        cpm_low=float(low[-1]),
        cpm_high=float(high[-1]),
        n_scans=len(names),
        n_nodules=len(truth),
        n_found=int(found.sum()),
        n_false=int(false.sum()),
        n_ignored=int(aside.sum()),
    )


def _table(table: pd.DataFrame, columns: tuple[str, ...], scans: pd.Index[Any], what: str) -> tuple[Floats, Ints]:
    """Return the columns as numbers, and the position of each row's scan."""
    if missing := [name for name in ("scan", *columns) if name not in table]:
        raise DatasetError(
            f"The table of {what} has no column {', '.join(missing)}; it has {', '.join(map(str, table))}."
        )
    position = scans.get_indexer(pd.Index(table["scan"].astype(object)))
    if strange := int((position < 0).sum()):
        raise DatasetError(f"{strange} rows of {what} are of scans that are not in the list of scans searched.")
    values = table[list(columns)].to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise DatasetError(
            f"{int((~np.isfinite(values)).any(axis=1).sum())} rows of {what} hold what is no finite number."
        )
    if columns[-1] == "diameter_mm" and (values[:, 3] <= 0).any():
        raise DatasetError(f"{int((values[:, 3] <= 0).sum())} rows of {what} have a diameter of 0 mm or less.")
    return values, np.asarray(position, dtype=np.int64)


def _best_hits(marks: Floats, mark_scan: Ints, truth: Floats, truth_scan: Ints) -> tuple[Floats, Marks]:
    """Return each nodule's highest score, minus infinity if it was not hit, and which candidates hit one."""
    score, hit = np.full(len(truth), -np.inf), np.zeros(len(marks), dtype=bool)
    for number, near in _hits(marks, mark_scan, truth, truth_scan):
        if len(near):
            score[number] = marks[near, 3].max()
            hit[near] = True
    return score, hit


def _touched(marks: Floats, mark_scan: Ints, findings: Floats, finding_scan: Ints) -> Marks:
    touched = np.zeros(len(marks), dtype=bool)
    for _, near in _hits(marks, mark_scan, findings, finding_scan):
        touched[near] = True
    return touched


def _hits(marks: Floats, mark_scan: Ints, findings: Floats, finding_scan: Ints) -> list[tuple[int, NDArray[np.intp]]]:
    """List for each finding which candidates are nearer than its radius."""
    order = np.argsort(mark_scan, kind="stable")
    first = np.searchsorted(mark_scan[order], finding_scan, side="left")
    last = np.searchsorted(mark_scan[order], finding_scan, side="right")
    found = []
    for number, finding in enumerate(findings):
        inside = order[first[number] : last[number]]
        squared = ((marks[inside, :3] - finding[:3]) ** 2).sum(axis=1)
        found.append((number, inside[squared < (finding[3] / 2) ** 2]))
    return found


def _ordered(events: _Events) -> _Events:
    order = np.argsort(-events.score, kind="stable")
    return _Events(events.score[order], events.scan[order], events.hit[order])


def _last_of_equals(score: Floats) -> Ints:
    """Return where each run of equal scores ends."""
    return np.flatnonzero(np.diff(score, append=-np.inf)).astype(np.int64)


def _curve(events: _Events, per_scan: Ints, weights: Ints) -> tuple[Floats, Floats]:
    """Return false positives a scan and sensitivity of each draw, from the surest candidate to the last, from (0, 0)."""
    weight, last = weights[:, events.scan], _last_of_equals(events.score)
    found = np.cumsum(weight * events.hit, axis=1)[:, last] / (weights @ per_scan)[:, None]
    alarms = np.cumsum(weight * ~events.hit, axis=1)[:, last] / weights.sum(axis=1)[:, None]
    start = np.zeros((len(weights), 1))
    return np.hstack([start, alarms]), np.hstack([start, found])


def _drawn(events: _Events, per_scan: Ints, rates: Floats, draws: int, seed: int) -> Floats:
    """Return the sensitivities at the rates for each draw of scans."""
    rng, n, rows, made = np.random.default_rng(seed), len(per_scan), np.empty((0, len(rates))), 0
    while len(rows) < draws:
        some = max(1, min(draws - len(rows), _AT_ONCE // (len(events.scan) + n)))
        picked = rng.integers(0, n, (some, n)) + n * np.arange(some)[:, None]
        weights = np.bincount(picked.ravel(), minlength=some * n).reshape(some, n)
        weights = weights[weights @ per_scan > 0]
        made += some
        curves = zip(*_curve(events, per_scan, weights), strict=True)
        rows = np.vstack([rows, *(np.interp(rates, *curve)[None] for curve in curves)])
        if made > _MOST_LOST * (len(rows) + 10):
            raise DatasetError("Hardly any draw of scans holds a nodule; give draws=0 for figures without limits.")
    return rows


@dataclass(frozen=True, slots=True, eq=False)
class _Events:
    """Nodules found, with their highest score, and false positives."""

    score: Floats
    scan: Ints
    hit: Marks


@dataclass(frozen=True, slots=True, eq=False)
class Froc:
    """A FROC curve and its summary.

    Parameters
    ----------
    curve : DataFrame
        threshold, false_positives_per_scan, sensitivity: one row a distinct score, after that of no candidate at all.
    points : DataFrame
        false_positives_per_scan, sensitivity, low, high: one row a rate.
    cpm, cpm_low, cpm_high : float
        Mean sensitivity over the rates.
    n_scans, n_nodules, n_found : int
        Scans searched, reference nodules, and those of them hit by any candidate.
    n_false, n_ignored : int
        Candidates that are false positives, and those left out as on ignored findings.
    """

    curve: pd.DataFrame
    points: pd.DataFrame
    cpm: float
    cpm_low: float
    cpm_high: float
    n_scans: int
    n_nodules: int
    n_found: int
    n_false: int
    n_ignored: int
