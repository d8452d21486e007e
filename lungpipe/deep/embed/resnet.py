"""Plug-ins ``resnet10``, ``resnet18``, ``resnet50``, ``fmcb`` and ``models_genesis``: 3D networks that see a patch.

References are those of :mod:`lungpipe.deep.embed.networks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lungpipe.deep.embed.weighted import PatchEmbedder
from lungpipe.geometry import IndexTriple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lungpipe.volume import CTVolume, Mask


class ResNet10(PatchEmbedder):
    """Plug-in ``resnet10``: 512 numbers."""

    __slots__ = ()
    name = "resnet10"
    wanted = "a file of Med3D for ResNet-10 (Chen et al. 2019), such as resnet_10_23dataset.pth"


class ResNet18(PatchEmbedder):
    """Plug-in ``resnet18``: 512 numbers."""

    __slots__ = ()
    name = "resnet18"
    wanted = "a file of Med3D for ResNet-18 (Chen et al. 2019), such as resnet_18_23dataset.pth"


class ResNet50(PatchEmbedder):
    """Plug-in ``resnet50``: 2048 numbers."""

    __slots__ = ()
    name = "resnet50"
    wanted = "a file of Med3D for ResNet-50 (Chen et al. 2019), such as resnet_50_23dataset.pth"


@dataclass(frozen=True, slots=True)
class Fmcb(PatchEmbedder):
    """Plug-in ``fmcb``: the foundation model for cancer imaging biomarkers (Pai et al. 2024), 4096 numbers.

    Its patch is 50 x 50 x 50 voxels of 1 mm, HU from -1024 to 3072, as published.
    """

    name: ClassVar[str] = "fmcb"
    wanted: ClassVar[str] = "the file of the foundation model for cancer imaging biomarkers (Pai et al. 2024)"

    trained_on: tuple[str, ...] = ("DeepLesion",)
    patch_voxels: IndexTriple = (50, 50, 50)
    window_hu: tuple[float, float] = (-1024.0, 3072.0)


@dataclass(frozen=True, slots=True)
class ModelsGenesis(PatchEmbedder):
    """Plug-in ``models_genesis``: the encoder of Models Genesis for chest CT (Zhou et al. 2019), 512 numbers.

    HU from -1000 to 1000, and axes in the order (x, y, z), as published. A side of the patch is a multiple of 8.
    """

    name: ClassVar[str] = "models_genesis"
    wanted: ClassVar[str] = "the file of Models Genesis for chest CT (Zhou et al. 2019), Genesis_Chest_CT.pt"

    trained_on: tuple[str, ...] = ("LUNA16",)
    window_hu: tuple[float, float] = (-1000.0, 1000.0)

    def seen(self, volume: CTVolume, mask: Mask) -> NDArray[np.float32]:
        """The patch, scaled, shape (x, y, z)."""
        return PatchEmbedder.seen(self, volume, mask).transpose(2, 1, 0)
