"""3D U-Net."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from lungpipe.deep.nets.blocks import Decoder, Encoder, check_sides, check_widths, convolution, double

if TYPE_CHECKING:
    from collections.abc import Sequence


class UNet(nn.Module):
    """Encoder and decoder with a bridge at every level.

    Parameters
    ----------
    in_channels : int
    features : tuple of int
        Channels of each level, the finest first.
    """

    def __init__(self, in_channels: int, features: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels, features, _widening)
        self.decoder = Decoder(features, double, narrowing=False)
        self.head = nn.Conv3d(features[0], 1, 1)

    def forward(self, x: Any) -> Any:
        """Logits (n, 1, z, y, x) of patches (n, in_channels, z, y, x).

        Raises
        ------
        DatasetError
            If a side is not one that the levels can halve.
        """
        check_sides("unet", x.shape[2:], len(self.encoder.levels))
        return self.head(self.decoder(self.encoder(x)))


def _widening(in_channels: int, out_channels: int, flat: bool) -> Any:
    """Two convolutions, the first half as wide as the second."""
    half = out_channels // 2
    return nn.Sequential(convolution(in_channels, half, flat), convolution(half, out_channels, flat))


def unet(in_channels: int, features: Sequence[int] = (12, 24, 48, 96)) -> UNet:
    """Build a 3D U-Net (Çiçek et al. 2016, arXiv:1606.06650).

    As there: two convolutions a level, channels doubled before a pooling rather than after it, transposed convolutions that
    keep them. Otherwise than there: convolutions are padded, so that logits have the patch's sides; norms are of a patch
    instead of a batch; activations leak. At the paper's widths, (64, 128, 256, 512), it has the paper's 19 069 955 parameters
    but for two a norm in place of one bias; at the default ones 671 461.

    Parameters
    ----------
    in_channels : int
    features : sequence of int
        Channels of each level, even. Of n levels, a patch's sides are multiples of 2 to the n - 1.

    Raises
    ------
    DatasetError
        If ``features`` are no widths.
    """
    return UNet(in_channels, check_widths("unet", features, even=True))
