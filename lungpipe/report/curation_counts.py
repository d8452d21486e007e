"""What the curation page says in numbers, drawn from the tables of series and exclusions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from lungpipe.dicom.codes import CODES, VERDICTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

NOT_RECORDED = "not recorded"
NO_CODE = "no code"
#: Codes of images that may show a name, date or number as part of the picture.
READABLE = frozenset({"burned_in_annotation", "secondary_capture", "dose_report"})
PATIENT = ["dataset", "patient_id"]


def verdicts_in_force(changed: Mapping[str, str]) -> dict[str, str]:
    """Return the verdict of every quality code: the recipe's where there is one, else the code's own."""
    return {code: one.verdict for code, one in CODES.items()} | dict(changed)


def deciding_codes(series: pd.DataFrame, in_force: Mapping[str, str]) -> pd.Series[str]:
    """Name one code a series: the first of those that brought its verdict.

    Parameters
    ----------
    series : DataFrame
        With ``codes`` and ``verdict``.
    in_force : mapping
        Verdict by code.

    Returns
    -------
    Series of str
        Aligned with the table; the first code of all where none has the verdict, ``"no code"`` where there is none.
    """

    def decide(codes: str, verdict: str) -> str:
        found = split(codes)
        return next((code for code in found if in_force.get(code) == verdict), found[0] if found else NO_CODE)

    pairs = list(zip(series["codes"], series["verdict"], strict=True))
    known = {pair: decide(*pair) for pair in set(pairs)}
    return pd.Series([known[pair] for pair in pairs], index=series.index, dtype="str")


def split(codes: str) -> list[str]:
    """Return the codes that a cell of the table of series holds."""
    return [code for code in codes.split(";") if code]


def count_flow(
    series: pd.DataFrame,
    files: pd.DataFrame,
    others: Mapping[str, int],
    in_force: Mapping[str, str],
    n_files: int | None,
) -> Flow:
    """Count the way from the archive to the cohort; every series is in exactly one place at its end.

    Parameters
    ----------
    series : DataFrame
        Table of series.
    files : DataFrame
        Exclusions of files.
    others : mapping
        Objects that are not images, by kind.
    in_force : mapping
        Verdict by code.
    n_files : int or None
        Files found, if they were counted.
    """
    decided = deciding_codes(series, in_force)

    def by_code(verdict: str) -> tuple[tuple[str, int], ...]:
        return _ranked(Counter(decided[series["verdict"] == verdict]))

    def patients(*verdicts: str) -> int:
        return len(series.loc[series["verdict"].isin(verdicts), PATIENT].drop_duplicates())

    return Flow(
        n_files=n_files,
        n_slices=int(series["n_slices"].sum()),
        n_uids=len(series[[*PATIENT, "series_uid"]].drop_duplicates()),
        others=_ranked(others),
        unreadable=_ranked(Counter(files["code"])),
        series=len(series),
        patients=patients(*VERDICTS),
        accepted=int((series["verdict"] == "accept").sum()),
        accepted_patients=patients("accept"),
        warned=by_code("warn"),
        warned_patients=patients("warn"),
        quarantined=by_code("quarantine"),
        quarantined_patients=patients("quarantine"),
    )


def code_rows(series: pd.DataFrame, in_force: Mapping[str, str]) -> list[dict[str, Any]]:
    """Count, for every code, all series and patients that have it, whatever other codes they have.

    Returns
    -------
    list of dict
        Keys code, meaning, verdict, own (the verdict unless a recipe says otherwise), series and patients; the codes
        that quarantine first, then by number of series. Codes that no series has are there with zeros.
    """
    each = series[[*PATIENT, "codes"]].assign(code=series["codes"].str.split(";")).explode("code")
    each = each[each["code"].fillna("") != ""]
    n_series = each.groupby("code").size()
    n_patients = each.drop_duplicates([*PATIENT, "code"]).groupby("code").size()
    rows = []
    for code in dict.fromkeys([*CODES, *n_series.index]):
        known = CODES.get(code)
        verdict = in_force.get(code, "accept")
        rows.append(
            {
                "code": code,
                "meaning": known.meaning if known else "not a code of this version",
                "verdict": verdict,
                "own": known.verdict if known else verdict,
                "series": int(n_series.get(code, 0)),
                "patients": int(n_patients.get(code, 0)),
            }
        )
    worst_first = {name: rank for rank, name in enumerate(reversed(VERDICTS))}
    return sorted(rows, key=lambda row: (worst_first[row["verdict"]], -row["series"]))


def bar_rows(names: pd.Series[str], quarantined: NDArray[np.bool_], most: int) -> list[dict[str, Any]]:
    """Count series by name, accepted and quarantined, with bar lengths as parts of the longest.

    Parameters
    ----------
    names : Series of str
        One a series; empty or missing counts as not recorded.
    quarantined : NDArray of bool
        Aligned with ``names``.
    most : int
        Names to list; the rest is one row.

    Returns
    -------
    list of dict
        Keys name, accepted, quarantined, accepted_percent, quarantined_percent and aside (no name of the archive);
        the most frequent first, then the rest, then what was not recorded.
    """
    clean = names.fillna("").astype("str").str.strip()
    table = pd.DataFrame({"name": clean.to_numpy(), "bad": quarantined})
    counts = table.groupby("name")["bad"].agg(["size", "sum"]).sort_values("size", ascending=False, kind="stable")
    missing = counts.index == ""
    named = counts[~missing]
    groups = [(str(name), named.loc[[name]], False) for name in named.index[:most]]
    if len(named) > most:
        groups.append((f"{len(named) - most:,} others", named.iloc[most:], True))
    if missing.any():
        groups.append((NOT_RECORDED, counts[missing], True))
    bars = [
        (name, int(group["size"].sum() - group["sum"].sum()), int(group["sum"].sum()), aside)
        for name, group, aside in groups
    ]
    longest = max((accepted + bad for _, accepted, bad, _ in bars), default=1)
    return [
        {
            "name": name,
            "accepted": accepted,
            "quarantined": bad,
            "accepted_percent": round(100 * accepted / longest, 2),
            "quarantined_percent": round(100 * bad / longest, 2),
            "aside": aside,
        }
        for name, accepted, bad, aside in bars
    ]


def scanner_names(series: pd.DataFrame) -> pd.Series[str]:
    """Join manufacturer and model; the manufacturer's name is not said twice."""
    makers, models = (series[name].fillna("").str.strip() for name in ("manufacturer", "model"))
    known = {
        (maker, model): model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip()
        for maker, model in set(zip(makers, models, strict=True))
    }
    return pd.Series([known[pair] for pair in zip(makers, models, strict=True)], index=series.index, dtype="str")


