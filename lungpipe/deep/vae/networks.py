"""The autoencoder: convolutions that halve the image down to four voxels a side, and the way back.

Blocks are MONAI's. Images grow again by repetition followed by a convolution, which leaves no checkerboard (Odena, Dumoulin
and Olah 2016, doi:10.23915/distill.00003), and features are normalised in groups (Wu and He 2018, arXiv:1803.08494), so that
what an image is encoded as does not depend on the others of its batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from monai.networks.blocks import Convolution
from torch import nn

from lungpipe.deep.vae.latents import latents_of
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Voxels a side where convolutions end, and features of the deepest level in those of the first.
LAST_SIDE, MOST_TIMES = 4, 8
GROUPS = 8


class LesionVae(nn.Module):
    """Variational autoencoder of patches of one channel.

    Parameters
    ----------
    kind : {"gaussian", "dirichlet"}
        Family of the latents.
    latent : int
        Latents.
    dims : {2, 3}
        Axes of a patch.
    voxels : int
        Of a patch along each axis: 4 times a power of 2, and 16 or more.
    width : int
        Features of the first level, a multiple of 8; twice as many on every level below, to 8 times as many.
    parameters : mapping, optional
        Of the family; see :mod:`lungpipe.deep.vae.latents`.

    Raises
    ------
    DatasetError
        If a value makes no sense.
    """

    def __init__(
        self,
        kind: str,
        latent: int,
        dims: int = 2,
        voxels: int = 64,
        width: int = 16,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        levels = (voxels // LAST_SIDE).bit_length() - 1
        if dims not in (2, 3) or voxels != LAST_SIDE * 2**levels or levels < 2 or width < GROUPS or width % GROUPS:
            raise DatasetError(
                "an autoencoder has dims 2 or 3, voxels of 16, 32, 64 or another 4 times a power of 2, and a width that is a "
                f"multiple of {GROUPS}; found dims {dims}, voxels {voxels}, width {width}"
            )
        self.latents = latents_of(kind, latent, parameters)
        widths = [width * min(2**level, MOST_TIMES) for level in range(levels)]
        self._deep = (widths[-1], *(LAST_SIDE,) * dims)
        deep = widths[-1] * LAST_SIDE**dims
        down: list[Any] = []
        for given, made in zip([1, *widths], widths, strict=False):
            down += [_block(dims, given, made, strides=2), _block(dims, made, made)]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(deep, self.latents.outputs))
        up: list[Any] = []
        for given, made in zip(widths[::-1], [*widths[-2::-1], width], strict=True):
            up += [nn.Upsample(scale_factor=2, mode="nearest"), _block(dims, given, made)]
        self.spread = nn.Linear(latent, deep)
        self.decoder = nn.Sequential(*up, Convolution(dims, width, 1, conv_only=True))

    def encode(self, images: Any) -> Any:
        """Images (n, 1, ...) of values from 0 to 1 -> numbers of their posteriors (n, latents.outputs)."""
        return self.encoder(images)

    def decode(self, latents: Any) -> Any:
        """Latents (n, latent) -> images (n, 1, ...) of values from 0 to 1."""
        return torch.sigmoid(self.decoder(self.spread(latents).view(-1, *self._deep)))

    def forward(self, images: Any) -> tuple[Any, Any]:
        """Images -> images of drawn latents (of their means, once trained), and the numbers of their posteriors."""
        encoded = self.encode(images)
        latents = self.latents.draw(encoded) if self.training else self.latents.mean(encoded)
        return self.decode(latents), encoded


def _block(dims: int, given: int, made: int, strides: int = 1) -> Any:
    norm = ("GROUP", {"num_groups": GROUPS})
    return Convolution(dims, given, made, strides=strides, adn_ordering="NA", norm=norm, act="GELU")
