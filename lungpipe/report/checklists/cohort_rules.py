"""Rules on cohort and scans: each looks into the run's own tables and record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from lungpipe.report.checklists.facts import OTHER, Finding, found, nothing, once
from lungpipe.report.summary import value_range

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lungpipe.report.checklists.facts import Facts

#: Columns of a table that would describe people.
_DEMOGRAPHIC = ("age_years", "age", "sex")
_PROTOCOL = (
    "manufacturer", "model", "kernel", "kvp", "tube_current_ma", "slice_thickness_mm", "spacing_x_mm", "spacing_z_mm",
)  # fmt: skip


def person(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Only the authors can say it."""
    del facts, item
    return nothing()


def other_modality(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Whether an item on PET or MRI can be left: every accepted series is CT."""
    del item
    if not len(facts.series) or "modality" not in facts.series or set(facts.series["modality"].astype(str)) != {"CT"}:
        return nothing("the table of series does not say that every image is CT")
    return Finding(OTHER, "every image is CT", ("series: modality",))


def modality(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """The modality of every accepted series."""
    del item
    n = facts.given(facts.series, "modality")
    if not n:
        return nothing("no series names its modality")
    return found(_values(facts, "modality"), "series: modality", whole=n == len(facts.series))


def series_columns(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Header values of the accepted series, named by the item's ``columns``."""
    return _columns(facts, item["columns"])


def protocol(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Scanner, kernel, tube and spacing of the accepted series."""
    del item
    return _columns(facts, _PROTOCOL)


def _columns(facts: Facts, columns: Sequence[str]) -> Finding:
    n = len(facts.series)
    given = {name: facts.given(facts.series, name) for name in columns}
    if not facts.images:
        return nothing("no image was read")
    if not n or not any(given.values()):
        return nothing(f"no series has {', '.join(columns)}")
    parts = [f"{name} {_values(facts, name)}" for name, count in given.items() if count] if len(given) < 3 else []
    gaps = [f"{name} missing for {n - count} of {n} series" for name, count in given.items() if count < n]
    where = ["#cohort", *(f"series: {name}" for name, count in given.items() if count)]
    return found("; ".join([*parts, *gaps]) or f"known for all {n} series", *where, whole=not gaps)


def _values(facts: Facts, column: str) -> str:
    """Range of a column of numbers, or the commonest values of one of text."""
    values = facts.series[column].dropna()
    if pd.api.types.is_numeric_dtype(values):
        return value_range(values)
    counts = values[values.astype(str) != ""].astype(str).value_counts()
    names = sorted(counts.index, key=lambda name: (-counts[name], name))
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def data_source(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Data set by name, and the fingerprints of what was read."""
    del item
    name = facts.value("recipe.cohort.dataset")
    if not name:
        return nothing("the record of the run names no data set")
    whole = bool(facts.value("inputs.volumes") or facts.value("inputs.annotations_sha256"))
    simulated = " (simulated intensities)" if facts.value("intensities") == "simulated" else ""
    return found(f"data set {name}{simulated}", "run.json: recipe.cohort.dataset", "run.json: inputs", whole=whole)


def eligibility(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Limits of the recipe for series and masks, and a reason code for all that was left out."""
    del item
    limits = [key for key in ("recipe.quality", "recipe.segment.quality") if facts.value(key)]
    if not limits:
        return nothing("the recipe has no limits for series or masks")
    n = len(facts.exclusions)
    coded = n == facts.given(facts.exclusions, "code")
    left = f"{n} exclusions, {'each' if coded else 'not each'} with a code" if n else "nothing excluded"
    return found(f"limits in the recipe; {left}", "#recipe", "#exclusions", whole=coded and len(limits) == 2)


def flow(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """How many series and nodules there were, stayed and left, with the reason of each that left."""
    del item
    if not len(facts.series) and not facts.n_set_aside:
        return nothing("there is no table of series")
    n = len(facts.exclusions)
    told = n == facts.given(facts.exclusions, "code") == facts.given(facts.exclusions, "message")
    said = f"{len(facts.series)} series accepted, {facts.n_set_aside} set aside, {len(once(facts.nodules))} nodules"
    said += "" if told else "; exclusions without a reason"
    return found(said, "#cohort", "#exclusions", whole=told and "verdict" in facts.series)


def labels(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """The label by name and how many nodules have which; what it rests on the run does not know."""
    del item
    if not facts.given(facts.nodules, "malignant"):
        return nothing("no nodule has a label")
    values = once(facts.nodules)["malignant"]
    counts = (
        f"{int((values == 1).sum())} malignant, {int((values == 0).sum())} benign, {int(values.isna().sum())} without"
    )
    return found(f"label malignant: {counts}", "#cohort", "nodules: malignant", whole=bool(values.notna().all()))


def demographics(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Age and sex where the tables have them; sizes of the nodules and scanners otherwise."""
    del item
    tables = {"series": facts.series, "nodules": facts.nodules}
    people = [f"{table}: {name}" for table, rows in tables.items() for name in _DEMOGRAPHIC if facts.given(rows, name)]
    if people:
        return found(f"{', '.join(place.split(': ')[1] for place in people)}", "#cohort", *people)
    others = {"nodules: size_class": facts.nodules, "series: manufacturer": facts.series}
    here = [place for place, rows in others.items() if facts.given(rows, place.split(": ")[1])]
    if not here:
        return nothing("the tables describe neither people nor nodules")
    return found("scanners and sizes of the nodules; no age, no sex", "#cohort", *here, whole=False)


def deidentified(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Identifiers are keyed pseudonyms, and the record names the key by its fingerprint."""
    del item
    if not facts.value("pseudonym_key_fingerprint"):
        return nothing("the record of the run names no key of pseudonyms")
    ids = facts.nodules["patient_id"].astype(str)
    keyed = bool(len(ids)) and bool(ids.str.fullmatch(r"(P-[A-Z2-7]{12})?").all())
    said = "identifiers are HMAC-SHA-256 pseudonyms"
    said = said if keyed else "a key is recorded, but ids do not have the form of pseudonyms"
    return found(said, "run.json: pseudonym_key_fingerprint", "nodules: patient_id", whole=keyed)


#: By the name that the data files use.
RULES = {
    rule.__name__: rule
    for rule in (
        person, other_modality, modality, series_columns, protocol, data_source, eligibility, flow, labels, demographics, deidentified,
    )
}  # fmt: skip
