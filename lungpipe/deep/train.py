"""Train a segmentation network: seeded, watched on held-back nodules, stopped early, and resumed where it was cut off."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lungpipe.deep.device import device_of, laid_out, precision, settle
from lungpipe.deep.epochs import best_of, course, descend
from lungpipe.deep.unfreeze import Unfreezing, freeze, groups_of, parameter_groups
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Patch = tuple[NDArray[np.float32], NDArray[np.float32]]

#: Share of the steps in which the learning rate rises, and what is left of it at the end.
WARM_UP, LAST_SHARE = 0.03, 0.01


@dataclass(frozen=True, slots=True)
class Training:
    """How a network is trained.

    Parameters
    ----------
    epochs, steps : int
        Epochs at most, and steps of each.
    batch : int
        Patches a step.
    learning_rate, weight_decay : float
        Of AdamW; the rate rises, then falls as a cosine.
    loss : str
        One of :mod:`lungpipe.deep.losses`.
    loss_parameters : mapping
    patience : int
        Epochs without a better Dice on the held-back nodules after which training ends.
    seed : int
        Of the weights, the patches and their order.
    unfreeze_epochs : int
        To fine-tune: the last layer learns first, and after so many epochs each another group of layers joins it, more slowly
        (:mod:`lungpipe.deep.unfreeze`). 0 lets all layers learn from the beginning.
    unfreeze_groups : int
        Groups of layers.
    unfreeze_ratio : float
        Learning rate of a group over that of the one before it.
    device, precision : str
        See :mod:`lungpipe.deep.device`.

    Raises
    ------
    DatasetError
        If a number makes no sense.
    """

    epochs: int = 40
    steps: int = 100
    batch: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    loss: str = "dice_ce"
    loss_parameters: Mapping[str, Any] = field(default_factory=dict)
    patience: int = 10
    seed: int = 0
    unfreeze_epochs: int = 0
    unfreeze_groups: int = 4
    unfreeze_ratio: float = 2.6
    device: str = "cpu"
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "batch", "patience"):
            if getattr(self, name) < 1:
                raise DatasetError(f"training.{name} is 1 or more, found {getattr(self, name)}")
        if not (0 < self.learning_rate < 1 and 0 <= self.weight_decay < 1):
            raise DatasetError(
                f"training.learning_rate lies between 0 and 1 and weight_decay from 0 on, found {self.learning_rate:g} and "
                f"{self.weight_decay:g}"
            )
        if self.unfreeze_epochs:
            Unfreezing(self.unfreeze_epochs, self.unfreeze_ratio)


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch came to: mean loss, mean Dice on the held-back patches, and the learning rate at its end."""

    number: int
    loss: float
    dice: float
    learning_rate: float


@dataclass(frozen=True, eq=False, slots=True)
class Trained:
    """The weights of the best epoch, and every epoch."""

    tensors: dict[str, Any]
    epochs: tuple[Epoch, ...]

    @property
    def best(self) -> Epoch:
        """The first epoch of the highest Dice."""
        return best_of(self.epochs, _dice)


def _dice(epoch: Epoch) -> float:
    return epoch.dice


def train(
    network: Any,
    draw: Callable[[np.random.Generator], Patch],
    held: Sequence[Patch],
    settings: Training,
    folder: Path,
    tell: Callable[[Epoch], None] | None = None,
    *,
    of: str = "",
) -> Trained:
    """Train a network; see :func:`lungpipe.deep.epochs.course`.

    Parameters
    ----------
    network : torch.nn.Module
        (n, 2, z, y, x) -> logits (n, 1, z, y, x); one with a method ``training_loss(x, y, loss)`` says its own.
    draw : callable
        Random numbers -> channels (2, z, y, x) and target (1, z, y, x).
    held : sequence
        Patches to choose the best epoch by; none of a patient that is learned from.
    settings : Training
    folder : Path
        For the checkpoint, the history and TensorBoard's log. A checkpoint in it is gone on from.
    tell : callable, optional
        Called after every epoch.
    of : str
        What the training depends on beside the settings, as text: a checkpoint of something else is refused.

    Raises
    ------
    DatasetError
        If nothing is held back, the checkpoint is of another training, or the loss is no number.
    """
    if not held:
        raise DatasetError("training needs held-back nodules to choose the best epoch by, found none")
    settle()
    device = device_of(settings.device)
    run = _Run(laid_out(network.to(device)), settings, device, held[0][0])
    best, epochs = course(
        run.parts,
        lambda number: run.epoch(number, draw, held),
        Epoch,
        value=_dice,
        most=settings.epochs,
        patience=settings.patience,
        folder=folder,
        made_by=[asdict(settings), of],
        tell=tell,
    )
    return Trained(best, epochs)


