"""IBSI-2's filters among a recipe's image types: ``ibsi-mean``, ``ibsi-laws`` and the like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lungpipe.errors import DatasetError, GeometryError
from lungpipe.radiomics.ibsi2.names import SPACING, image_filters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.ibsi2.names import ImageFilter

#: What the name of every image type and image of IBSI-2 begins with.
PREFIX = "ibsi-"
#: A grid that no filter which needs equal voxel sides runs on.
_UNEQUAL_MM: Triple = (1.25, 0.7, 0.8)


@dataclass(frozen=True, slots=True)
class IbsiFilter:
    """A filter and its parameters.

    Parameters
    ----------
    name : str
        A key of :data:`lungpipe.radiomics.ibsi2.names.FILTERS`.
    parameters : tuple
        Pairs of a parameter and its value; a tuple of values asks for an image each.

    Raises
    ------
    DatasetError
        If there is no such filter or parameter, or a value makes no sense.
    """

    name: str
    parameters: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if any(key == SPACING for key, _ in self.parameters):
            raise DatasetError(f"{self.name}: the voxel sides are features.spacing_mm")
        names = [name for name, _, _ in self.images((1.0, 1.0, 1.0))]
        if len(set(names)) < len(names):
            raise DatasetError(
                f"{self.name}: two of its images are the same ({', '.join(names)}); name each value once"
            )

    @classmethod
    def of(cls, name: str, parameters: Mapping[str, Any]) -> IbsiFilter:
        """Make one from a recipe's table."""
        held = {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}
        return cls(name, tuple(sorted(held.items())))

    def images(self, spacing_mm: Triple) -> list[ImageFilter]:
        """Each image's name, how many voxels past a region it reads (None: all of the image), and the function."""
        words = {key: list(value) if isinstance(value, tuple) else value for key, value in self.parameters}
        found = image_filters(self.name, {**words, SPACING: spacing_mm})
        return [(PREFIX + name.removeprefix(PREFIX), reach, function) for name, reach, function in found]

    def check(self, spacing_mm: Triple | None) -> None:
        """Refuse a grid that the filter is not defined on, before any work.

        Parameters
        ----------
        spacing_mm : tuple of float, optional
            Voxel sides (z, y, x), mm; None where they are the scan's own.

        Raises
        ------
        DatasetError
        """
        sides = spacing_mm if spacing_mm is not None and all(spacing_mm) else _UNEQUAL_MM
        try:
            for _, _, function in self.images(sides):
                function(np.zeros((4, 4, 4)), sides)
        except GeometryError as error:
            raise DatasetError(
                f"features.filters: {self.name} needs voxels with equal sides; set features.spacing_mm to three equal lengths "
                f"({error})"
            ) from error


def is_ibsi(name: str) -> bool:
    """Whether an image type or image is one of IBSI-2's."""
    return name.startswith(PREFIX)
