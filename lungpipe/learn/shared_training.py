"""By how much the folds of a cross-validation vary together, because each was trained on the rows of the others."""

from __future__ import annotations

from lungpipe.errors import DatasetError


def variance_factor(n_models: int) -> float:
    """How many times the variance of fixed scores a cross-validated figure has.

    Formulas for an AUC take scores as given, so their variance is that of a model which the rows did not train. In k folds each
    row tests one model and trains the k - 1 others, and two figures of folds, v the variance of each, are correlated by about
    the share of the rows that a fold tests, 1/k (Nadeau and Bengio 2003, *Inference for the generalization error*, Machine
    Learning 52:239-281). Their mean has the variance v/k (1 + (k - 1) / k), so the factor is 2 - 1/k.

    There is no unbiased estimate of it (Bengio and Grandvalet 2004, JMLR 5:1089-1105), but without signal it can be worked out:
    where a score is a sum over training rows, S_i = sum_j K(i, j) y_j with y = +-1 and K symmetric, every pair of rows in
    different folds counts twice with one value, y_i K(i, j) y_j. So the variance of the sum over i is twice the sum of the
    single variances. Repeats deal the same pairs anew and change nothing.

    Parameters
    ----------
    n_models : int
        Models that share out the rows: the folds of one repeat; 1 for a test set, or a measure that nothing was trained for.

    Returns
    -------
    float
        From 1 to 2.

    Raises
    ------
    DatasetError
        If there is no model.
    """
    if n_models < 1:
        raise DatasetError(f"n_models must be at least 1, a single model or a test set; found {n_models}.")
    return 2.0 - 1.0 / n_models
