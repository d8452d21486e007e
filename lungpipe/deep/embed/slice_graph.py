"""Plug-in ``slice_graph``: triplets of neighbouring axial slices as the nodes of a graph, read out by spectral filters.

The graph is that of CT-SSG [1]_: each node is a triplet of slices that a 2D ResNet turns into numbers, and nodes that follow each
other along the patient are joined. There the filters of the graph convolution [2]_ are trained with labels; nothing is trained
here, so each Chebyshev polynomial of the graph's Laplacian is kept as a filter of its own, and its output is read out as the mean
of absolute values over the nodes, as in geometric scattering [3]_. It is no replication of CT-SSG: it sees a nodule and not a
chest, and has neither learned filters nor positional embeddings.

References
----------
.. [1] Di Piazza, Lazarus, Nempont and Boussel, Structured spectral graph learning for anomaly classification in 3D chest CT scans,
   2025, arXiv:2508.01045; extended in arXiv:2510.10779.
.. [2] Defferrard, Bresson and Vandergheynst, Convolutional neural networks on graphs with fast localized spectral filtering,
   NeurIPS 2016, arXiv:1606.09375.
.. [3] Gao, Wolf and Hirn, Geometric scattering for graph data analysis, ICML 2019, arXiv:1810.03068.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lungpipe.deep.embed.patch import lesion
from lungpipe.deep.embed.weighted import WeightedEmbedder
from lungpipe.deep.extra import needed
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.volume import CTVolume, Mask

#: Slices of a node.
TRIPLET = 3


@dataclass(frozen=True, slots=True)
class SliceGraph(WeightedEmbedder):
    """Plug-in ``slice_graph``: ``512 * order`` numbers.

    Parameters
    ----------
    triplets : int
        Nodes of the graph; three slices each, none shared.
    order : int
        Chebyshev polynomials, from that of degree 0 on.
    side_voxels : int
        Of each slice, along y and x.
    spacing_mm : float
        Of slices and pixels.
    window_hu : tuple of float
        HU are clipped to this and scaled to 0 to 1.
    """

    name: ClassVar[str] = "slice_graph"
    wanted: ClassVar[str] = (
        "a 2D ResNet-18 of three channels with torchvision's names, such as its weights from ImageNet"
    )

    triplets: int = 8
    order: int = 3
    side_voxels: int = 64
    spacing_mm: float = 1.0
    window_hu: tuple[float, float] = (-1000.0, 500.0)

    def check(self) -> None:
        """Refuse impossible parameters."""
        if self.triplets < 2 or self.order < 1 or self.side_voxels < 1 or self.spacing_mm <= 0:
            raise DatasetError(
                f"{self.name}: triplets is 2 or more, order and side_voxels 1 or more, spacing_mm above 0; found "
                f"{self.triplets}, {self.order}, {self.side_voxels}, {self.spacing_mm:g}"
            )
        if len(self.window_hu) != 2 or self.window_hu[0] >= self.window_hu[1]:
            raise DatasetError(f"{self.name}: window_hu is two numbers that go upwards, found {list(self.window_hu)}")

    def values(self, volume: CTVolume, mask: Mask) -> NDArray[np.float32]:
        """The embedding, shape (512 * order,): polynomial by polynomial."""
        run = needed("lungpipe.deep.embed.run", "deep")
        shape = (TRIPLET * self.triplets, self.side_voxels, self.side_voxels)
        seen = lesion(volume, mask, shape, (self.spacing_mm,) * 3).scaled(self.window_hu)
        nodes = run.embed(self.network(self.name), seen.reshape(self.triplets, TRIPLET, *shape[1:]))
        return read_out(nodes.astype(np.float64), self.order).astype(np.float32)


def read_out(nodes: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Mean absolute response of each Chebyshev filter on a path graph.

    With the normalised Laplacian L, whose eigenvalues lie between 0 and 2, the filters are T_k(L - 1): T_0 = 1, T_1 = L - 1,
    T_k = 2 (L - 1) T_(k-1) - T_(k-2) [2]_.

    Parameters
    ----------
    nodes : ndarray, shape (n, d)
        Features of the nodes, in their order.
    order : int
        Number of filters.

    Returns
    -------
    ndarray, shape (order * d,)
    """
    shifted = path_laplacian(len(nodes)) - np.eye(len(nodes))
    responses = [nodes, shifted @ nodes]
    while len(responses) < order:
        responses.append(2 * shifted @ responses[-1] - responses[-2])
    return np.concatenate([np.abs(one).mean(axis=0) for one in responses[:order]])


def path_laplacian(n: int) -> NDArray[np.float64]:
    """Normalised Laplacian ``1 - D^(-1/2) A D^(-1/2)`` of n nodes in a row, each joined to the next; shape (n, n)."""
    joined = np.eye(n, k=1) + np.eye(n, k=-1)
    scale = 1 / np.sqrt(joined.sum(axis=0))
    return np.asarray(np.eye(n) - scale[:, None] * joined * scale)
