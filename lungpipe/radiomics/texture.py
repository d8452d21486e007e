"""How grey levels are made and texture is counted: the settings that every engine reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lungpipe.errors import DatasetError

#: How directions are weighted in PyRadiomics: by the distance between the two voxels in this norm.
Norm = Literal["manhattan", "euclidean", "infinity", "no_weighting"]


@dataclass(frozen=True, slots=True)
class TextureSettings:
    """Settings of discretisation and texture matrices, as PyRadiomics defines them.

    Parameters
    ----------
    bin_width : float
        Width of a grey-level bin in units of the image (HU for CT). PyRadiomics' ``binWidth``.
    bin_count : int, optional
        Fixed number of bins between a region's least and greatest value, instead of a width. ``binCount``.
    bin_origin : float, optional
        Lower edge of grey level 1. None, as in PyRadiomics, takes the greatest multiple of the bin width at or below the
        region's least value, so that level 1 differs from region to region.
    distances : tuple of int
        Distances between neighbours in voxels (infinity norm), for GLCM and NGTDM and GLDM. ``distances``.
    symmetrical_glcm : bool
        Whether a pair of voxels counts in both orders. ``symmetricalGLCM``.
    gldm_a : float
        Greatest difference of grey levels of voxels that depend on each other. ``gldm_a``.
    force_2d : bool
        Whether neighbours are looked for within planes only. ``force2D``.
    force_2d_axis : int
        Axis (0 is z) at right angles to those planes. ``force2Ddimension``.
    weighting : {"manhattan", "euclidean", "infinity", "no_weighting"}, optional
        Weights of directions, whose matrices are then added; None averages the features of the directions.
        ``weightingNorm``.
    voxel_array_shift : float
        Added to intensities before energy, total energy and root mean squared. ``voxelArrayShift``.

    Raises
    ------
    DatasetError
        If a value makes no sense.
    """

    bin_width: float = 25.0
    bin_count: int | None = None
    bin_origin: float | None = None
    distances: tuple[int, ...] = (1,)
    symmetrical_glcm: bool = True
    gldm_a: float = 0.0
    force_2d: bool = False
    force_2d_axis: int = 0
    weighting: Norm | None = None
    voxel_array_shift: float = 0.0

    def __post_init__(self) -> None:
        # A whole number would keep bins in the image's own whole-number type, which overflows for small ones.
        object.__setattr__(self, "bin_width", float(self.bin_width))
        if not 0 < self.bin_width < math.inf:
            raise DatasetError(f"features.bin_width_hu must be positive and finite, found {self.bin_width}")
        for name, value in (("features.bin_origin_hu", self.bin_origin), ("voxel_array_shift", self.voxel_array_shift)):
            if value is not None and not math.isfinite(value):
                raise DatasetError(f"{name} must be finite, found {value}")
        if self.bin_count is not None and self.bin_count < 1:
            raise DatasetError(f"the number of bins must be at least 1, found {self.bin_count}")
        if self.bin_count is not None and self.bin_origin is not None:
            raise DatasetError("a fixed number of bins begins at the region's least value: leave out the bin origin")
        if not self.distances or any(d < 1 for d in self.distances):
            raise DatasetError(f"distances must be whole voxels from 1, found {list(self.distances)}")
        if self.force_2d_axis not in {0, 1, 2}:
            raise DatasetError(f"the axis of force2D must be 0, 1 or 2, found {self.force_2d_axis}")
        if not 0 <= self.gldm_a < math.inf:
            raise DatasetError(f"gldm_a must be finite and not negative, found {self.gldm_a}")
