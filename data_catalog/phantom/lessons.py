"""Simulated nodules with their exact cover, for networks to learn from and to be judged by.

The shapes are real outlines (LIDC-IDRI). Its patients are divided once and for all: a fifth, by the hash of their id, is held
back from every network that learns here, so that no shape is both learned and judged by.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_catalog.phantom.candidates import read_candidates
from data_catalog.phantom.plan import PlannedNodule, PlannedPatient, scanned
from data_catalog.phantom.scene import nodule_cover, simulate
from lungpipe.nodule import Nodule
from lungpipe.volume import CTVolume, Mask, box_around

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from data_catalog.phantom.candidates import Candidate

#: One patient in this many is held back.
HELD_BACK = 5
#: Tissue about a nodule's box that is kept, in longest sides of it, and at least mm.
MARGIN_SIDES, MARGIN_MM = 0.9, 8.0


@dataclass(frozen=True, eq=False, slots=True)
class Lesson:
    """A simulated nodule.

    Parameters
    ----------
    volume : CTVolume
        Crop of the simulated scan.
    cover : ndarray of float32, shape (z, y, x) of the crop
        Share of each voxel inside the nodule.
    nodule : Nodule
        Its box.
    source : str
        Whose shape it is.
    """

    volume: CTVolume
    cover: NDArray[np.float32]
    nodule: Nodule
    source: str

    @property
    def mask(self) -> Mask:
        """The voxels of which at least half is inside."""
        return Mask(self.cover >= 0.5, self.volume.frame, self.volume.start)


def is_held_back(lidc_patient: str) -> bool:
    """Whether no network that learns here may see a patient's shapes."""
    return int.from_bytes(hashlib.sha256(lidc_patient.encode()).digest()[:4]) % HELD_BACK == 0


def lessons(count: int, seed: int, *, held_back: bool) -> Iterator[Lesson]:
    """Simulate nodules one by one.

    Parameters
    ----------
    count : int
    seed : int
        Same seed, same nodules.
    held_back : bool
        Whether shapes are of the patients held back, or of the others.

    Yields
    ------
    Lesson
    """
    candidates = [one for one in read_candidates() if is_held_back(one.lidc_patient) == held_back]
    order = np.random.default_rng([seed, int(held_back)])
    for number in range(1, count + 1):
        yield lesson(candidates[int(order.integers(len(candidates)))], number, seed)


def lesson(candidate: Candidate, number: int, seed: int) -> Lesson:
    """Simulate one nodule in a scan of its own."""
    planned = PlannedNodule(candidate, candidate.texture, candidate.calcification)
    patient: PlannedPatient = scanned(number, seed, (planned,))
    scene = simulate(patient, 0.0, 8.0)
    centre_mm, size_mm = scene.centres_mm[0], candidate.shape.size_mm
    window, share = nodule_cover(patient.grid, centre_mm, candidate.shape)
    low, high = tuple(part.start for part in window), tuple(part.stop for part in window)
    margin_mm = max(MARGIN_SIDES * max(size_mm), MARGIN_MM)
    start, stop = box_around(patient.grid, (low[0], low[1], low[2]), (high[0], high[1], high[2]), margin_mm)
    volume = CTVolume(scene.hu, patient.grid).crop(start, stop)
    cover = np.zeros(volume.shape, dtype=np.float32)
    cover[tuple(slice(part.start - s, part.stop - s) for part, s in zip(window, start, strict=True))] = share
    return Lesson(volume, cover, Nodule("", "", "", centre_mm, size_mm), candidate.source)
