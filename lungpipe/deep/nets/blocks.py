"""What the architectures are made of: convolutions by MONAI, encoder and decoder, and checks of widths and sides.

A flat block convolves, pools and raises along y and x alone: a 2D network seen by all slices of a patch at once. Its norms
are nevertheless of the whole patch, so that an empty slice is not stretched to the contrast of one with a nodule.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from monai.networks.blocks import Convolution
from torch import nn

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    #: Channels in, channels out, and whether it is flat -> module.
    Block = Callable[[int, int, bool], Any]

#: Instance norm, as a batch of patches is small; no convolution before it has a bias, which it would take away again.
NORM = ("instance", {"affine": True})
#: Leaky ReLU and its slope below zero.
SLOPE = 0.01
ACTIVATION = ("leakyrelu", {"negative_slope": SLOPE, "inplace": True})


def kernel(flat: bool) -> tuple[int, int, int]:
    """Sides of a convolution, (z, y, x)."""
    return (1, 3, 3) if flat else (3, 3, 3)


def halves(flat: bool) -> tuple[int, int, int]:
    """By how much a level is coarser than the one before it, along (z, y, x)."""
    return (1, 2, 2) if flat else (2, 2, 2)


def convolution(in_channels: int, out_channels: int, flat: bool) -> Any:
    """A convolution that keeps the sides, instance norm and leaky ReLU."""
    return Convolution(
        3, in_channels, out_channels, kernel_size=kernel(flat), norm=NORM, act=ACTIVATION, bias=False
    )  # fmt: skip


def double(in_channels: int, out_channels: int, flat: bool) -> Any:
    """Two convolutions one after the other."""
    return nn.Sequential(convolution(in_channels, out_channels, flat), convolution(out_channels, out_channels, flat))


def raising(in_channels: int, out_channels: int, flat: bool) -> Any:
    """A transposed convolution that doubles the sides."""
    return nn.ConvTranspose3d(in_channels, out_channels, halves(flat), halves(flat), bias=False)


class Encoder(nn.Module):
    """Features at every level, each level of half the sides of the one before.

    Parameters
    ----------
    in_channels : int
    features : sequence of int
        Channels of each level.
    block : callable
        What a level does.
    flat : bool
        Whether levels differ along y and x alone.
    """

    def __init__(self, in_channels: int, features: Sequence[int], block: Block, *, flat: bool = False) -> None:
        super().__init__()
        self.levels = nn.ModuleList(block(a, b, flat) for a, b in pairwise((in_channels, *features)))
        self.pool = nn.MaxPool3d(halves(flat))

    def forward(self, x: Any) -> list[Any]:
        """Maps (n, channels of the level, z, y, x), the finest first."""
        found = [self.levels[0](x)]
        for level in self.levels[1:]:
            found.append(level(self.pool(found[-1])))
        return found


class Decoder(nn.Module):
    """From the features of every level back to the sides of the first.

    Parameters
    ----------
    features : sequence of int
        Channels of each level of the encoder.
    block : callable
        What a level does with the raised map beside the encoder's.
    flat : bool
        As of the encoder.
    narrowing : bool
        Whether a map that is raised gets the channels of the level that it comes to; else it keeps its own.
    """

    def __init__(
        self, features: Sequence[int], block: Block, *, flat: bool = False, narrowing: bool = True
    ) -> None:  # fmt: skip
        super().__init__()
        pairs = list(pairwise(features[::-1]))
        raised = [fine if narrowing else coarse for coarse, fine in pairs]
        self.ups = nn.ModuleList(raising(coarse, r, flat) for (coarse, _), r in zip(pairs, raised, strict=True))
        self.levels = nn.ModuleList(block(fine + r, fine, flat) for (_, fine), r in zip(pairs, raised, strict=True))

    def forward(self, maps: Sequence[Any]) -> Any:
        """A map (n, channels of the first level, z, y, x)."""
        x = maps[-1]
        for up, level, beside in zip(self.ups, self.levels, maps[-2::-1], strict=True):
            x = level(torch.cat([beside, up(x)], 1))
        return x


def check_widths(name: str, features: Sequence[int], *, even: bool = False) -> tuple[int, ...]:
    """Channels of an architecture's levels, as they were given.

    Parameters
    ----------
    name : str
        Of the architecture.
    features : sequence of int
    even : bool
        Whether they must be even.

    Raises
    ------
    DatasetError
        If there are fewer than two, or one is no such number.
    """
    step = 2 if even else 1
    if len(features) < 2 or any(type(width) is not int or width < step or width % step for width in features):
        raise DatasetError(
            f"network {name!r}: features are the channels of two or more levels, {'even ' if even else ''}whole numbers from "
            f"{step} on; found {list(features)}"
        )
    return tuple(features)


def check_sides(name: str, sides: Sequence[int], levels: int) -> None:
    """Refuse a patch that cannot be halved as often as an architecture does.

    Parameters
    ----------
    name : str
        Of the architecture.
    sides : sequence of int
        Those along which it halves, voxels.
    levels : int
        Of the architecture; sides are halved one time less.

    Raises
    ------
    DatasetError
        If a side is no multiple, or would end as one voxel: over one voxel there is no norm.
    """
    multiple = 2 ** (levels - 1)
    if any(side % multiple or side < 2 * multiple for side in sides):
        raise DatasetError(
            f"network {name!r} with {levels} levels needs patches whose sides are multiples of {multiple}, from {2 * multiple} "
            f"on; found {' x '.join(map(str, sides))} voxels: change the view's voxels, or give fewer features"
        )
