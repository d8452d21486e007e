"""Lungs from a model outside (a program or container that labels a scan), in place of the classical ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import DatasetError, RegionError, SegmentationError
from lungpipe.region.lung import LEFT, RIGHT, Lungs
from lungpipe.segment.outside.model import numbers_of

if TYPE_CHECKING:
    from lungpipe.segment.outside.model import OutsideModel
    from lungpipe.volume import CTVolume


@dataclass(frozen=True, slots=True)
class OutsideLungs:
    """Finds lungs by a model outside.

    Parameters
    ----------
    model : OutsideModel
        Run once for the scan; its own ``labels`` do not count.
    right, left : tuple of int or str
        Labels of each lung, such as its lobes.

    Raises
    ------
    DatasetError
        If a side has no label, a label is unknown, or one stands for both sides.
    """

    model: OutsideModel
    right: tuple[int | str, ...]
    left: tuple[int | str, ...]

    def __post_init__(self) -> None:
        if not (self.right and self.left):
            raise DatasetError("regions.lung: right and left need the model's labels of each lung")
        if both := sorted(set(self.numbers(self.right)) & set(self.numbers(self.left))):
            raise DatasetError(f"regions.lung: label {both[0]} stands for the right lung and for the left one")

    def numbers(self, labels: tuple[int | str, ...]) -> tuple[int, ...]:
        """Labels as the model's numbers."""
        return numbers_of(self.model.name, labels, self.model.label_names())

    def __call__(self, volume: CTVolume) -> Lungs:
        """Lungs of a scan.

        Raises
        ------
        RegionError
            With the model's own code if it fails; ``no_lung_found`` if it marks none.
        """
        try:
            found = self.model.prepare(volume)
        except SegmentationError as error:
            raise RegionError(error.code, error.message) from error
        voxels = np.zeros(found.voxels.shape, dtype=np.uint8)
        voxels[np.isin(found.voxels, self.numbers(self.right))] = RIGHT
        voxels[np.isin(found.voxels, self.numbers(self.left))] = LEFT
        if not voxels.any():
            used = ", ".join(map(str, np.unique(found.voxels)[:20]))
            raise RegionError("no_lung_found", f"{self.model.name} marked no lung; labels in its file: {used}")
        return Lungs(voxels, volume.frame, volume.start)
