"""Plug-in ``network`` and its architectures: a trained network that sees a nodule with its prompt.

It runs here, in the worker, on cubes about the nodule (:mod:`lungpipe.deep.view`). Without weights of your own, those that
come with lungpipe are used; their model card is ``lungpipe/deep/shipped/CARD.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import ndimage

from lungpipe.deep.extra import needed
from lungpipe.deep.header import read_record
from lungpipe.errors import DatasetError, PluginError, SegmentationError
from lungpipe.segment.outside.identity import check_unchanged, weights_digest
from lungpipe.segment.outside.model import HERE_ONLY
from lungpipe.segment.prompt import prompt_for, with_extent
from lungpipe.segment.steps import at_seed
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple
    from lungpipe.nodule import Nodule
    from lungpipe.segment.prompt import Prompt
    from lungpipe.volume import CTVolume

#: The weights that come with lungpipe.
SHIPPED = "network.safetensors"


@dataclass(frozen=True, eq=False, slots=True)
class ProbabilityMap:
    """Probability of the nodule on part of an image's grid.

    Parameters
    ----------
    values : ndarray of float32, shape (z, y, x)
    start : tuple of int
        First voxel (z, y, x) in the image.
    """

    values: NDArray[np.float32]
    start: IndexTriple


@dataclass(frozen=True, slots=True)
class Network:
    """Plug-in ``network``.

    Parameters
    ----------
    weights : str
        File that ``lungpipe train-segmenter`` wrote; empty for the weights that come with lungpipe. Not recorded; its hash is.
    ensemble : tuple of str
        Files of further networks, such as of trainings with other seeds, whose probabilities are averaged with its. Not recorded;
        the hash is of all files.
    threshold : float
        A voxel is inside from this probability on.
    flips : bool
        Average the probabilities over the eight reflections of the cube.
    samples : int
        Draws from a probabilistic network, averaged; 0 for its mean.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"auto"`` for a GPU where there is one.
    precision : {"auto", "float32", "bfloat16"}
        Of the products; ``"auto"`` lowers it on a GPU, and on a CPU that multiplies bfloat16 in hardware.

    Attributes
    ----------
    runtime : str
        Name and version of what runs it.
    weights_sha256 : str
        SHA-256 of the file; of an ensemble, of its files one after another.

    Raises
    ------
    PluginError
        If PyTorch is not installed or the weights are missing.
    DatasetError
        If the file is no file of weights of a network of this name, or a value makes no sense.
    """

    name: ClassVar[str] = "network"
    version: ClassVar[str] = "1"
    #: Architecture that the weights must be of; empty for any.
    architecture: ClassVar[str] = ""

    weights: str = field(default="", metadata=HERE_ONLY)
    ensemble: tuple[str, ...] = field(default=(), metadata=HERE_ONLY)
    threshold: float = 0.5
    flips: bool = True
    samples: int = 0
    device: str = "cpu"
    precision: str = "auto"
    runtime: str = field(init=False, default="")
    weights_sha256: str = field(init=False, default="")

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise DatasetError(f"{self.name}: threshold lies between 0 and 1, found {self.threshold:g}")
        if self.samples < 0:
            raise DatasetError(f"{self.name}: samples is 0 or more, found {self.samples}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise DatasetError(f"{self.name}: precision is auto, float32 or bfloat16, found {self.precision!r}")
        if self.architecture and not self.weights:
            raise DatasetError(
                f"{self.name}: name the file of weights as weights under [segment.parameters.{self.name}]; "
                "lungpipe train-segmenter writes one"
            )
        from importlib.metadata import PackageNotFoundError, version

        try:
            runtime = f"torch {version('torch')}"
        except PackageNotFoundError as error:
            raise PluginError("torch is not installed; install it with: pip install 'lungpipe[deep]'") from error
        object.__setattr__(self, "runtime", runtime)
        object.__setattr__(self, "ensemble", tuple(self.ensemble))
        object.__setattr__(self, "weights_sha256", weights_digest(self.paths))

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Names of the data sets whose nodules its weights were trained on."""
        records = [read_record(Path(path)) for path in self.paths]
        return tuple(dict.fromkeys(name for one in records for name in one.get("trained_on", {}).get("datasets", ())))

    @property
    def paths(self) -> tuple[str, ...]:
        """The files of weights."""
        return tuple(str(Path(path).expanduser()) for path in (self.weights or shipped(), *self.ensemble))

    def maps(self, volume: CTVolume, nodule: Nodule) -> tuple[ProbabilityMap, ...]:
        """Probabilities on the image's grid: of each network one map a reflection, or one a draw of a probabilistic network.

        Parameters
        ----------
        volume : CTVolume
        nodule : Nodule
            With centre and size (:func:`lungpipe.segment.prompt.with_extent`).

        Raises
        ------
        PluginError
            If the file of weights changed since the run was planned.
        SegmentationError
            ``network_failed`` if the network gives values that are no numbers.
        """
        check_unchanged(self.name, self.paths, self.weights_sha256)
        return tuple(one for path in self.paths for one in self._maps_of(path, volume, nodule))

    def _maps_of(self, path: str, volume: CTVolume, nodule: Nodule) -> Iterator[ProbabilityMap]:
        predict = needed("lungpipe.deep.predict", "deep")
        trained = predict.trained(path, self.weights_sha256, self.device, self.architecture)
        patch = trained.view.patch(volume.frame, nodule.centre_mm or (0.0, 0.0, 0.0), nodule.size_mm or (0.0, 0.0, 0.0))
        channels = trained.view.channels(volume, nodule, patch)
        found = predict.probabilities(
            trained, channels, flips=self.flips, samples=self.samples, precision=self.precision
        )
        if not np.all(np.isfinite(found)):
            raise SegmentationError("network_failed", "the network gave values that are no numbers for this nodule")
        for values in found:
            yield ProbabilityMap(*patch.bring_back(values, volume.frame))

    def __call__(self, volume: CTVolume, nodule: Nodule) -> Mask:
        """Segment one nodule; see :class:`lungpipe.segment.Segmenter`.

        Raises
        ------
        SegmentationError
            ``constant_region``; ``nothing_at_seed``; ``beyond_patch`` if the mask reaches the edge of what the network sees, within the image.
        """
        nodule = with_extent(volume, nodule)
        prompt = _varied(volume, nodule)
        return self._mask(volume, prompt, self.maps(volume, nodule))

    def mask_of(self, volume: CTVolume, nodule: Nodule, maps: Sequence[ProbabilityMap]) -> Mask:
        """The mask of a nodule whose probabilities are there already; as of a call.

        Parameters
        ----------
        volume : CTVolume
        nodule : Nodule
        maps : sequence of ProbabilityMap
            Of :meth:`maps`.

        Raises
        ------
        SegmentationError
            As of a call.
        """
        return self._mask(volume, _varied(volume, with_extent(volume, nodule)), maps)

    def _mask(self, volume: CTVolume, prompt: Prompt, maps: Sequence[ProbabilityMap]) -> Mask:
        from lungpipe.deep.uncertainty import common_box

        stack, start = common_box([one.values for one in maps], [one.start for one in maps])
        mean = stack.mean(axis=0)
        stop = (start[0] + mean.shape[0], start[1] + mean.shape[1], start[2] + mean.shape[2])
        seed, box = (
            Mask(part, volume.frame, prompt.crop.start).within(start, stop).voxels for part in (prompt.seed, prompt.box)
        )
        component = ndimage.binary_fill_holes(at_seed(mean >= self.threshold, seed, box))
        for axis in range(3):
            ends = (start[axis] > 0, stop[axis] < volume.frame.shape[axis])
            for end, cut in zip((0, -1), ends, strict=True):
                if cut and component.take(end, axis=axis).any():
                    raise SegmentationError(
                        "beyond_patch",
                        "the network's mask reaches the edge of what it sees of the image, so the nodule may go on beyond; "
                        "check the annotated box",
                    )
        return Mask(component, volume.frame, start).trimmed()


