"""Distances from known nodules, against closed forms; features from the inside of networks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from lungpipe.deep.bottleneck import features_from, finest, narrowest
from lungpipe.deep.shift import PROTOTYPES, fit_reference, read_reference, save_reference
from lungpipe.errors import DatasetError

MIXED = np.array([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [0.0, 2.0, 30.0]])


def normal(n, seed=0):
    """Correlated features of very different scales."""
    return np.random.default_rng(seed).normal(size=(n, 3)) @ MIXED + np.array([5.0, -3.0, 100.0])


def test_many_nodules_give_the_true_distance():
    """With many known nodules the distance is that under the covariance they were drawn from."""
    reference = fit_reference(normal(10_000))
    points = normal(50, 1) + np.array([4.0, 0.0, -20.0])
    away = points - [5.0, -3.0, 100.0]
    true = np.sqrt(np.einsum("ni,ij,nj->n", away, np.linalg.inv(MIXED.T @ MIXED), away))
    np.testing.assert_allclose(reference.mahalanobis(points), true, rtol=0.05)


def test_few_nodules_are_shrunk_as_by_ledoit_and_wolf():
    """With fewer nodules than features the distance is scikit-learn's own under its shrunk covariance."""
    known = np.random.default_rng(0).normal(size=(12, 40))
    points = np.random.default_rng(1).normal(size=(5, 40))
    scaled, given_ = (known - known.mean(0)) / known.std(0), (points - known.mean(0)) / known.std(0)
    expected = np.sqrt(LedoitWolf(assume_centered=True).fit(scaled).mahalanobis(given_))
    np.testing.assert_allclose(fit_reference(known).mahalanobis(points), expected, rtol=1e-6)


@given(st.floats(0.1, 100.0), st.floats(-1000, 1000))
@settings(max_examples=10, deadline=None)
def test_units_of_features_do_not_matter(factor, offset):
    """Features in other units, and from another zero, give the same distances."""
    known, points = normal(60), normal(7, 1)
    change = np.array([factor, 1.0, 1.0 / factor])
    one, other = fit_reference(known), fit_reference(known * change + offset)
    np.testing.assert_allclose(other.mahalanobis(points * change + offset), one.mahalanobis(points), rtol=1e-4)
    np.testing.assert_allclose(
        other.prototype_distance(points * change + offset), one.prototype_distance(points), rtol=1e-4
    )


def test_both_distances_rise_on_the_way_out():
    """Going away from known nodules both distances rise; among them they are small."""
    reference = fit_reference(normal(200))
    way = normal(1) * 0 + np.array([5.0, -3.0, 100.0]) + np.arange(6)[:, None] * np.array([2.0, 1.0, 40.0])
    for distance in (reference.mahalanobis, reference.prototype_distance):
        assert np.all(np.diff(distance(way)) > 0)
        assert np.median(distance(normal(200, 2))) < distance(way)[-1] / 2


def test_prototypes_are_the_centres_of_clusters():
    """Of nodules in two tight groups, the middle between the groups is far from both prototypes, as no mean would say."""
    rng = np.random.default_rng(0)
    known = np.concatenate([rng.normal(side, 0.05, (4 * PROTOTYPES, 2)) for side in (-1.0, 1.0)])
    reference = fit_reference(known)
    assert len(reference.prototypes) == PROTOTYPES
    group, middle = reference.prototype_distance([[1.0, 1.0], [0.0, 0.0]])
    assert group < 0.2
    assert middle > 1.0
    assert reference.mahalanobis([[0.0, 0.0]])[0] < 0.3  # Mahalanobis' does not see it


def test_constant_features_do_not_count():
    """A feature that never varies says nothing, whatever a new nodule has for it."""
    known = np.column_stack([normal(30), np.full(30, 7.0)])
    reference = fit_reference(known)
    points = np.column_stack([normal(4, 1), [7.0, 8.0, -50.0, 0.0]])
    same = points.copy()
    same[:, 3] = 7.0
    for distance in (reference.mahalanobis, reference.prototype_distance):
        np.testing.assert_allclose(distance(points), distance(same))


def test_reference_is_kept_and_read_back(tmp_path):
    """A file gives the same distances as what was written, and says what it is of; the same reference is the same file."""
    reference = fit_reference(normal(30), {"module": "down.3", "weights_sha256": "ab" * 32})
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for path in paths:
        save_reference(path, fit_reference(normal(30), reference.about))
    found = read_reference(paths[0])
    np.testing.assert_array_equal(found.mahalanobis(normal(5, 1)), reference.mahalanobis(normal(5, 1)))
    np.testing.assert_array_equal(found.prototype_distance(normal(5, 1)), reference.prototype_distance(normal(5, 1)))
    assert found.about == reference.about
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_other_files_are_refused(tmp_path):
    """What is missing, damaged, pickled or does not fit is refused; no pickle is opened."""
    path = tmp_path / "r.npz"
    with pytest.raises(DatasetError, match="no reference at"):
        read_reference(path)
    path.write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(DatasetError, match="no reference that lungpipe wrote"):
        read_reference(path)
    np.savez(path, mean=np.array([print], dtype=object), scale=0, precision=0, prototypes=0, about="{}")
    with pytest.raises(DatasetError, match="no reference that lungpipe wrote"):
        read_reference(path)
    np.savez(path, mean=[0.0, 0], scale=[1.0, 1], precision=np.eye(3), prototypes=[[0.0, 0]], about="{}")
    with pytest.raises(DatasetError, match="do not fit each other"):
        read_reference(path)


