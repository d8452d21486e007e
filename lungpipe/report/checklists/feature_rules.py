"""Rules on masks, features and the software that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lungpipe.report.checklists.facts import OWN_EXTRACTORS, Finding, found, nothing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.report.checklists.facts import Facts

_NO_SEGMENTER = "the record of the run names no segmenter"
_NO_FEATURES = "the page has no table of features"


def recorded(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Settings in ``run.json``, named by the item's ``keys``; null and an empty list are statements too."""
    here = [key for key in item["keys"] if facts.states(key)]
    if not here:
        return nothing("the record of the run does not have it")
    said = "; ".join(f"{key.rsplit('.', 1)[-1]}: {_text(facts.value(key))}" for key in here)
    return found(said, *(f"run.json: {key}" for key in here), whole=len(here) == len(item["keys"]))


def _text(value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return f"{len(value)} settings" if len(value) > 3 else ", ".join(f"{k} {_text(v)}" for k, v in value.items())
    if isinstance(value, list):
        return f"{len(value)} of them" if isinstance(value[0], dict) else ", ".join(map(str, value))
    return str(value)


def fixed(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """What lungpipe's own extractors always do, in the item's ``says``; only for them."""
    name, version = facts.value("plugins.extractor.name"), facts.value("plugins.extractor.version")
    if name not in OWN_EXTRACTORS or version is None:
        return nothing(f"the extractor {name or '(not recorded)'} has to say it")
    return found(f"{item['says']} (extractor {name}, version {version})", "run.json: plugins.extractor")


def segmentation(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Every segmenter with its version and parameters."""
    del item
    if not facts.segmenters:
        return nothing(_NO_SEGMENTER)
    whole = all(one.get("version") is not None and "parameters" in one for one in facts.segmenters.values())
    said = f"in three dimensions, by {', '.join(facts.segmenters)}"
    return found(said, "run.json: plugins.segmenters", "#recipe", whole=whole)


def operators(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Whether people drew the masks; how many and who, a run does not know."""
    del item
    if not facts.segmenters:
        return nothing(_NO_SEGMENTER)
    people = facts.drawn_by_people
    said = f"people drew the masks of {', '.join(people)}" if people else "programs drew masks from annotated places"
    return found(said, "run.json: plugins.segmenters", whole=not people)


def one_reader(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Whether the masks that are tested come from a program, or from a single reader."""
    del item
    if not facts.segmenters:
        return nothing(_NO_SEGMENTER)
    several = [name for name in facts.drawn_by_people if not name.startswith("rater-")]
    if several:
        said = f"{', '.join(several)}: whose outlines they are has to be said"
        return found(said, "run.json: plugins.segmenters", whole=False)
    return found("each configuration has the masks of one program or one reader", "run.json: plugins.segmenters")


def reliability(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Agreement of the masks of several methods or readers, nodule by nodule; readers' count as the whole."""
    del item
    if len(facts.segmenters) < 2 or not facts.given(facts.nodules, "disagreement"):
        return nothing("there is one mask a nodule, so nothing to agree with; lungpipe stability measures it")
    readers = [name for name in facts.segmenters if name.startswith("rater-")]
    said = f"1 - mean Dice between {len(facts.segmenters)} masks a nodule, {len(readers)} of them readers'"
    return found(said, "nodules: disagreement", whole=len(readers) > 1)


def several_masks(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Whether automatic masks stand beside people's; how good they are a person judges."""
    del item
    people = len(facts.drawn_by_people)
    if people == len(facts.segmenters):
        return nothing("no mask was drawn by a program")
    if not people:
        return nothing("no mask was drawn by people, so there is nothing to judge the programs by")
    where = ("nodules: disagreement", "run.json: plugins.segmenters")
    return found("masks of programs and of people side by side", *where, whole=False)


def extractor(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """The extractor with its version, and the versions of all packages."""
    del item
    name, version = facts.value("plugins.extractor.name"), facts.value("plugins.extractor.version")
    if not name:
        return nothing("the record of the run names no extractor")
    packages = facts.value("environment.packages")
    said = f"{name}, version {version or 'unknown'}"
    said += f", and the versions of {len(packages)} packages" if packages else ", without versions of packages"
    where = ("run.json: plugins.extractor", "run.json: environment.packages")
    return found(said, *where, whole=bool(packages and version))


def standardised(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Whether features are those of an extractor that is held against IBSI's published values."""
    del item
    name = facts.value("plugins.extractor.name")
    if name not in OWN_EXTRACTORS:
        return nothing(f"the extractor {name or '(not recorded)'} was not held against IBSI here")
    said = f"{name} follows PyRadiomics' definitions; docs/ibsi.md has every deviation from IBSI"
    return found(said, "run.json: plugins.extractor")


def feature_classes(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Classes of the features in the table, and how many features each has."""
    del item
    if not facts.features_of:
        return nothing(_NO_FEATURES)
    counts: dict[str, int] = {}
    for name in facts.features_of:
        kind = name.split("_")[1] if name.count("_") > 1 else name.split("_")[0]
        counts[kind] = counts.get(kind, 0) + 1
    said = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    return found(f"{len(facts.features_of)} features a region: {said}", "features: its columns")


def feature_count(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Features a region and regions a nodule."""
    del item
    if not facts.features_of or facts.features is None:
        return nothing(_NO_FEATURES)
    by = [name for name in ("region", "radius_mm") if name in facts.features]
    regions = len(facts.features.drop_duplicates(by)) if by else 1
    return found(f"{len(facts.features_of)} features in each of {regions} regions", "features: its columns")


def missing_values(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """How many feature values are missing, and what stands in for them in training."""
    del item
    if facts.features is None or not facts.features_of:
        return nothing(_NO_FEATURES)
    values = facts.features[facts.features_of]
    said = f"{int(values.isna().to_numpy().sum())} of {values.size} feature values are missing"
    if not facts.benchmark:
        return found(f"{said}; nothing was learned from them", "features: its columns", whole=False)
    others = facts.other_classifiers
    said += "; the median of the training rows stands in" + (f", but for {', '.join(others)}" if others else "")
    return found(said, "features: its columns", "#recipe", whole=not others)


def software(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Versions of packages and interpreter, and the hash of this code."""
    del item
    keys = ("environment.packages", "environment.python", "environment.code_sha256")
    here = [key for key in keys if facts.value(key)]
    if not here:
        return nothing("the record of the run has no versions")
    said = ", ".join(key.rsplit(".", 1)[-1].replace("_", " ") for key in here)
    return found(f"versions: {said}", *(f"run.json: {key}" for key in here), whole=len(here) == len(keys))


def pipeline(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """A picture of the stages, with the counts of what each made."""
    del item
    if not facts.value("artefacts"):
        return nothing("the record of the run counts no artefacts, so the page draws no stages")
    return found("the stages from archive to report, with counts and versions", "#lineage")


def settings_shared(facts: Facts, item: Mapping[str, Any]) -> Finding:
    """Whether recipe, plug-ins and code are recorded well enough to be shared; sharing is up to the authors."""
    del item
    here = [key for key in ("recipe", "plugins", "environment.code_sha256") if facts.value(key)]
    if not here:
        return nothing("the record of the run has no settings")
    said = "settings and the code's hash are in the record; to publish them is up to the authors"
    return found(said, *(f"run.json: {key}" for key in here), whole=False)


#: By the name that the data files use.
RULES = {
    rule.__name__: rule
    for rule in (
        recorded, fixed, segmentation, operators, one_reader, reliability, several_masks, extractor, standardised, feature_classes,
        feature_count, missing_values, software, pipeline, settings_shared,
    )
}  # fmt: skip
