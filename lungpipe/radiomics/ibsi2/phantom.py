"""IBSI 2's CT phantom: the published configurations, prepared images and reference values (phase 2 of the manual)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.dicom.read import read_image
from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi.resample import resample
from lungpipe.radiomics.ibsi.statistics import intensity_statistics
from lungpipe.radiomics.ibsi2 import (
    FilterSpec,
    Gabor,
    LaplacianOfGaussian,
    Laws,
    Mean,
    SeparableWavelet,
    Simoncelli,
    response,
)
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from lungpipe.geometry import Triple

#: Filters of the configurations; A works slice by slice, B in the volume, 1 takes the image itself.
CONFIGURATIONS: Mapping[str, FilterSpec | None] = {
    "1.A": None,
    "1.B": None,
    "2.A": Mean(5, dimensions=2),
    "2.B": Mean(5),
    "3.A": LaplacianOfGaussian(1.5, cutoff=4.0, dimensions=2),
    "3.B": LaplacianOfGaussian(1.5, cutoff=4.0),
    "4.A": Laws("L5E5", energy_distance=7, pooling="max"),
    "4.B": Laws("L5E5E5", energy_distance=7, pooling="max"),
    "5.A": Gabor(5.0, 2.0, gamma=1.5, step_deg=22.5, pooling="mean", dimensions=2),
    "5.B": Gabor(5.0, 2.0, gamma=1.5, step_deg=22.5, pooling="mean"),
    "6.A": SeparableWavelet("db3", "LH", level=1, pooling="mean"),
    "6.B": SeparableWavelet("db3", "LLH", level=1, pooling="mean"),
    "7.A": SeparableWavelet("db3", "HH", level=2, pooling="mean"),
    "7.B": SeparableWavelet("db3", "HHH", level=2, pooling="mean"),
    "8.A": Simoncelli(1, dimensions=2),
    "8.B": Simoncelli(1),
    "9.A": Simoncelli(2, dimensions=2),
    "9.B": Simoncelli(2),
}
#: Intensities that stay in the region, HU.
RESEGMENTATION_HU = (-1000.0, 400.0)
#: Voxel side of configurations B, mm.
SIDE_MM = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The phantom as a configuration's filter takes it.

    Parameters
    ----------
    hu : ndarray of float64, shape (z, y, x)
    region : ndarray of bool, shape (z, y, x)
    spacing_mm : tuple of float
        Voxel sides along (z, y, x), mm.
    """

    hu: NDArray[np.float64]
    region: NDArray[np.bool_]
    spacing_mm: Triple


@dataclass(frozen=True, slots=True)
class Reference:
    """A published value.

    Parameters
    ----------
    configuration, feature, code, tag : str
        ``"6.B"``, ``"Mean"``, ``"Q4LE"``, ``"stat_mean"``.
    value, tolerance : float or None
        None where no agreement was found.
    """

    configuration: str
    feature: str
    code: str
    tag: str
    value: float | None
    tolerance: float | None

    def is_met(self, value: float) -> bool:
        """Whether a value lies within the tolerance; an unpublished one is met by any number."""
        if self.value is None or self.tolerance is None:
            return bool(np.isfinite(value))
        return abs(value - self.value) <= self.tolerance


def read_references(path: Path) -> list[Reference]:
    """Published values of a CSV file with columns config, feature, ibsi_code, feature_tag, value and tolerance.

    Raises
    ------
    DatasetError
        If the file is missing or lacks a column.
    """
    if not path.is_file():
        raise DatasetError(f"no reference values at {path}; expected IBSI 2's ibsi2_ct_phantom_reference_values.csv")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        lacking = {"config", "feature", "ibsi_code", "feature_tag", "value", "tolerance"} - set(reader.fieldnames or ())
        if lacking:
            raise DatasetError(f"{path.name} lacks the columns {', '.join(sorted(lacking))}")
        return [
            Reference(
                row["config"], row["feature"], row["ibsi_code"], row["feature_tag"],
                float(row["value"]) if row["value"] else None,
                float(row["tolerance"]) if row["tolerance"] else None,
            )
            for row in reader
        ]  # fmt: skip


def prepare(folder: Path) -> dict[str, Prepared]:
    """The phantom as configurations A (the original grid) and B (1 mm, tricubic spline, whole HU) take it.

    Parameters
    ----------
    folder : Path
        Holds ``nifti/image/phantom.nii.gz`` and ``nifti/mask/mask.nii.gz``.
    """
    image, frame = read_image(folder / "nifti" / "image" / "phantom.nii.gz")
    mask, mask_frame = read_image(folder / "nifti" / "mask" / "mask.nii.gz")
    volume, region = CTVolume(image, frame), Mask(np.asarray(mask) > 0, mask_frame)
    spacings = {"A": None, "B": (SIDE_MM,) * 3}
    return {letter: _prepared(volume, region, spacing_mm) for letter, spacing_mm in spacings.items()}


def values_of(configuration: str, prepared: Prepared) -> dict[str, float]:
    """Statistics by tag (``stat_mean`` ...) of a configuration's response in the region."""
    spec = CONFIGURATIONS[configuration]
    filtered = prepared.hu if spec is None else response(prepared.hu, prepared.spacing_mm, spec)
    return intensity_statistics(filtered[prepared.region])


def _prepared(volume: CTVolume, region: Mask, spacing_mm: Triple | None) -> Prepared:
    found = resample(volume, region, spacing_mm, 3, whole_hu=spacing_mm is not None)
    low, high = RESEGMENTATION_HU
    kept = found.inside & (found.values >= low) & (found.values <= high)
    return Prepared(found.values, kept, found.spacing_mm)
