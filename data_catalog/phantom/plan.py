"""What each simulated patient is: nodules, place, scanner. Drawn before anything is computed, and without the effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_catalog.phantom.matching import draw_pairs
from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_catalog.phantom.candidates import Candidate

#: One patient in this many carries a second nodule.
PATIENTS_PER_SECOND_NODULE = 6
#: Rows and columns of a slice.
PIXELS = 150
#: In-plane and slice spacings of the simulated protocols, mm.
PIXEL_MM = (0.64, 0.68, 0.703, 0.742, 0.781, 0.82)
SLICE_MM = (1.0, 1.25, 1.5, 2.0, 2.5)
#: Streams of random numbers of one patient; the effect has its own, so that it changes nothing else.
PLAN_STREAM, SCENE_STREAM, NOISE_STREAM, EFFECT_STREAM, COHORT_STREAM = 0, 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Kernel:
    """A reconstruction kernel: its name, in-plane blur (standard deviation, mm) and noise.

    ``noise_hu`` is the standard deviation at 100 mA and 1 mm slices; ``grain_mm`` the noise's correlation in plane.
    """

    name: str
    blur_mm: float
    noise_hu: float
    grain_mm: float


#: Fictional makers and models with the kernels that they offer.
SCANNERS: tuple[tuple[str, str, tuple[Kernel, ...]], ...] = (
    ("Nordlicht Imaging", "Aurora 64", (Kernel("SOFT", 0.65, 22.0, 0.75), Kernel("LUNG", 0.40, 34.0, 0.45))),
    ("Kestrel Medical", "KM-Helix", (Kernel("K30", 0.60, 24.0, 0.70), Kernel("K55", 0.42, 32.0, 0.50))),
    ("Halden CT", "Fjord 128", (Kernel("STD", 0.52, 27.0, 0.60),)),
)


@dataclass(frozen=True, eq=False, slots=True)
class PlannedNodule:
    """A real shape in a simulated patient; its intensity follows the mean ratings of its pair, not of its label."""

    candidate: Candidate
    texture: float
    calcification: float


@dataclass(frozen=True, eq=False, slots=True)
class PlannedPatient:
    """One simulated patient and how it was scanned.

    Parameters
    ----------
    number : int
        From 1.
    seed : int
        Seed of the cohort.
    nodules : tuple of PlannedNodule
        One or two, of one label.
    grid : Geometry
        Grid of the CT.
    left : bool
        Whether the left lung is shown: the chest wall then lies at large x.
    maker, model : str
        Fictional scanner.
    kernel : Kernel
        Reconstruction kernel.
    kv, ma : int
        Tube voltage and current.
    signed : bool
        Whether HU are stored as signed numbers with intercept 0, or unsigned with -1024.
    """

    number: int
    seed: int
    nodules: tuple[PlannedNodule, ...]
    grid: Geometry
    left: bool
    maker: str
    model: str
    kernel: Kernel
    kv: int
    ma: int
    signed: bool

    @property
    def patient_id(self) -> str:
        """Identifier in every file."""
        return f"PHANTOM-{self.number:04d}"

    def rng(self, stream: int) -> np.random.Generator:
        """Random numbers of one of the patient's streams, whatever was drawn from the others."""
        return np.random.default_rng([self.seed, self.number, stream])


def plan_patients(pairs: Sequence[tuple[Candidate, Candidate]], patients: int, seed: int) -> list[PlannedPatient]:
    """Give every patient its nodules and its scan.

    Parameters
    ----------
    pairs : sequence of (Candidate, Candidate)
        Matched (malignant, benign) nodules, the most alike first.
    patients : int
        How many patients.
    seed : int
        Seed of the cohort.

    Returns
    -------
    list of PlannedPatient
        Half malignant and half benign (one more malignant for an odd number), in random order; a sixth has two nodules.

    Raises
    ------
    DatasetError
        If there are not enough pairs; the message says the largest number of patients.
    """
    if _pairs_needed(patients) > len(pairs):
        most = max(n for n in range(2, 2 * len(pairs) + 1) if _pairs_needed(n) <= len(pairs))
        raise DatasetError(
            f"a phantom of {patients} patients needs {_pairs_needed(patients)} pairs of malignant and benign nodules "
            f"that look alike, and LIDC-IDRI has {len(pairs)}: ask for at most {most} patients"
        )
    rng = np.random.default_rng([seed, 0, COHORT_STREAM])
    drawn = draw_pairs(pairs, _pairs_needed(patients), rng)
    seconds = _second_nodules(patients) // 2
    # The smallest pairs become second nodules: two must find room in one scan.
    drawn.sort(key=lambda pair: pair[0].shape.radius_mm + pair[1].shape.radius_mm)
    extra, first = drawn[:seconds], drawn[seconds:]
    order = rng.permutation(len(first))
    nodules: list[tuple[PlannedNodule, ...]] = []
    for place, index in enumerate(order):
        for side in (0, 1):
            chosen = [_planned(first[index], side)]
            if place < seconds:
                chosen.append(_planned(extra[place], side))
            nodules.append(tuple(chosen))
    nodules = nodules[:patients]
    return [
        scanned(number, seed, nodules[index])
        for number, index in enumerate(rng.permutation(patients).tolist(), start=1)
    ]


def _second_nodules(patients: int) -> int:
    """How many patients have two nodules: an even number, near a sixth."""
    return 2 * int(patients / (2 * PATIENTS_PER_SECOND_NODULE) + 0.5)


def _pairs_needed(patients: int) -> int:
    """Pairs of nodules that a cohort uses."""
    return (patients + 1) // 2 + _second_nodules(patients) // 2


def _planned(pair: tuple[Candidate, Candidate], side: int) -> PlannedNodule:
    """Plan the malignant (side 0) or benign nodule of a pair."""
    texture = (pair[0].texture + pair[1].texture) / 2
    calcification = (pair[0].calcification + pair[1].calcification) / 2
    return PlannedNodule(pair[side], texture, calcification)


def scanned(number: int, seed: int, nodules: tuple[PlannedNodule, ...]) -> PlannedPatient:
    """Draw a patient's scan."""
    rng = np.random.default_rng([seed, number, PLAN_STREAM])
    pixel_mm = float(rng.choice(PIXEL_MM[2:] if len(nodules) > 1 else PIXEL_MM))
    slice_mm = float(rng.choice(SLICE_MM, p=(0.1, 0.3, 0.25, 0.2, 0.15)))
    depth_mm = 95.0 if len(nodules) > 1 else float(rng.uniform(82, 95))
    left = bool(rng.integers(2))
    width_mm = PIXELS * pixel_mm
    x_mm = float(rng.uniform(15, 35)) if left else float(rng.uniform(-35, -15)) - width_mm
    origin = (
        round(x_mm, 3),
        round(float(rng.uniform(-60, 20)) - width_mm / 2, 3),
        round(float(rng.uniform(-420, -90)), 2),
    )
    grid = Geometry((round(depth_mm / slice_mm), PIXELS, PIXELS), (slice_mm, pixel_mm, pixel_mm), origin)
    maker, model, kernels = SCANNERS[int(rng.integers(len(SCANNERS)))]
    kernel = kernels[int(rng.integers(len(kernels)))]
    kv = int(rng.choice((100, 120, 140), p=(0.2, 0.6, 0.2)))
    ma = int(rng.choice((60, 80, 100, 140, 200)))
    return PlannedPatient(number, seed, nodules, grid, left, maker, model, kernel, kv, ma, bool(rng.integers(2)))
