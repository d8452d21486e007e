"""The probabilistic U-Net: its samples, its bound on the likelihood, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm
from torch.distributions import Normal

from lungpipe.deep.nets import build
from lungpipe.errors import DatasetError

SMALL: dict[str, Any] = {"features": [4, 8, 16], "codes": 3}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def generator(seed: int) -> Any:
    return torch.Generator().manual_seed(seed)


def fixed(mean: float, deviation: float, codes: int) -> Any:
    """A stand-in for a network of codes: always the same distribution."""

    class Fixed(torch.nn.Module):
        def forward(self, x: Any) -> Normal:
            shape = (len(x), codes)
            return Normal(torch.full(shape, mean), torch.full(shape, deviation))

    return Fixed()


def test_samples_have_their_shape_and_their_seed() -> None:
    """The same generator state gives the same samples, another one others, and samples differ among themselves."""
    network = build("prob_unet", 2, SMALL)
    x = torch.rand(2, 2, 8, 12, 8)
    with torch.inference_mode():
        first, again, other = (network.sample(x, 4, generator(seed)) for seed in (1, 1, 2))
    assert first.shape == (4, 2, 1, 8, 12, 8)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-6)
    assert not torch.allclose(first[0], first[1], atol=1e-6)


def test_logits_are_those_of_the_priors_mean() -> None:
    """Samples of a prior without a width are the logits; those of one with a width are not."""
    network = build("prob_unet", 2, SMALL)
    x = torch.rand(1, 2, 8, 8, 8)
    network.prior = fixed(0.3, 1e-9, 3)
    with torch.inference_mode():
        logits = network(x)
        assert torch.allclose(network.sample(x, 2, generator(0)), logits, atol=1e-5)
        network.prior = fixed(0.3, 1.0, 3)
        assert not torch.allclose(network.sample(x, 2, generator(0)), logits, atol=1e-3)


@given(st.floats(-2, 2), st.floats(0.3, 2), st.floats(-2, 2), st.floats(0.3, 2))
@settings(max_examples=20, deadline=None)
def test_divergence_is_that_of_the_densities(mean: float, width: float, prior_mean: float, prior_width: float) -> None:
    """For three equal numbers of a code it is three times the integral of q log(q / p)."""
    network = build("prob_unet", 2, {"features": [2, 2], "codes": 3})
    network.posterior, network.prior = fixed(mean, width, 3), fixed(prior_mean, prior_width, 3)
    _, divergence = network.posterior_terms(torch.rand(2, 2, 4, 4, 4), torch.zeros(2, 1, 4, 4, 4))
    q, p = norm(mean, width), norm(prior_mean, prior_width)
    integral, _ = quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), mean - 10 * width, mean + 10 * width)
    assert divergence.tolist() == pytest.approx([3 * integral] * 2, abs=1e-4)


def test_reconstruction_is_a_log_likelihood() -> None:
    """It is minus the logarithm of the product of the voxels' probabilities."""
    network = build("prob_unet", 2, SMALL)
    network.posterior = network.prior = fixed(0.0, 1e-9, 3)
    x, y = torch.rand(1, 2, 8, 8, 8), (torch.rand(1, 1, 8, 8, 8) > 0.5).float()
    inside = torch.sigmoid(network(x).double())
    expected = -torch.where(y > 0, inside, 1 - inside).log().sum()
    reconstruction, divergence = network.elbo_terms(x, y)
    assert reconstruction.item() == pytest.approx(expected.item(), rel=1e-5)
    assert divergence.item() == pytest.approx(0, abs=1e-6)


def test_training_loss_weighs_the_divergence() -> None:
    """It is the loss of the logits and beta times the mean divergence."""
    found = []
    for beta in (0.5, 2.0):
        network = build("prob_unet", 2, {**SMALL, "beta": beta})
        network.posterior, network.prior = fixed(1.0, 1.0, 3), fixed(0.0, 1.0, 3)  # a divergence of 3 halves
        found.append(network.training_loss(torch.rand(2, 2, 8, 8, 8), torch.zeros(2, 1, 8, 8, 8), lambda *_: 7.0))
    assert [one.item() for one in found] == pytest.approx([7 + 0.5 * 1.5, 7 + 2 * 1.5])


def test_the_posterior_sees_the_target() -> None:
    """Another target gives other codes, so that a rater's outline can be told from another's."""
    network = build("prob_unet", 2, SMALL)
    x = torch.rand(1, 2, 8, 8, 8)
    empty, full = (network.posterior(torch.cat([x, torch.full((1, 1, 8, 8, 8), value)], 1)) for value in (0.0, 1.0))
    assert (empty.mean - full.mean).abs().max() > 1e-3


@pytest.mark.parametrize("shift", [-1e3, 1e3])
def test_deviations_of_codes_stay_within_numbers(shift: float) -> None:
    """However far the head goes, deviations lie between exp(-3) and exp(3) and the divergence is finite."""
    network = build("prob_unet", 2, SMALL)
    with torch.no_grad():
        network.prior.head.bias[3:] += shift
        network.posterior.head.bias[3:] -= shift
    x, y = torch.rand(1, 2, 8, 8, 8), torch.zeros(1, 1, 8, 8, 8)
    assert network.prior(x).stddev.log().abs().max() <= 3 + 1e-5
    assert torch.isfinite(network.posterior_terms(x, y)[1]).all()


@pytest.mark.parametrize("wrong", [{"codes": 0}, {"codes": 2.0}, {"beta": 0}, {"beta": -1.0}, {"beta": float("nan")}])
def test_codes_and_beta_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    """The error says what was expected and found."""
    with pytest.raises(DatasetError, match="codes is a whole number from 1 on and beta above 0"):
        build("prob_unet", 2, wrong)


def test_samples_of_a_patch_that_cannot_be_halved_are_refused() -> None:
    """Sampling checks the sides as segmenting does."""
    with pytest.raises(DatasetError, match="multiples of 4"):
        build("prob_unet", 2, SMALL).sample(torch.rand(1, 2, 9, 8, 8), 2, generator(0))
