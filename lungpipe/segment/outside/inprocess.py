"""Plug-ins ``torchscript`` and ``onnx``: a network that sees one nodule at a time, run in the worker itself.

The network gets a patch round the nodule's centre, on a grid of declared spacing along the image's axes, and gives back
the probability of each of its voxels; these are brought back to the scan's grid and cut at a threshold.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from scipy import special

from lungpipe.deep.extra import needed
from lungpipe.errors import DatasetError, PluginError, SegmentationError
from lungpipe.geometry import IndexTriple, Triple
from lungpipe.segment.outside.identity import weights_digest
from lungpipe.segment.outside.model import HERE_ONLY
from lungpipe.segment.outside.patch import Patch
from lungpipe.segment.prompt import prompt_for, with_extent
from lungpipe.segment.steps import at_seed
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lungpipe.nodule import Nodule
    from lungpipe.volume import CTVolume


@dataclass(frozen=True, slots=True)
class NetworkSegmenter(ABC):
    """A network of one channel in: a float32 array of shape (1, 1, z, y, x), out (1, channels, z, y, x).

    Parameters
    ----------
    model : str
        Its file. Not recorded; its hash is.
    spacing_mm : tuple of float
        Of the patch, along (z, y, x).
    patch_voxels : tuple of int
        Shape of the patch (z, y, x).
    window_hu : tuple of float
        HU are clipped to this.
    scaled_to : tuple of float
        What the ends of the window become in the network's input.
    activation : {"none", "sigmoid", "softmax"}
        What turns the network's output into probabilities.
    channel : int
        Of the output, from 0, that is nodule.
    threshold : float
        A voxel is inside from this probability on.
    device : str
        ``"cpu"`` or, in the runtime's own words, another.

    Attributes
    ----------
    runtime : str
        Name and version of what runs it.
    weights_sha256 : str
        SHA-256 of the file.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"

    model: str = field(default="", metadata=HERE_ONLY)
    spacing_mm: Triple = (1.0, 1.0, 1.0)
    patch_voxels: IndexTriple = (64, 64, 64)
    window_hu: tuple[float, float] = (-1000.0, 400.0)
    scaled_to: tuple[float, float] = (0.0, 1.0)
    activation: Literal["none", "sigmoid", "softmax"] = "sigmoid"
    channel: int = 0
    threshold: float = 0.5
    device: str = "cpu"
    runtime: str = field(init=False, default="")
    weights_sha256: str = field(init=False, default="")

    def __post_init__(self) -> None:
        for key, length in (("spacing_mm", 3), ("patch_voxels", 3), ("window_hu", 2), ("scaled_to", 2)):
            value = tuple(getattr(self, key))
            if len(value) != length:
                raise DatasetError(f"{self.name}: {key} is a list of {length} numbers, found {list(value)}")
            object.__setattr__(self, key, value)
        if min(self.spacing_mm) <= 0 or min(self.patch_voxels) < 2 or self.window_hu[0] >= self.window_hu[1]:
            raise DatasetError(
                f"{self.name}: spacing_mm must be positive, patch_voxels 2 or more, and window_hu go upwards; found "
                f"{list(self.spacing_mm)}, {list(self.patch_voxels)}, {list(self.window_hu)}"
            )
        if self.activation not in ("none", "sigmoid", "softmax"):
            raise DatasetError(f"{self.name}: activation is none, sigmoid or softmax, found {self.activation!r}")
        if not 0 < self.threshold < 1:
            raise DatasetError(f"{self.name}: threshold lies between 0 and 1, found {self.threshold:g}")
        if not self.model:
            raise DatasetError(
                f"{self.name}: name the file of the network as model under [segment.parameters.{self.name}]"
            )
        object.__setattr__(self, "runtime", self.runtime_version())
        object.__setattr__(self, "weights_sha256", weights_digest([self.model]))
        self.load(str(Path(self.model).expanduser()), self.weights_sha256)

    @abstractmethod
    def runtime_version(self) -> str:
        """Name and version of what runs it.

        Raises
        ------
        PluginError
            If it is not installed.
        """

    @abstractmethod
    def load(self, path: str, sha256: str) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """The network as a function of arrays, remembered by this process.

        Raises
        ------
        PluginError
            If the file holds no network.
        """

    def probability(self, patch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of the nodule at the voxels of a patch of HU, of the same shape (z, y, x).

        Raises
        ------
        PluginError
            If the network's output does not have the declared shape, or its file changed since the run was planned.
        SegmentationError
            ``outside_failed`` if its output is not finite.
        """
        digest = weights_digest([self.model])
        if digest != self.weights_sha256:
            raise PluginError(
                f"{self.name}: the network's file is not what it was when the run was planned (SHA-256 {digest[:12]} instead "
                f"of {self.weights_sha256[:12]}); run again"
            )
        (low, high), (dark, bright) = self.window_hu, self.scaled_to
        scaled = dark + (np.clip(patch, low, high) - low) / (high - low) * (bright - dark)
        output = self.load(str(Path(self.model).expanduser()), digest)(scaled[None, None].astype(np.float32))
        if (
            output.ndim != 5
            or output.shape[0] != 1
            or output.shape[2:] != patch.shape
            or self.channel >= output.shape[1]
        ):
            raise PluginError(
                f"{self.name}: the network gave an output of shape {output.shape}; expected (1, more than channel "
                f"{self.channel}, {', '.join(map(str, patch.shape))}): check patch_voxels and channel"
            )
        if not np.all(np.isfinite(output)):
            raise SegmentationError("outside_failed", "the network gave values that are no numbers for this nodule")
        if self.activation == "softmax":
            return np.asarray(special.softmax(output, axis=1)[0, self.channel])
        values = output[0, self.channel]
        return np.asarray(special.expit(values) if self.activation == "sigmoid" else values)

    def __call__(self, volume: CTVolume, nodule: Nodule) -> Mask:
        """Segment one nodule; see :class:`lungpipe.segment.Segmenter`.

        Raises
        ------
        SegmentationError
            ``nothing_at_seed``; ``beyond_patch`` if the mask reaches the patch's edge within the image.
        """
        nodule = with_extent(volume, nodule)
        prompt = prompt_for(volume, nodule, 0.0)
        frame = volume.frame
        patch = Patch.around(frame, nodule.centre_mm or (0.0, 0.0, 0.0), self.spacing_mm, self.patch_voxels)
        values = self.probability(patch.sample(volume, self.window_hu[0]))
        back, start = patch.bring_back(values, frame)
        bright = back >= self.threshold
        stop = (start[0] + back.shape[0], start[1] + back.shape[1], start[2] + back.shape[2])
        seed, box = (
            Mask(part, frame, prompt.crop.start).within(start, stop).voxels for part in (prompt.seed, prompt.box)
        )
        component = at_seed(bright, seed, box)
        for axis in range(3):
            ends = (start[axis] > 0, stop[axis] < frame.shape[axis])
            for end, cut in zip((0, -1), ends, strict=True):
                if cut and component.take(end, axis=axis).any():
                    raise SegmentationError(
                        "beyond_patch",
                        "the network's mask reaches the edge of its patch of "
                        f"{' x '.join(f'{n * s:g}' for n, s in zip(self.patch_voxels, self.spacing_mm, strict=True))} mm "
                        "(z, y, x), so the nodule may go on beyond it; declare a larger patch",
                    )
        return Mask(component, frame, start).trimmed()


class TorchScript(NetworkSegmenter):
    """Plug-in ``torchscript``: a network that ``torch.jit.save`` wrote. Loading one runs its code: trust its source."""

    __slots__ = ()
    name = "torchscript"

    def runtime_version(self) -> str:
        """Name and version of PyTorch."""
        return f"torch {needed('torch', 'deep').__version__}"

    def load(self, path: str, sha256: str) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """The network as a function of arrays."""
        return torchscript_network(path, sha256, self.device)


class Onnx(NetworkSegmenter):
    """Plug-in ``onnx``: a network in ONNX, run by ONNX Runtime."""

    __slots__ = ()
    name = "onnx"

    def runtime_version(self) -> str:
        """Name and version of ONNX Runtime."""
        return f"onnxruntime {needed('onnxruntime', 'onnx').__version__}"

    def load(self, path: str, sha256: str) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """The network as a function of arrays."""
        return onnx_network(path, sha256, self.device)


@cache
def torchscript_network(path: str, _sha256: str, device: str) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A network that ``torch.jit.save`` wrote as a function of arrays; see :meth:`NetworkSegmenter.load`."""
    torch = needed("torch", "deep")
    try:
        with warnings.catch_warnings():  # PyTorch calls TorchScript deprecated; those who have such files know
            warnings.simplefilter("ignore", DeprecationWarning)
            network = torch.jit.load(path, map_location=device).eval()
    except (RuntimeError, ValueError) as error:
        raise PluginError(
            f"{Path(path).name} is no TorchScript network, or its device {device!r} is not there"
        ) from error

    def run(values: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            output = network(torch.from_numpy(values).to(device))
        return np.asarray(output.float().cpu().numpy())

    return run


@cache
def onnx_network(path: str, _sha256: str, device: str) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A network in ONNX as a function of arrays; see :meth:`NetworkSegmenter.load`."""
    runtime = needed("onnxruntime", "onnx")
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(device, device)
    if provider not in runtime.get_available_providers():
        raise PluginError(
            f"onnx: {device!r} is not there; ONNX Runtime has {', '.join(runtime.get_available_providers())}"
        )
    try:
        session = runtime.InferenceSession(path, providers=[provider])
    except Exception as error:  # its errors have no common class that is documented
        raise PluginError(f"{Path(path).name} is no ONNX network that ONNX Runtime can run") from error
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise PluginError(f"{Path(path).name} has {len(inputs)} inputs; expected one")

    def run(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(session.run(None, {inputs[0].name: values})[0])

    return run
