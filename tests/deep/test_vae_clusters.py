"""Groups of nodules in a space of latents."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from lungpipe.deep.vae.clusters import clusters_of
from lungpipe.errors import DatasetError


def blobs(sizes, apart, latents=5, seed=0):
    rng = np.random.default_rng(seed)
    centres = apart * np.eye(latents)[: len(sizes)]
    true = np.repeat(np.arange(len(sizes)), sizes)
    return centres[true] + rng.normal(size=(len(true), latents)), true


def test_groups_that_there_are_are_found_and_numbered_by_size():
    """Three far blobs are three groups, the largest first."""
    latents, true = blobs([20, 50, 35], 9.0)
    found = clusters_of(latents)
    assert adjusted_rand_score(true, found.group) > 0.95
    assert found.count == 3
    assert np.argmin(found.bic) == 2
    assert (np.diff(np.bincount(found.group)) <= 0).all()


def test_one_cloud_is_one_group():
    """Latents that fall into no groups are left as one."""
    latents, _ = blobs([90], 0.0)
    assert clusters_of(latents).count == 1


def test_the_plane_is_that_of_the_singular_vectors():
    """Coordinates and shares of variance are those of the centred latents' singular value decomposition, up to signs."""
    latents, _ = blobs([30, 30], 4.0)
    found = clusters_of(latents)
    u, s, _ = np.linalg.svd(latents - latents.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found.plane), np.abs(u[:, :2] * s[:2]), atol=1e-8)
    np.testing.assert_allclose(found.explained, s[:2] ** 2 / (s**2).sum())


def test_shares_are_grouped_as_any_latents():
    """Latents of a hundredth of the size, as Dirichlet shares may be, fall into the same groups."""
    latents, _ = blobs([20, 50, 35], 9.0)
    np.testing.assert_array_equal(clusters_of(latents / 100).group, clusters_of(latents).group)


def test_one_odd_nodule_is_no_group():
    """A single nodule somewhat apart does not make a cloud two groups."""
    latents, _ = blobs([60], 0.0)
    latents[0] += 2.5
    assert clusters_of(latents).count == 1


def test_one_seed_gives_one_grouping():
    """The same latents are grouped in the same way again."""
    latents, _ = blobs([20, 20], 5.0)
    np.testing.assert_array_equal(clusters_of(latents, 1).group, clusters_of(latents, 1).group)


def test_constant_latents_do_not_count():
    """A latent that is the same for all changes nothing; one latent alone has no second axis."""
    latents, _ = blobs([20, 20], 5.0)
    more = np.column_stack([latents, np.full(40, 0.3)])
    np.testing.assert_allclose(clusters_of(more).plane, clusters_of(latents).plane)
    single = clusters_of(latents[:, :1])
    assert (single.plane[:, 1] == 0).all()
    assert single.explained == (1.0, 0.0)


@pytest.mark.parametrize(
    ("latents", "words"),
    [(np.ones((2, 3)), "3 or more"), (np.full((9, 2), np.nan), "are numbers"), (np.ones((9, 2)), "no latent varies")],
)
def test_latents_that_cannot_be_grouped_are_refused(latents, words):
    """Too few nodules, values that are no numbers, and latents that are all the same."""
    with pytest.raises(DatasetError, match=words):
        clusters_of(latents)
