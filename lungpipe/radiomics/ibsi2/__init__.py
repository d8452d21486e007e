"""Convolutional filters as IBSI 2 defines them.

Depeursinge et al., "Standardised convolutional filtering for radiomics", arXiv:2006.05470; Whybra et al., "The Image
Biomarker Standardization Initiative: standardized convolutional filters for reproducible radiomics and enhanced
clinical insights", Radiology 2024;310(2):e231319.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from lungpipe.errors import GeometryError
from lungpipe.radiomics.ibsi2.gabor import Gabor
from lungpipe.radiomics.ibsi2.laplacian import LaplacianOfGaussian
from lungpipe.radiomics.ibsi2.laws import Laws
from lungpipe.radiomics.ibsi2.mean import Mean
from lungpipe.radiomics.ibsi2.simoncelli import Simoncelli
from lungpipe.radiomics.ibsi2.wavelet import SeparableWavelet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from lungpipe.geometry import Triple

__all__ = [
    "FilterSpec",
    "Gabor",
    "LaplacianOfGaussian",
    "Laws",
    "Mean",
    "SeparableWavelet",
    "Simoncelli",
    "response",
]


class FilterSpec(Protocol):
    """A filter and its parameters."""

    recipe_name: ClassVar[str]

    def label(self) -> str:
        """Main part of the image's name in a feature table."""
        ...

    def reach_voxels(self, spacing_mm: Triple) -> int | None:
        """Voxels that must surround a region for the whole image's values; None where only the whole image will do."""
        ...

    def respond(self, values: NDArray[np.float64], spacing_mm: Triple) -> NDArray[np.float64]:
        """Response of an image, shape (z, y, x)."""
        ...


def response(values: ArrayLike, spacing_mm: Triple, spec: FilterSpec) -> NDArray[np.float64]:
    """Response of an image to a filter.

    Parameters
    ----------
    values : array_like, shape (z, y, x)
        Intensities; left as they are.
    spacing_mm : tuple of float
        Voxel sides along (z, y, x), mm.
    spec : FilterSpec

    Returns
    -------
    ndarray of float64, shape (z, y, x)

    Raises
    ------
    GeometryError
        If the image is not a volume, or the filter's scale in mm cannot be told in voxels.
    """
    image = np.asarray(values, dtype=np.float64)
    if image.ndim != 3 or 0 in image.shape:
        raise GeometryError(f"a filter needs a volume of three axes (z, y, x), found the shape {image.shape}")
    return np.ascontiguousarray(spec.respond(image, spacing_mm))
