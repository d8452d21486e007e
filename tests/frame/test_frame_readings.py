"""What an annotation's numbers mean in each frame."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from lungpipe.errors import DatasetError
from lungpipe.frame import FRAMES, candidates, takes_part
from lungpipe.geometry import Geometry
from lungpipe.nodule import Nodule
from lungpipe.volume import Mask

DECLARED = ("lps", "ras", "voxel")
coordinate = st.floats(-400, 400)
points = st.tuples(coordinate, coordinate, coordinate)


@st.composite
def geometries(draw):
    """Grids of any size, spacing, place and orientation, mirrored ones included."""
    matrix, _ = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 2**32))).normal(size=(3, 3)))
    shape = tuple(draw(st.integers(1, 600)) for _ in range(3))
    spacing = tuple(draw(st.floats(0.3, 6.0)) for _ in range(3))
    return Geometry(shape, spacing, draw(points), tuple(matrix.ravel().tolist()))


def itk(geometry):
    """The grid as SimpleITK has it, which shares no code with ours."""
    image = sitk.Image(1, 1, 1, sitk.sitkUInt8)
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    return image


def written(point, frame, geometry):
    """Numbers of an LPS point in a frame."""
    if frame in ("lps", "ras"):
        sign = 1.0 if frame == "lps" else -1.0
        return sign * point[0], sign * point[1], point[2]
    index = itk(geometry).TransformPhysicalPointToContinuousIndex(point)
    return index if frame == "voxel" else index[::-1]


def read(raw, frame, geometry):
    """LPS point of numbers in a frame."""
    if frame in ("lps", "ras"):
        sign = 1.0 if frame == "lps" else -1.0
        return sign * raw[0], sign * raw[1], raw[2]
    return itk(geometry).TransformContinuousIndexToPhysicalPoint(raw if frame == "voxel" else raw[::-1])


@given(points, geometries(), st.sampled_from(FRAMES), st.sampled_from(DECLARED))
def test_the_true_frame_leads_back_to_the_nodule(point, geometry, true, declared):
    """Numbers written in one frame and read in another give the nodule's own place back under the first, on every grid."""
    misread = read(written(point, true, geometry), declared, geometry)
    found = candidates(misread, declared, geometry)
    scale = 1.0 + np.abs(misread).max() / min(geometry.spacing_mm)
    assert found[true] == pytest.approx(point, abs=1e-9 * scale * max(geometry.spacing_mm))
    assert found[declared] == misread
    assert tuple(found) == FRAMES


def test_ras_and_lps_agree_on_the_axis_of_the_table():
    """A point with x = y = 0 is the same under both signs."""
    found = candidates((0.0, 0.0, -70.0), "lps", Geometry((10, 10, 10), (1.0, 1.0, 1.0)))
    assert found["lps"] == found["ras"] == (0.0, 0.0, -70.0)


def test_a_voxel_index_is_x_y_z():
    """Index (3, 2, 1) on voxels of 1 x 2 x 4 mm (x, y, z) lies at (3, 4, 4) mm, and at (1, 4, 12) mm in the order z, y, x."""
    grid = Geometry((9, 9, 9), (4.0, 2.0, 1.0))
    found = candidates((3.0, 2.0, 1.0), "lps", grid)
    assert found["voxel"] == (3.0, 4.0, 4.0)
    assert found["voxel_zyx"] == (1.0, 4.0, 12.0)


@pytest.mark.parametrize("declared", ["voxel_zyx", "LPS", ""])
def test_a_frame_that_cannot_be_declared_is_refused(declared):
    """The message lists the frames that can."""
    with pytest.raises(DatasetError, match="lps, ras, voxel"):
        candidates((0.0, 0.0, 0.0), declared, Geometry((10, 10, 10), (1.0, 1.0, 1.0)))


def test_nodules_with_masks_take_no_part(tmp_path):
    """A mask, a rater's outline or no centre at all leaves a nodule out."""
    nodule = Nodule("p", "s", "n", (0.0, 0.0, 0.0))
    mask = Mask(np.ones((1, 1, 1), dtype=bool), Geometry((1, 1, 1), (1.0, 1.0, 1.0)))
    assert takes_part(nodule)
    assert not takes_part(replace(nodule, mask_path=tmp_path / "mask.nii"))
    assert not takes_part(replace(nodule, raters=(mask,)))
    assert not takes_part(replace(nodule, centre_mm=None))
