"""IBSI's mean filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi2.boundary import check_boundary, local_reach
from lungpipe.radiomics.ibsi2.convolve import DIMENSIONS, axes_of, separable
from lungpipe.radiomics.ibsi2.fields import one_of, whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.ibsi2.boundary import Boundary
    from lungpipe.radiomics.ibsi2.convolve import Dimensions


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean filter (IBSI S60F): the mean over a square or cube of voxels.

    Parameters
    ----------
    support : int
        Voxels along a side (IBSI M), odd.
    dimensions : {3, 2}
        In the volume, or slice by slice.
    boundary : {"mirror", "zero", "nearest", "periodic"}

    Raises
    ------
    DatasetError
        If a parameter makes no sense.
    """

    recipe_name: ClassVar[str] = "ibsi-mean"

    support: int
    dimensions: Dimensions = 3
    boundary: Boundary = "mirror"

    def __post_init__(self) -> None:
        whole(self.recipe_name, "support", self.support, 1)
        if self.support % 2 == 0:
            raise DatasetError(
                f"{self.recipe_name}: support must be odd, so that a voxel is its middle; found {self.support}"
            )
        one_of(self.recipe_name, "dimensions", self.dimensions, DIMENSIONS)
        check_boundary(self.recipe_name, self.boundary)

    def label(self) -> str:
        """Main part of the image's name in a feature table."""
        return f"mean-{self.support}"

    def reach_voxels(self, spacing_mm: Triple) -> int | None:
        """Voxels that must surround a region for the whole image's values."""
        return local_reach(self.support // 2, self.boundary)

    def respond(self, values: NDArray[np.float64], spacing_mm: Triple) -> NDArray[np.float64]:
        """Mean of each voxel's surroundings, shape (z, y, x)."""
        return box_mean(values, self.support, self.dimensions, self.boundary)


def box_mean(
    values: NDArray[np.float64], support: int, dimensions: Dimensions, boundary: Boundary
) -> NDArray[np.float64]:
    """Mean over a square or cube of ``support`` voxels a side, shape (z, y, x)."""
    kernel = np.full(support, 1.0 / support)
    return separable(values, [kernel] * len(axes_of(dimensions)), boundary)
