"""IBSI 1's published values, its phantoms, and when a value agrees with a published one."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.dicom.read import read_image
from lungpipe.errors import DatasetError, GeometryError
from lungpipe.radiomics.ibsi.profile import digital_phantom_rows, profile_rows
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lungpipe.radiomics.ibsi.profile import ProfileRow

#: Published values are printed with at least so many digits.
DIGITS = 3
#: What the published tables call the digital phantom; configurations are ``config_A`` and so on.
DIGITAL = "digital_phantom"
_COLUMNS = {"config", "family", "feature", "ibsi_code", "value", "tolerance", "aggregation_code", "tag"}


@dataclass(frozen=True, slots=True)
class Reference:
    """A row of the published tables.

    Parameters
    ----------
    config : str
        ``"digital_phantom"``, or ``"config_A"`` to ``"config_E"``.
    family, feature, ibsi_code, aggregation, tag : str
    value, tolerance : float, optional
        None where IBSI found no consensus. A tolerance of 0 asks for equality after rounding.
    """

    config: str
    family: str
    feature: str
    ibsi_code: str
    aggregation: str
    tag: str
    value: float | None
    tolerance: float | None

    def is_met(self, ours: float) -> bool:
        """Whether a value agrees with the published one.

        With a tolerance, it lies within it. Without, both are equal after rounding to the digits of the published value,
        at least three. A value that is not published is met by any number.
        """
        if self.value is None:
            return isfinite(ours)
        if self.tolerance:
            return abs(ours - self.value) <= self.tolerance * (1 + 1e-9)
        digits = max(DIGITS, len(f"{abs(self.value):.15g}".replace(".", "").strip("0")))
        return float(f"{ours:.{digits}g}") == float(f"{self.value:.{digits}g}")


def read_references(folder: Path) -> list[Reference]:
    """Read the published tables of a folder, ``ibsi1_*.csv``, row by row.

    Raises
    ------
    DatasetError
        If there is no such file, or one lacks a column.
    """
    files = sorted(folder.glob("ibsi1_*.csv"))
    if not files:
        raise DatasetError(f"no published values in {folder}; expected files ibsi1_*.csv, such as ibsi1_config_C.csv")
    found = []
    for path in files:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if lacking := _COLUMNS - set(reader.fieldnames or ()):
                raise DatasetError(f"{path.name} lacks the columns {', '.join(sorted(lacking))}")
            found += [_reference(row) for row in reader]
    return found


def _reference(row: dict[str, str]) -> Reference:
    return Reference(
        config=row["config"],
        family=row["family"],
        feature=row["feature"],
        ibsi_code=row["ibsi_code"],
        aggregation=row["aggregation_code"],
        tag=row["tag"],
        value=float(row["value"]) if row["value"] else None,
        tolerance=float(row["tolerance"]) if row["tolerance"] else None,
    )


def read_phantom(folder: Path) -> tuple[CTVolume, Mask]:
    """Read a phantom from its NIfTI files; intensities are whole numbers, as the manual asks.

    Parameters
    ----------
    folder : Path
        Holds ``nifti/image/phantom.nii.gz`` and ``nifti/mask/mask.nii.gz``.

    Raises
    ------
    DatasetError
        If a file is missing or no image.
    GeometryError
        If the two have different grids.
    """
    image, frame = read_image(folder / "nifti" / "image" / "phantom.nii.gz")
    mask, mask_frame = read_image(folder / "nifti" / "mask" / "mask.nii.gz")
    if (gap := frame.mismatch(mask_frame)) is not None:
        raise GeometryError(f"the phantom's mask is not on its image's grid: {gap}")
    return CTVolume(np.rint(image).astype(np.float32), frame), Mask(np.asarray(mask) > 0, frame)


def rows_of(config: str, data: Path) -> Sequence[ProfileRow]:
    """Compute a configuration of the published tables; none for a name that there is no profile for.

    Parameters
    ----------
    config : str
        As in the tables.
    data : Path
        Holds ``ibsi1-digital-phantom`` and ``ibsi1-ct-phantom``.
    """
    if config == DIGITAL:
        volume, region = read_phantom(data / "ibsi1-digital-phantom")
        return digital_phantom_rows(volume.hu, region.voxels, volume.frame.spacing_mm)
    letter = config.removeprefix("config_")
    if letter not in set("ABCDE"):
        return []
    return profile_rows(*read_phantom(data / "ibsi1-ct-phantom"), f"ibsi-{letter}")
