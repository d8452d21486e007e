"""Two runs, held against each other."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lungpipe.comparing.cohort import CohortChanges, compare_cohorts
from lungpipe.comparing.features import FeatureChanges, compare_features
from lungpipe.comparing.matching import Matching, match_nodules
from lungpipe.comparing.scores import ScoreChanges, compare_scores
from lungpipe.comparing.settings import Change, settings_changes
from lungpipe.comparing.workspace import Run, open_run

if TYPE_CHECKING:
    from pathlib import Path

    from lungpipe.store.place import Place

#: Of the document that :meth:`Comparison.as_dict` makes; raised when a key changes its meaning.
FORMAT = 1


def compare_runs(first: str | Path | Place, second: str | Path | Place) -> Comparison:
    """Compare two workspaces.

    Parameters
    ----------
    first, second : str, Path or Place
        Folder or address of each; they are read only.

    Returns
    -------
    Comparison

    Raises
    ------
    DatasetError
        If one is no workspace.
    """
    one, other = open_run(first), open_run(second)
    matching = match_nodules(one, other)
    return Comparison(
        one,
        other,
        matching,
        settings_changes(one.record, other.record),
        compare_cohorts(one, other, matching),
        compare_features(one, other, matching),
        compare_scores(one, other, matching),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What two runs do not share.

    Parameters
    ----------
    first, second : Run
        A and B.
    matching : Matching
        Which of their nodules are the same.
    settings : list of Change
    cohort : CohortChanges
    features : FeatureChanges or None
    scores : ScoreChanges or None
        None where a run lacks the table.
    """

    first: Run
    second: Run
    matching: Matching
    settings: list[Change]
    cohort: CohortChanges
    features: FeatureChanges | None
    scores: ScoreChanges | None

    @property
    def results_differ(self) -> bool:
        """Whether cohort, features or scores differ, or a table is in one run only; settings and versions do not count."""
        return bool(
            self.first.missing.keys() != self.second.missing.keys()
            or any(len(table) for table in self.cohort.tables.values())
            or (self.features is not None and self.features.changed)
            or (self.scores is not None and self.scores.changed)
        )

    def as_dict(self) -> dict[str, Any]:
        """Write all of it as JSON values; what is missing or undefined is null."""
        pairs, cohort, features, scores = self.matching, self.cohort, self.features, self.scores
        return {
            "format": FORMAT,
            "runs": {
                side: {"workspace": run.address, "title": run.title, "missing_tables": dict(run.missing)}
                for side, run in (("a", self.first), ("b", self.second))
            },
            "results_differ": self.results_differ,
            "settings": [asdict(change) for change in self.settings],
            "matching": {
                "one_key": pairs.one_key,
                "n": len(pairs.pairs),
                "by": {str(how): int(n) for how, n in pairs.pairs["how"].value_counts().items()},
                "why_none": pairs.why_none,
            },
            "cohort": {
                "n_nodules": {"a": cohort.n_nodules[0], "b": cohort.n_nodules[1]},
                "n_series": {"a": cohort.n_series[0], "b": cohort.n_series[1]},
                "only_a": _records(cohort.only_a),
                "only_b": _records(cohort.only_b),
                "labels": _records(cohort.labels),
                "masks": _records(cohort.masks),
                "series": None if cohort.series is None else _records(cohort.series),
                "exclusions": _records(cohort.exclusions),
            },
            "features": None
            if features is None
            else {
                "n_rows": {"a": features.n_rows[0], "b": features.n_rows[1]},
                "n_rows_shared": features.n_shared,
                "n_masks_changed": features.n_masks_changed,
                "rows_only_a": _records(features.only_a),
                "rows_only_b": _records(features.only_b),
                "n_columns_shared": len(features.columns),
                "columns_only_a": features.columns_only_a,
                "columns_only_b": features.columns_only_b,
                "regions": _records(features.regions),
                "values_that_differ": _records(features.differ),
            },
            "scores": None
            if scores is None
            else {
                "configurations": _records(scores.rows),
                "only_a": _records(scores.only_a),
                "only_b": _records(scores.only_b),
            },
        }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
