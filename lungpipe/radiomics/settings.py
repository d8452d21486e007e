"""What determines a feature's value, in one frozen record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lungpipe.errors import DatasetError

Interpolation = Literal["float32", "int16"]


@dataclass(frozen=True, slots=True)
class RadiomicsSettings:
    """Settings of an extraction.

    Parameters
    ----------
    bin_width_hu : float
        Width of a grey-level bin, HU.
    spacing_mm : tuple of float, optional
        Voxel sides (x, y, z), mm, to which image and masks are resampled (B-spline; nearest neighbour for masks).
        None keeps the image's own grid.
    interpolation : {"float32", "int16"}
        Type in which resampled HU are kept. PyRadiomics keeps the image's type, which for DICOM rounds to whole HU;
        that changes features by more than one per cent, so the choice has a name.
    filters : tuple of str
        Image types; ``"original"`` is the one that crops exactly and so the one offered here.

    Raises
    ------
    DatasetError
        If a value makes no sense.
    """

    bin_width_hu: float = 25.0
    spacing_mm: tuple[float, float, float] | None = (1.0, 1.0, 1.0)
    interpolation: Interpolation = "float32"
    filters: tuple[str, ...] = ("original",)

    def __post_init__(self) -> None:
        if not self.bin_width_hu > 0:
            raise DatasetError(f"features.bin_width_hu must be positive, found {self.bin_width_hu}")
        if self.spacing_mm is not None and not all(s > 0 for s in self.spacing_mm):
            raise DatasetError(f"features.spacing_mm must be three positive lengths (x, y, z), found {self.spacing_mm}")
        if self.filters != ("original",):
            raise DatasetError(
                f'features.filters = {list(self.filters)}: a recipe computes ["original"] only; for filtered images '
                "use `lungpipe extract` with a PyRadiomics parameter file"
            )

    def pyradiomics(self) -> dict[str, Any]:
        """The settings under PyRadiomics' names, without its own resampling (done on our lattice)."""
        return {"binWidth": self.bin_width_hu, "additionalInfo": False, "label": 1}
