"""A trained autoencoder at work: latents of nodules, and images of latents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lungpipe.deep import weights
from lungpipe.deep.device import settle
from lungpipe.deep.vae.header import read_header
from lungpipe.deep.vae.networks import LesionVae
from lungpipe.deep.vae.patches import Sight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lungpipe.volume import CTVolume, Mask

#: Images that are encoded at once.
AT_ONCE = 64
#: Pictures of one latent's traversal.
STEPS = 7
#: Quantiles of the training latents between which a latent is moved.
SPAN = (0.025, 0.975)


@dataclass(frozen=True, eq=False, slots=True)
class Autoencoder:
    """A trained network, what it sees, and its header."""

    network: Any
    sight: Sight
    about: Mapping[str, Any]

    def embedding(self, volume: CTVolume, mask: Mask) -> NDArray[np.float64]:
        """Mean latents of one nodule, shape (latents,)."""
        images, share = self.sight.images(volume, mask)
        return share @ latents_and_information(self.network, images)[0]

    def traversal(self, number: int, steps: int = STEPS) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Images along one latent, the others at the training images' means.

        Parameters
        ----------
        number : int
            Of the latent, from 0.
        steps : int
            Images, evenly from the 2.5 % to the 97.5 % quantile of the training images.

        Returns
        -------
        images : ndarray of float32, shape (steps, y, x)
            HU; of a cube, its middle axial slice.
        values : ndarray of float, shape (steps,)
            Of the latent.
        """
        span = self.about["latents"]
        values = np.linspace(span["low"][number], span["high"][number], steps)
        mean = torch.tensor(span["mean"], dtype=torch.float32)
        latents = torch.stack([self.network.latents.with_latent(mean, number, float(value)) for value in values])
        with torch.inference_mode():
            made = self.network.decode(latents)[:, 0].numpy()
        low, high = self.sight.window_hu
        hu = made * (high - low) + low
        return (hu if self.sight.dims == 2 else hu[:, hu.shape[1] // 2]).astype(np.float32), values


@lru_cache(maxsize=2)
def autoencoder(path: str, sha256: str) -> Autoencoder:
    """The autoencoder of a file of weights, on the CPU, remembered by this process.

    Parameters
    ----------
    path : str
    sha256 : str
        Of the file: another content is another autoencoder.

    Raises
    ------
    DatasetError
        If the file is no autoencoder, or its tensors do not fit what its header says.
    """
    del sha256
    settle()
    about = read_header(Path(path))
    network = LesionVae(**about["parameters"])
    weights.load_into(network, weights.read(Path(path))[1], Path(path).name)
    return Autoencoder(network.eval(), Sight.of(about["sight"]), about)


def latents_and_information(
    network: Any, images: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean latents of images, and what each of them tells beyond its prior.

    Parameters
    ----------
    network : LesionVae
    images : ndarray of float32, shape (n, y, x) or (n, z, y, x)
        Values from 0 to 1.

    Returns
    -------
    latents, information : ndarray of float, shape (n, latents)
        Information in nats.
    """
    network.eval()
    device = next(network.parameters()).device
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), AT_ONCE):
            encoded = network.encode(torch.from_numpy(images[start : start + AT_ONCE]).to(device)[:, None])
            parts.append((network.latents.mean(encoded), network.latents.information(encoded)))
    latents, information = (torch.cat(part).double().cpu().numpy() for part in zip(*parts, strict=True))
    return latents, information


def described(network: Any, images: NDArray[np.float32]) -> dict[str, list[float]]:
    """What a header says of the latents of the training images: mean, span and information of each."""
    latents, information = latents_and_information(network, images)
    low, high = np.quantile(latents, SPAN, axis=0)
    found = {"mean": latents.mean(axis=0), "low": low, "high": high, "information": information.mean(axis=0)}
    return {name: [round(float(value), 6) for value in values] for name, values in found.items()}
