"""Train a classifier of nodules: seeded, watched on held-back patients, stopped early, and resumed where it was cut off."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from lungpipe.deep.device import device_of, settle
from lungpipe.deep.epochs import best_of, course, descend
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

#: In training the scaled HU of a cube move together by up to this, and each by noise of this deviation.
SHIFT, NOISE = 0.03, 0.02


@dataclass(frozen=True, slots=True)
class ClassifierTraining:
    """How a classifier is trained.

    Parameters
    ----------
    epochs : int
        At most.
    batch : int
        Nodules a step.
    learning_rate, weight_decay : float
        Of AdamW.
    head_epochs : int
        Epochs in which the encoder is held and what is new behind it learns alone; 0 where it begins from nothing.
    patience : int
        Epochs without a better likelihood on the held-back nodules after which training ends.
    seed : int
        Of the weights, the order of the nodules and how they are shown.
    device : str
        See :mod:`lungpipe.deep.device`.

    Raises
    ------
    DatasetError
        If a number makes no sense.
    """

    epochs: int = 40
    batch: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    head_epochs: int = 3
    patience: int = 10
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.patience) < 1 or self.head_epochs < 0:
            raise DatasetError("training.epochs, batch and patience are 1 or more, head_epochs 0 or more")
        if not (0 < self.learning_rate < 1 and 0 <= self.weight_decay < 1):
            raise DatasetError("training.learning_rate lies between 0 and 1, weight_decay from 0 on")


@dataclass(frozen=True, slots=True)
class ClassifierEpoch:
    """What an epoch came to.

    Parameters
    ----------
    number : int
        From 1.
    loss : float
        Mean of what was minimised.
    log_loss, auc : float
        On the held-back nodules, classes weighing the same.
    """

    number: int
    loss: float
    log_loss: float
    auc: float


@dataclass(frozen=True, eq=False, slots=True)
class ClassifierTrained:
    """Weights of the best epoch, that epoch, and all of them."""

    tensors: dict[str, Any]
    best: ClassifierEpoch
    epochs: tuple[ClassifierEpoch, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Labelled:
    """Nodules with labels.

    Parameters
    ----------
    cubes : ndarray of float32, shape (n, 2, z, y, x)
        Scaled HU and prompt.
    malignant : ndarray of int, shape (n,)
        0 or 1.
    """

    cubes: NDArray[np.float32]
    malignant: NDArray[np.int64]


def train_classifier(
    network: Any,
    learned: Labelled,
    held: Labelled,
    settings: ClassifierTraining,
    folder: Path,
    tell: Callable[[ClassifierEpoch], None] | None = None,
    *,
    of: str = "",
) -> ClassifierTrained:
    """Train a classifier; see :func:`lungpipe.deep.epochs.course`.

    What is minimised is the cross-entropy with both classes weighing the same. Nodules are shown reflected and turned by
    quarters in the axial plane, their HU moved a little.

    Parameters
    ----------
    network : NoduleClassifier
    learned, held : Labelled
        To learn from, and to choose the best epoch by: of other patients.
    settings : ClassifierTraining
    folder : Path
        For the checkpoint, the history and TensorBoard's log. A checkpoint in it is gone on from.
    tell : callable, optional
        Called after every epoch.
    of : str
        What the training depends on beside the settings, as text.

    Raises
    ------
    DatasetError
        If a side lacks a class, the checkpoint is of another training, or the loss is no number.
    """
    for what, side in (("learned from", learned), ("held back", held)):
        if len(counts := np.bincount(side.malignant, minlength=2)) > 2 or not counts.all():
            raise DatasetError(
                f"of the nodules {what} {counts[0]} are benign and {counts[1]} malignant; a classifier needs both"
            )
    settle()
    device = device_of(settings.device)
    network.to(device)
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    weight = _balance(learned.malignant)

    def epoch(number: int) -> ClassifierEpoch:
        rng = np.random.default_rng([settings.seed, number])
        torch.manual_seed(int(rng.integers(2**31)))
        network.train()
        network.encoder.requires_grad_(number >= settings.head_epochs)
        losses = []
        for part in np.array_split(rng.permutation(len(learned.cubes)), -(-len(learned.cubes) // settings.batch)):
            x = torch.from_numpy(np.stack([shown(learned.cubes[k], rng) for k in part])).to(device)
            y = torch.from_numpy(learned.malignant[part]).to(device).float()
            losses.append(descend(_cross_entropy(network(x), y, weight), network, optimiser, number))
        return ClassifierEpoch(number + 1, float(np.mean(losses)), *_on_held(network, held, settings.batch, device))

    best, epochs = course(
        {"network": network, "optimiser": optimiser},
        epoch,
        ClassifierEpoch,
        value=_worth,
        most=settings.epochs,
        patience=settings.patience,
        settled=settings.head_epochs,
        folder=folder,
        made_by=[asdict(settings), of],
        tell=tell,
    )
    return ClassifierTrained(best, best_of(epochs, _worth), epochs)


def shown(cube: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A cube (2, z, y, x) as a training sees it: reflected, turned in the axial plane, its HU moved."""
    axes = tuple(axis for axis in (1, 2, 3) if rng.random() < 0.5)
    turned = np.flip(np.rot90(cube, int(rng.integers(4)), axes=(2, 3)), axes).copy()
    turned[0] += np.float32(rng.uniform(-SHIFT, SHIFT)) + NOISE * rng.standard_normal(turned[0].shape, dtype=np.float32)
    return np.asarray(turned, dtype=np.float32)


def _balance(malignant: NDArray[np.int64]) -> float:
    """Weight of a malignant nodule over that of a benign one."""
    return float((malignant == 0).sum() / (malignant == 1).sum())


def _cross_entropy(log_odds: Any, y: Any, weight: float) -> Any:
    w = torch.where(y > 0.5, weight, 1.0)
    return torch.nn.functional.binary_cross_entropy_with_logits(log_odds, y, w, reduction="sum") / w.sum()


def _on_held(network: Any, held: Labelled, batch: int, device: Any) -> tuple[float, float]:
    """Cross-entropy and AUC on the held-back nodules."""
    network.eval()
    with torch.inference_mode():
        found = torch.cat([network(part.to(device)).cpu() for part in torch.from_numpy(held.cubes).split(batch)])
    y = torch.from_numpy(held.malignant).float()
    entropy = float(_cross_entropy(found, y, _balance(held.malignant)))
    return entropy, float(roc_auc_score(held.malignant, found.numpy()))


def _worth(epoch: ClassifierEpoch) -> float:
    """The lower the cross-entropy on the held-back nodules the better."""
    return -epoch.log_loss
