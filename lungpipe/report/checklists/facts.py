"""What a run knows about itself, as the rules of the checklists ask for it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from lungpipe.learn.cohort import IDENTITY, feature_columns
from lungpipe.report.evaluation import chosen_of, subgroup_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.report.page import Report

#: The rule found all that an item asks for, part of it, or nothing that a program could; or the item is about other images.
REPORTED, PARTIAL, PERSON, OTHER = "reported", "partial", "needs a person", "does not apply"
#: Extractors whose details are fixed in this code and written in docs/radiomics.md and docs/ibsi.md.
OWN_EXTRACTORS = ("nested", "pyradiomics")
#: Classifiers whose pipeline begins with lungpipe's own imputation and scaling (lungpipe.learn.models.standard_pipeline).
STANDARD = ("logistic", "random_forest", "knn", "elastic_net", "svm", "xgboost")
NO_BENCHMARK = "no benchmark was run"
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found.

    Parameters
    ----------
    status : str
        :data:`REPORTED`, :data:`PARTIAL`, :data:`PERSON` or :data:`OTHER`.
    said : str
        What the run says, or what is missing from it.
    where : tuple of str
        Evidence: ``"#calibration"`` is a section of the page, ``"run.json: seeds.benchmark"`` a key of the record,
        ``"series: kvp"`` a column of a table.
    """

    status: str
    said: str = ""
    where: tuple[str, ...] = ()


def found(said: str, *where: str, whole: bool = True) -> Finding:
    """Make a finding with evidence: the whole of what an item asks for, or part of it."""
    return Finding(REPORTED if whole else PARTIAL, said, where)


def nothing(said: str = "") -> Finding:
    """Make a finding that leaves an item to a person."""
    return Finding(PERSON, said)


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """A run as its page has it.

    Parameters
    ----------
    run, recipe : mapping
        ``run.json`` and the recipe in it, as tables.
    series, nodules, exclusions : DataFrame
        ``series`` are those accepted.
    features, scores, predictions : DataFrame or None
        Scores and predictions of the first data set.
    n_set_aside : int
        Series that were not accepted.
    images : bool
        Whether there were images.
    evaluated : bool
        Whether the page has the section with figures, calibration and decisions.
    subgroups : tuple of str
        What that section divides the nodules by.
    explained : bool
        Whether there is a table of importance.
    """

    run: Mapping[str, Any]
    recipe: Mapping[str, Any]
    series: pd.DataFrame
    nodules: pd.DataFrame
    exclusions: pd.DataFrame
    features: pd.DataFrame | None
    scores: pd.DataFrame | None
    predictions: pd.DataFrame | None
    n_set_aside: int
    images: bool
    evaluated: bool
    subgroups: tuple[str, ...]
    explained: bool

    def value(self, key: str) -> Any:
        """Value of a dotted key of ``run.json``; None where there is no such key, or nothing in it."""
        value = self._at(key)
        return None if value is _ABSENT else value

    def states(self, key: str) -> bool:
        """Whether ``run.json`` has a dotted key; a value of null or an empty list is a statement too."""
        return self._at(key) is not _ABSENT

    def _at(self, key: str) -> Any:
        value: Any = {**self.run, "recipe": self.recipe}
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return _ABSENT
            value = value[part]
        return value

    @property
    def benchmark(self) -> Mapping[str, Any]:
        """Section ``[benchmark]`` of the recipe; empty where no benchmark was run."""
        section = self.recipe.get("benchmark")
        return section if isinstance(section, Mapping) and self.scores is not None else {}

    @property
    def segmenters(self) -> Mapping[str, Any]:
        """Segmenters of the run by name, with versions and parameters."""
        held = self.value("plugins.segmenters")
        return held if isinstance(held, Mapping) else {}

    @property
    def drawn_by_people(self) -> list[str]:
        """Segmenters whose masks are people's outlines."""
        return [name for name in self.segmenters if name in ("annotated", "raters") or name.startswith("rater-")]

    @property
    def other_classifiers(self) -> list[str]:
        """Classifiers of the benchmark that prepare features in a way of their own."""
        return [str(name) for name in self.benchmark.get("classifiers", ()) if name not in STANDARD]

    @property
    def features_of(self) -> list[str]:
        """Columns of features."""
        return feature_columns(self.features) if self.features is not None and len(self.features) else []

    def rows(self, selection: str) -> pd.DataFrame:
        """Rows of the scores with an AUC, of one selection; none without a benchmark."""
        if self.scores is None:
            return pd.DataFrame(columns=["auc"])
        return self.scores[(self.scores["selection"] == selection) & self.scores["auc"].notna()]

    def given(self, table: pd.DataFrame, column: str) -> int:
        """Count the rows of a table that have a value in a column; empty text is none."""
        return int((table[column].notna() & (table[column].astype(str) != "")).sum()) if column in table else 0


def facts_of(report: Report) -> Facts:
    """Take the facts from what a page is made of.

    Parameters
    ----------
    report : Report
    """
    run, series, scores = report.run, report.series, report.scores
    recipe = run.get("recipe", {})
    accepted = series[series["verdict"] != "quarantine"] if "verdict" in series else series
    scores = scores if scores is not None and len(scores) else None
    dataset = str(scores["dataset"].iloc[0]) if scores is not None else ""
    predictions = report.predictions if report.predictions is not None and len(report.predictions) else None
    chosen = chosen_of(predictions, dataset) if scores is not None and predictions is not None else None
    divided: Sequence[str] = ()
    if chosen is not None:
        values = subgroup_values(chosen.rows, report.nodules, series)
        divided = [str(name) for name in values if values[name].nunique() > 1]
    return Facts(
        run=run,
        recipe=_tables(recipe) if isinstance(recipe, str) else recipe,
        series=accepted,
        nodules=report.nodules,
        exclusions=report.exclusions,
        features=report.features,
        scores=scores[scores["dataset"] == dataset] if scores is not None else None,
        predictions=predictions[predictions["dataset"] == dataset] if predictions is not None else None,
        n_set_aside=len(series) - len(accepted),
        images=report.intensities != "none",
        evaluated=chosen is not None,
        subgroups=tuple(divided),
        explained=getattr(report, "importance", None) is not None,
    )


def _tables(recipe: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(recipe)
    except tomllib.TOMLDecodeError:
        return {}


def once(nodules: pd.DataFrame) -> pd.DataFrame:
    """Every nodule once, whatever the number of its masks."""
    return nodules.drop_duplicates([name for name in IDENTITY if name in nodules])
