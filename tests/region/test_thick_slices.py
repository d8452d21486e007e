"""Vessels above and below a nodule, across slices: as far as they were put, to half a slice, at any place between slices."""

import itertools
import math

import numpy as np
import pytest
from tube_scene import BLOOD_HU, LUNG_HU, Scene

from lungpipe.region.columns import column_distances_mm
from lungpipe.region.contacts import ContactSettings
from lungpipe.region.surroundings import surroundings

THICK = (2.5, 0.75, 0.75)
R, NOISE_HU = 5.0, 20.0
SIZE = (46.0, 40.0, 40.0)
GAPS_MM = (0.0, 0.6, 1.2, 2.0, 3.0, 5.0)
PHASES = (0.0, 0.25, 0.5, 0.75)
#: Along the rows, oblique within the slices, and oblique to them.
RUNS = {"x": (0, 0, 1), "xy": (0, 1, 1), "tilted": (0.5, 0, 1)}
TOUCH_MM = ContactSettings().touch_mm


def centre(phase, slice_mm=THICK[0]):
    return np.array((22.5 + phase * slice_mm, 19.7, 20.2))


def beside(spacing_mm, gap_mm, phase, radius_mm, run, way, aside_deg=0.0):
    """A nodule and a tube that passes it at a distance, towards the apex (1) or the base (-1), turned aside by an angle."""
    u = np.array(RUNS[run], float) / np.linalg.norm(RUNS[run])
    out = np.array((way, 0.0, 0.0)) - way * u[0] * u
    out /= np.linalg.norm(out)
    out = math.cos(math.radians(aside_deg)) * out + math.sin(math.radians(aside_deg)) * np.cross(u, out)
    place = centre(phase, spacing_mm[0]) + (R + gap_mm + radius_mm) * out
    made = Scene(spacing_mm, SIZE, 6).nodule(tuple(centre(phase, spacing_mm[0])), R)
    return made.vessel(place - 40 * u, place + 40 * u, radius_mm)


def measured(made):
    return surroundings(made.volume(NOISE_HU), made.mask(), made.lungs(), None)


RADII_MM = [pytest.param(1.0, marks=pytest.mark.slow), 1.5, pytest.param(2.5, marks=pytest.mark.slow)]


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("radius_mm", RADII_MM)
def test_a_vessel_across_thick_slices_is_as_far_as_it_was_put(radius_mm, run):
    """Off by at most half a slice at every gap and phase; touching where there is no gap, not where it is wide."""
    half_mm = THICK[0] / 2
    wrong = []
    for gap_mm, phase, way in itertools.product(GAPS_MM, PHASES, (1, -1)):
        found = measured(beside(THICK, gap_mm, phase, radius_mm, run, way))
        distance_mm, count = found["distance_vessel_mm"], found["n_vessels"]
        # Known limit: at a slant and 5 mm away a tube's blur beyond the nodule's outline is nearest; columns do not tell.
        good = abs(distance_mm - gap_mm) <= half_mm + (0.45 if (run, gap_mm) == ("tilted", 5.0) else 0.0)
        if gap_mm == 0:  # known limit: of 2 mm of blood in two slices the middle may be lost
            good &= count == 1 or (count == 2 and radius_mm == 1.0)
        if gap_mm >= TOUCH_MM + half_mm:
            good &= count == 0
        if not good:
            wrong.append((gap_mm, phase, way, distance_mm, count))
    assert not wrong


@pytest.mark.parametrize(("gap_mm", "phase"), list(itertools.product((0.0, 2.0, 3.0), (0.0, 0.5))))
def test_a_vessel_over_the_shoulder_is_as_far_as_it_was_put(gap_mm, phase):
    """Turned aside by 30 degrees."""
    found = measured(beside(THICK, gap_mm, phase, 1.5, "x", 1, 30.0))
    assert found["distance_vessel_mm"] == pytest.approx(gap_mm, abs=THICK[0] / 2)
    if gap_mm != 2.0:
        assert found["n_vessels"] == (gap_mm == 0)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("radius_mm", RADII_MM)
def test_a_vessel_that_runs_into_the_nodule_touches_it(radius_mm, phase):
    """Across the slices, at a slant, and within them: the distance is 0, and it counts once."""
    ways = [(1, 0, 0), (-1, 0, 0), (1, 1, 0), (1, 0, 0.5)]
    ways += [] if radius_mm == 1.0 else [(0, 1, 0), (0, 1, 1)]  # 2 mm of blood in two slices is lost
    for way in ways:
        u = np.divide(way, np.linalg.norm(way))
        made = Scene(THICK, SIZE, 6).nodule(tuple(centre(phase)), R)
        made.vessel(centre(phase) + (R - 1) * u, centre(phase) + 26 * u, radius_mm)
        found = measured(made)
        assert (found["distance_vessel_mm"], found["n_vessels"]) == (0.0, 1), way


