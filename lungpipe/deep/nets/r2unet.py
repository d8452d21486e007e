"""R2U-Net: a U-Net whose convolutions run several times over what they found, beside a residual path."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from monai.networks.layers.utils import get_act_layer, get_norm_layer
from torch import nn

from lungpipe.deep.nets.blocks import ACTIVATION, NORM, Decoder, Encoder, check_sides, check_widths, kernel
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Recurrent(nn.Module):
    """A recurrent convolution: at every step the input's convolution and that of the step before are added.

    Parameters
    ----------
    channels : int
    steps : int
        After the first, which sees the input alone.
    flat : bool
    """

    def __init__(self, channels: int, steps: int, *, flat: bool) -> None:
        super().__init__()
        self.steps = steps
        self.driving = nn.Conv3d(channels, channels, kernel(flat), padding="same", bias=False)
        self.returning = nn.Conv3d(channels, channels, kernel(flat), padding="same", bias=False)
        self.settle = nn.Sequential(
            get_norm_layer(NORM, spatial_dims=3, channels=channels), get_act_layer(ACTIVATION)
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        """A map of the shape of the input."""
        driven = self.driving(x)
        state = self.settle(driven)
        for _ in range(self.steps):
            state = self.settle(driven + self.returning(state))
        return state


class Residual(nn.Module):
    """Two recurrent convolutions beside the identity, after a convolution of one voxel that sets the width."""

    def __init__(self, in_channels: int, out_channels: int, flat: bool, *, steps: int) -> None:
        super().__init__()
        self.enter = nn.Conv3d(in_channels, out_channels, 1, bias=False)
        self.turns = nn.Sequential(*(Recurrent(out_channels, steps, flat=flat) for _ in range(2)))

    def forward(self, x: Any) -> Any:
        """A map (n, out_channels, z, y, x)."""
        x = self.enter(x)
        return x + self.turns(x)


class R2UNet(nn.Module):
    """A U-Net of recurrent residual blocks.

    Parameters
    ----------
    in_channels : int
    features : tuple of int
        Channels of each level, the finest first.
    steps : int
        Of a recurrent convolution.
    flat : bool
        The paper's 2D network, on slices.
    """

    def __init__(self, in_channels: int, features: tuple[int, ...], steps: int, *, flat: bool = False) -> None:
        super().__init__()
        block = partial(Residual, steps=steps)
        self.encoder = Encoder(in_channels, features, block, flat=flat)
        self.decoder = Decoder(features, block, flat=flat)
        self.head = nn.Conv3d(features[0], 1, 1)

    def forward(self, x: Any) -> Any:
        """Logits (n, 1, z, y, x) of patches (n, in_channels, z, y, x).

        Raises
        ------
        DatasetError
            If a side is not one that the levels can halve.
        """
        check_sides("r2unet", x.shape[2:], len(self.encoder.levels))
        return self.head(self.decoder(self.encoder(x)))


def r2unet(in_channels: int, features: Sequence[int] = (8, 16, 32, 64), steps: int = 2) -> R2UNet:
    """Build a recurrent residual U-Net (Alom et al. 2018, arXiv:1802.06955), in 3D.

    As there: two recurrent convolutions a block, each with one kernel for its input and one for its own past, beside a
    residual path. Otherwise than there: 3D, norms at every step, leaky activations. More steps cost time, no parameters.

    Parameters
    ----------
    in_channels : int
    features : sequence of int
        Channels of each level. Of n levels, a patch's sides are multiples of 2 to the n - 1.
    steps : int
        By which a convolution goes on after its first; the paper's t.

    Raises
    ------
    DatasetError
        If ``features`` are no widths, or there is no step.
    """
    if type(steps) is not int or steps < 1:
        raise DatasetError(f"network 'r2unet': steps is a whole number from 1 on, found {steps!r}")
    return R2UNet(in_channels, check_widths("r2unet", features), steps)
