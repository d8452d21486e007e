"""Distributions of latents: how the encoder's numbers are read, drawn from, and held to a prior.

References
----------
.. [1] Kingma and Welling, Auto-encoding variational Bayes, 2014, arXiv:1312.6114.
.. [2] Joo, Lee, Park and Moon, Dirichlet variational autoencoder, 2020, arXiv:1901.02739.
.. [3] Figurnov, Mohamed and Mnih, Implicit reparameterization gradients, 2018, arXiv:1805.08498.
.. [4] Knowles, Stochastic gradient variational Bayes for gamma approximating distributions, 2015, arXiv:1509.01631.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch.distributions import Beta, Gamma, kl_divergence
from torch.nn import functional

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Log of the variance is held within these; beyond them exp leaves single precision, or the draw is the mean.
LOG_VARIANCE = (-12.0, 12.0)
#: Concentrations of a Dirichlet are at least this: below, draws are 0 and 1 in single precision and have no gradient.
LEAST_CONCENTRATION = 0.02


class Latents(Protocol):
    """A family of distributions over ``size`` latents."""

    kind: ClassVar[str]
    size: int

    @property
    def outputs(self) -> int:
        """Numbers that the encoder gives for each image."""
        ...

    def draw(self, encoded: Any) -> Any:
        """Draw latents (n, size) with gradients, from numbers of the encoder (n, outputs) and PyTorch's generator."""
        ...

    def mean(self, encoded: Any) -> Any:
        """Mean of the posterior, (n, size): the features of an image."""
        ...

    def divergence(self, encoded: Any) -> Any:
        """Kullback-Leibler divergence of the posterior from the prior, (n,), nats."""
        ...

    def information(self, encoded: Any) -> Any:
        """Divergence of each latent's own posterior from its prior, (n, size), nats."""
        ...

    def with_latent(self, latents: Any, number: int, value: float) -> Any:
        """Latents (size,) with one of them set, the others changed no more than the family asks."""
        ...


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Independent Gaussians, prior N(0, 1) [1]_: the encoder gives means and logs of variances.

    Parameters
    ----------
    size : int
        Latents.
    """

    kind: ClassVar[str] = "gaussian"
    size: int

    @property
    def outputs(self) -> int:
        """Two numbers a latent."""
        return 2 * self.size

    def draw(self, encoded: Any) -> Any:
        """Mean plus standard deviation times noise."""
        mean, log_variance = self._parts(encoded)
        return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)

    def mean(self, encoded: Any) -> Any:
        """Means."""
        return self._parts(encoded)[0]

    def divergence(self, encoded: Any) -> Any:
        """Sum over latents of :meth:`information`, as latents are independent."""
        return self.information(encoded).sum(dim=1)

    def information(self, encoded: Any) -> Any:
        """(mean^2 + variance - log variance - 1) / 2; appendix B of [1]_."""
        mean, log_variance = self._parts(encoded)
        return 0.5 * (mean**2 + torch.exp(log_variance) - log_variance - 1)

    def with_latent(self, latents: Any, number: int, value: float) -> Any:
        """The others stay."""
        changed = latents.clone()
        changed[number] = value
        return changed

    def _parts(self, encoded: Any) -> tuple[Any, Any]:
        mean, log_variance = encoded.chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE)


@dataclass(frozen=True, slots=True)
class Dirichlet:
    """Shares that add up to 1 [2]_: the encoder gives concentrations, and a draw is gamma variates over their sum.

    Parameters
    ----------
    size : int
        Latents, 2 or more.
    concentration : float
        Of the prior, the same for every latent; 0 for 1 - 1 / size, whose shares are nearest to the softmax of standard
        Gaussians [2]_. Smaller ones ask for fewer latents at a time.
    approximate : bool
        Draw gamma variates by the approximation of their inverse distribution function that [2]_ takes from [4]_. It holds
        for concentrations below about 1. Otherwise draws are exact, with implicit gradients [3]_.
    """

    kind: ClassVar[str] = "dirichlet"
    size: int
    concentration: float = 0.0
    approximate: bool = False

    def __post_init__(self) -> None:
        if self.size < 2 or self.concentration < 0:
            raise DatasetError(
                f"Dirichlet latents are 2 or more, their concentration above 0 (or 0 for the usual); found {self.size} and "
                f"{self.concentration:g}"
            )

    @property
    def outputs(self) -> int:
        """One number a latent."""
        return self.size

    @property
    def prior(self) -> float:
        """Concentration of the prior."""
        return self.concentration or 1 - 1 / self.size

    def draw(self, encoded: Any) -> Any:
        """Gamma variates over their sum."""
        alpha = self.concentrations(encoded)
        if self.approximate:
            gammas = gamma_approximate(alpha, torch.rand_like(alpha))
        else:
            gammas = Gamma(alpha, torch.ones_like(alpha), validate_args=False).rsample()
        gammas = gammas.clamp(min=torch.finfo(gammas.dtype).tiny)
        return gammas / gammas.sum(dim=1, keepdim=True)

    def mean(self, encoded: Any) -> Any:
        """Concentrations over their sum."""
        alpha = self.concentrations(encoded)
        return alpha / alpha.sum(dim=1, keepdim=True)

    def divergence(self, encoded: Any) -> Any:
        """Between Dirichlet distributions.

        [2]_ takes the divergence between the gamma variates instead (:func:`gamma_divergence`), which also counts their
        sum, though the decoder never sees it.
        """
        alpha, prior = self.concentrations(encoded), self.prior
        total = alpha.sum(dim=1)
        drift = (alpha - prior) * (torch.digamma(alpha) - torch.digamma(total)[:, None])
        spread = torch.lgamma(total) - torch.lgamma(alpha).sum(dim=1)
        own = torch.lgamma(total.new_tensor(prior * self.size)) - self.size * torch.lgamma(total.new_tensor(prior))
        return spread - own + drift.sum(dim=1)

    def information(self, encoded: Any) -> Any:
        """Of each share's own distribution, a beta distribution, from that of the prior."""
        alpha = self.concentrations(encoded)
        rest = alpha.sum(dim=1, keepdim=True) - alpha
        prior = Beta(alpha.new_tensor(self.prior), alpha.new_tensor(self.prior * (self.size - 1)))
        return kl_divergence(Beta(alpha, rest, validate_args=False), prior)

    def with_latent(self, latents: Any, number: int, value: float) -> Any:
        """The other shares keep their proportions and fill up to 1."""
        others = latents.clone()
        others[number] = 0
        changed = others * ((1 - value) / others.sum().clamp(min=torch.finfo(others.dtype).tiny))
        changed[number] = value
        return changed

    def concentrations(self, encoded: Any) -> Any:
        """Numbers of the encoder as concentrations, above :data:`LEAST_CONCENTRATION`."""
        return functional.softplus(encoded) + LEAST_CONCENTRATION


