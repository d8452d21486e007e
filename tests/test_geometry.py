import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungpipe.errors import GeometryError
from lungpipe.geometry import Geometry

lengths = st.floats(0.3, 5.0)


@st.composite
def geometries(draw):
    """Grids of any size, spacing, origin and rotation."""
    seed = draw(st.integers(0, 2**31))
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    shape = tuple(draw(st.integers(1, 600)) for _ in range(3))
    spacing = tuple(draw(lengths) for _ in range(3))
    origin = tuple(draw(st.floats(-500, 500)) for _ in range(3))
    return Geometry(shape, spacing, origin, tuple(rotation.ravel().tolist()))


@given(geometries(), st.lists(st.tuples(*[st.floats(-50, 700)] * 3), min_size=1, max_size=5))
def test_index_and_lps_are_inverse(geometry, indices):
    """Index to LPS and back returns the index, on rotated anisotropic grids too."""
    assert np.allclose(geometry.to_index(geometry.to_lps(indices)), indices, atol=1e-6)


def test_hand_worked_point():
    """Voxel (z=1, y=2, x=3) lies where the spacing and origin say, x first in LPS."""
    geometry = Geometry((4, 5, 6), (2.5, 0.7, 0.6), (10.0, 20.0, -30.0))
    assert np.allclose(geometry.to_lps((1, 2, 3)), (10 + 3 * 0.6, 20 + 2 * 0.7, -30 + 2.5))


@given(geometries(), st.tuples(*[st.integers(0, 20)] * 3))
def test_crop_keeps_places(geometry, start):
    """A voxel of a crop lies where the same voxel of the whole grid lies."""
    crop = geometry.crop(start, (3, 3, 3))
    assert np.allclose(crop.to_lps((1, 2, 0)), geometry.to_lps(np.add(start, (1, 2, 0))), atol=1e-6)


def test_contains_reaches_half_a_voxel():
    """A grid contains the cells of its voxels, not only their centres, and nothing beyond."""
    geometry = Geometry((4, 4, 4), (2.0, 1.0, 1.0))
    assert geometry.contains((-0.49, 0, -0.99))
    assert not geometry.contains((-0.51, 0, 0))
    assert not geometry.contains((0, 0, 7.01))


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (0, 4, 4)},
        {"spacing_mm": (1.0, -1.0, 1.0)},
        {"spacing_mm": (1.0, float("nan"), 1.0)},
        {"direction": (1.0, 0.2, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)},
    ],
)
def test_impossible_grids_are_refused(wrong):
    """Empty, negative, undefined or sheared grids do not come into being."""
    with pytest.raises(GeometryError):
        Geometry(**{"shape": (4, 4, 4), "spacing_mm": (1.0, 1.0, 1.0), **wrong})


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (Geometry((4, 4, 4), (1.0, 1.0, 1.0), (0.005, 0.0, 0.0)), False),
        (Geometry((4, 4, 4), (1.0, 1.0, 1.0), (0.02, 0.0, 0.0)), True),
        (Geometry((4, 4, 4), (1.0, 1.0, 1.005)), True),
        (Geometry((4, 4, 5), (1.0, 1.0, 1.0)), True),
        (Geometry((4, 4, 4), (1.0, 1.0, 1.0), (0, 0, 0), (-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)), True),
    ],
)
def test_mismatch_is_measured_at_the_corners(other, differs):
    """Grids agree within a hundredth of a millimetre everywhere, or the difference is told."""
    assert bool(Geometry((4, 4, 4), (1.0, 1.0, 1.0)).mismatch(other)) is differs
