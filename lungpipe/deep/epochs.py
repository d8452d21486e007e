"""The course of a training: epoch after epoch, the best one kept, stopped early, and gone on with where it was cut off."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from tensorboardX import SummaryWriter

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from dataclasses import Field
    from pathlib import Path
    from typing import ClassVar

CHECKPOINT, HISTORY = "checkpoint.pt", "history.json"
#: Largest norm of a step's gradients.
CLIP = 5.0


class Epoch(Protocol):
    """A data class of what an epoch came to: its number, from 1, and figures."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def number(self) -> int:
        """From 1."""
        ...


E = TypeVar("E", bound=Epoch)


def best_of(epochs: Sequence[E], value: Callable[[E], float]) -> E:
    """The first epoch of the highest value."""
    return max(epochs, key=value)


def course(
    parts: Mapping[str, Any],
    epoch: Callable[[int], E],
    kind: type[E],
    *,
    value: Callable[[E], float],
    most: int,
    patience: int,
    settled: float = 0.0,
    folder: Path,
    made_by: Sequence[Any],
    tell: Callable[[E], None] | None = None,
) -> tuple[dict[str, Any], tuple[E, ...]]:
    """Train until it is over.

    Parameters
    ----------
    parts : mapping of str to module or optimiser
        What an epoch changes, all with ``state_dict``; one of them is the ``network``.
    epoch : callable
        Number from 0 -> what came of it. What is random in it depends on the number and the settings alone, so that a training
        that was cut off and goes on ends with the weights of one that was not.
    kind : type
        Of what it returns.
    value : callable
        The higher the better; an epoch is the best if its value is higher than that of all before.
    most : int
        Epochs at most, one or more.
    patience : int
        Epochs without a better one after which it is over.
    settled : float
        Epochs from whose end on patience is counted at the earliest.
    folder : Path
        For the checkpoint, the history as JSON and TensorBoard's log. A checkpoint in it is gone on from.
    made_by : sequence
        JSON values: all that the training depends on.
    tell : callable, optional
        Called after every epoch.

    Returns
    -------
    dict of str to Tensor
        The network's weights after the best epoch.
    tuple
        All epochs.

    Raises
    ------
    DatasetError
        If the checkpoint is of a training that depends on other things.
    """
    folder.mkdir(parents=True, exist_ok=True)
    depends = json.dumps(made_by, sort_keys=True)
    state = _read(folder, depends, next(parts["network"].parameters()).device)
    epochs: list[E] = [kind(**one) for one in state.get("epochs", ())]
    best: dict[str, Any] = state.get("best", {})
    for name, part in parts.items() if state else ():
        part.load_state_dict(state[name])
    with _log_in(folder) as log:
        while not _over(epochs, value, most, patience, settled):
            epochs.append(epoch(len(epochs)))
            if best_of(epochs, value) is epochs[-1]:
                best = {name: tensor.detach().cpu().clone() for name, tensor in parts["network"].state_dict().items()}
            values = {name: part.state_dict() for name, part in parts.items()}
            _write(folder, {**values, "best": best, "made_by": depends}, [asdict(one) for one in epochs])
            log(epochs[-1])
            if tell is not None:
                tell(epochs[-1])
    return best, tuple(epochs)


def _over(epochs: Sequence[E], value: Callable[[E], float], most: int, patience: int, settled: float) -> bool:
    if not epochs or len(epochs) >= most:
        return bool(epochs)
    return len(epochs) - max(best_of(epochs, value).number, settled) >= patience


def descend(loss: Any, network: Any, optimiser: Any, number: int) -> float:
    """Take one step, its gradients no longer than :data:`CLIP`.

    Parameters
    ----------
    loss : Tensor
    network : torch.nn.Module
    optimiser : torch.optim.Optimizer
    number : int
        Of the epoch, from 0.

    Returns
    -------
    float
        The loss.

    Raises
    ------
    DatasetError
        If the loss is no number.
    """
    if not torch.isfinite(loss):
        raise DatasetError(
            f"training: the loss became {loss.item()} in epoch {number + 1}; lower training.learning_rate"
        )
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    optimiser.step()
    return float(loss.detach())


def _write(folder: Path, state: Mapping[str, Any], epochs: list[dict[str, Any]]) -> None:
    """Write checkpoint and history, each as a whole or not at all."""
    beside = folder / f".{CHECKPOINT}.part"
    torch.save({**state, "epochs": epochs}, beside)
    beside.replace(folder / CHECKPOINT)
    beside = folder / f".{HISTORY}.part"
    beside.write_text(json.dumps(epochs, indent=1))
    beside.replace(folder / HISTORY)


def _read(folder: Path, depends: str, device: Any) -> dict[str, Any]:
    """What was written; nothing where there is no checkpoint."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return {}
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if state.get("made_by") != depends:
        raise DatasetError(
            f"{path} is of a training with other settings; give another folder, or remove it to start anew"
        )
    return state


@contextmanager
def _log_in(folder: Path) -> Iterator[Callable[[Epoch], None]]:
    """TensorBoard's log of a training."""
    writer = SummaryWriter(str(folder / "log"))

    def add(epoch: Epoch) -> None:
        for name, figure in asdict(epoch).items():
            if name != "number":
                writer.add_scalar(name, figure, epoch.number)
        writer.flush()

    try:
        yield add
    finally:
        writer.close()
