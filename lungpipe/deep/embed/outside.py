"""Plug-ins ``torchscript`` and ``onnx``: any network that sees a patch in one channel and gives a vector or maps."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lungpipe.deep.embed.weighted import PatchEmbedder
from lungpipe.embedding import RANDOM
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lungpipe.volume import CTVolume, Mask


class _WholeNetwork(PatchEmbedder):
    """A file that holds the network with its weights: (1, 1, z, y, x) -> (1, d), or maps (1, d, ...) whose mean is taken."""

    __slots__ = ()

    def check(self) -> None:
        """Refuse impossible parameters; a file of a whole network has no random weights."""
        PatchEmbedder.check(self)
        if self.weights == RANDOM:
            raise DatasetError(
                f"{self.name}: weights must name a file; what network is to have random ones is not known"
            )

    @abstractmethod
    def load(self) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """The network as a function of arrays, remembered by this process."""

    def values(self, volume: CTVolume, mask: Mask) -> NDArray[np.float32]:
        """The embedding, shape (d,).

        Raises
        ------
        DatasetError
            If the network's output has another form.
        """
        found = self.load()(self.seen(volume, mask)[None, None])
        if found.ndim < 2 or found.shape[0] != 1:
            raise DatasetError(
                f"{self.name}: the network gave an output of shape {found.shape}; expected (1, d), or maps (1, d, z, y, x)"
            )
        return np.asarray(found[0].reshape(found.shape[1], -1).mean(axis=1), dtype=np.float32)


class TorchScript(_WholeNetwork):
    """Plug-in ``torchscript``: a network that ``torch.jit.save`` wrote. Loading one runs its code: trust its source."""

    __slots__ = ()
    name = "torchscript"
    wanted = "a network that torch.jit.save wrote"
    packages: ClassVar[tuple[str, ...]] = ("torch",)

    def load(self) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """The network as a function of arrays."""
        from lungpipe.deep.device import settle
        from lungpipe.segment.outside.inprocess import torchscript_network

        settle()
        return torchscript_network(str(Path(self.weights).expanduser()), self.weights_sha256, self.device)


class Onnx(_WholeNetwork):
    """Plug-in ``onnx``: a network in ONNX, run by ONNX Runtime."""

    __slots__ = ()
    name = "onnx"
    wanted = "a network in ONNX"
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    extra: ClassVar[str] = "onnx"

    def load(self) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """The network as a function of arrays."""
        from lungpipe.segment.outside.inprocess import onnx_network

        return onnx_network(str(Path(self.weights).expanduser()), self.weights_sha256, self.device)
