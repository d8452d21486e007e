"""AUC, standard error, interval and paired test against published worked examples, and a peer's digits to 1e-8.

* DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44:837-845: three tests of patients with ovarian cancer before surgery of
  an obstruction. The 43 patients with all three are listed, with every figure below, in the SAS/STAT User's Guide, The LOGISTIC
  Procedure, "Comparing Receiver Operating Characteristic Curves".
* Hanley and McNeil (1982), Radiology 143:29-36, table I: 109 CT scans rated by one reader. The nonparametric figures are in the
  Stata Base Reference Manual, roctab.
* MLstatkit 0.1.91 (MIT), ``Delong_test`` of the first example; it was run once and its digits typed in.

Their intervals are Wald's. `auc_interval` has its own on the logit scale, so there the standard error is compared.
"""

import numpy as np
import pytest

from lungpipe.learn.delong import compare_aucs, compare_with
from lungpipe.learn.intervals import auc_interval

#: Albumin and total protein (g/dl), K-G score, and whether the patient benefited (0 no), one patient a row.
ROWS = """
    3.0 5.8 10 0   3.2 6.3  5 1   3.9 6.8  3 1   2.8 4.8  6 0   3.2 5.8  3 1   0.9 4.0  5 0   2.5 5.7  8 0   1.6 5.6  5 1
    3.8 5.7  5 1   3.7 6.7  6 1   3.2 5.4  4 1   3.8 6.6  6 1   4.1 6.6  5 1   3.6 5.7  5 1   4.3 7.0  4 1   3.6 6.7  4 0
    2.3 4.4  6 1   4.2 7.6  4 0   4.0 6.6  6 0   3.5 5.8  6 1   3.8 6.8  7 1   3.0 4.7  8 0   4.5 7.4  5 1   3.7 7.4  5 1
    3.1 6.6  6 1   4.1 8.2  6 1   4.3 7.0  5 1   4.3 6.5  4 1   3.2 5.1  5 1   2.6 4.7  6 1   3.3 6.8  6 0   1.7 4.0  7 0
    3.7 6.1  5 1   3.3 6.3  7 1   4.2 7.7  6 1   3.5 6.2  5 1   2.9 5.7  9 0   2.1 4.8  7 1   2.8 6.2  8 0   4.0 7.0  7 1
    3.3 5.7  6 1   3.7 6.9  5 1   3.6 6.6  5 1
"""
OVARY = np.array(ROWS.split(), dtype=float).reshape(-1, 4)
LABELS = OVARY[:, 3].astype(int)
SCORES = {"albumin": OVARY[:, 0], "protein": OVARY[:, 1], "K-G": 10 - OVARY[:, 2]}
PATIENTS = np.arange(len(LABELS))


def rounded(*values, digits=4):
    return tuple(round(float(value), digits) for value in values)


@pytest.mark.parametrize(
    ("name", "auc", "error", "low", "high"),
    [
        ("albumin", 0.7366, 0.0927, 0.5549, 0.9182),
        ("K-G", 0.7258, 0.1028, 0.5243, 0.9273),
        ("protein", 0.6478, 0.1000, 0.4518, 0.8439),
    ],
)
def test_each_test_of_the_paper(name, auc, error, low, high):
    """AUC and standard error to every digit given; the standard error gives the published Wald limits."""
    found = auc_interval(LABELS, SCORES[name], PATIENTS)
    assert rounded(found.auc, found.standard_error) == (auc, error)
    half = 1.959963984540054 * found.standard_error
    assert rounded(found.auc - half, found.auc + half) == (low, high)


@pytest.mark.parametrize(
    ("name", "difference", "error", "low", "high", "chi_square", "p"),
    [
        ("albumin", 0.0108, 0.0953, -0.1761, 0.1976, 0.0127, 0.9102),
        ("protein", -0.0780, 0.1046, -0.2830, 0.1271, 0.5554, 0.4561),
    ],
)
def test_paired_comparisons_of_the_paper(name, difference, error, low, high, chi_square, p):
    """Difference to the K-G score, its standard error and interval, chi-square and p to every digit given."""
    found = compare_aucs(LABELS, SCORES[name], SCORES["K-G"], PATIENTS)
    assert rounded(found.difference, found.standard_error) == (difference, error)
    assert rounded(found.low, found.high) == (low, high)
    assert rounded(found.z**2, found.p) == (chi_square, p)
    row = compare_with(LABELS, SCORES["K-G"], {name: SCORES[name]}, PATIENTS).iloc[0]
    assert rounded(row["difference"], row["low"], row["high"], row["p"]) == (difference, low, high, p)


def test_a_reader_of_ct_scans():
    """33, 6, 6, 11, 2 normal and 3, 2, 2, 11, 33 abnormal scans with ratings of 1 to 5, so that ties are most of it."""
    ratings = np.repeat(np.tile(np.arange(1, 6), 2), [33, 6, 6, 11, 2, 3, 2, 2, 11, 33])
    labels = np.repeat([0, 1], [58, 51])
    found = auc_interval(labels, ratings, np.arange(109))
    assert rounded(found.auc, found.standard_error) == (0.8932, 0.0307)
    half = 1.959963984540054 * found.standard_error
    assert rounded(found.auc - half, found.auc + half, digits=5) == (0.83295, 0.95339)


@pytest.mark.parametrize(
    ("name", "z", "p", "variance", "limits"),
    [
        ("albumin", 0.11277826904452642, 0.9102063472010351, 0.009090405441862261, (0.5548815599517445, 0.918236719618148)),
        ("protein", -0.7452183896579927, 0.45613970750747357, 0.010943166051776873, (0.4517602094737053, 0.8439387152574777)),
    ],
)  # fmt: skip
def test_digits_of_a_peer(name, z, p, variance, limits):
    """z, p, the variance of the difference and the Wald limits of one AUC are MLstatkit's to 1e-8."""
    found = compare_aucs(LABELS, SCORES[name], SCORES["K-G"], PATIENTS)
    assert (found.z, found.p, found.standard_error**2) == pytest.approx((z, p, variance), rel=1e-8)
    single = auc_interval(LABELS, SCORES[name], PATIENTS)
    half = 1.959963984540054 * single.standard_error
    assert (single.auc - half, single.auc + half) == pytest.approx(limits, rel=1e-8)


def test_a_wrong_row_is_told():
    """One benefit taken away moves every figure, so that the digits above do check the rows."""
    labels = LABELS.copy()
    labels[1] = 0
    assert rounded(auc_interval(labels, SCORES["albumin"], PATIENTS).auc) != (0.7366,)
    assert rounded(compare_aucs(labels, SCORES["albumin"], SCORES["K-G"], PATIENTS).p) != (0.9102,)
