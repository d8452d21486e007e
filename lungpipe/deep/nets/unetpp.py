"""UNet++: a U-Net whose bridges are convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lungpipe.deep.nets.blocks import Encoder, check_sides, check_widths, double, raising

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class UNetPlusPlus(nn.Module):
    """A grid of blocks: level down, steps of the bridge across; a block sees all before it on its level and one from below.

    Parameters
    ----------
    in_channels : int
    features : tuple of int
        Channels of each level, the finest first.
    flat : bool
        The paper's 2D network, on slices.
    """

    def __init__(self, in_channels: int, features: tuple[int, ...], *, flat: bool = False) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels, features, double, flat=flat)
        steps = range(1, len(features))
        self.ups = nn.ModuleList(
            nn.ModuleList(raising(features[k + 1], features[k], flat) for k in range(len(features) - step))
            for step in steps
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(double(own * (step + 1), own, flat) for own in features[:-step]) for step in steps
        )
        self.heads = nn.ModuleList(nn.Conv3d(features[0], 1, 1) for _ in steps)

    def branches(self, x: Any) -> list[Any]:
        """Logits (n, 1, z, y, x) after every step across, of patches (n, in_channels, z, y, x).

        Raises
        ------
        DatasetError
            If a side is not one that the levels can halve.
        """
        check_sides("unetpp", x.shape[2:], len(self.encoder.levels))
        rows = [[found] for found in self.encoder(x)]
        for ups, blocks in zip(self.ups, self.blocks, strict=True):
            below = [row[-1] for row in rows]
            for level, (up, block) in enumerate(zip(ups, blocks, strict=True)):
                rows[level].append(block(torch.cat([*rows[level], up(below[level + 1])], 1)))
        return [head(found) for head, found in zip(self.heads, rows[0][1:], strict=True)]

    def forward(self, x: Any) -> Any:
        """Mean logits of the branches; see :meth:`branches`."""
        return torch.stack(self.branches(x)).mean(0)

    def training_loss(self, x: Any, y: Any, loss: Callable[[Any, Any], Any]) -> Any:
        """Mean loss of the branches (deep supervision), for targets (n, 1, z, y, x)."""
        return torch.stack([loss(logits, y) for logits in self.branches(x)]).mean()


def unetpp(in_channels: int, features: Sequence[int] = (12, 24, 48, 96)) -> UNetPlusPlus:
    """Build a UNet++ (Zhou et al. 2018, arXiv:1807.10165), in 3D.

    As there: nested dense bridges, and deep supervision, whose branches are averaged in use (logits here, the paper's
    probabilities there). Otherwise than there: 3D, padded transposed convolutions without a bias, norms, leaky activations.
    At the paper's widths, (32, 64, 128, 256, 512), in 2D it has the paper's 9.04 million parameters; at the default ones in
    3D 900 063.

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
    return UNetPlusPlus(in_channels, check_widths("unetpp", features))
