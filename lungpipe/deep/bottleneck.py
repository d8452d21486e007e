"""Features of a nodule from the inside of a segmentation network: what one of its layers says, averaged over the layer.

The finest layer tells images of another scanner, the narrowest nodules of another kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lungpipe.deep import device as devices
from lungpipe.deep import predict
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lungpipe.nodule import Nodule
    from lungpipe.segment.network import Network
    from lungpipe.volume import CTVolume

#: Batches of features at once.
AT_ONCE = 8
#: Where PyTorch defines what stands between its layers.
ACTIVATIONS = "torch.nn.modules.activation"


def narrowest(network: Any, channels: int, voxels: int) -> str:
    """Name of the module of a network whose output has the fewest voxels: of a U-Net the end of its bottleneck.

    Of several the last one to run is taken. Outputs of one voxel (a squeeze, a latent code) do not count where others are there.
    The network is put in evaluation mode.

    Parameters
    ----------
    network : torch.nn.Module
    channels : int
    voxels : int
        Side of the cube that it is tried with.

    Raises
    ------
    DatasetError
        If no module gives an output of several axes.
    """
    sizes = _layers(network, channels, voxels)
    wide = [one for one in sizes if one[1] > 1] or sizes
    least = min(size for _, size in wide)
    return [name for name, size in wide if size == least][-1]


def finest(network: Any, channels: int, voxels: int) -> str:
    """Name of the first activation of a network whose output has the most voxels: what its first filters answer.

    The network is put in evaluation mode.

    Parameters
    ----------
    network : torch.nn.Module
    channels : int
    voxels : int
        Side of the cube that it is tried with.

    Raises
    ------
    DatasetError
        If no activation gives an output of several axes.
    """
    named = dict(network.named_modules())
    sizes = [one for one in _layers(network, channels, voxels) if type(named[one[0]]).__module__ == ACTIVATIONS]
    if not sizes:
        raise DatasetError("the network has no activation of several axes; name the module whose features to take")
    most = max(size for _, size in sizes)
    return next(name for name, size in sizes if size == most)


def _layers(network: Any, channels: int, voxels: int) -> list[tuple[str, int]]:
    """Innermost modules in the order in which they run, with the voxels of their outputs."""
    sizes: list[tuple[str, int]] = []

    def noting(name: str) -> Callable[[Any, Any, Any], None]:
        def note(_module: Any, _given: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.ndim >= 4:
                sizes.append((name, output[0, 0].numel()))

        return note

    hooks = [
        module.register_forward_hook(noting(name))
        for name, module in network.named_modules()
        if name and not any(module.children())
    ]
    network.eval()
    try:
        with torch.inference_mode():
            like = next(network.parameters())
            network(torch.zeros((1, channels, *(voxels,) * 3), dtype=like.dtype, device=like.device))
    finally:
        for hook in hooks:
            hook.remove()
    if not sizes:
        raise DatasetError("the network has no layer of several axes whose features could be taken")
    return sizes


def features_from(network: Any, module: str) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A function from cubes to features: mean and standard deviation over space of each channel of a module's output.

    The deviations tell noise and blur, which the means of a layer hardly see.

    Parameters
    ----------
    network : torch.nn.Module
        Takes (n, channels, z, y, x). It is put in evaluation mode.
    module : str
        Its name among ``network.named_modules()``.

    Returns
    -------
    callable
        Cubes, float32 of shape (n, channels, z, y, x) -> features, float32 of shape (n, 2 d): means, then
        deviations. A module that gets the slices of a cube one by one is averaged over them.

    Raises
    ------
    DatasetError
        If there is no module of that name; when called, if its output is no layer.
    """
    named = dict(network.named_modules())
    if module not in named or not module:
        raise DatasetError(f"the network has no module {module!r}; its last are {', '.join(list(named)[-5:])}")
    network.eval()

    def features(cubes: NDArray[np.float32]) -> NDArray[np.float32]:
        held: list[Any] = []
        hook = named[module].register_forward_hook(lambda _module, _given, output: held.append(output))
        place = next(network.parameters()).device
        found = []
        try:
            with torch.inference_mode():
                for part in torch.from_numpy(np.ascontiguousarray(cubes)).split(AT_ONCE):
                    held.clear()
                    network(part.to(place))
                    found.append(_pooled(held[-1], len(part)))
        finally:
            hook.remove()
        return np.concatenate(found)

    return features


def _pooled(output: Any, n: int) -> NDArray[np.float32]:
    if not isinstance(output, torch.Tensor) or output.ndim < 3:
        raise DatasetError("that module of the network gives no layer of features (n, d, ...); name another")
    values = output.float().flatten(2)  # (n, d, voxels), or (n * slices, d, pixels)
    found = torch.cat([values.mean(-1), values.std(-1, correction=0)], dim=1)
    return np.asarray(found.reshape(n, -1, found.shape[-1]).mean(1).cpu().numpy())


def nodule_features(segmenter: Network, module: str = "") -> Callable[[CTVolume, Nodule], NDArray[np.float32]]:
    """A function from a nodule to its features, of shape (d,), by the network of a segmenter.

    Parameters
    ----------
    segmenter : Network
        ``network``, or one of an architecture; of an ensemble its first.
    module : str
        Whose output; by default the :func:`finest`.

    Raises
    ------
    DatasetError, PluginError
        As :func:`lungpipe.deep.predict.trained`.
    """
    devices.settle()
    trained = predict.trained(segmenter.paths[0], segmenter.weights_sha256, segmenter.device, segmenter.architecture)
    module = module or finest(trained.network, 2, trained.view.voxels)
    features = features_from(trained.network, module)

    def of(volume: CTVolume, nodule: Nodule) -> NDArray[np.float32]:
        centre, size = nodule.centre_mm or (0.0, 0.0, 0.0), nodule.size_mm or (0.0, 0.0, 0.0)
        patch = trained.view.patch(volume.frame, centre, size)
        found: NDArray[np.float32] = features(trained.view.channels(volume, nodule, patch)[None])[0]
        return found

    return of