@pytest.mark.parametrize("phase", PHASES)
def test_a_vessel_into_the_nodule_counts_beside_one_that_passes(phase):
    """Each vessel has its own gap: one runs in from the side, one passes 3 mm above."""
    made = beside(THICK, 3.0, phase, 1.5, "x", 1)
    made.vessel(np.add(centre(phase), (0, R - 1, 0)), np.add(centre(phase), (0, 26, 0)), 1.5)
    found = measured(made)
    assert (found["distance_vessel_mm"], found["n_vessels"]) == (0.0, 1)


@pytest.mark.parametrize("phase", PHASES)
def test_a_wall_near_by_changes_nothing(phase):
    """With the pleura 3 mm from the nodule's side the vessel above is as far as before, and so is the pleura."""
    plane_mm = (math.floor((centre(phase)[2] + R + 3.0) / 0.75) + 0.5) * 0.75
    made = beside(THICK, 2.0, phase, 1.5, "tilted", 1).pleura(2, plane_mm)
    made.hu[made.wall] = BLOOD_HU
    found = measured(made)
    assert found["distance_vessel_mm"] == pytest.approx(2.0, abs=THICK[0] / 2)
    assert found["distance_pleura_mm"] == pytest.approx(plane_mm - centre(phase)[2] - R, abs=THICK[0] / 2)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (1.25, 1.25, 1.25), (1.25, 0.7, 0.7)])
@pytest.mark.parametrize("gap_mm", [0.0, 2.0, 3.0, 5.0])
def test_thin_slices_need_no_columns(spacing_mm, gap_mm, monkeypatch):
    """There a cube shows the gap: within half a voxel across the slices, without a look at columns."""
    monkeypatch.setattr("lungpipe.region.vessel_gaps.column_distances_mm", None)
    for phase, way in itertools.product((0.0, 0.5), (1, -1)):
        found = measured(beside(spacing_mm, gap_mm, phase, 1.5, "xy", way))
        assert found["distance_vessel_mm"] == pytest.approx(gap_mm, abs=max(spacing_mm) / 2 + 0.2)
        assert gap_mm == 2.0 or found["n_vessels"] == (gap_mm == 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("way", [1, -1])
def test_columns_measure_the_missing_tissue(axis, way):
    """A slab of 4 slices, 0.4 of one more, a gap of 1.6 and a vessel of 2 slices: 1.6 slices along any axis."""
    slices = np.zeros(16)
    slices[3:7], slices[7], slices[9:11] = 1.0, 0.4, 1.0
    values = np.moveaxis(np.broadcast_to(slices[::way, None, None], (16, 9, 9)), 0, axis)
    index = np.moveaxis(np.broadcast_to(np.arange(16)[::way, None, None], (16, 9, 9)), 0, axis)
    spacing_mm = tuple(3.0 if k == axis else 0.8 for k in range(3))
    nodule, vessel = (index >= 3) & (index < 7), (index >= 8) & (index < 11)
    hu = LUNG_HU + values * (BLOOD_HU - LUNG_HU)
    found = column_distances_mm(hu, nodule, vessel, spacing_mm, LUNG_HU)
    middle = tuple(slice(None) if k == axis else 4 for k in range(3))
    beyond = found[middle][::way]
    assert np.isnan(beyond[:7]).all()
    assert beyond[8] == pytest.approx(1.6 * 3.0, rel=0.02)
    assert beyond[8] == beyond[7] == beyond[9]


def test_an_edge_of_a_vessel_tells_nothing_and_a_long_one_fills_its_slices():
    """A share of 0.2 is an edge: infinite. One of 0.7 all along the column touches: 0."""
    hu = np.full((16, 5, 5), LUNG_HU)
    hu[2:6] = BLOOD_HU
    nodule, vessel = np.zeros(hu.shape, bool), np.zeros(hu.shape, bool)
    nodule[2:6], vessel[6:14] = True, True
    for share, expected in ((0.2, np.inf), (0.7, 0.0)):
        hu[6:14] = LUNG_HU + share * (BLOOD_HU - LUNG_HU)
        assert column_distances_mm(hu, nodule, vessel, (2.5, 0.75, 0.75), LUNG_HU)[7, 2, 2] == expected
