"""Simulated label errors: as many as asked, where asked, and together as the normal distribution says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lungpipe.deep.label_noise import MARGIN_VOXELS, correlated_field, neighbourhood, simulate_label_errors
from lungpipe.errors import DatasetError

SHAPE = (60, 50, 40)


def errors(rate, correlation, seed=0, shape=SHAPE):
    """Where the labels of a mask of everything are wrong."""
    mask = np.ones(shape, np.bool_)
    return simulate_label_errors(mask, rate, correlation, np.random.default_rng(seed)) != mask


def between_neighbours(wrong, axis):
    """Correlation of an error and the one beside it."""
    wrong = np.moveaxis(wrong, axis, 0).astype(np.float64)
    return np.corrcoef(wrong[1:].ravel(), wrong[:-1].ravel())[0, 1]


def effective(correlation, size):
    """Independent voxels at least, for a mean over a field whose neighbours correlate."""
    return size / np.prod([(1 + one) / (1 - one) for one in correlation])


@given(
    rate=st.floats(0.02, 0.5),
    correlation=st.tuples(*[st.floats(0, 0.7)] * 3),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=25, deadline=None)
def test_as_many_labels_are_wrong_as_asked(rate, correlation, seed):
    """The share of errors is the rate, within six standard errors of a mean over correlated voxels."""
    found = errors(rate, correlation, seed).mean()
    assert abs(found - rate) < 6 * np.sqrt(rate * (1 - rate) / effective(correlation, np.prod(SHAPE)))


@given(correlation=st.tuples(*[st.floats(0, 0.8)] * 3), seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_neighbours_correlate_by_the_arcsine_law_at_a_rate_of_a_half(correlation, seed):
    """Signs of two normal variables correlate as 2 / pi * arcsin of theirs, along each axis by its own."""
    wrong = errors(0.5, correlation, seed)
    for axis, one in enumerate(correlation):
        allowed = 7 / np.sqrt(effective(correlation, wrong.size))
        assert between_neighbours(wrong, axis) == pytest.approx(2 / np.pi * np.arcsin(one), abs=allowed)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_neighbours_correlate_by_the_bivariate_normal_at_other_rates(rate):
    """Two errors occur together as often as two normal variables pass the quantile together; axes are told apart."""
    correlation = (0.2, 0.5, 0.8)
    wrong = errors(rate, correlation, shape=(80, 80, 80))
    quantile = stats.norm.isf(rate)
    found = [between_neighbours(wrong, axis) for axis in range(3)]
    for one, measured in zip(correlation, found, strict=True):
        both = stats.multivariate_normal.cdf([-quantile, -quantile], cov=[[1, one], [one, 1]])
        assert measured == pytest.approx((both - rate**2) / (rate * (1 - rate)), abs=0.02)
        assert measured < one
    assert found[0] < found[1] < found[2]


def test_the_field_has_the_covariance_it_is_drawn_by():
    """Over many fields the covariance of all voxels is the Kronecker product of the axes' matrices, at the edges too."""
    shape, correlation = (2, 3, 4), (0.3, 0.6, 0.8)
    rng = np.random.default_rng(0)
    fields = np.stack([correlated_field(shape, correlation, rng).ravel() for _ in range(5000)])
    place = np.indices(shape).reshape(3, -1)
    apart = np.abs(place[:, :, None] - place[:, None])
    wanted = np.prod([rho**away for rho, away in zip(correlation, apart, strict=True)], axis=0)
    np.testing.assert_allclose(np.cov(fields.T), wanted, atol=0.1)
    assert np.abs(np.cov(fields.T) - np.eye(24)).max() > 0.7


def test_errors_lie_near_the_nodule_alone():
    """Voxels beyond the mask's box and its margin keep their label; at the array's edge the box ends there."""
    mask = np.zeros((20, 20, 20), np.bool_)
    mask[0:5, 8:12, 9:14] = True
    near = np.zeros_like(mask)
    near[neighbourhood(mask)] = True
    assert near.sum() == (5 + MARGIN_VOXELS) * (4 + 2 * MARGIN_VOXELS) * (5 + 2 * MARGIN_VOXELS)
    wrong = simulate_label_errors(mask, 0.5, (0.5, 0.5, 0.5), np.random.default_rng(3)) ^ mask
    assert not wrong[~near].any()
    assert wrong[near & ~mask].any()
    assert wrong[mask].any()


def test_the_same_seed_draws_the_same_errors_and_leaves_the_mask_alone():
    """Errors follow the generator; another seed draws others, and the given mask is not written to."""
    mask = np.zeros((12, 12, 12), np.bool_)
    mask[4:8, 4:8, 4:8] = True
    kept = mask.copy()
    drawn = [simulate_label_errors(mask, 0.3, (0.5,) * 3, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    np.testing.assert_array_equal(mask, kept)
    np.testing.assert_array_equal(simulate_label_errors(mask, 0.0, (0.5,) * 3, np.random.default_rng(1)), mask)


@pytest.mark.parametrize(
    ("rate", "correlation", "voxels", "says"),
    [
        (0.6, (0.5, 0.5, 0.5), 1, "between 0 and 0.5, found 0.6"),
        (-0.1, (0.5, 0.5, 0.5), 1, "between 0 and 0.5"),
        (0.2, (0.5, 1.0, 0.5), 1, "from 0 to below 1"),
        (0.2, (0.5, -0.1, 0.5), 1, "from 0 to below 1"),
        (0.2, (0.5, 0.5, 0.5), 0, "a mask without a voxel"),
    ],
)
def test_errors_that_make_no_sense_are_refused(rate, correlation, voxels, says):
    """A rate, a correlation or a mask outside is said with what is expected."""
    mask = np.zeros((6, 6, 6), np.bool_)
    mask.ravel()[:voxels] = True
    with pytest.raises(DatasetError, match=says):
        simulate_label_errors(mask, rate, correlation, np.random.default_rng(0))
