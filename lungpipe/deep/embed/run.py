"""Networks of embedders at work: read or drawn once a process, then arrays in, vectors out."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lungpipe.deep import device as devices
from lungpipe.deep import weights
from lungpipe.deep.embed.networks import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lungpipe.deep.embed.networks import Architecture

#: Counters of training steps, which checkpoints of old versions of PyTorch lack, and which nothing here depends on.
_COUNTER = "num_batches_tracked"


@cache
def network(name: str, files: tuple[str, ...], sha256: str, seed: int, device: str) -> Any:
    """A network ready for inference.

    Parameters
    ----------
    name : str
        Key of :data:`lungpipe.deep.embed.networks.ARCHITECTURES`.
    files : tuple of str
        Their bytes, one after another, are the file of its weights; none for random weights.
    sha256 : str
        Of that file.
    seed : int
        Of random weights.
    device : str
        See :func:`lungpipe.deep.device.device_of`.

    Raises
    ------
    DatasetError
        If the file is refused (:func:`lungpipe.deep.weights.outside_tensors`) or does not fit the network.
    PluginError
        If the device is not there.
    """
    devices.settle()
    architecture = ARCHITECTURES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = architecture.build()
    if files:
        tensors = _own(_tensors(files, sha256), architecture)
        tensors |= {
            key: value for key, value in made.state_dict().items() if key.endswith(_COUNTER) and key not in tensors
        }
        weights.load_into(made, tensors, Path(files[0]).name, without=architecture.without)
    return made.to(devices.device_of(device)).eval()


def _tensors(files: tuple[str, ...], sha256: str) -> dict[str, Any]:
    if len(files) == 1:
        return weights.outside_tensors(Path(files[0]), sha256)
    with TemporaryDirectory(prefix="lungpipe-weights-") as room:
        joined = Path(room) / Path(files[0]).name
        with joined.open("wb") as whole:
            for path in files:
                with Path(path).open("rb") as part:
                    shutil.copyfileobj(part, whole)
        return weights.outside_tensors(joined, sha256)


def _own(tensors: Mapping[str, Any], architecture: Architecture) -> dict[str, Any]:
    """Tensors of the network itself, where a checkpoint holds it under a name beside others."""
    for prefix in architecture.under:
        inside = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if inside:
            return inside
    return dict(tensors)


def embed(made: Any, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of a batch.

    Parameters
    ----------
    made : torch.nn.Module
        From :func:`network`.
    values : ndarray of float32, shape (n, channels, ...)

    Returns
    -------
    ndarray of float32, shape (n, d)
        What the network gives, its mean over space where it gives maps.
    """
    devices.settle()
    place = next(made.parameters()).device
    with torch.inference_mode():
        found = made(torch.from_numpy(np.ascontiguousarray(values)).to(place))
        if found.ndim > 2:
            found = found.flatten(2).mean(2)
    return np.asarray(found.float().cpu().numpy())


def shrunk(values: NDArray[np.float32], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """An array (z, y, x) on fewer or more voxels, each the mean of those that it covers wholly or in part."""
    found = torch.nn.functional.adaptive_avg_pool3d(torch.from_numpy(np.ascontiguousarray(values))[None, None], shape)
    return np.asarray(found[0, 0].numpy())
