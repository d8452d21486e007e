"""Rules on how a benchmark was designed and what was learned where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lungpipe.report.checklists.facts import NO_BENCHMARK, OTHER, Finding, found, nothing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.report.checklists.facts import Facts


def split(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """The design of the folds, and the check that no patient is in two test folds of a repeat."""
    del item
    design = facts.benchmark.get("design")
    if facts.predictions is None or not facts.benchmark:
        return nothing(NO_BENCHMARK)
    n = facts.predictions["fold"].nunique()
    repeats = facts.predictions["repeat"].nunique()
    said = f"{design or 'cross-validation'}, {n} outer folds" + (f", {repeats} repeats" if repeats > 1 else "")
    grouped = patients_apart(facts)
    said += "; no patient is in two folds" if grouped else "; a patient is in two folds"
    return found(said, "run.json: recipe.benchmark", "predictions: fold", whole=grouped)


def patients_apart(facts: Facts) -> bool:
    """Whether every patient is in one test fold a repeat, by the table of predictions."""
    if facts.predictions is None:
        return False
    folds = facts.predictions.groupby(["patient_id", "repeat"])["fold"].nunique()
    return bool((folds == 1).all())


def disjoint(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """The level at which training and test are apart: the patient."""
    del item
    if facts.predictions is None:
        return nothing(NO_BENCHMARK)
    if not patients_apart(facts):
        return found("a patient is in two test folds of one repeat", "predictions: fold", whole=False)
    return found("patients: each is in one test fold a repeat", "predictions: fold", "run.json: recipe.benchmark.group")


def learned_inside(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Whether everything that is learned was learned in training folds, with one choice that was."""
    del item
    if not facts.benchmark:
        return nothing(NO_BENCHMARK)
    whole = len(facts.rows("inside")) > 0 and patients_apart(facts)
    said = "folds by patient; imputation, scaling, selection and choices are fitted to training rows"
    return found(said, "#recipe", "#verdict", whole=whole)


def scaling(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Every classifier's pipeline standardises features by the training rows."""
    del item
    if not facts.benchmark:
        return nothing(NO_BENCHMARK)
    others = facts.other_classifiers
    said = "standardised by mean and SD of the training rows"
    return found(said + (f"; {', '.join(others)} may have another" if others else ""), "#recipe", whole=not others)


def table_models(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Whether models learn from tables of features alone, so that items on networks from end to end can be left."""
    del item
    if not facts.benchmark or not facts.features_of:
        return nothing(NO_BENCHMARK)
    return Finding(OTHER, "models learn from tables of features, not from images", ("run.json: recipe.benchmark",))


def reduction(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """How features were thinned out: constant ones, correlated ones, and a selection."""
    del item
    if not facts.benchmark:
        return nothing(NO_BENCHMARK)
    keys = [key for key in ("selection", "max_correlation") if key in facts.benchmark]
    said = ["constant features left out", *(f"{key} {facts.benchmark[key]}" for key in keys)]
    if facts.benchmark.get("selection", "none") != "none":
        said.append(f"of {', '.join(map(str, facts.benchmark.get('n_features', ['an unknown number of'])))} features")
    return found("; ".join(said), *(f"run.json: recipe.benchmark.{key}" for key in keys), whole=len(keys) == 2)


def redundant(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Whether features that go together were thinned out."""
    del item
    limit, way = facts.benchmark.get("max_correlation", 1.0), facts.benchmark.get("selection", "none")
    if not facts.benchmark or (limit >= 1 and way == "none"):
        return nothing("features that go together were not thinned out")
    return found(f"max_correlation {limit}, selection {way}", "run.json: recipe.benchmark")


def balance(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """How many nodules there are of each class, and whether classes weigh the same in training."""
    del item
    if facts.scores is None:
        return nothing(NO_BENCHMARK)
    row, way = facts.scores.iloc[0], facts.benchmark.get("balance")
    said = f"{row['n_malignant']} of {row['n']} nodules are malignant"
    if not way:
        return found(said, "#scores", whole=False)
    said += "; classes weigh the same in training" if way == "weights" else "; classes are as they are"
    return found(said, "#scores", "run.json: recipe.benchmark.balance")


def algorithms(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Every classifier with its version."""
    del item
    names = facts.benchmark.get("classifiers") or []
    if not names:
        return nothing(NO_BENCHMARK)
    versions = facts.value("plugins.classifiers") or {}
    said = ", ".join(f"{name} {versions[name]}" if name in versions else str(name) for name in names)
    return found(said, "run.json: plugins.classifiers", whole=all(name in versions for name in names))


def tuning(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Inner folds, their AUC and the seed; the values that were tried stand in the code alone, so this is never the whole."""
    del item
    if not facts.benchmark:
        return nothing(NO_BENCHMARK)
    inner, seed = facts.benchmark.get("inner_folds"), facts.value("seeds.benchmark")
    tuned = facts.given(facts.rows("fixed"), "inner_auc") > 0
    said = [f"hyper-parameters by {inner} inner folds" if inner and tuned else "no inner folds are recorded"]
    said += [f"seed {seed}" if seed is not None else "no seed is recorded", "the values tried are in the code alone"]
    return found("; ".join(said), "run.json: recipe.benchmark", "scores: inner_auc", whole=False)


def seeds(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """The seed of all that is drawn."""
    del item
    seed = facts.value("seeds.benchmark")
    return nothing("no seed is recorded") if seed is None else found(f"seed {seed}", "run.json: seeds")


def model_choice(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Which configuration each outer fold chose, without the patients it was tested on."""
    del item
    rows = facts.rows("inside")
    if not len(rows):
        return nothing("no configuration was chosen inside the training folds")
    said = "by the inner folds; the page says which one each outer fold chose"
    return found(said, "#verdict", "scores: chosen", whole=facts.given(rows, "chosen") == len(rows))


def internal_test(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Whether nodules were predicted by models that did not see their patients."""
    del item
    if not len(facts.rows("inside")) or facts.predictions is None:
        return nothing(NO_BENCHMARK)
    return found(
        "every nodule by a model without its patient, of the same data set", "#verdict", whole=patients_apart(facts)
    )


def external_test(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Whether another data set tested what this one taught."""
    del item
    outside = facts.value("external")
    if not isinstance(outside, dict) or not outside:
        return nothing("no other data set tested the models")
    warned = [name for name, one in outside.items() if one.get("warnings")]
    said = f"tested on {', '.join(outside)}" + (
        f"; what speaks against {', '.join(warned)} is in the record" if warned else ""
    )
    return found(said, "run.json: external", "#scores", whole=not warned)


#: By the name that the data files use.
RULES = {
    rule.__name__: rule
    for rule in (
        split, disjoint, learned_inside, scaling, table_models, reduction, redundant, balance, algorithms, tuning,
        seeds, model_choice, internal_test, external_test,
    )
}  # fmt: skip
