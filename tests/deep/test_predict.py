"""A trained network at work: turned cubes, sliding windows, draws."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lungpipe.deep.predict import FLIPS, Trained, probabilities
from lungpipe.deep.view import View
from lungpipe.errors import DatasetError


class Echo(torch.nn.Module):
    """Says the image's own value, ten times as sure; counts what goes through it."""

    def __init__(self, lean=0.0):
        super().__init__()
        self.lean, self.seen = lean, []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        ramp = torch.arange(x.shape[-1], dtype=x.dtype)
        return 10 * x[:, :1] + self.lean * ramp

    def sample(self, x, n_samples, generator):
        noise = torch.randn(n_samples, len(x), 1, 1, 1, 1, generator=generator)
        return self(x)[None] + noise


def given(network, **view):
    return Trained(network, View(**view), torch.device("cpu"), {"network": "echo"})


def cube(side=8, shape=None):
    return np.random.default_rng(0).random((2, *(shape or (side,) * 3)), dtype=np.float32)


def expected(channels):
    return 1 / (1 + np.exp(-10 * channels[0]))


def test_turned_cubes_come_back_as_they_were():
    """The eight maps of a network that does not mind reflections are one and the same."""
    channels = cube()
    found = probabilities(given(Echo(), voxels=8), channels, flips=True)
    assert found.shape == (8, 8, 8, 8)
    assert len(set(FLIPS)) == 8
    assert np.allclose(found, expected(channels)[None], atol=1e-6)


def test_logits_are_divided_by_the_temperature():
    """Probabilities come nearer to one half, and none changes sides."""
    channels = cube()
    hot = replace(given(Echo(), voxels=8), temperature=4.0)
    found = probabilities(hot, channels, flips=False)[0]
    assert np.allclose(found, 1 / (1 + np.exp(-2.5 * channels[0])), atol=1e-6)


def test_a_network_that_leans_leans_both_ways():
    """Averaged over reflections, a bias towards one side is gone."""
    channels = np.zeros((2, 8, 8, 8), dtype=np.float32)
    network = Echo(lean=0.5)
    one = probabilities(given(network, voxels=8), channels, flips=False)
    assert one.shape == (1, 8, 8, 8)
    assert one[0, 0, 0, 7] > one[0, 0, 0, 0]
    mean = probabilities(given(network, voxels=8), channels, flips=True).mean(axis=0)
    assert np.allclose(mean, mean[:, :, ::-1], atol=1e-6)


def test_windows_slide_over_what_is_longer():
    """A network whose voxels do not depend on each other gives the same in several windows as in one."""
    channels = cube(shape=(8, 8, 20))
    network = Echo()
    found = probabilities(given(network, voxels=8, reach=0.0, spacing_mm=1.0), channels, flips=False)
    assert np.allclose(found[0], expected(channels), atol=1e-5)
    assert {shape[2:] for shape in network.seen} == {(8, 8, 8)}


def test_draws_are_the_same_every_time():
    """Samples differ from each other, and a rerun gives the same ones."""
    channels = cube()
    first, again = (probabilities(given(Echo(), voxels=8), channels, flips=True, samples=5) for _ in range(2))
    assert first.shape == (5, 8, 8, 8)
    assert np.array_equal(first, again)
    assert len({float(one.mean()) for one in first}) == 5


def test_draws_have_the_sides_of_what_is_seen():
    """A cube whose sides do not suit the network is continued, and cut again."""
    network = Echo()
    channels = cube(shape=(8, 20, 16))
    found = probabilities(given(network, voxels=8, reach=0.0, spacing_mm=1.0), channels, flips=False, samples=2)
    assert found.shape == (2, 8, 20, 16)
    assert network.seen == [(1, 2, 16, 32, 16)]


def test_draws_of_a_network_that_has_none_are_refused():
    """It says which network has."""
    with pytest.raises(DatasetError, match="prob_unet has"):
        probabilities(given(torch.nn.Conv3d(2, 1, 1), voxels=8), cube(), flips=False, samples=2)