class _Run:
    """A network, its loss and its optimiser."""

    def __init__(self, network: Any, settings: Training, device: Any, patch: NDArray[np.float32]) -> None:
        from lungpipe.deep.losses import loss

        self.network, self.settings, self.device = network, settings, device
        self.loss = loss(settings.loss, settings.loss_parameters)
        self.plan = Unfreezing(max(1, settings.unfreeze_epochs), settings.unfreeze_ratio)
        self.frozen: list[list[Any]] = []
        groups: list[dict[str, Any]] = [{"params": [*network.parameters()]}]
        if settings.unfreeze_epochs:
            self.frozen = groups_of(network, torch.from_numpy(patch)[None].to(device), settings.unfreeze_groups)
            groups = parameter_groups(self.frozen, settings.learning_rate, self.plan)
        if isinstance(self.loss, torch.nn.Module) and (own := [*self.loss.to(device).parameters()]):
            groups.append({"params": own})
        self.optimiser = torch.optim.AdamW(groups, settings.learning_rate, weight_decay=settings.weight_decay)
        self.rate = settings.learning_rate
        self.parts: dict[str, Any] = {"network": network, "optimiser": self.optimiser}
        if isinstance(self.loss, torch.nn.Module):
            self.parts["loss"] = self.loss

    def epoch(self, number: int, draw: Callable[[np.random.Generator], Patch], held: Sequence[Patch]) -> Epoch:
        rng = np.random.default_rng([self.settings.seed, number])
        torch.manual_seed(int(rng.integers(2**31)))
        self.network.train()
        freeze(self.frozen, self.plan.trainable_at(number, len(self.frozen)))
        total = 0.0
        for step, patches in enumerate(self._batches(draw, rng)):
            self._set_rate(number * self.settings.steps + step)
            x, y = self._stacked(patches)
            with precision(self.device, self.settings.precision):
                value = self._loss(x, y)
            total += descend(value, self.network, self.optimiser, number)
        return Epoch(number + 1, total / self.settings.steps, self.dice(held), self.rate)

    def _batches(
        self, draw: Callable[[np.random.Generator], Patch], rng: np.random.Generator
    ) -> Iterator[Sequence[Patch]]:
        """An epoch's patches; the next batch is drawn in a thread of its own while one is learned from."""

        def batch() -> list[Patch]:
            return [draw(rng) for _ in range(self.settings.batch)]

        with ThreadPoolExecutor(1) as drawing:
            coming = drawing.submit(batch)
            for left in reversed(range(self.settings.steps)):
                patches = coming.result()
                if left:
                    coming = drawing.submit(batch)
                yield patches

    def _loss(self, x: Any, y: Any) -> Any:
        own = getattr(self.network, "training_loss", None)
        return own(x, y, self.loss) if own is not None else self.loss(self.network(x), y)

    def dice(self, held: Sequence[Patch]) -> float:
        """Mean Dice over held-back patches, both sides cut at one half."""
        self.network.eval()
        found = []
        with torch.inference_mode(), precision(self.device, self.settings.precision):
            for start in range(0, len(held), self.settings.batch):
                x, y = self._stacked(held[start : start + self.settings.batch])
                inside, true = self.network(x)[:, 0] > 0, y[:, 0] >= 0.5
                both = (inside & true).sum((1, 2, 3)).double()
                found += (2 * both / (inside.sum((1, 2, 3)) + true.sum((1, 2, 3))).clamp(min=1)).tolist()
        return float(np.mean(found))

    def _stacked(self, patches: Sequence[Patch]) -> tuple[Any, Any]:
        x, y = (np.stack(part) for part in zip(*patches, strict=True))
        channels_last = torch.channels_last_3d
        return torch.from_numpy(x).to(self.device, memory_format=channels_last), torch.from_numpy(y).to(self.device)

    def _set_rate(self, step: int) -> None:
        steps = self.settings.epochs * self.settings.steps
        warm = max(1, round(WARM_UP * steps))
        if step < warm:
            share = (step + 1) / warm
        else:
            share = LAST_SHARE + (1 - LAST_SHARE) * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2
        self.rate = self.settings.learning_rate * share
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * group.get("rate_share", 1.0)
