"""Rules on what a benchmark came to: figures, their uncertainty, and what they are held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lungpipe.learn.power import cohort_power
from lungpipe.report.checklists.facts import NO_BENCHMARK, Finding, found, nothing
from lungpipe.report.evaluation import chosen_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.report.checklists.facts import Facts


def metrics(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Discrimination, calibration and decisions of the honest choice."""
    del item
    if facts.evaluated:
        return found("AUC, average precision, Brier score, log loss, sensitivity and specificity", "#figures")
    if facts.scores is None:
        return nothing(NO_BENCHMARK)
    return found("AUC of configurations; no figures of a choice made inside", "#scores", whole=False)


def intervals(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """A 95 % interval for every AUC, patients as the unit."""
    del item
    if facts.scores is None:
        return nothing(NO_BENCHMARK)
    rows = facts.scores[facts.scores["auc"].notna()]
    n = min(facts.given(rows, "auc_low"), facts.given(rows, "auc_high"))
    if not len(rows) or not n:
        return nothing("no AUC has an interval")
    said = f"95 % interval for {n} of {len(rows)} AUCs, patients as the unit"
    return found(said, "#verdict", "scores: auc_low", "scores: auc_high", whole=n == len(rows))


def comparison(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """A paired test of every configuration against the choice, adjusted for their number."""
    del item
    if facts.scores is None:
        return nothing(NO_BENCHMARK)
    n = facts.given(facts.scores, "p_holm")
    if not n:
        return nothing("no configuration was tested against another")
    return found(
        f"DeLong's test of {n} configurations against the choice, Holm's adjustment", "#verdict", "scores: p_holm"
    )


def simple_baselines(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """What size alone reaches, and labels dealt anew."""
    del item
    rows = facts.rows("baseline")
    names = set(rows["region"].astype(str)) if "region" in rows else set()
    if not names & {"volume", "diameter"}:
        return nothing("no baseline of size was run")
    tested = facts.given(rows, "p_holm") > 0
    return found(
        f"baselines: {', '.join(sorted(names))}; none of clinical columns",
        "#verdict",
        "scores: selection",
        whole=tested,
    )


def classical_model(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Whether a logistic regression stands beside the other classifiers."""
    del item
    names = set(facts.benchmark.get("classifiers") or [])
    linear = names & {"logistic", "elastic_net"}
    size = "region" in facts.rows("baseline") and facts.rows("baseline")["region"].isin(["volume", "diameter"]).any()
    if not linear and not size:
        return nothing("no regression stands beside the classifiers")
    said = f"{', '.join(sorted(linear)) or 'logistic regression'} on the same folds" + (
        ", and on size alone" if size else ""
    )
    return found(said, "#scores", whole=bool(size))


def explanation(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Importance of features on test folds."""
    del item
    if not facts.explained:
        return nothing("the run has no table of importance")
    return found("importance of features on test folds, and contributions", "importance: importance")


def performance(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """The honest AUC with its interval."""
    del item
    rows = facts.rows("inside")
    if not len(rows):
        return nothing("there is no figure of a choice made inside the training folds")
    row = rows.iloc[0]
    whole = facts.given(rows, "auc_low") == len(rows)
    limits = f" ({row['auc_low']:.2f} to {row['auc_high']:.2f})" if whole else ", without an interval"
    return found(f"AUC {row['auc']:.2f}{limits}", "#verdict", whole=whole)


def calibration(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """A calibration curve with slope, intercept and error."""
    del item
    return (
        found("curve, slope, intercept and expected error", "#calibration")
        if facts.evaluated
        else nothing(NO_BENCHMARK)
    )


def decisions(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Net benefit by threshold."""
    del item
    return (
        found("decision curve beside acting on all and on none", "#calibration")
        if facts.evaluated
        else nothing(NO_BENCHMARK)
    )


def subgroups(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Figures by subgroup with gaps; people's own groups count as the whole, scanners and sizes as part."""
    del item
    if not facts.subgroups:
        return nothing("no column divides the nodules into subgroups")
    people = [name for name in facts.subgroups if name in ("sex", "age", "age_years")]
    return found(f"by {', '.join(facts.subgroups).replace('_', ' ')}", "#subgroups", whole=bool(people))


def heterogeneity(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Figures by scanner; hospitals the tables do not name."""
    del item
    scanners = [name for name in facts.subgroups if name in ("manufacturer", "model", "kernel")]
    if not scanners:
        return nothing("no column of scanners divides the nodules")
    return found(f"by {', '.join(scanners)}", "#subgroups", whole=False)


def confounders(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Size as a baseline, scanners as subgroups, and batches that ComBat brought together."""
    del item
    size = facts.rows("baseline")
    parts = (
        ["size alone as a baseline"] if "region" in size and size["region"].isin(["volume", "diameter"]).any() else []
    )
    parts += ["scanners as subgroups"] if "manufacturer" in facts.subgroups else []
    parts += [f"ComBat over {facts.benchmark['harmonise']}"] if facts.benchmark.get("harmonise") else []
    if not parts:
        return nothing("nothing was held against size or scanner")
    return found("; ".join(parts), "#verdict", whole=False)


def power(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """What the cohort could show; a calculation beforehand a run does not know."""
    del item
    if not facts.evaluated:
        return nothing("the page has no note on power without a benchmark")
    return found(
        "smallest AUC and difference that this cohort could show, worked out afterwards", "#figures", whole=False
    )


def dimensionality(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Nodules of the rarer class a feature; whether that is enough is a judgement."""
    del item
    if facts.predictions is None or facts.scores is None or not facts.features_of:
        return nothing("without a benchmark or a table of features there is no such number")
    chosen = chosen_of(facts.predictions, str(facts.scores["dataset"].iloc[0]))
    if chosen is None:
        return nothing("no choice was made inside the training folds")
    note = cohort_power(chosen.labels, chosen.patients, n_features=len(facts.features_of))
    return found(f"{note.events_per_variable:.1f} nodules of the rarer class a feature", "#figures", whole=False)


def counts(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Nodules, patients and malignant nodules of every analysis."""
    del item
    if facts.scores is None:
        return nothing(NO_BENCHMARK)
    whole = all(facts.given(facts.scores, name) == len(facts.scores) for name in ("n", "n_patients", "n_malignant"))
    return found("nodules, patients and malignant nodules, a row a configuration", "#scores", whole=whole)


def output(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """What a model gives: a probability of malignancy."""
    del item
    if facts.predictions is None or not facts.given(facts.predictions, "p"):
        return nothing(NO_BENCHMARK)
    return found(
        "a probability of malignancy; thresholds of 0.5, and at fixed sensitivity and specificity",
        "predictions: p",
        "#verdict",
    )


def failures(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Predictions nodule by nodule; why they fail is for people to see."""
    del item
    if facts.predictions is None:
        return nothing(NO_BENCHMARK)
    return found(
        "every nodule with label and prediction; no analysis of what went wrong", "predictions: p", whole=False
    )


def robustness(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """The same figure with other masks and radii, and with voxels shuffled."""
    del item
    rows = facts.rows("fixed")
    varied = [name for name in ("segmenter", "radius_mm", "classifier") if name in rows and rows[name].nunique() > 1]
    if not varied:
        return nothing("there is one configuration, so nothing to vary")
    return found(f"AUC over {', '.join(varied).replace('_', ' ')}", "#scores", whole=False)


#: By the name that the data files use.
RULES = {
    rule.__name__: rule
    for rule in (
        metrics, intervals, comparison, simple_baselines, classical_model, explanation, performance, calibration,
        decisions, subgroups, heterogeneity, confounders, power, dimensionality, counts, output, failures,
        robustness,
    )
}  # fmt: skip
