"""What acting on a prediction would gain, over the thresholds at which somebody might act."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import norm

from lungpipe.errors import DatasetError
from lungpipe.learn.rows import need_both_classes, need_probabilities, usable_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

#: Per cent by per cent, from 1 to 99.
THRESHOLDS = tuple(round(0.01 * step, 2) for step in range(1, 100))


def decision_curve(
    labels: ArrayLike,
    p: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    level: float = 0.95,
) -> pd.DataFrame:
    """Give the net benefit of the model, of treating all and of treating none.

    Vickers and Elkin (2006), *Decision curve analysis: a novel method for evaluating prediction models*, Medical Decision
    Making 26:565-574. Who would act at a probability of t holds a missed cancer for (1 - t) / t times as bad as a needless
    work-up, so the net benefit is TP / n - FP / n * t / (1 - t), nodules with p >= t being acted on. Divided by the share of
    malignant nodules it is standardised, 1 at best (Kerr et al. 2016, Journal of Clinical Oncology 34:2534-2540).

    Net benefit is a mean over nodules; its limits are Wald's, with the variance of sums over patients. They are wide of the
    mark where few nodules are acted on. With repeats, figures are means over them. Probabilities have to be calibrated for
    thresholds to mean what they say.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        1 malignant, 0 benign.
    p : array_like of float, shape (n,) or (n_repeats, n)
        Predicted probability of malignancy; NaN where the configuration lacks the row.
    groups : array_like, shape (n,), optional
        Patient of each row; without it each row is a patient of its own.
    thresholds : sequence of float
        Within [0, 1).
    level : float
        Confidence level at each threshold.

    Returns
    -------
    DataFrame
        One row a threshold: threshold, model, model_low, model_high, treat_all, treat_none (0), standardised_model,
        standardised_all, acted_on (share of nodules with p >= threshold).

    Raises
    ------
    DatasetError
        If a score is no probability, the rows are of one class or unusable, or a threshold is outside [0, 1).
    """
    y, patients, (table,) = usable_rows(labels, groups, p)
    need_both_classes(y)
    need_probabilities(table)
    steps = np.asarray(thresholds, dtype=float)
    if steps.ndim != 1 or not len(steps) or not ((steps >= 0) & (steps < 1)).all():
        raise DatasetError("Thresholds are probabilities from 0 to below 1, at least one of them.")
    odds = steps / (1 - steps)
    called = np.stack([(table >= step).mean(axis=0) for step in steps])  # share of the repeats
    gains = called * np.where(y == 1, 1.0, -odds[:, None])
    benefit = gains.mean(axis=1)
    names, index = np.unique(patients, return_inverse=True)
    k = len(names)
    sums = np.stack([np.bincount(index, gain - mean, k) for gain, mean in zip(gains, benefit, strict=True)])
    error = np.sqrt(k / (k - 1) * (sums**2).sum(axis=1)) / len(y) if k > 1 else np.full(len(steps), np.nan)
    half = float(norm.ppf(0.5 + level / 2)) * error
    share = float(y.mean())
    everybody = share - (1 - share) * odds
    return pd.DataFrame(
        {
            "threshold": steps,
            "model": benefit,
            "model_low": benefit - half,
            "model_high": benefit + half,
            "treat_all": everybody,
            "treat_none": 0.0,
            "standardised_model": benefit / share,
            "standardised_all": everybody / share,
            "acted_on": called.mean(axis=1),
        }
    )