def _varied(volume: CTVolume, nodule: Nodule) -> Prompt:
    """What of the image is prompted, which must not be of one value."""
    prompt = prompt_for(volume, nodule, 0.0)
    held = prompt.crop.hu[prompt.box]
    if held.min() == held.max():
        raise SegmentationError("constant_region", f"every voxel of the box has {held[0]:g} HU; check the annotation")
    return prompt


def shipped() -> str:
    """Path of the weights that come with lungpipe."""
    return str(resources.files("lungpipe.deep").joinpath("shipped", SHIPPED))


class UNet(Network):
    """Plug-in ``unet``."""

    __slots__ = ()
    name = architecture = "unet"


class UNetPlusPlus(Network):
    """Plug-in ``unetpp``."""

    __slots__ = ()
    name = architecture = "unetpp"


class R2UNet(Network):
    """Plug-in ``r2unet``."""

    __slots__ = ()
    name = architecture = "r2unet"


class MultiPlanarUNet(Network):
    """Plug-in ``mpunet``."""

    __slots__ = ()
    name = architecture = "mpunet"


class UNet25D(Network):
    """Plug-in ``unet25d``."""

    __slots__ = ()
    name = architecture = "unet25d"


class ProbabilisticUNet(Network):
    """Plug-in ``prob_unet``: ``samples`` draws are averaged."""

    __slots__ = ()
    name = architecture = "prob_unet"
