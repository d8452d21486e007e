"""Multi-planar U-Net: one 2D network for slices along every axis, and a learned fusion of what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lungpipe.deep.nets.blocks import Decoder, Encoder, check_sides, check_widths, double

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Axes of (n, channels, z, y, x) along which slices lie.
PLANES = (2, 3, 4)


class MPUNet(nn.Module):
    """A flat U-Net, three times.

    Parameters
    ----------
    in_channels : int
    features : tuple of int
        Channels of each level, the finest first.
    """

    def __init__(self, in_channels: int, features: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels, features, double, flat=True)
        self.decoder = Decoder(features, double, flat=True)
        self.head = nn.Conv3d(features[0], 1, 1)
        self.fusion = nn.Conv3d(len(PLANES), 1, 1)
        nn.init.constant_(self.fusion.weight, 1 / len(PLANES))
        nn.init.zeros_(self.fusion.bias)

    def planes(self, x: Any) -> Any:
        """Logits (n, 3, z, y, x) by slices along z, y and x, of patches (n, in_channels, z, y, x).

        Raises
        ------
        DatasetError
            If a side is not one that the levels can halve.
        """
        check_sides("mpunet", x.shape[2:], len(self.encoder.levels))
        turned = (x.transpose(2, axis) for axis in PLANES)
        found = [self.head(self.decoder(self.encoder(one))) for one in turned]
        return torch.cat([one.transpose(2, axis) for one, axis in zip(found, PLANES, strict=True)], 1)

    def forward(self, x: Any) -> Any:
        """Logits (n, 1, z, y, x); see :meth:`planes`."""
        return self.fusion(self.planes(x))


def mpunet(in_channels: int, features: Sequence[int] = (12, 24, 48, 96)) -> MPUNet:
    """Build a multi-planar U-Net (Perslev et al. 2019, arXiv:1911.01764).

    As there: one 2D U-Net, whose weights serve all planes, and a fusion with a weight for each plane. Otherwise than there:
    three planes, those of the patch's axes, instead of six drawn at random; the fusion is trained with the network rather
    than after it, from a plain mean on; logits are fused; transposed convolutions stand for upsampling and convolution.
    At the paper's widths, those of a U-Net times the root of two, it has the paper's 62 million parameters.

    Parameters
    ----------
    in_channels : int
    features : sequence of int
        Channels of each level. Of n levels, a patch's sides are multiples of 2 to the n - 1.

    Raises
    ------
    DatasetError
        If ``features`` are no widths.
    """
    return MPUNet(in_channels, check_widths("mpunet", features))
