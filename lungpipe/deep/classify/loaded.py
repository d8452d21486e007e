"""A trained classifier at work, and what it sees of a nodule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lungpipe.deep import weights
from lungpipe.deep.classify.embedder import read_classifier
from lungpipe.deep.classify.network import NoduleClassifier
from lungpipe.deep.device import device_of, settle
from lungpipe.deep.view import View
from lungpipe.nodule import boxed
from lungpipe.segment.outside.patch import Patch
from lungpipe.volume import box_around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import IndexTriple
    from lungpipe.volume import CTVolume, Mask


@dataclass(frozen=True, eq=False, slots=True)
class Classifier:
    """A trained network and how it sees a nodule."""

    network: Any
    view: View
    device: Any

    def embedding(self, volume: CTVolume, mask: Mask) -> list[float]:
        """Log odds, then the layer before them."""
        settle()
        x = torch.from_numpy(cube_of(self.view, volume, mask)[None]).to(self.device)
        with torch.inference_mode():
            vector = self.network.vector(x)
            found = torch.cat([self.network.head(vector), vector], 1)[0]
        values: list[float] = found.double().cpu().tolist()
        return values


@lru_cache(maxsize=2)
def classifier(path: str, sha256: str, device: str) -> Classifier:
    """The classifier of a file of weights, remembered by this process.

    Parameters
    ----------
    path : str
    sha256 : str
        Of the file: another content is another classifier.
    device : str
        See :func:`lungpipe.deep.device.device_of`.

    Raises
    ------
    DatasetError
        If the file is no classifier, or its tensors do not fit what its header says.
    """
    del sha256
    settle()
    about = read_classifier(Path(path))
    network = NoduleClassifier(**about["parameters"])
    weights.load_into(network, weights.read(Path(path))[1], Path(path).name)
    place = device_of(device)
    return Classifier(network.to(place).eval(), View.of(about["view"]), place)


def cube_of(view: View, volume: CTVolume, mask: Mask) -> NDArray[np.float32]:
    """What a classifier sees of a nodule, shape (2, z, y, x): a cube about its box, of one size for all nodules.

    Parameters
    ----------
    view : View
        With a fixed spacing.
    volume : CTVolume
        The scan, or what :func:`box_of` says of it.
    mask : Mask
        The nodule, not empty.
    """
    nodule = boxed(mask)
    patch = Patch.around(volume.frame, nodule.centre_mm or (0.0, 0.0, 0.0), (view.spacing_mm,) * 3, (view.voxels,) * 3)
    return view.channels(volume, nodule, patch)


def box_of(view: View, mask: Mask) -> tuple[IndexTriple, IndexTriple]:
    """Voxels of the scan that a cube is made of: a half-open box (start, stop), indices (z, y, x)."""
    reach_mm = (view.voxels / 2 + 1) * view.spacing_mm + max(mask.frame.spacing_mm)
    return box_around(mask.frame, *mask.bounds, reach_mm)
