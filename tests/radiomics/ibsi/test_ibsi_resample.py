"""Images and regions on IBSI's grid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lungpipe.errors import DatasetError, GeometryError
from lungpipe.geometry import Geometry
from lungpipe.radiomics.ibsi.resample import resample
from lungpipe.volume import CTVolume, Mask


def pair(shape, spacing_mm, values=None, inside=None):
    frame = Geometry(shape, spacing_mm)
    hu = np.zeros(shape) if values is None else values
    return CTVolume(hu, frame), Mask(np.ones(shape, bool) if inside is None else inside, frame)


def test_the_manuals_example_of_a_grid():
    """4 x 4 voxels of 3 mm become 6 x 6 of 2 mm whose first centre lies 0.5 mm before the old one (section 2.4)."""
    ramp = np.broadcast_to(3.0 * np.arange(4), (1, 4, 4))
    found = resample(*pair((1, 4, 4), (1.0, 3.0, 3.0), ramp), (None, 2.0, 2.0), 1)
    assert found.values.shape == (1, 6, 6)
    assert found.spacing_mm == (1.0, 2.0, 2.0)
    assert found.values[0, 0] == pytest.approx([0.0, 1.5, 3.5, 5.5, 7.5, 9.0])  # the ends keep the border's value


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("sides", [(2.0, 2.0, 2.0), (1.0, 0.7, 1.3), (None, 2.0, 2.0)])
def test_values_are_those_of_scipy(order, sides):
    """Splines on a grid that shares the image's centre, border voxels repeated beyond the border."""
    spacing = (3.0, 0.977, 0.977)
    values = np.random.default_rng(2).normal(0, 100, (9, 24, 31))
    found = resample(*pair(values.shape, spacing, values), sides, order)
    step = np.array([1.0 if side is None else side / old for side, old in zip(sides, spacing, strict=True)])
    old, new = np.array(values.shape), np.array(found.values.shape)
    assert new.tolist() == np.ceil(np.round(old / step, 9)).astype(int).tolist()
    expected = ndimage.affine_transform(
        values, step, (old - 1) / 2 - (new - 1) / 2 * step, output_shape=tuple(new), order=order, mode="nearest"
    )
    assert found.values == pytest.approx(expected, abs=1e-4 if order == 3 else 1e-9)


def test_half_a_voxel_inside_is_inside():
    """A voxel belongs where the interpolated mask is one half, in spite of rounding errors."""
    inside = np.zeros((1, 1, 8), bool)
    inside[0, 0, 2:5] = True
    found = resample(*pair((1, 1, 8), (1.0, 1.0, 0.1), inside=inside), (None, None, 0.05), 1)
    # New centres lie a quarter of an old voxel to either side of the old ones: shares are 0, 1/4, 3/4 and 1.
    assert found.inside[0, 0].astype(int).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    wider = resample(*pair((1, 1, 8), (1.0, 1.0, 0.1), inside=inside), (None, None, 0.3), 1)
    middle = resample(
        *pair((1, 1, 9), (1.0, 1.0, 0.1), inside=np.pad(inside, ((0, 0), (0, 0), (0, 1)))), (None, None, 0.15), 1
    )
    assert wider.inside[0, 0].tolist() == [False, True, False]
    assert middle.inside.sum() == 2


def test_an_exact_half():
    """A new centre midway between an inner and an outer voxel is inside."""
    inside = np.zeros((1, 1, 4), bool)
    inside[0, 0, :2] = True
    found = resample(*pair((1, 1, 4), (1.0, 1.0, 0.7), inside=inside), (None, None, 1.4 / 1.5), 1)
    assert found.inside[0, 0].tolist() == [True, True, False]


def test_whole_numbers_are_those_of_interpolated_axes_only():
    """Rounding comes after interpolation; an image that keeps its grid keeps its values."""
    volume, region = pair((2, 6, 6), (2.0, 1.0, 1.0), np.random.default_rng(0).normal(0, 9, (2, 6, 6)))
    rounded = resample(volume, region, (None, 2.0, 2.0), 1, whole_hu=True).values
    assert np.array_equal(rounded, np.rint(resample(volume, region, (None, 2.0, 2.0), 1).values))
    assert np.array_equal(resample(volume, region, None, 1, whole_hu=True).values, volume.hu)


@pytest.mark.parametrize("order", [1, 3])
def test_a_crop_has_the_full_images_values(order):
    """The grid is the full image's, so a crop yields the same values away from its border, and the same mask."""
    values = np.random.default_rng(8).normal(0, 50, (30, 40, 40))
    inside = np.zeros(values.shape, bool)
    inside[12:18, 15:22, 17:25] = True
    volume, region = pair(values.shape, (1.3, 0.8, 0.9), values, inside)
    whole = resample(volume, region, (1.0, 1.0, 1.0), order)
    crop = resample(volume.crop((5, 6, 7), (25, 33, 36)), region, (1.0, 1.0, 1.0), order)
    assert whole.whole
    assert not crop.whole
    assert crop.inside.sum() == whole.inside.sum()
    assert crop.values[crop.inside] == pytest.approx(whole.values[whole.inside], abs=0.05 if order == 3 else 1e-9)


def test_several_regions_share_the_image():
    """Each region comes back in its turn; ``inside`` is the first."""
    volume, whole = pair((4, 4, 4), (1.0, 1.0, 1.0))
    half = Mask(np.arange(4)[:, None, None] + np.zeros((4, 4, 4)) < 2, volume.frame)
    found = resample(volume, [half, whole], (1.0, 1.0, 1.0), 1)
    assert [int(one.sum()) for one in found.insides] == [32, 64]
    assert np.array_equal(found.inside, half.voxels)


def test_settings_without_sense_are_refused():
    """Orders other than 1 and 3, and sides that are not positive lengths."""
    volume, region = pair((4, 4, 4), (1.0, 1.0, 1.0))
    with pytest.raises(DatasetError, match="order of interpolation"):
        resample(volume, region, (1.0, 1.0, 1.0), 2)
    for sides in [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, -2.0, 1.0), (1.0, float("inf"), 1.0)]:
        with pytest.raises(DatasetError, match="three positive lengths"):
            resample(volume, region, sides, 1)


def test_grids_that_do_not_fit_are_refused():
    """A region of another image, and a crop thinner than the new voxels that holds no centre."""
    volume, _ = pair((4, 4, 4), (1.0, 1.0, 1.0))
    _, other = pair((4, 4, 4), (1.0, 1.0, 2.0))
    with pytest.raises(GeometryError, match="not on the image's grid"):
        resample(volume, other, (1.0, 1.0, 1.0), 1)
    _, region = pair((4, 4, 4), (1.0, 1.0, 1.0))
    with pytest.raises(GeometryError, match="holds no centre"):
        resample(volume.crop((0, 0, 0), (1, 4, 4)), region, (4.0, 1.0, 1.0), 1)
