"""Thresholds between two classes of a histogram."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.filters import threshold_otsu
from sklearn.cluster import KMeans

from lungpipe.segment.clusters import two_classes_fcm, two_classes_gmm, two_classes_kmeans, two_classes_otsu

ALL = [two_classes_otsu, two_classes_kmeans, two_classes_gmm, two_classes_fcm]


def histogram(samples):
    return np.unique(np.asarray(samples, np.float64), return_counts=True)


def two_groups(seed, dark=4000, bright=600):
    rng = np.random.default_rng(seed)
    return np.rint(np.concatenate([rng.normal(-850, 30, dark), rng.normal(20, 40, bright)]))


def test_otsu_is_that_of_scikit_image():
    """The threshold is scikit-image's for the same voxels."""
    for seed in range(5):
        samples = two_groups(seed)
        assert two_classes_otsu(*histogram(samples)) == pytest.approx(threshold_otsu(samples))


def test_kmeans_is_the_best_of_the_library():
    """No start of scikit-learn's k-means finds a smaller sum of squares, and the clusters are the same."""
    samples = two_groups(1)
    found = KMeans(2, n_init=20, random_state=0).fit(samples[:, None])
    bright = samples > two_classes_kmeans(*histogram(samples))
    inertia = sum(((part - part.mean()) ** 2).sum() for part in (samples[bright], samples[~bright]))
    assert inertia <= found.inertia_ * (1 + 1e-12)
    assert two_classes_kmeans(*histogram(samples)) == pytest.approx(found.cluster_centers_.mean())


def test_fcm_is_at_rest():
    """The threshold is half way between centres that one more step of the published equations leaves in place."""
    values, counts = histogram(two_groups(2))
    threshold = two_classes_fcm(values, counts, tolerance_hu=1e-9)
    samples = np.repeat(values, counts)
    centres = np.array([samples[samples <= threshold].mean(), samples[samples > threshold].mean()])
    for _ in range(500):
        distance = np.maximum(np.abs(samples - centres[:, None]), 1e-9)
        u = 1 / ((distance[:, None] / distance[None]) ** 2).sum(axis=1)
        centres = (u**2 * samples).sum(axis=1) / (u**2).sum(axis=1)
    assert threshold == pytest.approx(centres.mean(), abs=1e-3)


def test_fcm_of_a_hand_case():
    """Two equal pairs, mirrored about 0: equal membership lies at 0."""
    assert two_classes_fcm(np.array([-11.0, -9.0, 9.0, 11.0]), np.ones(4, np.int64)) == pytest.approx(0.0, abs=1e-6)


def test_gmm_does_not_take_the_rim():
    """A blurred ball keeps its volume within a tenth; two plain Gaussians, by which its rim is nodule, make it far larger."""
    from sklearn.mixture import GaussianMixture

    z, y, x = np.meshgrid(*[np.arange(48) - 23.5] * 3, indexing="ij")
    ball = (z**2 + y**2 + x**2 <= 10**2).astype(np.float64)
    hu = -850 + 870 * ndimage.gaussian_filter(ball, 1.0) + np.random.default_rng(0).normal(0, 20, ball.shape)
    samples = np.rint(hu).ravel()
    volume = np.count_nonzero(samples > two_classes_gmm(*histogram(samples)))
    assert volume == pytest.approx(ball.sum(), rel=0.1)
    plain = GaussianMixture(2, random_state=0).fit(samples[:, None])
    labels = plain.predict(samples[:, None])
    assert np.count_nonzero(labels == int(np.argmax(plain.means_))) > 1.4 * ball.sum()


@pytest.mark.parametrize("method", ALL)
@given(seed=st.integers(0, 10_000), shift=st.integers(-300, 300))
def test_a_shift_of_all_hu_shifts_the_threshold(method, seed, shift):
    """The classes do not depend on where zero is, and both groups fall on their own side."""
    samples = two_groups(seed, 400, 100)
    values, counts = histogram(samples)
    threshold = method(values, counts)
    assert -800 < threshold < -100
    assert method(values + shift, counts) - shift == pytest.approx(threshold, abs=0.6)


@pytest.mark.parametrize("method", [two_classes_kmeans, two_classes_gmm, two_classes_fcm])
@pytest.mark.parametrize(
    ("values", "counts", "between"),
    [
        ([-850.0, 20.0], [5, 5], (-850.0, 20.0)),
        ([-850.0, 20.0], [1, 100_000], (-850.0, 20.0)),
        ([-850.0, -849.0, 400.0], [1000, 1000, 1], (-849.0, 400.0)),
    ],
    ids=["two values", "one voxel of lung", "one voxel of nodule"],
)
def test_a_class_of_one_value_does_not_collapse(method, values, counts, between):
    """The threshold lies between the two groups, however few voxels or grey levels one of them has."""
    low, high = between
    assert low < method(np.asarray(values), np.asarray(counts)) < high


@pytest.mark.parametrize(("radius", "hu"), [(6, 20.0), (10, -600.0)])
def test_gmm_keeps_the_volume_of_small_balls_and_ground_glass(radius, hu):
    """A blurred ball of 12 voxels across, and one of ground glass, keep their volume within a tenth."""
    z, y, x = np.meshgrid(*[np.arange(48) - 23.5] * 3, indexing="ij")
    ball = (z**2 + y**2 + x**2 <= radius**2).astype(np.float64)
    image = -850 + (hu + 850) * ndimage.gaussian_filter(ball, 1.0) + np.random.default_rng(0).normal(0, 20, ball.shape)
    samples = np.rint(image).ravel()
    assert np.count_nonzero(samples > two_classes_gmm(*histogram(samples))) == pytest.approx(ball.sum(), rel=0.1)
