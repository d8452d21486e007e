"""Train a segmentation network: seeded, watched on held-back nodules, stopped early, and resumed where it was cut off."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tensorboardX import SummaryWriter

from lungpipe.deep.device import device_of, laid_out, precision, settle
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Patch = tuple[NDArray[np.float32], NDArray[np.float32]]

#: Share of the steps in which the learning rate rises, and what is left of it at the end.
WARM_UP, LAST_SHARE = 0.03, 0.01
#: Largest norm of a step's gradients.
CLIP = 5.0
CHECKPOINT, HISTORY = "checkpoint.pt", "history.json"


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
        return max(self.epochs, key=lambda one: one.dice)


def train(
    network: Any,
    draw: Callable[[np.random.Generator], Patch],
    held: Sequence[Patch],
    settings: Training,
    folder: Path,
    tell: Callable[[Epoch], None] | None = None,
) -> Trained:
    """Train a network.

    What is random in an epoch depends on the seed and the epoch's number alone, so that a training that was cut off and goes
    on ends with the weights of one that was not.

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

    Raises
    ------
    DatasetError
        If nothing is held back, the checkpoint is of other settings, or the loss is no number.
    """
    if not held:
        raise DatasetError("training needs held-back nodules to choose the best epoch by, found none")
    settle()
    device = device_of(settings.device)
    run = _Run(laid_out(network.to(device)), settings, device)
    folder.mkdir(parents=True, exist_ok=True)
    run.resume(folder / CHECKPOINT)
    with _log(folder) as log:
        while not run.over:
            epoch = run.epoch(draw, held)
            run.keep(folder)
            log(epoch)
            if tell is not None:
                tell(epoch)
    return Trained(run.best, tuple(run.epochs))


class _Run:
    """A network, its optimiser, and how far they have come."""

    def __init__(self, network: Any, settings: Training, device: Any) -> None:
        from lungpipe.deep.losses import loss

        self.network, self.settings, self.device = network, settings, device
        self.loss = loss(settings.loss, settings.loss_parameters)
        parameters = [*network.parameters()]
        if isinstance(self.loss, torch.nn.Module):
            parameters += [*self.loss.to(device).parameters()]
        self.optimiser = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
        self.epochs: list[Epoch] = []
        self.best: dict[str, Any] = {}

    @property
    def over(self) -> bool:
        done = len(self.epochs)
        if done >= self.settings.epochs:
            return True
        return done > 0 and done - 1 - int(np.argmax([one.dice for one in self.epochs])) >= self.settings.patience

    def epoch(self, draw: Callable[[np.random.Generator], Patch], held: Sequence[Patch]) -> Epoch:
        number = len(self.epochs)
        rng = np.random.default_rng([self.settings.seed, number])
        torch.manual_seed(int(rng.integers(2**31)))
        self.network.train()
        total = 0.0
        for step, patches in enumerate(self._batches(draw, rng)):
            self._set_rate(number * self.settings.steps + step)
            x, y = self._stacked(patches)
            with precision(self.device, self.settings.precision):
                value = self._loss(x, y)
            if not torch.isfinite(value):
                raise DatasetError(
                    f"training: the loss became {value.item()} in epoch {number + 1}; lower training.learning_rate "
                    f"({self.settings.learning_rate:g})"
                )
            self.optimiser.zero_grad(set_to_none=True)
            value.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
            self.optimiser.step()
            total += float(value.detach())
        found = Epoch(number + 1, total / self.settings.steps, self.dice(held), self.optimiser.param_groups[0]["lr"])
        if not self.epochs or found.dice > max(one.dice for one in self.epochs):
            self.best = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        self.epochs.append(found)
        return found

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
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * share

    def keep(self, folder: Path) -> None:
        """Write a checkpoint and the history, each as a whole or not at all."""
        state = {
            "settings": json.dumps(asdict(self.settings), sort_keys=True),
            "network": self.network.state_dict(),
            "loss": self.loss.state_dict() if isinstance(self.loss, torch.nn.Module) else {},
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
            "epochs": [asdict(one) for one in self.epochs],
        }
        beside = folder / f".{CHECKPOINT}.part"
        torch.save(state, beside)
        beside.replace(folder / CHECKPOINT)
        (folder / HISTORY).write_text(json.dumps([asdict(one) for one in self.epochs], indent=1))

    def resume(self, path: Path) -> None:
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["settings"] != json.dumps(asdict(self.settings), sort_keys=True):
            raise DatasetError(
                f"{path} is of a training with other settings; give another folder, or remove it to start anew"
            )
        self.network.load_state_dict(state["network"])
        if isinstance(self.loss, torch.nn.Module):
            self.loss.load_state_dict(state["loss"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best = state["best"]
        self.epochs = [Epoch(**one) for one in state["epochs"]]


@contextmanager
def _log(folder: Path) -> Iterator[Callable[[Epoch], None]]:
    """TensorBoard's log of a training."""
    writer = SummaryWriter(str(folder / "log"))

    def add(epoch: Epoch) -> None:
        for name in ("loss", "dice", "learning_rate"):
            writer.add_scalar(name, getattr(epoch, name), epoch.number)
        writer.flush()

    try:
        yield add
    finally:
        writer.close()