def pick(decided: pd.Series[str], most: int) -> list[Any]:
    """Pick rows so that every code comes once before one comes twice.

    Parameters
    ----------
    decided : Series of str
        Deciding code of the rows to pick from.
    most : int
        Rows to pick.

    Returns
    -------
    list
        Labels of the index.
    """
    turn = decided.groupby(decided).cumcount()
    return list(turn.sort_values(kind="stable").index[:most])


def _ranked(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(((str(name), int(n)) for name, n in counts.items()), key=lambda one: (-one[1], one[0])))


@dataclass(frozen=True, slots=True)
class Flow:
    """Counts along the way from the archive to the cohort.

    Parameters
    ----------
    n_files : int or None
        Files found, if they were counted.
    n_slices : int
        Slices of all series.
    n_uids : int
        Series before those that hold several stacks are split.
    others, unreadable : tuple of (str, int)
        Objects that are not images by kind, files left out by code.
    series, patients : int
        Found; every stack of a split series counts.
    accepted, accepted_patients : int
        Without a warning.
    warned, quarantined : tuple of (str, int)
        Series by their deciding code, each once.
    warned_patients, quarantined_patients : int
        With at least one such series.
    """

    n_files: int | None
    n_slices: int
    n_uids: int
    others: tuple[tuple[str, int], ...]
    unreadable: tuple[tuple[str, int], ...]
    series: int
    patients: int
    accepted: int
    accepted_patients: int
    warned: tuple[tuple[str, int], ...]
    warned_patients: int
    quarantined: tuple[tuple[str, int], ...]
    quarantined_patients: int
