"""The cohort's flow: from the series that were found to the nodules that were evaluated, and what left at each step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from lungpipe.dicom.codes import CODES
from lungpipe.report.curation_counts import deciding_codes
from lungpipe.report.evaluation import chosen_of
from lungpipe.report.flow_boxes import Box, draw_flow, noun, total

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Counts = tuple[tuple[str, int], ...]
_NODULE = ["series_uid", "nodule_id"]


def cohort_steps(
    series: pd.DataFrame,
    nodules: pd.DataFrame,
    exclusions: pd.DataFrame,
    predictions: pd.DataFrame | None,
    *,
    dataset: str,
    segmenter: str,
    segmented_by: str,
    run: Mapping[str, Any],
) -> list[Step]:
    """Count the way of one data set; what leaves is counted once, under the first of its reasons.

    Parameters
    ----------
    series, nodules, exclusions : DataFrame
        Tables of the workspace.
    predictions : DataFrame or None
        Table of the benchmark.
    dataset : str
        Name of the data set.
    segmenter : str
        Whose masks are counted.
    segmented_by : str
        Its name for people.
    run : mapping
        As in ``run.json``; says how many files there were, where it does.

    Returns
    -------
    list of Step
        A step each: series found, series accepted, nodules annotated there, nodules segmented, nodules evaluated if there
        was a benchmark.
    """
    scans = series[series["dataset"] == dataset] if "dataset" in series else series
    scans = scans if len(scans) else series  # a subset has no series of its own
    bad = scans[scans["verdict"] == "quarantine"] if "verdict" in scans else scans.head(0)
    good = scans.drop(index=bad.index)
    files = run.get("inputs", {}).get("files", {})
    steps = [Step("series found", len(scans), "series", _patients(scans))]
    if files.get("left_out"):
        unread = exclusions.loc[exclusions["stage"] == "index", "code"]
        steps[0].leave("Files left out", files["left_out"], Counter(unread))
    steps[0].leave("Series quarantined", len(bad), _why_quarantined(bad))
    failed = _failed_scans(exclusions, good)
    steps.append(Step("series accepted", len(good), "series", _patients(good)))
    steps[1].leave("Series that could not be processed", sum(failed.values()), failed)
    own = _once(nodules[nodules["dataset"] == dataset] if "dataset" in nodules else nodules)
    shown = _once(_of(nodules, dataset, segmenter))
    reasons = _reasons(exclusions if "series_uid" in nodules else exclusions.assign(series_uid=""))
    known = {*own.index, *(reasons if _is_whole(nodules, dataset) else ())}
    steps.append(Step("nodules annotated", len(known), "nodule", None))
    gone = Counter(reasons.get(key, f"no mask by {segmented_by}") for key in known.difference(shown.index))
    steps[2].leave("Nodules left out", sum(gone.values()), gone)
    steps.append(Step(f"segmented by {segmented_by}", len(shown), "nodule", _patients(shown)))
    chosen = chosen_of(predictions, dataset) if predictions is not None and len(predictions) else None
    if chosen is None:
        return steps
    tested = {*_once(chosen.rows).index}
    unlabelled = int(shown["malignant"].isna().sum())
    missed = [key for key in shown.index if key not in tested]
    why = {"no label": unlabelled, "label, but no prediction": max(len(missed) - unlabelled, 0)}
    steps[3].leave("Nodules not evaluated", len(missed), {name: n for name, n in why.items() if n})
    malignant = int(chosen.labels.sum())
    steps.append(Step("evaluated", len(tested), "nodule", len({*chosen.patients})))
    steps[4].parts = (("malignant", malignant), ("benign", len(chosen.labels) - malignant))
    return steps


def _of(nodules: pd.DataFrame, dataset: str, segmenter: str) -> pd.DataFrame:
    if "dataset" in nodules:
        nodules = nodules[nodules["dataset"] == dataset]
    return nodules[nodules["segmenter"] == segmenter] if "segmenter" in nodules else nodules


def _is_whole(nodules: pd.DataFrame, dataset: str) -> bool:
    """Whether a data set is the first, to which exclusions belong; others are subsets of it."""
    return "dataset" not in nodules or not len(nodules) or dataset == nodules["dataset"].iloc[0]


def _once(table: pd.DataFrame) -> pd.DataFrame:
    """A row a nodule, indexed by series and nodule."""
    columns = [table[name] if name in table else pd.Series("", table.index) for name in _NODULE]
    keyed = table.set_index(pd.MultiIndex.from_arrays([column.astype(str) for column in columns]))
    return keyed[~keyed.index.duplicated()]


def _reasons(exclusions: pd.DataFrame) -> dict[Any, str]:
    """First code of each nodule that was left out, wholly or by one segmenter, but for those of series set aside."""
    rows = exclusions[(exclusions["nodule_id"].fillna("") != "") & (exclusions["code"] != "series_quarantined")]
    return dict(zip(_once(rows).index, _once(rows)["code"], strict=True))


def _failed_scans(exclusions: pd.DataFrame, good: pd.DataFrame) -> Counter[str]:
    """Accepted series that are left out as a whole, by their first code."""
    if "series_uid" not in good:
        return Counter()
    whole = exclusions[
        (exclusions["nodule_id"].fillna("") == "") & exclusions["series_uid"].isin(set(good["series_uid"]))
    ]
    return Counter(whole.drop_duplicates("series_uid")["code"])


def _why_quarantined(bad: pd.DataFrame) -> Counter[str]:
    if "codes" not in bad or bad.empty:
        return Counter()
    return Counter(deciding_codes(bad, {code: one.verdict for code, one in CODES.items()}))


def _patients(table: pd.DataFrame) -> int | None:
    return int(table["patient_id"].nunique()) if "patient_id" in table and len(table) else None


def cohort_diagram(steps: Sequence[Step], number: int = 0) -> str:
    """Draw the flow as an ``<svg>`` element.

    Parameters
    ----------
    steps : sequence of Step
        As :func:`cohort_steps` returns them.
    number : int
        Of the diagram on its page.
    """
    rows = []
    for step in steps:
        last = step is steps[-1]
        notes = (f"from {step.patients:,} {noun(step.patients, 'patient')}",) if step.patients else ()
        box = Box("good" if last else "kept", step.said, step.parts, notes)
        sides = [
            Box("aside" if name.startswith("Files") else "bad", f"{name}: {count:,}", why)
            for name, count, why in step.left
            if count
        ]
        rows.append((box, sides))
    return draw_flow(rows, "Flow diagram. " + " ".join(_words(step) for step in steps), number=number)


def _words(step: Step) -> str:
    def listed(counts: Counts) -> str:
        return f" ({', '.join(f'{name} {n:,}' for name, n in counts)})" if counts else ""

    left = "".join(f" {name}: {count:,}{listed(why)}." for name, count, why in step.left if count)
    return f"{step.said}{listed(step.parts)}.{left}"


def flow_table(steps: Mapping[str, Sequence[Step]]) -> pd.DataFrame:
    """Tabulate the flow of each data set: a row a step, and one for each reason for which something left there."""
    rows = []
    for dataset, found in steps.items():
        for number, step in enumerate(found, 1):
            base = (dataset, number, step.name)
            rows.append((*base, "goes on", "", step.count))
            rows += [(*base, "of these", name, n) for name, n in step.parts]
            for name, count, why in step.left:
                rest = count - total(why)
                rows += [(*base, name, reason, n) for reason, n in why]
                if rest:
                    rows.append((*base, name, "", rest))
    return pd.DataFrame(rows, columns=["dataset", "step", "name", "what", "reason", "n"])


@dataclass(slots=True)
class Step:
    """What goes on at one step, and what leaves.

    Parameters
    ----------
    name : str
        What they are by then.
    count : int
    unit : str
        What is counted: series or nodules.
    patients : int or None
        Where known.
    parts : tuple of (str, int)
        What the count is made up of.
    left : tuple of (str, int, counts by reason)
        What leaves here.
    """

    name: str
    count: int
    unit: str
    patients: int | None
    parts: Counts = ()
    left: tuple[tuple[str, int, Counts], ...] = ()

    @property
    def said(self) -> str:
        """The count in words."""
        named = self.name if self.name.startswith(("series", "nodules")) else f"{noun(2, self.unit)} {self.name}"
        if self.count == 1:
            named = named.replace("nodules", "nodule", 1)
        return f"{self.count:,} {named}"

    def leave(self, name: str, count: int, why: Mapping[str, int]) -> None:
        """Note what leaves here, the most frequent reason first."""
        ranked = tuple(sorted(((str(key), int(n)) for key, n in why.items()), key=lambda one: (-one[1], one[0])))
        self.left = (*self.left, (name, count, ranked))
