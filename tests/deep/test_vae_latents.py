"""Distributions of latents: divergences against closed forms and integrals, draws against their distributions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from torch.distributions import Dirichlet as TorchDirichlet
from torch.distributions import Normal, kl_divergence

from lungpipe.deep.vae.latents import (
    LEAST_CONCENTRATION,
    Dirichlet,
    Gaussian,
    gamma_approximate,
    gamma_divergence,
    latents_of,
)
from lungpipe.errors import DatasetError


def as_encoded(alpha):
    """What an encoder gives for these concentrations: the inverse of softplus."""
    return torch.log(torch.expm1(torch.as_tensor(alpha) - LEAST_CONCENTRATION))


def test_gaussian_divergence_is_the_integral():
    """Each latent's information is the integral of q log(q / p) on a fine grid, and the divergence is their sum."""
    mean, deviation = np.array([0.7, -1.2, 0.0]), np.array([0.3, 1.5, 1.0])
    x = np.linspace(-14, 14, 200_001)
    expected = []
    for m, s in zip(mean, deviation, strict=True):
        q, p = stats.norm(m, s), stats.norm(0, 1)
        expected.append(integrate.trapezoid(q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), x))
    encoded = torch.tensor(np.concatenate([mean, 2 * np.log(deviation)])[None])
    np.testing.assert_allclose(Gaussian(3).information(encoded)[0], expected, atol=1e-7)
    np.testing.assert_allclose(Gaussian(3).divergence(encoded), [sum(expected)], atol=1e-7)
    assert Gaussian(3).divergence(torch.zeros(1, 6)).item() == 0  # the prior itself


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_gaussian_divergence_is_that_of_torch(values):
    """PyTorch's own closed form agrees for any posterior."""
    encoded = torch.tensor([values], dtype=torch.float64)
    mean, log_variance = encoded.chunk(2, dim=1)
    expected = kl_divergence(Normal(mean, torch.exp(log_variance / 2)), Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(Gaussian(2).divergence(encoded), expected)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.05, 30), min_size=3, max_size=3), st.floats(0.1, 5))
def test_dirichlet_divergence_is_that_of_torch(alpha, prior):
    """PyTorch's closed form between Dirichlet distributions agrees for any concentrations."""
    found = Dirichlet(3, prior).divergence(as_encoded(torch.tensor([alpha], dtype=torch.float64)))
    concentrations = torch.tensor([alpha], dtype=torch.float64)
    expected = kl_divergence(TorchDirichlet(concentrations), TorchDirichlet(torch.full_like(concentrations, prior)))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_dirichlet_information_is_the_integral():
    """Each share's information is the integral between its beta distributions; for two shares it is the divergence."""
    alpha, prior = np.array([2.5, 1.5]), 0.9
    q, p = stats.beta(*alpha), stats.beta(prior, prior)
    expected, _ = integrate.quad(lambda x: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), 0, 1)
    latents, encoded = Dirichlet(2, prior), as_encoded(alpha[None])
    np.testing.assert_allclose(latents.information(encoded)[0], [expected, expected], rtol=1e-6)
    np.testing.assert_allclose(latents.divergence(encoded), [expected], rtol=1e-6)


def test_gamma_divergence_is_the_integral_and_more_than_the_dirichlet_one():
    """The published divergence between gamma variates is its integral; it counts their sum too, so it is no smaller."""
    alpha, prior = np.array([[2.0, 0.7, 4.0]]), 0.8
    expected = 0.0
    for a in alpha[0]:
        q, p = stats.gamma(a), stats.gamma(prior)
        expected += integrate.quad(lambda x, q=q, p=p: q.pdf(x) * (q.logpdf(x) - p.logpdf(x)), 0, np.inf)[0]
    found = gamma_divergence(torch.tensor(alpha), prior).item()
    assert found == pytest.approx(expected, rel=1e-5)
    assert found > Dirichlet(3, prior).divergence(as_encoded(alpha)).item() + 0.01


def test_the_usual_prior_is_nearest_to_a_softmax_of_standard_gaussians():
    """Its concentration gives softmax inputs of variance 1 by the Laplace approximation (1 - 2 / K) / a + 1 / (K a)."""
    for size in (2, 8, 50):
        a = Dirichlet(size).prior
        assert (1 - 2 / size) / a + 1 / (size * a) == pytest.approx(1)


