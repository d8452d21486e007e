"""Fine-tune a network from its last layers to its first.

What the last layers learned is of the old task, what the first learned is of images in general. So the last are trained first
and the others join one group after another, each at a lower rate than the one behind it (Howard and Ruder 2018,
arXiv:1801.06146, there for language models).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Unfreezing:
    """When each group of layers joins, and how fast it learns.

    Parameters
    ----------
    epochs_each : int
        Epochs after which the next group joins, one or more.
    ratio : float
        Learning rate of a group over that of the one before it, 1 or more; 2.6 is the paper's.

    Raises
    ------
    DatasetError
        If a number makes no sense.
    """

    epochs_each: int = 2
    ratio: float = 2.6

    def __post_init__(self) -> None:
        if self.epochs_each < 1 or self.ratio < 1:
            raise DatasetError(
                f"unfreezing has epochs_each and ratio of 1 or more, found {self.epochs_each} and {self.ratio:g}"
            )

    def trainable_at(self, epoch: int, groups: int) -> range:
        """Which groups are trained in an epoch.

        Parameters
        ----------
        epoch : int
            From 0.
        groups : int
            How many there are, the first layers' first.
        """
        return range(max(0, groups - 1 - epoch // self.epochs_each), groups)

    def rate_share(self, group: int, groups: int) -> float:
        """Learning rate of a group as a share of the last group's."""
        return float(self.ratio ** (group - (groups - 1)))


def layers_of(network: Any, patch: Any) -> list[tuple[str, Any]]:
    """Modules that hold weights themselves, with their names, in the order in which a patch passes them.

    Parameters
    ----------
    network : torch.nn.Module
    patch : Tensor, shape (n, channels, z, y, x)
        Passed through once, without a gradient, as in use.

    Returns
    -------
    list of (str, torch.nn.Module)
        By the first passing. Those that the patch does not pass, such as what is there for training alone, are left out.
    """
    own = {
        name: module for name, module in network.named_modules() if any(True for _ in module.parameters(recurse=False))
    }
    passed: dict[str, Any] = {}

    def note(name: str) -> Callable[[Any, Any], None]:
        def hook(module: Any, _: Any) -> None:
            passed.setdefault(name, module)

        return hook

    hooks = [module.register_forward_pre_hook(note(name)) for name, module in own.items()]
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(patch)
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return list(passed.items())


def groups_of(network: Any, patch: Any, count: int = 4) -> list[list[Any]]:
    """Weights of a network in groups, from the first layers to the last.

    Parameters
    ----------
    network : torch.nn.Module
    patch : Tensor, shape (n, channels, z, y, x)
        See :func:`layers_of`.
    count : int
        How many groups. The last holds the last layer alone, and what a patch does not pass; the others as many layers each
        as another, within one.

    Returns
    -------
    list of list of Parameter
        Every weight is in one group.

    Raises
    ------
    DatasetError
        If there are fewer layers than groups, or fewer than two groups.
    """
    layers = [module for _, module in layers_of(network, patch)]
    if not 2 <= count <= len(layers):
        raise DatasetError(
            f"a network of {len(layers)} layers with weights is unfrozen in 2 to {len(layers)} groups, found {count}"
        )
    parts = [*np.array_split(np.arange(len(layers) - 1), count - 1), np.array([len(layers) - 1])]
    seen: set[int] = set()
    groups: list[list[Any]] = []
    for part in parts:
        group = [one for k in part for one in layers[k].parameters(recurse=False) if id(one) not in seen]
        seen.update(id(one) for one in group)
        groups.append(group)
    groups[-1] += [one for one in network.parameters() if id(one) not in seen]
    return groups


def parameter_groups(groups: Sequence[Sequence[Any]], learning_rate: float, plan: Unfreezing) -> list[dict[str, Any]]:
    """Groups as an optimiser takes them, each with its learning rate.

    Each also says ``rate_share``, by which a schedule multiplies what it sets for all of them.
    """
    shares = [plan.rate_share(k, len(groups)) for k in range(len(groups))]
    return [
        {"params": list(group), "lr": learning_rate * share, "rate_share": share}
        for group, share in zip(groups, shares, strict=True)
    ]


def freeze(groups: Sequence[Sequence[Any]], trained: range) -> None:
    """Let the weights of some groups learn and hold the others, as :meth:`Unfreezing.trainable_at` says.

    A held weight keeps no gradient, so that an optimiser leaves it as it is, its decay too.
    """
    for number, group in enumerate(groups):
        for weight in group:
            weight.requires_grad_(number in trained)
            if number not in trained:
                weight.grad = None
