"""A loss that expects wrong labels, and expects them in patches.

The model is that of Tadokoro, Takagi and Maeda 2025 (arXiv:2504.14795), here for three axes. Every voxel's label is wrong with
probability ``sigmoid(eta)``; eta is a Gaussian field whose neighbours correlate (:mod:`lungpipe.deep.kms`). Given eta, the true
label is the one at hand, turned over with that probability, so that the evidence lower bound is the cross-entropy of the
network against soft labels, less the divergence of eta's posterior from its prior.

The paper keeps a posterior for every training image, with a spread of its own at every pixel. Here a patch never comes twice,
so its posterior is found anew from the network's present output, by some steps of ascent on the same bound, and its spread is
one number a patch. Where the network is sure and a whole patch of labels disagrees with it, these labels lose their weight;
one voxel alone hardly does.

By itself the model cannot tell a network from one that contradicts every label, and a nodule that a network does not see yet
looks like a patch of wrong labels. So for some steps at first every label is doubted alike, until the network segments.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from lungpipe.deep.kms import along_axes, correlations, divergence, factor
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Largest second derivative of the logistic function, 1 / (6 * sqrt(3)), rounded up.
CURVATURE = 0.0963
#: Logits count as no surer than this when labels are doubted.
SUREST = 8.0
#: Bounds of the posterior's variance in shares of the prior's.
VARIANCE = (0.25, 4.0)


class KmsLoss(torch.nn.Module):
    """Cross-entropy against labels that may be wrong in patches, plus what the doubt costs.

    The mean of eta, and with it the rate, is trained beside the network; correlation and spread stay as given.

    Parameters
    ----------
    rate : float
        Share of wrong labels expected at first, above 0 and below 0.5.
    correlation : float or sequence of 3 float
        Of eta between neighbours, along (z, y, x) where they differ, from 0 to below 1.
    spread : float
        Standard deviation of eta, above 0. The larger, the more a label is either right or wrong.
    steps : int
        Of ascent to a patch's posterior, 1 or more.
    trusting : int
        Steps of training at first in which no label is doubted more than another, 0 or more.

    Raises
    ------
    DatasetError
        If a number makes no sense.
    """

    def __init__(
        self,
        rate: float = 0.2,
        correlation: float | Sequence[float] = 0.6,
        spread: float = 2.0,
        steps: int = 20,
        trusting: int = 200,
    ) -> None:
        super().__init__()
        rhos = [correlation] * 3 if isinstance(correlation, int | float) else list(correlation)
        if not 0 < rate < 0.5:
            raise DatasetError(f"loss 'kms' expects a rate above 0 and below 0.5, found {rate:g}")
        if len(rhos) != 3 or not all(0 <= one < 1 for one in rhos):
            raise DatasetError(
                f"loss 'kms' has one or three correlations, along (z, y, x), from 0 to below 1, found {correlation}"
            )
        if spread <= 0 or steps < 1 or trusting < 0:
            raise DatasetError(
                f"loss 'kms' has a spread above 0, 1 or more steps and 0 or more of trusting, found {spread:g}, {steps} and "
                f"{trusting}"
            )
        self.steps, self.trusting = steps, trusting
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("rhos", torch.tensor(rhos, dtype=torch.float32))
        self.register_buffer("spread", torch.tensor(float(spread)))
        self.mean = torch.nn.Parameter(math.log(rate / (1 - rate)) / shrink(self.spread))

    @property
    def rate(self) -> float:
        """Share of wrong labels expected now."""
        return float(torch.sigmoid(self.mean.detach() * shrink(self.spread)))

    def forward(self, logits: Any, target: Any) -> Any:
        """The bound with its sign turned, a voxel, averaged over patches.

        Parameters
        ----------
        logits, target : Tensor, shape (n, 1, z, y, x)
            Of the network, and labels from 0 to 1.
        """
        with torch.autocast(logits.device.type, enabled=False):
            logits, target = logits[:, 0].float(), target[:, 0].float()
            self.seen += 1
            shift, spread = self.posterior(logits if self.seen > self.trusting else 0 * logits, target)
            eta = self.mean.detach() + shift
            wrong = torch.sigmoid(eta * shrink(spread))
            soft = target + wrong * (1 - 2 * target)
            entropy = functional.binary_cross_entropy_with_logits(logits, soft)
            cost = divergence(eta - self.mean, spread.expand_as(eta), self.rhos, self.spread, self.rhos)
            return entropy + cost.mean() / math.prod(eta.shape[1:])

    def doubt(self, logits: Any, target: Any) -> Any:
        """Posterior probability of every label that it is wrong, shape (n, 1, z, y, x); arguments as of :meth:`forward`."""
        shift, spread = self.posterior(logits[:, 0].float(), target[:, 0].float())
        return torch.sigmoid((self.mean.detach() + shift) * shrink(spread))[:, None]

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch's types are not read
    def posterior(self, logits: Any, target: Any) -> tuple[Any, Any]:
        """The field of doubt that suits labels and network best.

        With ``r`` the expected probability of an error, the bound is ``sum(evidence * r)``, where the evidence for an error is
        the logit that speaks against the label, less the divergence. It is climbed in ``u``, eta being its mean and spread
        times L u, by Nesterov's steps of the length that the bound's curvature allows in each patch.

        Parameters
        ----------
        logits, target : Tensor, shape (n, z, y, x)

        Returns
        -------
        shift : Tensor, shape (n, z, y, x)
            Posterior mean of eta less the prior's.
        spread : Tensor, shape (n, 1, 1, 1)
            Posterior standard deviation; the correlation is the prior's.
        """
        evidence = (1 - 2 * target) * logits.clamp(-SUREST, SUREST)
        axes = list(zip(logits.shape[1:], self.rhos, strict=True))
        lower = [factor(size, rho) for size, rho in axes]
        upper = [one.T for one in lower]
        root = (CURVATURE * evidence.abs()).sqrt() * shrink(self.spread)
        reach = along_axes(root, [correlations(size, rho) for size, rho in axes])
        steepest = 1 + self.spread**2 * (root * reach).amax((1, 2, 3), keepdim=True)  # Gershgorin's bound
        spread = self.spread.expand_as(steepest)
        u = last = torch.zeros_like(evidence)
        for step in range(self.steps):
            ahead = u + step / (step + 3) * (u - last)
            eta = self.mean + self.spread * along_axes(ahead, lower)
            wrong = torch.sigmoid(shrink(spread) * eta)
            slope = shrink(spread) * evidence * wrong * (1 - wrong)
            last, u = u, ahead + (self.spread * along_axes(slope, upper) - ahead) / steepest
            # Level in the spread: by its logarithm, the likelihood's slope is the divergence's.
            rise = -math.pi / 8 * (shrink(spread) * spread) ** 2 * (slope * eta).mean((1, 2, 3), keepdim=True)
            spread = self.spread * (1 + rise).clamp(*VARIANCE).sqrt()
        return self.spread * along_axes(u, lower), spread


def shrink(spread: Any) -> Any:
    """Factor k by which the mean of ``sigmoid(eta)`` over a normal eta is about ``sigmoid(k * mean)``.

    From Spiegelhalter and Lauritzen 1990, doi:10.1002/net.3230200507.

    Parameters
    ----------
    spread : Tensor
        Standard deviation of eta.
    """
    return (1 + math.pi / 8 * spread**2) ** -0.5
