"""A chest in any position on the table: two lungs with vessels and nodules at known places."""

from dataclasses import dataclass

import numpy as np
import pytest

from lungpipe.geometry import Geometry
from lungpipe.region import lung
from lungpipe.region.lung import lung_mask
from lungpipe.volume import CTVolume

SHAPE, SPACING_MM = (44, 92, 116), (3.0, 2.75, 2.75)
#: Patient directions of growing x, y and z index, as columns: how the patient lies, and two tilts.
POSITIONS = {
    "supine": np.eye(3),
    "prone": np.diag([-1.0, -1.0, 1.0]),
    "feet_first": np.diag([-1.0, 1.0, -1.0]),
    "oblique": np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    @ np.array([[1.0, 0.0, 0.0], [0.0, 0.8, -0.6], [0.0, 0.6, 0.8]]),
}


@dataclass(frozen=True)
class Chest:
    volume: CTVolume
    centres_mm: list[tuple[float, float, float]]
    indices: list[tuple[float, float, float]]


def chest(position="supine", seed=0, nodules=8, radius_mm=5.0, nodule_hu=30.0, shift_mm=(0.0, 0.0), at=None) -> Chest:
    """HU of a chest whose middle lies ``shift_mm`` from the LPS z axis, and the LPS centres of its nodules.

    ``at`` gives nodules by place in mm from the middle of the chest along the image axes (z, y, x); else they are random
    in the lungs.
    """
    rng = np.random.default_rng(seed)
    direction = POSITIONS[position]
    middle = (np.asarray(SHAPE) - 1) / 2.0
    to_middle = direction @ (middle * SPACING_MM)[::-1]
    origin = np.array([*shift_mm, -150.0]) - to_middle
    frame = Geometry(SHAPE, SPACING_MM, tuple(origin.tolist()), tuple(direction.ravel().tolist()))
    z, y, x = ((np.arange(n) - m) * s for n, m, s in zip(SHAPE, middle, SPACING_MM, strict=True))
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    hu = np.full(SHAPE, -1000.0)
    hu[np.broadcast_to((x / 152) ** 2 + (y / 115) ** 2 < 1, SHAPE)] = 40.0
    lungs = (np.abs(x) / 1.0 - 74) ** 2 / 52**2 + (y / 80) ** 2 < 1
    hu[np.broadcast_to(lungs, SHAPE)] = -850.0

    def put(places, size_mm, value):
        for a, b, c in places:
            hu[(z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 <= size_mm**2] = value

    def somewhere(count):
        side = rng.choice([-1.0, 1.0], count)
        angle, r = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count))
        return np.column_stack(
            [rng.uniform(-50, 50, count), 66 * r * np.sin(angle), side * 74 + 40 * r * np.cos(angle)]
        )

    put(somewhere(150), 3.5, 20.0)  # vessels
    places = np.asarray(at, dtype=float) if at is not None else somewhere(nodules)
    put(places, radius_mm, nodule_hu)
    hu += rng.normal(0, 20, SHAPE)
    indices = places / SPACING_MM + middle
    centres = origin + (places + middle * SPACING_MM)[:, ::-1] @ direction.T
    return Chest(
        CTVolume(np.rint(hu).astype(np.int16), frame),
        [tuple(c) for c in centres.tolist()],
        [tuple(i) for i in indices.tolist()],
    )


@pytest.fixture(scope="module", autouse=True)
def lungs_found_once():
    """One scan is looked at with its nodules in many frames: its lungs are found the first time."""
    found = {}

    def once(volume):
        if id(volume) not in found:
            found[id(volume)] = volume, lung_mask(volume)  # the volume is kept, and with it its id
        return found[id(volume)][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lung, "lung_mask", once)
        yield


@pytest.fixture(scope="session")
def make_chest():
    return chest


@pytest.fixture(scope="session", params=sorted(POSITIONS))
def chests(request):
    """Three scans of a position with eight nodules each, near the origin and off it."""
    return [
        chest(request.param, seed, shift_mm=shift) for seed, shift in enumerate([(0.0, 0.0), (6.0, -9.0), (-4.0, 20.0)])
    ]


def written(scan: Chest, frame: str) -> list[tuple[float, float, float]]:
    """Numbers x, y, z of the scan's nodules, as an annotator who uses a frame writes them."""
    if frame == "voxel":
        return [(i, j, k) for k, j, i in scan.indices]
    if frame == "voxel_zyx":
        return list(scan.indices)
    sign = {"lps": 1.0, "ras": -1.0}[frame]
    return [(sign * x, sign * y, z) for x, y, z in scan.centres_mm]


@pytest.fixture(scope="session")
def annotate():
    return written
