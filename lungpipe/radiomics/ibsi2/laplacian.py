"""IBSI's Laplacian of a Gaussian, in space and truncated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lungpipe.radiomics.ibsi2.boundary import check_boundary, local_reach
from lungpipe.radiomics.ibsi2.convolve import DIMENSIONS, along, axes_of
from lungpipe.radiomics.ibsi2.fields import one_of, positive, same_side

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.ibsi2.boundary import Boundary
    from lungpipe.radiomics.ibsi2.convolve import Dimensions


@dataclass(frozen=True, slots=True)
class LaplacianOfGaussian:
    """Laplacian of Gaussian filter (IBSI L6PA).

    Its kernel is sampled at the voxels and cut to a square or cube of ``1 + 2 floor(cutoff * sigma + 0.5)`` voxels a
    side, sigma in voxels::

        g(k) = -1 / sigma^2 * (1 / (sqrt(2 pi) sigma))^D * (D - |k|^2 / sigma^2) * exp(-|k|^2 / (2 sigma^2))

    It is not made to add up to zero, nor normalised across scale: IBSI does neither, PyRadiomics the second.

    Parameters
    ----------
    sigma_mm : float
        Scale of the Gaussian (IBSI 41LN), mm.
    cutoff : float
        Where the kernel ends (IBSI WGPM), in sigmas.
    dimensions : {3, 2}
        In the volume, or slice by slice.
    boundary : {"mirror", "zero", "nearest", "periodic"}

    Raises
    ------
    DatasetError
        If a parameter makes no sense.
    """

    recipe_name: ClassVar[str] = "ibsi-log"

    sigma_mm: float
    cutoff: float = 4.0
    dimensions: Dimensions = 3
    boundary: Boundary = "mirror"

    def __post_init__(self) -> None:
        positive(self.recipe_name, "sigma_mm", self.sigma_mm)
        positive(self.recipe_name, "cutoff", self.cutoff)
        one_of(self.recipe_name, "dimensions", self.dimensions, DIMENSIONS)
        check_boundary(self.recipe_name, self.boundary)

    def label(self) -> str:
        """Main part of the image's name in a feature table."""
        return f"log-{self.sigma_mm:.12g}mm"

    def reach_voxels(self, spacing_mm: Triple) -> int | None:
        """Voxels that must surround a region for the whole image's values."""
        return local_reach(self._radius(self._sigma(spacing_mm)), self.boundary)

    def respond(self, values: NDArray[np.float64], spacing_mm: Triple) -> NDArray[np.float64]:
        """Laplacian of the smoothed image in HU per squared voxel side, shape (z, y, x).

        The kernel is the sum over the axes of a second derivative along that axis and Gaussians along the others.
        """
        sigma = self._sigma(spacing_mm)
        radius = self._radius(sigma)
        k = np.arange(-radius, radius + 1, dtype=np.float64)
        smooth = np.exp(-0.5 * (k / sigma) ** 2) / (math.sqrt(2 * math.pi) * sigma)
        curve = ((k / sigma) ** 2 - 1) / sigma**2 * smooth
        smoothed, curved = values, np.zeros(())
        for axis in axes_of(self.dimensions):
            bent = along(smoothed, curve, axis, self.boundary)
            if curved.ndim:
                bent += along(curved, smooth, axis, self.boundary)
            curved = bent
            if axis != 2:
                smoothed = along(smoothed, smooth, axis, self.boundary)
        return curved

    def _sigma(self, spacing_mm: Triple) -> float:
        return self.sigma_mm / same_side(self.recipe_name, spacing_mm, axes_of(self.dimensions))

    def _radius(self, sigma: float) -> int:
        return math.floor(self.cutoff * sigma + 0.5)
