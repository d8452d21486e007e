"""The comparison of two runs in words and aligned tables, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from lungpipe.comparing.words import (
    configuration,
    counted,
    equal_parts,
    named,
    p_value,
    records,
    region_name,
    rows_alone,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lungpipe.comparing.cohort import CohortChanges
    from lungpipe.comparing.compare import Comparison
    from lungpipe.comparing.features import FeatureChanges
    from lungpipe.comparing.scores import ScoreChanges

#: Rows of a table that are printed; the rest is in the JSON document and on the page.
MOST_ROWS = 20
#: Characters of a value of a setting that are printed.
_MOST_CHARACTERS = 44


def account(found: Comparison) -> str:
    """Write a comparison as text: what changed, section by section, and in one line what is equal.

    Parameters
    ----------
    found : Comparison
    """
    lines = [f"{side}  {run.address}  {run.title}".rstrip() for side, run in (("A", found.first), ("B", found.second))]
    for side, run in (("A", found.first), ("B", found.second)):
        lines += [f"{side} has no table {name!r}: it {why}" for name, why in run.missing.items() if _worth(found, name)]
    for heading, section in (
        ("Settings", _settings(found)),
        ("Cohort", _cohort(found)),
        ("Features", _features(found)),
        ("Scores", _scores(found)),
    ):
        first, *rest = section
        lines += ["", f"{heading}: {first}", *(f"  {line}".rstrip() for line in rest)]
    if equal := equal_parts(found):
        lines += ["", f"Equal: {'; '.join(equal)}"]
    return "\n".join(lines)


def _worth(found: Comparison, name: str) -> bool:
    """Whether a missing table is worth a line: both lack the tables of a benchmark where neither ran one."""
    return not (name in ("scores", "predictions") and name in found.first.missing and name in found.second.missing)


def _settings(found: Comparison) -> Iterator[str]:
    counting = [change for change in found.settings if change.counts]
    others = [change for change in found.settings if not change.counts]
    if not found.settings:
        yield "no difference"
        return
    yield (
        f"{counted(len(counting), 'difference')}, and {len(others)} more that change no number"
        if others
        else counted(len(counting), "difference")
    )
    rows = [(change.key, _short(change.first), _short(change.second)) for change in counting + others]
    yield from _table(("key", "A", "B"), rows)


def _short(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 3] + "..."


def _cohort(found: Comparison) -> Iterator[str]:
    cohort, pairs = found.cohort, found.matching
    a, b = cohort.n_nodules
    yield f"{counted(a, 'nodule')} in A, {b:,} in B, {len(pairs.pairs):,} in both{named(pairs)}"
    if pairs.why_none:
        yield f"no nodule is matched: {pairs.why_none}"
    for side, other, nodules in (("A", "B", cohort.only_a), ("B", "A", cohort.only_b)):
        if len(nodules):
            yield f"only in {side}: {counted(len(nodules), 'nodule')}"
            if pairs.why_none:
                continue
            rows = [(r["nodule_id"], r["patient_id"], r["reason"]) for r in records(nodules)]
            yield from _table(("nodule", "patient", f"left out of {other} by"), rows)
    if len(cohort.labels):
        yield f"another label: {counted(len(cohort.labels), 'nodule')}"
        rows = [(r["nodule_id"], _label(r["label_a"]), _label(r["label_b"])) for r in records(cohort.labels)]
        yield from _table(("nodule", "A", "B"), rows)
    for row in records(cohort.masks):
        if row["n_changed"]:
            yield f"masks of {row['segmenter']}: {row['n_changed']} of {row['n']} differ"
    yield from _series(cohort)
    if len(cohort.exclusions):
        yield "exclusions"
        counts = [(r["stage"], r["code"], r["n_a"], r["n_b"]) for r in records(cohort.exclusions)]
        yield from _table(("stage", "code", "A", "B"), counts, right=(2, 3))


def _series(cohort: CohortChanges) -> Iterator[str]:
    if cohort.series is None:
        if min(cohort.n_series):
            yield f"series: {cohort.n_series[0]} in A, {cohort.n_series[1]} in B, whose pseudonyms cannot be compared"
        return
    for where, rows in cohort.series.groupby("where"):
        yield (
            f"series {where}: {len(rows)}"
            if where != "changed"
            else f"series with another verdict or codes: {len(rows)}"
        )
        shown = [
            (r["series_uid"], f"{r['verdict_a']} {r['codes_a']}".strip(), f"{r['verdict_b']} {r['codes_b']}".strip())
            for r in records(rows)
        ]
        yield from _table(("series", "A", "B"), shown)


def _label(value: Any) -> str:
    return "none" if pd.isna(value) else "malignant" if value == 1 else "benign"


def _features(found: Comparison) -> Iterator[str]:
    features = found.features
    if features is None:
        yield "not compared, a run has no table of them"
        return
    a, b = features.n_rows
    yield f"{counted(a, 'row')} in A, {b:,} in B, {features.n_shared:,} with the same keys; {counted(len(features.columns), 'feature')} in both"
    for side, columns in (("A", features.columns_only_a), ("B", features.columns_only_b)):
        if columns:
            more = f" and {len(columns) - 6} more" if len(columns) > 6 else ""
            yield f"features only in {side}: {', '.join(columns[:6])}{more}"
    for side, other, table in (("A", "B", features.only_a), ("B", "A", features.only_b)):
        if len(table):
            yield f"rows only in {side}: {rows_alone(table, other)}"
            shown = [
                (r["segmenter"], region_name(r), r["of_nodules_in_both"])
                for r in records(table)
                if r["of_nodules_in_both"]
            ]
            if shown:
                yield from _table(("segmenter", "region", "rows"), shown, right=(2,))
    yield from _values(features)


def _values(features: FeatureChanges) -> Iterator[str]:
    if not features.n_shared:
        return
    if features.n_masks_changed:
        yield f"regions with other voxels: {features.n_masks_changed} of {features.n_shared} rows"
    differ = features.differ
    if not len(differ):
        yield "every value is the same, to the last bit"
        return
    rows = [
        (
            r["segmenter"], region_name(r), r["n"], f"{r['n_features_differ']} of {r['n_features']}",
            f"{r['largest_relative']:.2g}" if r["worst"] else "", r["worst"],
            "" if pd.isna(r["lowest_icc"]) else f"{r['lowest_icc']:.4f}", r["lowest_icc_of"],
        )
        for r in records(features.regions)
        if r["n_features_differ"]
    ]  # fmt: skip
    same = [f"{r['segmenter']}, {region_name(r)}" for r in records(features.regions) if not r["n_features_differ"]]
    if same:
        yield f"every value is the same in {'; '.join(same)}"
    heads = ("segmenter", "region", "rows", "differ", "relative", "largest in", "ICC", "lowest in")
    yield from _table(heads, rows, right=(2, 3, 4, 6))
    yield "worst"
    worst = [
        (r["feature"], f"{r['segmenter']}, {region_name(r)}", f"{r['n_differ']} of {r['n']}", f"{r['largest_relative']:.2g}",
         "" if pd.isna(r["icc"]) else f"{r['icc']:.4f}")
        for r in records(differ.head(5))
    ]  # fmt: skip
    yield from _table(("feature", "where", "rows differ", "relative", "ICC(2,1)"), worst, right=(2, 3, 4))


def _scores(found: Comparison) -> Iterator[str]:
    scores = found.scores
    if scores is None:
        sides = [side for side, run in (("A", found.first), ("B", found.second)) if "scores" not in run.tables]
        yield "neither run has a benchmark" if len(sides) == 2 else f"not compared, {sides[0]} has no benchmark"
        return
    tested = int(scores.rows["p"].notna().sum())
    yield f"{counted(len(scores.rows), 'configuration')} in both, {tested} tested; difference is B less A"
    for side, table in (("A", scores.only_a), ("B", scores.only_b)):
        if len(table):
            names = [configuration(row) for row in records(table)]
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            yield f"only in {side}: {'; '.join(names[:4])}{more}"
    if not scores.changed:
        yield "every AUC is the same"
        return
    if len(scores.rows):
        yield from _score_table(scores)
    if tested:
        yield "AUC A and AUC B: all nodules of each run. Difference: nodules that both predicted, DeLong's test with patients as"
        yield f"the unit; Holm's adjustment over {tested}."


def _score_table(scores: ScoreChanges) -> Iterator[str]:
    several = scores.rows["dataset"].nunique() > 1
    rows = []
    for r in records(scores.rows):
        name = configuration(r) if not several else f"{r['dataset']}: {configuration(r)}"
        if pd.isna(r["difference"]):
            tail: tuple[Any, ...] = (r["n"] or "", "", "", "", "", f"no test: {r['why_no_test']}")
        else:
            p = (p_value(r["p"]), p_value(r["p_holm"]))
            note = f"no test: {r['why_no_test']}" if r["why_no_test"] else ""
            note = note or (f"{r['n_labels_differ']} other labels left out" if r["n_labels_differ"] else "")
            tail = (r["n"], f"{r['difference']:+.3f}", f"{r['low']:+.3f} to {r['high']:+.3f}", *p, note)
        rows.append((name, _auc(r["auc_a"]), _auc(r["auc_b"]), *tail))
    heads = ("configuration", "AUC A", "AUC B", "n", "difference", "95 % interval", "p", "Holm", "")
    yield from _table(heads, rows, right=(1, 2, 3, 4, 5, 6, 7))


def _auc(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.3f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()) -> Iterator[str]:
    """Align columns, at most :data:`MOST_ROWS` rows; numbers to the right."""
    texts = [list(heads), *([str(cell) for cell in row] for row in rows[:MOST_ROWS])]
    widths = [max(len(row[k]) for row in texts) for k in range(len(heads))]
    for row in texts:
        cells = [
            cell.rjust(width) if k in right else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  " + "  ".join(cells)
    if len(rows) > MOST_ROWS:
        yield f"  and {len(rows) - MOST_ROWS} more (--json has all)"
