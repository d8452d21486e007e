"""What the headline figure is held against: simpler tables, parts of the same features, and labels without meaning.

Each baseline is evaluated on the folds of the benchmark, so that what it lacks is all that tells the two figures apart.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.learn.cohort import IDENTITY, Cohort, ConfigurationKey
from lungpipe.learn.feature_sets import ALL
from lungpipe.learn.models import Logistic
from lungpipe.learn.select import choose_inside
from lungpipe.store.schemas import BASELINE, CHOSEN, CONTROLS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from lungpipe.learn.evaluate import ConfigurationResult

    Floats = NDArray[np.float64]

#: Baselines of one column of the table of nodules, of which the logarithm is taken.
SIZES = {"volume": "volume_mm3", "diameter": "axial_mean_mm"}
#: Baselines that choose among configurations of some regions only, and what each shows.
PARTS = {
    "nodule-only": ("nodule",),
    "surroundings-only": ("shell", "ring"),
    "box-without-mask": ("box",),
    "shuffled-voxels": ("shuffled",),
    "without-nodule": ("inpainted",),
}
SHUFFLED_LABELS = "shuffled-labels"
#: Baselines of what is known without features.
CLINICAL, RATINGS = "clinical", "ratings"
#: What a baseline leaves of the table, for people.
MEANING = {
    "volume": "the nodule's volume alone",
    "diameter": "the nodule's mean axial diameter alone",
    CLINICAL: "the clinical columns alone: what is known without an image",
    RATINGS: "the radiologists' ratings alone, that of malignancy left out",
    "nodule-only": "the nodule without its surroundings",
    "surroundings-only": "the surroundings with the nodule taken out",
    "box-without-mask": "the box round the nodule, without its outline",
    "shuffled-voxels": "the nodule with its voxels in a random order: no texture is left",
    "without-nodule": "the outline where the nodule was taken out and lung put in",
    SHUFFLED_LABELS: "labels dealt anew: nothing can be learned",
}
#: The classifier of the baselines of size: one column needs no penalty.
PLAIN = Logistic(strengths=(1.0,))


def key_of(name: str, classifier: str) -> ConfigurationKey:
    """Key of a baseline in the tables."""
    return ConfigurationKey(BASELINE, name, math.nan, classifier, CHOSEN if classifier == CHOSEN else ALL)


def is_baseline(key: ConfigurationKey) -> bool:
    """Whether a configuration stands for comparison only, and is never chosen."""
    return key.segmenter == BASELINE or key.region in CONTROLS


def size_matrix(nodules: pd.DataFrame, cohort: Cohort, name: str) -> Floats:
    """One column: the logarithm of a nodule's size, the median over its segmenters.

    Parameters
    ----------
    nodules : DataFrame
        With the columns of ``nodules.parquet``.
    cohort : Cohort
        The rows wanted.
    name : str
        Of :data:`SIZES`.

    Returns
    -------
    ndarray, shape (n, 1)
        NaN where no segmenter has the nodule.
    """
    identity = [column for column in IDENTITY if column in cohort.identity]
    median = nodules.groupby(identity)[SIZES[name]].median()
    keys = list(cohort.identity[identity].itertuples(index=False, name=None))
    values = median.reindex(keys if len(identity) > 1 else [key[0] for key in keys])
    return np.asarray(np.log(values.to_numpy(dtype=np.float64))).reshape(-1, 1)


def shuffled_labels(cohort: Cohort, seed: int) -> NDArray[np.int64]:
    """Labels dealt anew over the nodules, shape (n,)."""
    return np.random.default_rng((seed, 1)).permutation(cohort.labels)


def of_parts(results: Mapping[ConfigurationKey, ConfigurationResult], cohort: Cohort) -> dict[ConfigurationKey, Floats]:
    """Predictions of the choice made inside the training folds among some regions only.

    Parameters
    ----------
    results : mapping of ConfigurationKey to ConfigurationResult
        All configurations, controls among them.
    cohort : Cohort

    Returns
    -------
    dict
        By key of the baseline, shape (n_repeats, n); what no region has is not there.
    """
    found = {}
    n_choices = sum(not is_baseline(key) for key in results)
    for name, regions in PARTS.items():
        part = {key: result for key, result in results.items() if key.region in regions}
        if part and (set(regions) <= set(CONTROLS) or len(part) < n_choices):  # all of them are the choice itself
            found[key_of(name, CHOSEN)] = choose_inside(part, cohort.folds).p
    return found


def baseline_keys(
    regions: Sequence[tuple[str, str, float]],
    classifiers: Sequence[str],
    *,
    clinical: bool = False,
    ratings: bool = False,
) -> list[ConfigurationKey]:
    """Baselines that are configurations of their own: sizes, what is known without features, and labels dealt anew.

    Parameters
    ----------
    regions : sequence of (str, str, float)
        Segmenter, region and radius of what the table of features has.
    classifiers : sequence of str
    clinical, ratings : bool
        Whether the recipe names clinical columns, and the table of nodules has ratings.
    """
    keys = [key_of(name, PLAIN.name) for name in SIZES]
    keys += [key_of(name, PLAIN.name) for name, there in ((CLINICAL, clinical), (RATINGS, ratings)) if there]
    return [*keys, key_of(SHUFFLED_LABELS, classifiers[0])] if regions else keys