@pytest.mark.parametrize(
    ("features", "told"),
    [
        (np.zeros((3, 2)), "needs 4 nodules or more, found 3"),
        (np.ones((5, 2)), "none of 2 features varies"),
        (np.full((5, 2), np.nan), "finite features"),
        (np.zeros(5), "shape .5,."),
    ],
)
def test_what_no_reference_can_be_learned_from_is_refused(features, told):
    """Too few nodules, features that do not vary, gaps and other shapes are refused."""
    with pytest.raises(DatasetError, match=told):
        fit_reference(features)


def test_features_of_another_network_are_refused():
    """Other than the reference's number of features is told."""
    reference = fit_reference(normal(20))
    for distance in (reference.mahalanobis, reference.prototype_distance):
        with pytest.raises(DatasetError, match="expected 3 features a nodule"):
            distance(np.zeros((2, 4)))


class Hourglass(torch.nn.Module):
    """Two levels down, a squeeze, and up: its narrowest layer is ``bottom.1``."""

    def __init__(self):
        super().__init__()
        self.down = torch.nn.Conv3d(2, 4, 2, stride=4)
        self.squeeze = torch.nn.AdaptiveAvgPool3d(1)
        self.bottom = torch.nn.Sequential(torch.nn.Conv3d(4, 6, 1), torch.nn.ReLU())
        self.up = torch.nn.ConvTranspose3d(6, 1, 4, stride=4)

    def forward(self, x):
        down = self.down(x)
        return self.up(self.bottom(down * torch.sigmoid(self.squeeze(down))))


@pytest.fixture
def hourglass():
    torch.manual_seed(0)
    return Hourglass()


def test_narrowest_layer_of_an_hourglass(hourglass):
    """The last module of the fewest voxels is found, and a squeeze to one voxel is not taken for it."""
    assert narrowest(hourglass, 2, 8) == "bottom.1"
    assert not hourglass.bottom[1]._forward_hooks  # nothing stays behind
    with pytest.raises(DatasetError, match="no layer"):
        narrowest(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 2)), 2, 8)


def test_finest_layer_of_an_hourglass(hourglass):
    """The first activation of the most voxels is found; a network without one is refused."""
    assert finest(hourglass, 2, 8) == "bottom.1"  # its only one
    fine = torch.nn.Sequential(torch.nn.Conv3d(2, 2, 3, padding=1), torch.nn.ELU(), torch.nn.ReLU(), hourglass)
    assert finest(fine, 2, 8) == "1"
    with pytest.raises(DatasetError, match="no activation"):
        finest(torch.nn.Sequential(torch.nn.Conv3d(2, 2, 1)), 2, 8)


def test_features_are_mean_and_deviation_of_the_layer(hourglass):
    """Features are mean and deviation over space of the layer's output, the same in batches as one by one, and hooks are gone after."""
    cubes = np.random.default_rng(0).normal(size=(11, 2, 8, 8, 8)).astype(np.float32)
    features = features_from(hourglass, "bottom.1")
    found = features(cubes)
    with torch.inference_mode():
        x = torch.from_numpy(cubes)
        down = hourglass.down(x)
        layer = hourglass.bottom(down * torch.sigmoid(hourglass.squeeze(down))).numpy()
    expected = np.concatenate([layer.mean(axis=(2, 3, 4)), layer.std(axis=(2, 3, 4))], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([features(one[None]) for one in cubes]), found, atol=1e-6)
    assert found.shape == (11, 12)
    assert not hourglass.bottom[1]._forward_hooks


def test_layer_that_sees_slices_is_averaged_over_them():
    """A layer that gets the slices of a cube as a batch gives one row a cube: the mean of its slices."""

    class Slices(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.flat = torch.nn.Conv2d(2, 3, 3, padding=1)

        def forward(self, x):
            n, c, z, y, xx = x.shape
            return self.flat(x.transpose(1, 2).reshape(n * z, c, y, xx)).reshape(n, z, 3, y, xx).transpose(1, 2)

    torch.manual_seed(0)
    network = Slices()
    cubes = np.random.default_rng(0).normal(size=(2, 2, 4, 6, 6)).astype(np.float32)
    with torch.inference_mode():
        layer = network(torch.from_numpy(cubes)).numpy()
    expected = [layer.mean(axis=(2, 3, 4)), layer.std(axis=(3, 4)).mean(axis=2)]
    np.testing.assert_allclose(features_from(network, "flat")(cubes), np.concatenate(expected, axis=1), atol=1e-6)


def test_layer_of_another_name_is_refused(hourglass):
    """A module that is not there is told with those that are."""
    for name in ("bottom.7", ""):
        with pytest.raises(DatasetError, match=r"no module .*bottom.1, up"):
            features_from(hourglass, name)


def test_module_that_gives_no_layer_is_refused():
    """A module of numbers alone has nothing to average."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    with pytest.raises(DatasetError, match="no layer of features"):
        features_from(network, "1")(np.zeros((3, 2, 2, 2, 2), np.float32))
