"""Probabilistic U-Net: a U-Net and a space of codes, each code one way to outline the same nodule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from monai.networks.blocks import Convolution
from monai.networks.layers.utils import get_act_layer
from torch import nn
from torch.distributions import Normal, kl_divergence

from lungpipe.deep.nets.blocks import ACTIVATION, SLOPE, Decoder, Encoder, check_sides, check_widths, double, kernel
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Largest log of a code's deviation, and minus the least: without bounds the divergence of narrow codes outruns numbers.
WIDEST = 3.0


class CodeNet(nn.Module):
    """What a code may be, as a normal distribution without correlations.

    There are no norms of the maps: they would take away how much a nodule stands out, which says how sure its outline is.

    Parameters
    ----------
    in_channels : int
    features : tuple of int
        Channels of each level, the finest first.
    codes : int
        Numbers of a code.
    """

    def __init__(self, in_channels: int, features: tuple[int, ...], codes: int) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels, features, _plain)
        self.norm = nn.LayerNorm(features[-1])  # of the mean features of a patch, so that steps of the head are even
        self.head = nn.Linear(features[-1], 2 * codes)
        nn.init.normal_(self.head.weight, std=0.01)  # codes begin as standard normal ones, prior and posterior alike
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Any) -> Normal:
        """Distribution of codes (n, codes) of patches (n, in_channels, z, y, x)."""
        mean, log_deviation = self.head(self.norm(self.encoder(x)[-1].mean((2, 3, 4)))).float().chunk(2, 1)
        return Normal(mean, (WIDEST * torch.tanh(log_deviation / WIDEST)).exp())


class ProbUNet(nn.Module):
    """A U-Net whose last convolutions also see a code.

    Parameters
    ----------
    in_channels : int
    features : tuple of int
        Channels of each level, the finest first.
    codes : int
        Numbers of a code.
    beta : float
        Weight of the divergence in :meth:`training_loss`.
    """

    def __init__(self, in_channels: int, features: tuple[int, ...], codes: int, beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.encoder = Encoder(in_channels, features, double)
        self.decoder = Decoder(features, double)
        self.prior = CodeNet(in_channels, features, codes)
        self.posterior = CodeNet(in_channels + 1, features, codes)
        width = features[0]
        self.combine = nn.Sequential(
            nn.Conv3d(width + codes, width, 1), get_act_layer(ACTIVATION),
            nn.Conv3d(width, width, 1), get_act_layer(ACTIVATION),
            nn.Conv3d(width, 1, 1),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        """Logits (n, 1, z, y, x) by the prior's mean code, of patches (n, in_channels, z, y, x).

        Raises
        ------
        DatasetError
            If a side is not one that the levels can halve.
        """
        return self._outlined(self._features(x), self.prior(x).mean)

    def sample(self, x: Any, n_samples: int, generator: Any) -> Any:
        """Logits by codes drawn from the prior.

        Parameters
        ----------
        x : Tensor, shape (n, in_channels, z, y, x)
        n_samples : int
        generator : torch.Generator
            On the device of ``x``; the same state gives the same codes.

        Returns
        -------
        Tensor, shape (n_samples, n, 1, z, y, x)

        Raises
        ------
        DatasetError
            If a side is not one that the levels can halve.
        """
        features, prior = self._features(x), self.prior(x)
        drawn = torch.randn((n_samples, *prior.mean.shape), generator=generator, device=x.device)
        return torch.stack([self._outlined(features, prior.mean + prior.stddev * one) for one in drawn])

    def posterior_terms(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Logits by a code of the posterior, which has seen the target, and how far the posterior is from the prior.

        Parameters
        ----------
        x : Tensor, shape (n, in_channels, z, y, x)
        y : Tensor, shape (n, 1, z, y, x)
            Share of each voxel inside the nodule, by one rater.

        Returns
        -------
        logits : Tensor, shape (n, 1, z, y, x)
        divergence : Tensor, shape (n,)
            Kullback-Leibler, nats.

        Raises
        ------
        DatasetError
            If a side is not one that the levels can halve.
        """
        features, posterior = self._features(x), self.posterior(torch.cat([x, y], 1))
        divergence = kl_divergence(posterior, self.prior(x)).sum(1)
        return self._outlined(features, posterior.rsample()), divergence

    def elbo_terms(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Reconstruction and divergence: minus their sum is a bound on the target's log-likelihood from below.

        Parameters
        ----------
        x : Tensor, shape (n, in_channels, z, y, x)
        y : Tensor, shape (n, 1, z, y, x)

        Returns
        -------
        reconstruction, divergence : Tensor, shape (n,)
            Cross-entropy summed over the voxels of a patch, and the divergence, both in nats.
        """
        logits, divergence = self.posterior_terms(x, y)
        entropy = nn.functional.binary_cross_entropy_with_logits(logits.float(), y.float(), reduction="none")
        return entropy.sum((1, 2, 3, 4)), divergence

    def training_loss(self, x: Any, y: Any, loss: Callable[[Any, Any], Any]) -> Any:
        """A loss of the posterior's logits in the place of the cross-entropy, and beta times the mean divergence."""
        logits, divergence = self.posterior_terms(x, y)
        return loss(logits, y) + self.beta * divergence.mean()

    def _features(self, x: Any) -> Any:
        check_sides("prob_unet", x.shape[2:], len(self.encoder.levels))
        return self.decoder(self.encoder(x))

    def _outlined(self, features: Any, code: Any) -> Any:
        """Logits by features (n, channels, z, y, x) and a code (n, codes)."""
        everywhere = code[:, :, None, None, None].expand(-1, -1, *features.shape[2:])
        return self.combine(torch.cat([features, everywhere.to(features.dtype)], 1))


def _plain(in_channels: int, out_channels: int, flat: bool) -> Any:
    """Two convolutions without norms, begun so that what passes neither fades nor grows (He et al. 2015, arXiv:1502.01852)."""
    convolutions = [
        Convolution(3, width, out_channels, kernel_size=kernel(flat), norm=None, act=ACTIVATION)
        for width in (in_channels, out_channels)
    ]
    for one in convolutions:
        nn.init.kaiming_normal_(one.conv.weight, a=SLOPE)
        nn.init.zeros_(one.conv.bias)
    return nn.Sequential(*convolutions)


def prob_unet(
    in_channels: int, features: Sequence[int] = (12, 24, 48, 96), codes: int = 6, beta: float = 1e-3
) -> ProbUNet:  # fmt: skip
    """Build a probabilistic U-Net (Kohl et al. 2018, arXiv:1806.05034), in 3D.

    As there: prior and posterior of encoders, a code that all voxels see, three convolutions of one voxel that combine it with
    the U-Net's features. Otherwise than there: 3D, transposed convolutions, the U-Net has norms, two convolutions a level.

    Parameters
    ----------
    in_channels : int
    features : sequence of int
        Channels of each level, of the U-Net and of both encoders. Of n levels, a patch's sides are multiples of 2 to the n - 1.
    codes : int
        Numbers of a code.
    beta : float
        Weight of the divergence, in nats, beside a loss of order one a patch.

    Raises
    ------
    DatasetError
        If ``features`` are no widths, there is no code, or ``beta`` is not above 0.
    """
    if type(codes) is not int or codes < 1 or not beta > 0:
        raise DatasetError(
            f"network 'prob_unet': codes is a whole number from 1 on and beta above 0, found {codes!r} and {beta!r}"
        )
    return ProbUNet(in_channels, check_widths("prob_unet", features), codes, beta)
