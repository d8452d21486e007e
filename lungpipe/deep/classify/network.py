"""The classifier: the encoder of a 3D U-Net, its narrowest maps pooled, and two layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lungpipe.deep.nets.blocks import check_sides
from lungpipe.deep.nets.unet import unet
from lungpipe.deep.weights import load_into
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Share of the pooled maps that is dropped in training.
DROPPED = 0.3
#: What the names of the encoder's tensors begin with, here as in a segmenter.
ENCODER = "encoder."


class NoduleClassifier(nn.Module):
    """Log odds of malignancy from a cube about a nodule.

    Parameters
    ----------
    features : sequence of int
        Channels of each level of the encoder, even; as of the segmenter that it begins from.
    hidden : int
        Numbers before the last layer.

    Raises
    ------
    DatasetError
        If they make no sense.
    """

    def __init__(self, features: Sequence[int] = (8, 16, 32, 64), hidden: int = 16) -> None:
        super().__init__()
        if hidden < 1:
            raise DatasetError(f"network.hidden is 1 or more, found {hidden}")
        self.encoder = unet(2, features).encoder
        self.dropout = nn.Dropout(DROPPED)
        self.hidden = nn.Linear(2 * features[-1], hidden)
        self.head = nn.Linear(hidden, 1)

    def vector(self, x: Any) -> Any:
        """The numbers before the last layer, (n, hidden), of cubes (n, 2, z, y, x).

        Raises
        ------
        DatasetError
            If a side is not one that the levels can halve.
        """
        check_sides("classifier3d", x.shape[2:], len(self.encoder.levels))
        narrowest = self.encoder(x)[-1].flatten(2)
        pooled = torch.cat([narrowest.mean(-1), narrowest.amax(-1)], 1)
        return torch.relu(self.hidden(self.dropout(pooled)))

    def forward(self, x: Any) -> Any:
        """Log odds, (n,), of cubes (n, 2, z, y, x)."""
        return self.head(self.vector(x))[:, 0]


def warm_start(network: NoduleClassifier, tensors: Mapping[str, Any], name: str) -> None:
    """Begin from the encoder of a segmenter, or of any file that holds one under the same names.

    Parameters
    ----------
    network : NoduleClassifier
    tensors : mapping of str to Tensor
        Those that are not the encoder's do not count.
    name : str
        Of the file, for messages.

    Raises
    ------
    DatasetError
        If there is no encoder, or it does not fit.
    """
    own = {key.removeprefix(ENCODER): one for key, one in tensors.items() if key.startswith(ENCODER)}
    if not own:
        raise DatasetError(f"{name} has no encoder to begin from; expected weights of the segmenter unet")
    load_into(network.encoder, own, name)
