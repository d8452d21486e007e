"""A trained network at work: read once a process, then cubes in, probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from lungpipe.deep import device as devices
from lungpipe.deep import weights
from lungpipe.deep.nets import build
from lungpipe.deep.view import View
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Share by which neighbouring windows overlap, and cubes that go through the network at once.
OVERLAP, AT_ONCE = 0.5, 8
#: Every reflection of a cube, as the axes (of z, y, x) that it turns round.
FLIPS = tuple(tuple(axis for axis, turned in enumerate(chosen) if turned) for chosen in product((0, 1), repeat=3))
#: Sides are continued to a multiple of this for a probabilistic network, which does not slide: each window would be another draw.
SIDES = 16
#: Seeds the draws of a probabilistic network: the same for every nodule, so that a rerun gives the same mask.
SAMPLE_SEED = 20


@dataclass(frozen=True, eq=False, slots=True)
class Trained:
    """A network with how it sees a nodule.

    Parameters
    ----------
    network : torch.nn.Module
    view : View
    device : torch.device
    about : dict
        Record in the header of its weights.
    temperature : float
        What its logits are divided by (:mod:`lungpipe.deep.temperature`).
    """

    network: Any
    view: View
    device: Any
    about: dict[str, Any]
    temperature: float = 1.0


@cache
def trained(path: str, _sha256: str, device: str, architecture: str = "") -> Trained:
    """Read a network, remembered by this process.

    Parameters
    ----------
    path : str
    _sha256 : str
        Of the file: a changed file is read again.
    device : str
        See :func:`lungpipe.deep.device.device_of`.
    architecture : str
        What it must be; empty for any.

    Raises
    ------
    DatasetError
        If the file is no file of weights, of another architecture, or does not fit the network that it names.
    PluginError
        If the device is not there.
    """
    devices.settle()
    about, tensors = weights.read(Path(path))
    found = str(about.get("network", ""))
    if architecture and found != architecture:
        raise DatasetError(f"{Path(path).name} holds a network {found!r}; expected {architecture!r}")
    network = build(found, 2, about.get("parameters", {}))
    weights.load_into(network, tensors, Path(path).name)
    place = devices.device_of(device)
    view, temperature = View.of(about.get("view", {})), float(about.get("temperature", {}).get("value", 1.0))
    return Trained(devices.laid_out(network.to(place)).eval(), view, place, about, temperature)


def probabilities(
    given: Trained, channels: NDArray[np.float32], *, flips: bool, samples: int = 0, precision: str = "auto"
) -> NDArray[np.float32]:
    """Probability of the nodule.

    Parameters
    ----------
    given : Trained
    channels : ndarray of float32, shape (2, z, y, x)
        Of :meth:`lungpipe.deep.view.View.channels`; a side may be longer than the network's cube, which then slides over it.
    flips : bool
        One map for each reflection, turned back, instead of one alone.
    samples : int
        One map for each draw of a probabilistic network instead; 0 for none.
    precision : str
        See :func:`lungpipe.deep.device.precision`.

    Returns
    -------
    ndarray of float32, shape (maps, z, y, x)

    Raises
    ------
    DatasetError
        If draws are asked of a network that has none.
    """
    devices.settle()
    if samples and not hasattr(given.network, "sample"):
        raise DatasetError(f"samples = {samples}: a network {given.about['network']!r} has no draws; prob_unet has")
    values = torch.from_numpy(np.ascontiguousarray(channels)).to(given.device)
    with torch.inference_mode(), devices.precision(given.device, precision):
        if samples:
            maps = _draws(given, values, samples)
        elif flips:
            turned = torch.stack([values.flip([axis + 1 for axis in axes]) if axes else values for axes in FLIPS])
            found = _through(given, turned)
            maps = torch.stack([
                one.flip(list(axes)) if axes else one for one, axes in zip(found, FLIPS, strict=True)
            ])  # fmt: skip
        else:
            maps = _through(given, values[None])
    return np.asarray(torch.sigmoid(maps.float() / given.temperature).cpu().numpy())


def _through(given: Trained, cubes: Any) -> Any:
    """Logits (n, z, y, x) of cubes (n, 2, z, y, x)."""
    cubes = cubes.contiguous(memory_format=torch.channels_last_3d)
    side = given.view.voxels
    if tuple(cubes.shape[2:]) == (side,) * 3:
        return torch.cat([given.network(part)[:, 0] for part in cubes.split(AT_ONCE)])
    return sliding_window_inference(
        cubes, (side,) * 3, AT_ONCE, given.network, overlap=OVERLAP, mode="gaussian"
    )[:, 0]  # fmt: skip


def _draws(given: Trained, values: Any, samples: int) -> Any:
    """Logits (samples, z, y, x) of a cube (2, z, y, x), whose sides need not suit the network."""
    generator = torch.Generator(device=given.device).manual_seed(SAMPLE_SEED)
    sides = values.shape[1:]
    more = [part for side in sides[::-1] for part in (0, -side % SIDES)]
    padded = torch.nn.functional.pad(values[None], more, mode="replicate")
    found = given.network.sample(padded, samples, generator)[:, 0, 0]
    return found[:, : sides[0], : sides[1], : sides[2]]