@pytest.mark.parametrize("latents", [Gaussian(2), Dirichlet(3), Dirichlet(3, approximate=True)])
def test_draws_have_the_posteriors_moments(latents):
    """Means of many draws are the posterior's; the approximate ones are so where concentrations are small."""
    torch.manual_seed(0)
    encoded = as_encoded([[0.4, 0.3, 0.2]]) if latents.kind == "dirichlet" else torch.tensor([[0.5, -1.0, 0.2, -2.0]])
    draws = latents.draw(encoded.float().expand(40_000, -1))
    np.testing.assert_allclose(draws.mean(dim=0), latents.mean(encoded)[0], atol=0.03)
    if latents.kind == "dirichlet":
        np.testing.assert_allclose(draws.sum(dim=1), 1, atol=1e-5)
        assert draws.min() >= 0
    else:
        np.testing.assert_allclose(draws.std(dim=0), torch.exp(torch.tensor([0.1, -1.0])), rtol=0.02)


def test_exact_draws_of_a_share_are_beta_distributed():
    """Kolmogorov and Smirnov find no difference from the beta distribution of a share, and do from another one."""
    torch.manual_seed(1)
    shares = Dirichlet(3).draw(as_encoded([[2.0, 0.5, 5.0]]).float().expand(20_000, -1))[:, 0].numpy()
    assert stats.kstest(shares, stats.beta(2.0, 5.5).cdf).pvalue > 0.01
    assert stats.kstest(shares, stats.beta(2.0, 5.0).cdf).pvalue < 1e-6


def test_the_approximate_inverse_holds_for_small_concentrations_only():
    """It is within 1 % of the quantile at 0.1, and less than half of the median at 10."""
    u = torch.tensor([0.1, 0.3, 0.5], dtype=torch.float64)
    small = gamma_approximate(torch.full_like(u, 0.1), u)
    np.testing.assert_allclose(small, stats.gamma(0.1).ppf(u), rtol=0.01)
    large = gamma_approximate(torch.tensor([10.0]), torch.tensor([0.5])).item()
    assert large == pytest.approx((0.5 * 10 * math.gamma(10)) ** 0.1, rel=1e-4)
    assert large < 0.5 * stats.gamma(10).median()


@pytest.mark.parametrize("latents", [Gaussian(4), Dirichlet(4), Dirichlet(4, approximate=True)])
def test_gradients_are_finite_for_any_encoding(latents):
    """Draws and divergences of far encodings are finite, and so are their gradients."""
    torch.manual_seed(2)
    encoded = torch.linspace(-40, 40, 6 * latents.outputs).view(6, -1).requires_grad_()
    (latents.draw(encoded).square().sum() + latents.divergence(encoded).sum()).backward()
    assert torch.isfinite(encoded.grad).all()
    assert encoded.grad.abs().sum() > 0


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 1), st.integers(0, 3))
def test_a_moved_share_leaves_a_point_of_the_simplex(value, number):
    """The moved share is as asked, the sum is 1, and the others keep their proportions."""
    start = torch.tensor([0.4, 0.3, 0.2, 0.1])
    moved = Dirichlet(4).with_latent(start, number, value)
    assert moved[number] == pytest.approx(value)
    assert moved.sum().item() == pytest.approx(1, abs=1e-6)
    others = [k for k in range(4) if k != number]
    if value < 0.999:
        np.testing.assert_allclose(moved[others] / moved[others].sum(), start[others] / start[others].sum(), rtol=1e-4)


def test_a_moved_gaussian_latent_leaves_the_others():
    """Only the one that is moved changes, and the start is not touched."""
    start = torch.tensor([1.0, 2.0, 3.0])
    assert Gaussian(3).with_latent(start, 1, -4.0).tolist() == [1.0, -4.0, 3.0]
    assert start.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("kind", "size", "parameters"),
    [("beta", 4, {}), ("gaussian", 0, {}), ("gaussian", 4, {"concentration": 1.0}), ("dirichlet", 1, {}),
     ("dirichlet", 4, {"concentration": -1.0})],
)  # fmt: skip
def test_unknown_families_and_parameters_are_refused(kind, size, parameters):
    """A family that there is not, no latents, and another family's parameter are refused."""
    with pytest.raises(DatasetError):
        latents_of(kind, size, parameters)
    assert latents_of("dirichlet", 4, {"concentration": 0.5}).prior == 0.5
