"""2.5D U-Net: a 2D network that sees each slice with its neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lungpipe.deep.nets.blocks import Decoder, Encoder, check_sides, check_widths, double
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence


class UNet25D(nn.Module):
    """A flat U-Net over stacks of slices.

    Parameters
    ----------
    in_channels : int
    features : tuple of int
        Channels of each level, the finest first.
    slices : int
        Of a stack.
    """

    def __init__(self, in_channels: int, features: tuple[int, ...], slices: int) -> None:
        super().__init__()
        self.slices = slices
        self.encoder = Encoder(in_channels * slices, features, double, flat=True)
        self.decoder = Decoder(features, double, flat=True)
        self.head = nn.Conv3d(features[0], 1, 1)

    def forward(self, x: Any) -> Any:
        """Logits (n, 1, z, y, x) of patches (n, in_channels, z, y, x).

        Raises
        ------
        DatasetError
            If a side along y or x is not one that the levels can halve.
        """
        check_sides("unet25d", x.shape[3:], len(self.encoder.levels))
        return self.head(self.decoder(self.encoder(with_neighbours(x, self.slices))))


def with_neighbours(x: Any, slices: int) -> Any:
    """Give every slice its neighbours as further channels.

    Parameters
    ----------
    x : Tensor, shape (n, channels, z, y, x)
    slices : int
        Odd; the slice and as many on either side. Beyond the ends the last slice stands again.

    Returns
    -------
    Tensor, shape (n, slices * channels, z, y, x)
        All channels of the lowest neighbour first.
    """
    beside = slices // 2
    padded = nn.functional.pad(x, (0, 0, 0, 0, beside, beside), mode="replicate")
    return torch.cat([padded[:, :, k : k + x.shape[2]] for k in range(slices)], 1)


def unet25d(in_channels: int, features: Sequence[int] = (16, 32, 64, 128), slices: int = 3) -> UNet25D:
    """Build a 2.5D U-Net, of the form that Vu et al. 2020 (doi:10.1002/mp.14391) call pseudo-3D with slices as channels.

    As there: a 2D U-Net gets a slice and its neighbours as channels, and says the middle one. Otherwise than there: all
    slices of a patch go through together, and norms are of the patch.

    Parameters
    ----------
    in_channels : int
    features : sequence of int
        Channels of each level. Of n levels, a patch's sides along y and x are multiples of 2 to the n - 1.
    slices : int
        That the network sees at once, odd.

    Raises
    ------
    DatasetError
        If ``features`` are no widths, or ``slices`` is not odd and 3 or more.
    """
    if type(slices) is not int or slices < 3 or slices % 2 == 0:
        raise DatasetError(f"network 'unet25d': slices is an odd number from 3 on, found {slices!r}")
    return UNet25D(in_channels, check_widths("unet25d", features), slices)
