"""Checks of a filter's parameters, which name the filter, what was expected, what was found."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lungpipe.errors import DatasetError, GeometryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.geometry import Triple

#: Largest relative difference of two voxel sides that count as the same, as DICOM's rounded decimals leave.
SIDE_TOLERANCE = 1e-3


def one_of(filter_name: str, field: str, value: object, choices: Sequence[object]) -> None:
    """Refuse a value outside ``choices``."""
    if isinstance(value, bool) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise DatasetError(f"{filter_name}: {field} must be one of {listed}; found {value!r}")


def positive(filter_name: str, field: str, value: object) -> None:
    """Refuse what is not a finite number above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise DatasetError(f"{filter_name}: {field} must be a positive number; found {value!r}")


def whole(filter_name: str, field: str, value: object, least: int) -> None:
    """Refuse what is not a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DatasetError(f"{filter_name}: {field} must be a whole number of at least {least}; found {value!r}")


def same_side(filter_name: str, spacing_mm: Triple, axes: Sequence[int]) -> float:
    """The common side of a voxel along axes, mm.

    Raises
    ------
    GeometryError
        If the sides differ: a scale in mm would then be another number of voxels along each axis, which IBSI leaves
        undefined.
    """
    sides = [spacing_mm[axis] for axis in axes]
    if not all(math.isclose(side, sides[0], rel_tol=SIDE_TOLERANCE) for side in sides):
        found = " x ".join(f"{side:g}" for side in sides)
        raise GeometryError(
            f"{filter_name}: its scale in mm needs voxels with equal sides, found {found} mm; "
            "resample the image to equal sides first, or filter slice by slice (dimensions 2)"
        )
    return float(sides[0])
