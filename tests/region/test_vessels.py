"""Vessels on scenes whose tubes are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tube_scene import SPACINGS, Scene, ball, share, tube

from lungpipe.errors import DatasetError, RegionError
from lungpipe.geometry import Geometry
from lungpipe.region.isotropic import isotropic_crop
from lungpipe.region.ridges import curvatures, eigenvalues, sheetness, tubeness
from lungpipe.region.vessels import VesselSettings, vessel_mask
from lungpipe.volume import CTVolume, Mask

CENTRE = (20.1, 20.2, 19.9)


def scene(spacing_mm):
    return Scene(spacing_mm, (40.0, 40.0, 40.0))


def within(frame, radius_mm=18.0):
    return Mask(share(frame, ball(CENTRE, radius_mm)) >= 0.5, frame)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_tubes_are_vessels_and_the_ball_is_none(spacing_mm):
    """A tube along the slices and one across are found whole, the nodule between them is not, nor is plain lung."""
    lines = [((0, 9, 17), (40, 9, 17), 1.5), ((20, 32, 0), (20, 32, 40), 3.0)]
    made = scene(spacing_mm).nodule(CENTRE, 5.0)
    for one, other, radius_mm in lines:
        made.vessel(one, other, radius_mm)
    place = within(made.frame)
    found = vessel_mask(made.volume(), place, made.mask())
    voxels = found.within((0, 0, 0), made.frame.shape).voxels
    true = np.zeros(made.frame.shape, bool)
    touched = np.zeros(made.frame.shape, bool)
    for one, other, radius_mm in lines:
        part = share(made.frame, tube(one, other, radius_mm))
        true |= part >= 0.5
        touched |= share(made.frame, tube(one, other, radius_mm + 1.0)) > 0
    deep = within(made.frame, 15.0).voxels
    assert (voxels & true & deep).sum() > 0.9 * (true & deep).sum()
    assert (voxels & ~touched).sum() <= 0.01 * voxels.sum()
    assert not (voxels & made.inside).any()


def test_the_nodule_joins_no_vessels():
    """Two vessels that end in a nodule from both sides stay two pieces."""
    from scipy import ndimage

    made = scene((1.0, 0.7, 0.7)).nodule(CENTRE, 6.0)
    for end in (0, 40):
        made.vessel(CENTRE, (20.1, 20.2, end), 1.5)
    found = vessel_mask(made.volume(), within(made.frame), made.mask())
    assert ndimage.label(found.voxels, np.ones((3, 3, 3)))[1] == 2


def test_an_airways_wall_is_no_vessel_where_airways_are_known():
    """A thin bright wall round a dark lumen is left out, and the vessel beside it is not."""
    made = scene((1.0, 0.7, 0.7)).airway((0, 16, 20), (40, 16, 20), 2.5, 0.8).vessel((0, 28, 20), (40, 28, 20), 2.0)
    place = within(made.frame)
    found = vessel_mask(made.volume(), place, None, made.airways()).within((0, 0, 0), made.frame.shape).voxels
    near = share(made.frame, tube((0, 16, 20), (40, 16, 20), 3.8)) > 0
    assert not (found & near).any()
    beside = (share(made.frame, tube((0, 28, 20), (40, 28, 20), 2.0)) >= 0.5) & within(made.frame, 15.0).voxels
    assert (found & beside).sum() > 0.9 * beside.sum()


def test_noise_and_a_sheet_are_no_vessels():
    """Lung with noise, and a bright plane across it, have no vessels."""
    made = scene((1.0, 0.7, 0.7))
    hu = made.hu.copy()
    hu[:, 28:30] = -300.0
    for values in (made.hu, hu):
        noisy = values + np.random.default_rng(1).normal(0, 40, values.shape)
        found = vessel_mask(CTVolume(noisy.astype(np.int16), made.frame), within(made.frame))
        assert found.n_voxels == 0


def test_nowhere_to_look_is_told():
    """An empty place is an error, and so is a length that is not positive."""
    made = scene((1.0, 0.7, 0.7))
    with pytest.raises(RegionError, match="no place"):
        vessel_mask(made.volume(), Mask(np.zeros(made.frame.shape, bool), made.frame))
    with pytest.raises(DatasetError, match="must be positive"):
        VesselSettings(step_mm=0.0)
    with pytest.raises(DatasetError, match="there must be a scale"):
        VesselSettings(scales_mm=())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6))
def test_eigenvalues_are_those_of_lapack(parts):
    """The closed form agrees with a general eigenvalue routine."""
    a, b, c, d, e, f = parts
    matrix = np.array([[a, d, e], [d, b, f], [e, f, c]])
    expected = np.linalg.eigvalsh(matrix)[::-1]
    assert np.allclose(eigenvalues(matrix[None])[0], expected, atol=1e-4 * (1 + np.abs(matrix).max()))


def test_tubes_sheets_and_balls_are_told_apart():
    """By the curvatures of an ideal tube, sheet and ball: two alike, one alone, three alike; dark ones answer nothing."""
    tube_, sheet, blob = (np.array([v]) * 300.0 for v in ([0, -1.0, -1.0], [0, 0, -1.0], [-1.0, -1.0, -1.0]))
    assert tubeness(tube_)[0] > 0.8
    assert tubeness(sheet)[0] == 0
    assert tubeness(blob)[0] < 0.15
    assert tubeness(-tube_)[0] == 0
    assert sheetness(sheet, 25.0)[0] > 0.95
    assert sheetness(tube_, 25.0)[0] < 0.2


def test_curvatures_are_in_hu_and_mm():
    """Of a paraboloid -a y^2 (HU, mm) the one curvature is -2 a times the scale's square, on any step."""
    for step in (0.5, 0.8):
        y = (np.arange(60) - 30) * step
        hu = np.broadcast_to(-3.0 * y[None, :, None] ** 2, (60, 60, 60)).astype(np.float32)
        where = np.zeros(hu.shape, bool)
        where[30, 30, 30] = True
        assert curvatures(hu, 1.5, step, where)[0] == pytest.approx([0, 0, -6 * 1.5**2], abs=0.05)


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_the_crop_keeps_places_and_values(spacing_mm):
    """HU that grow linearly along each axis are the same function of the place on the cubes; masks come back."""
    frame = Geometry(tuple(int(24 / s) for s in spacing_mm), spacing_mm)
    z, y, x = np.meshgrid(*[np.arange(n) * s for n, s in zip(frame.shape, spacing_mm, strict=True)], indexing="ij")
    volume = CTVolume((3 * z + 5 * y - 2 * x).astype(np.float32), frame)
    start, stop = (2, 6, 6), (frame.shape[0] - 2, frame.shape[1] - 6, frame.shape[2] - 6)
    crop = isotropic_crop(volume, start, stop, 0.6)
    index = np.argwhere(np.ones(crop.shape, bool))
    places = crop.place_mm(index.astype(float))
    assert np.allclose(crop.hu[tuple(index.T)], places @ (3, 5, -2), atol=1.5)
    inside = np.zeros(frame.shape, bool)
    inside[4:8, 10:20, 8:20] = True
    again = crop.back(crop.sample(Mask(inside, frame)), frame, start, stop)
    lost = np.count_nonzero(again != Mask(inside, frame).within(start, stop).voxels)
    assert lost <= 0.03 * inside.sum()
