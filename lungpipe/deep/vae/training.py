"""Train an autoencoder: seeded, watched on held-back patients, stopped early, and resumed where it was cut off."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lungpipe.deep.device import device_of, settle
from lungpipe.deep.epochs import best_of, course, descend
from lungpipe.deep.vae.losses import Reconstruction, bound
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class VaeTraining:
    """How an autoencoder is trained.

    Parameters
    ----------
    epochs : int
        At most.
    batch : int
        Images a step.
    learning_rate, weight_decay : float
        Of AdamW.
    noise : float
        Weight of the divergence; see :func:`lungpipe.deep.vae.losses.bound`.
    structure : float
        Share of the structural dissimilarity in the error, 0 to 1.
    warm_up : float
        Share of the epochs over which the divergence's weight rises from 0 (Soenderby et al. 2016, arXiv:1602.02282): latents
        that tell little at first would be given up otherwise.
    patience : int
        Epochs after the warm-up without a better bound on the held-back images after which training ends.
    seed : int
        Of the weights, the order of the images, their reflections and the draws.
    device : str
        See :mod:`lungpipe.deep.device`.

    Raises
    ------
    DatasetError
        If a number makes no sense.
    """

    epochs: int = 60
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    noise: float = 0.05
    structure: float = 0.15
    warm_up: float = 0.25
    patience: int = 15
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.patience) < 1:
            raise DatasetError("training.epochs, batch and patience are 1 or more")
        if not (0 < self.learning_rate < 1 and 0 <= self.weight_decay < 1 and self.noise > 0):
            raise DatasetError("training.learning_rate lies between 0 and 1, weight_decay from 0 on, and noise above 0")
        if not (0 <= self.structure <= 1 and 0 <= self.warm_up <= 1):
            raise DatasetError("training.structure and warm_up lie from 0 to 1")


@dataclass(frozen=True, slots=True)
class VaeEpoch:
    """What an epoch came to.

    Parameters
    ----------
    number : int
        From 1.
    loss : float
        Mean of what was minimised.
    bound : float
        On the held-back images, at the divergence's full weight.
    error : float
        Mean absolute difference on the held-back images, 0 to 1.
    divergence : float
        Mean on the held-back images, nats.
    """

    number: int
    loss: float
    bound: float
    error: float
    divergence: float


@dataclass(frozen=True, eq=False, slots=True)
class VaeTrained:
    """Weights of the best epoch, that epoch, and all of them."""

    tensors: dict[str, Any]
    best: VaeEpoch
    epochs: tuple[VaeEpoch, ...]


def train_vae(
    network: Any,
    learned: NDArray[np.float32],
    held: NDArray[np.float32],
    settings: VaeTraining,
    folder: Path,
    tell: Callable[[VaeEpoch], None] | None = None,
    *,
    of: str = "",
) -> VaeTrained:
    """Train an autoencoder; see :func:`lungpipe.deep.epochs.course`.

    Images are shown reflected along each axis at random: no latent then is spent on which way round a nodule lies.

    Parameters
    ----------
    network : LesionVae
        Its weights are where training starts.
    learned, held : ndarray of float32, shape (n, y, x) or (n, z, y, x)
        Images from 0 to 1 to learn from, and to choose the best epoch by: of other patients.
    settings : VaeTraining
    folder : Path
        For the checkpoint, the history and TensorBoard's log. A checkpoint in it is gone on from.
    tell : callable, optional
        Called after every epoch.
    of : str
        What the training depends on beside the settings, as text: a checkpoint of something else is refused.

    Raises
    ------
    DatasetError
        If there is nothing to learn from or nothing held back, the checkpoint is of another training, or the loss is no
        number.
    """
    if not len(learned) or not len(held):
        raise DatasetError(
            f"an autoencoder needs images to learn from and held-back ones to choose the best epoch by; found {len(learned)} "
            f"and {len(held)}"
        )
    settle()
    device = device_of(settings.device)
    network.to(device)
    error = Reconstruction(learned.ndim - 1, settings.structure).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)

    def epoch(number: int) -> VaeEpoch:
        rng = np.random.default_rng([settings.seed, number])
        torch.manual_seed(int(rng.integers(2**31)))
        weight = settings.noise * _risen(number, settings)
        network.train()
        losses = [
            descend(_loss(network, error, images, weight), network, optimiser, number)
            for images in _batches(learned[rng.permutation(len(learned))], settings.batch, device, rng)
        ]
        return VaeEpoch(number + 1, float(np.mean(losses)), *_on_held(network, error, held, settings, device))

    best, epochs = course(
        {"network": network, "optimiser": optimiser},
        epoch,
        VaeEpoch,
        value=_worth,
        most=settings.epochs,
        patience=settings.patience,
        settled=settings.warm_up * settings.epochs,
        folder=folder,
        made_by=[asdict(settings), of],
        tell=tell,
    )
    return VaeTrained(best, best_of(epochs, _worth), epochs)


def _worth(epoch: VaeEpoch) -> float:
    """The lower the bound on the held-back images the better."""
    return -epoch.bound


def _risen(number: int, settings: VaeTraining) -> float:
    """Share of the divergence's weight in an epoch, from 0 on."""
    rise = settings.warm_up * settings.epochs
    return min(1.0, (number + 1) / rise) if rise >= 1 else 1.0


def _batches(
    images: NDArray[np.float32], size: int, device: Any, rng: np.random.Generator | None = None
) -> Iterator[Any]:
    """Tensors (n, 1, ...), each batch reflected along the axes that random numbers say."""
    for start in range(0, len(images), size):
        part = torch.from_numpy(images[start : start + size]).to(device)[:, None]
        if rng is not None:
            part = torch.flip(part, [axis for axis in range(2, part.ndim) if rng.random() < 0.5])
        yield part


def _loss(network: Any, error: Any, images: Any, weight: float) -> Any:
    made, encoded = network(images)
    return bound(error(made, images), network.latents.divergence(encoded), images[0].numel(), weight)


def _on_held(
    network: Any, error: Any, held: NDArray[np.float32], settings: VaeTraining, device: Any
) -> tuple[float, float, float]:
    """Bound, mean absolute difference and divergence on the held-back images, latents at their means."""
    network.eval()
    sums = np.zeros(3)
    with torch.inference_mode():
        for images in _batches(held, settings.batch, device):
            made, encoded = network(images)
            divergence = network.latents.divergence(encoded)
            whole = bound(error(made, images), divergence, images[0].numel(), settings.noise)
            sums += np.array([float(whole), float((made - images).abs().mean()), float(divergence.mean())]) * len(
                images
            )
    found_bound, absolute, nats = (sums / len(held)).tolist()
    return found_bound, absolute, nats