def gamma_approximate(alpha: Any, uniform: Any) -> Any:
    """Gamma variates of scale 1 by an approximate inverse of their distribution function: (u a Gamma(a))^(1/a).

    Exact in the limit of small concentrations a, too small by far above 1 (the median at 10 is 9.67, this gives 4.2).

    Parameters
    ----------
    alpha : Tensor
        Concentrations a.
    uniform : Tensor
        Numbers u between 0 and 1, of the same shape.
    """
    u = uniform.clamp(min=torch.finfo(uniform.dtype).tiny)
    return torch.exp((torch.log(u) + torch.log(alpha) + torch.lgamma(alpha)) / alpha)


def gamma_divergence(alpha: Any, prior: float) -> Any:
    """Divergence of independent gamma variates (n, size) of scale 1 from those of the prior's concentration, (n,), nats [2]_."""
    own = torch.lgamma(alpha.new_tensor(prior))
    return (own - torch.lgamma(alpha) + (alpha - prior) * torch.digamma(alpha)).sum(dim=1)


def latents_of(kind: str, size: int, parameters: Mapping[str, Any] | None = None) -> Latents:
    """Latents by the name of their family.

    Raises
    ------
    DatasetError
        If there is no such family, or a parameter is not one of its own.
    """
    families: dict[str, Any] = {"gaussian": Gaussian, "dirichlet": Dirichlet}
    if kind not in families or size < 1:
        raise DatasetError(f"latents are gaussian or dirichlet, and 1 or more; found {size} of kind {kind!r}")
    try:
        found: Latents = families[kind](size, **(parameters or {}))
    except TypeError as error:
        raise DatasetError(f"{kind} latents have no parameter among {', '.join(parameters or {})}") from error
    return found
