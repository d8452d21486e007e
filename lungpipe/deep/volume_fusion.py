"""Learn from images without masks: say of every voxel in which shares two images were mixed there.

Volume Fusion (Wang et al. 2023, arXiv:2306.16925): blocks of one image are blended into another, each with one of a few
shares, and the network names the share of every voxel. That is a segmentation, so that encoder and decoder both learn and all
but the last layer is a start for a segmenter of the same architecture. Number and sides of the blocks are ours, in shares of
the patch's sides, so that they suit any patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.losses import DiceCELoss

from lungpipe.deep.device import settle
from lungpipe.deep.unfreeze import layers_of
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: How many blocks are blended in, and their sides in shares of the patch's.
BLOCKS, SIDES = (4, 16), (0.15, 0.5)
#: Steps of one block's share: 0, 1/4, ... 1.
LEVELS = 4


@dataclass(frozen=True, eq=False, slots=True)
class Pretrained:
    """What a network learned of images alone.

    Parameters
    ----------
    tensors : dict of str to Tensor
        Its weights but the last layer's.
    head : str
        Name of the last layer, as :func:`lungpipe.deep.weights.load_into` takes it in ``without``.
    cross_entropy : tuple of float
        Of the shares' classes, mean over voxels, at every step.
    chance : tuple of float
        What naming every class as often as it occurs would have at that step.
    """

    tensors: dict[str, Any]
    head: str
    cross_entropy: tuple[float, ...]
    chance: tuple[float, ...]


def fuse(
    a: NDArray[np.float32], b: NDArray[np.float32], levels: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Blend blocks of one image into another.

    Parameters
    ----------
    a, b : ndarray of float32, shape (z, y, x)
        What is blended in, and what it is blended into.
    levels : int
        A block's share of ``a`` is one of 1/levels, 2/levels, ... 1.
    rng : numpy.random.Generator

    Returns
    -------
    image : ndarray of float32, shape (z, y, x)
        ``target / levels`` of ``a`` and the rest of ``b``.
    target : ndarray of int64, shape (z, y, x)
        From 0 outside of every block to ``levels``. Where blocks overlap the later counts.

    Raises
    ------
    DatasetError
        If the shapes differ or there is no level.
    """
    if a.shape != b.shape or levels < 1:
        raise DatasetError(
            f"images of one shape are fused in 1 or more levels, found {a.shape}, {b.shape} and {levels} levels"
        )
    target = np.zeros(a.shape, dtype=np.int64)
    for _ in range(int(rng.integers(BLOCKS[0], BLOCKS[1] + 1))):
        sides = [max(1, round(float(rng.uniform(*SIDES)) * size)) for size in a.shape]
        starts = [int(rng.integers(size - side + 1)) for size, side in zip(a.shape, sides, strict=True)]
        block = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
        target[block] = rng.integers(1, levels + 1)
    share = (target / levels).astype(np.float32)
    return share * a + (1 - share) * b, target


def pretrain(
    network: Any,
    patches: Sequence[NDArray[np.float32]],
    steps: int,
    seed: int,
    *,
    in_channels: int = 2,
    levels: int = LEVELS,
    batch: int = 4,
    learning_rate: float = 2e-3,
) -> Pretrained:
    """Train a segmentation network on images alone; it is changed, its last layer replaced.

    Parameters
    ----------
    network : torch.nn.Module
        (n, in_channels, z, y, x) -> (n, 1, z, y, x), whose last layer is a convolution of one channel out; on its device.
    patches : sequence of ndarray of float32, shape (z, y, x)
        Images as in the network's first channel, two or more, of one shape. The other channels, the prompt's, are 0.
    steps : int
    seed : int
        Of pairs, blocks and the last layer's weights.
    in_channels : int
        Of the network.
    levels : int
        See :func:`fuse`.
    batch : int
        Fused patches a step.
    learning_rate : float
        Of Adam; it falls as a cosine.

    Raises
    ------
    DatasetError
        If there are fewer than two patches or of several shapes, no step, or the network ends otherwise.
    """
    if len(patches) < 2 or len({one.shape for one in patches}) > 1 or steps < 1:
        raise DatasetError(
            f"volume fusion takes two or more patches of one shape and a step or more, found {len(patches)} patches of shapes "
            f"{sorted({one.shape for one in patches})} and {steps} steps"
        )
    settle()
    rng = np.random.default_rng(seed)
    torch.manual_seed(int(rng.integers(2**31)))
    device = next(network.parameters()).device
    head = _with_classes(network, torch.zeros(1, in_channels, *patches[0].shape, device=device), levels + 1)
    rule = DiceCELoss(softmax=True, to_onehot_y=True)
    optimiser = torch.optim.Adam(network.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    network.train()
    reached, chance = [], []
    for _ in range(steps):
        x, y = (part.to(device) for part in _fused(patches, batch, in_channels, levels, rng))
        logits = network(x)
        value = rule(logits, y)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        schedule.step()
        reached.append(float(rule.ce(logits.detach(), y)))
        share = torch.bincount(y.flatten(), minlength=levels + 1) / y.numel()
        chance.append(float(torch.special.entr(share).sum()))
    tensors = {name: one.detach().clone() for name, one in network.state_dict().items() if not name.startswith(head)}
    return Pretrained(tensors, head, tuple(reached), tuple(chance))


def _fused(
    patches: Sequence[NDArray[np.float32]], batch: int, in_channels: int, levels: int, rng: np.random.Generator
) -> tuple[Any, Any]:
    x = np.zeros((batch, in_channels, *patches[0].shape), dtype=np.float32)
    y = np.zeros((batch, 1, *patches[0].shape), dtype=np.int64)
    for number in range(batch):
        a, b = rng.choice(len(patches), 2, replace=False)
        x[number, 0], y[number, 0] = fuse(patches[a], patches[b], levels, rng)
    return torch.from_numpy(x), torch.from_numpy(y)


def _with_classes(network: Any, patch: Any, classes: int) -> str:
    """Replace a network's last layer by one of so many classes, and say its name with a dot behind."""
    name, last = layers_of(network, patch)[-1]
    if not isinstance(last, (torch.nn.Conv2d, torch.nn.Conv3d)) or last.out_channels != 1:
        raise DatasetError(
            f"volume fusion replaces a last layer that is a convolution of one channel out; {type(network).__name__} ends with "
            f"{type(last).__name__} {name!r}"
        )
    holder, _, own = name.rpartition(".")
    new = type(last)(last.in_channels, classes, last.kernel_size, padding=last.padding, bias=last.bias is not None)
    setattr(network.get_submodule(holder) if holder else network, own, new.to(patch.device))
    return f"{name}."
