"""Wilson's interval against published examples and statsmodels, and its clustered form in simulation."""

import numpy as np
import pytest
from scipy.stats import beta
from statsmodels.stats.proportion import proportion_confint

from lungpipe.learn.proportion import clustered_proportion, wilson_interval


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_examples(hits, n, low, high):
    """The four examples of Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3."""
    found = clustered_proportion(np.arange(n) < hits, np.arange(n))
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert (found.low, found.high) == pytest.approx(proportion_confint(hits, n, method="wilson"), abs=1e-12)


def test_copies_bring_no_certainty():
    """A hundred patients with five equal nodules each are worth a hundred nodules, up to 100 / 99."""
    g = np.repeat(np.arange(100), 5)
    found = clustered_proportion(g < 30, g)
    assert (found.low, found.high) == pytest.approx(wilson_interval(0.3, 99), abs=1e-12)
    assert (found.value, found.n) == (0.3, 500)


def test_sure_shares_count_patients():
    """All hits in four patients with three nodules each: Wilson's of four."""
    found = clustered_proportion(np.ones(12), np.repeat(np.arange(4), 3))
    assert (found.low, found.high) == (pytest.approx(wilson_interval(1.0, 4)[0]), 1.0)
    assert clustered_proportion([1, 0, 1], [7, 7, 7]).low == pytest.approx(wilson_interval(2 / 3, 1)[0])


def test_weights_are_parts_of_nodules():
    """Two halves in one patient are a whole; nothing at all is NaN."""
    found = clustered_proportion([1, 0, 1], [1, 2, 3], [0.5, 0.5, 1.0])
    assert (found.value, found.n) == (0.75, 2)
    assert np.isnan(clustered_proportion([], []).value)


def test_clustered_interval_covers():
    """Over cohorts whose patients differ in their share, 92 to 98 % of the intervals hold the truth; without patients few."""
    rng, g, covered, naive = np.random.default_rng(1), np.repeat(np.arange(60), 4), 0, 0
    for _ in range(500):
        hits = rng.random(240) < beta.rvs(1.2, 2.8, size=60, random_state=rng)[g]
        found, alone = clustered_proportion(hits, g), clustered_proportion(hits, np.arange(240))
        covered += found.low <= 0.3 <= found.high
        naive += alone.low <= 0.3 <= alone.high
    assert 0.92 <= covered / 500 <= 0.98
    assert naive / 500 < 0.9
