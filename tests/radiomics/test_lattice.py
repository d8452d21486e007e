import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pyradiomics_oracle import EVERYTHING, textured
from radiomics import imageoperations

from lungpipe.dicom.read import to_sitk
from lungpipe.geometry import Geometry
from lungpipe.radiomics.lattice import Lattice, lattice_for, resample_image, resample_mask, whole_lattice, whole_shape
from lungpipe.radiomics.settings import INTERPOLATORS, RadiomicsSettings
from lungpipe.radiomics.whole import grown
from lungpipe.volume import CTVolume, Mask


def resampled(volume, mask, spacing_mm, pad=EVERYTHING, interpolator="sitkBSpline"):
    """PyRadiomics' own resampling."""
    inside = mask.within((0, 0, 0), mask.frame.shape).voxels.astype(np.uint8)
    words = {
        "resampledPixelSpacing": list(spacing_mm[::-1]),
        "padDistance": pad,
        "label": 1,
        "interpolator": interpolator,
    }
    pair = imageoperations.resampleImage(to_sitk(volume.hu, volume.frame), to_sitk(inside, mask.frame), **words)
    return tuple(sitk.GetArrayFromImage(one) for one in pair)


@pytest.fixture(scope="module")
def large():
    """An image so much larger than the interpolators' support that a crop of it is one."""
    return textured((58, 66, 66))


#: They differ in their window alone, and take three seconds each; one of them stands for all in the quick tests.
WINDOWED = {name for name in INTERPOLATORS if "WindowedSinc" in name} - {"sitkLanczosWindowedSinc"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in WINDOWED else name for name in INTERPOLATORS]
)
def test_every_interpolator_on_a_crop(large, name):
    """A box interpolated from a crop has the values of PyRadiomics' resampling of the whole image."""
    volume, mask = large
    whole, _ = resampled(volume, mask, (1.0, 1.0, 1.0), interpolator=name)
    box = Lattice(volume.frame, (1.0, 1.0, 1.0), (34, 19, 18), (41, 25, 24))
    low, high = box.source_box()
    crop = volume.crop(low, high)
    assert crop.shape < volume.shape
    found = resample_image(crop, box, "own", RadiomicsSettings(interpolator=name).sitk_interpolator)
    expected = whole[34:41, 19:25, 18:24]
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("interpolation", ["float32", "int16", "own"])
def test_resampled_values_are_kept_in_the_named_type(large, interpolation):
    """The type of resampled values is the one named, or the image's own."""
    volume, mask = large
    floats = CTVolume(volume.hu.astype(np.float64), volume.frame)
    lattice = lattice_for(volume.frame, mask.bounds, (2.0, 2.0, 2.0))
    kinds = {"float32": np.float32, "int16": np.int16, "own": np.float64}
    assert resample_image(floats, lattice, interpolation).dtype == kinds[interpolation]


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (2.0, 0.55, 0.9), (1.3, 2.0, 1.7)])
def test_whole_grid_has_pyradiomics_shape_and_masks(large, spacing_mm):
    """The grid of the whole image and the masks on it are PyRadiomics' with padding without end."""
    volume, mask = large
    _, expected = resampled(volume, mask, spacing_mm)
    assert whole_shape(volume.frame, spacing_mm) == expected.shape
    box = lattice_for(volume.frame, mask.bounds, spacing_mm)
    found = np.zeros(expected.shape, np.bool_)
    window = tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))
    found[window] = resample_mask(mask, box, whole_lattice(volume.frame, spacing_mm))
    assert np.array_equal(found, expected > 0)


def test_nested_regions_stay_nested_on_the_whole_grid():
    """Half-way planes go to one side for all regions of a scan, so a region that holds another still does."""
    frame = Geometry((30, 50, 50), (1.25, 0.75, 0.75), (-12.0, 7.0, -90.0))
    whole = whole_lattice(frame, (1.0, 1.0, 1.0))
    held = None
    for edge in range(8, 2, -1):
        voxels = np.zeros(frame.shape, np.bool_)
        voxels[edge:-edge, edge:-edge, edge:-edge] = True
        mask = Mask(voxels, frame)
        box = lattice_for(frame, mask.bounds, (1.0, 1.0, 1.0))
        found = np.zeros(whole.shape, np.bool_)
        found[tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))] = resample_mask(mask, box, whole)
        assert held is None or not np.any(held & ~found)
        held = found


def tilted(shape, spacing_mm, degrees):
    """A grid whose slices are tilted about x."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return Geometry(shape, spacing_mm, (-12.0, 7.0, -90.0), (1.0, 0.0, 0.0, 0.0, c, -s, 0.0, s, c))


@settings(max_examples=30, deadline=None)
@given(
    degrees=st.sampled_from([3.0, 12.5, 30.0, 77.0]),
    low=st.tuples(*[st.integers(3, 14)] * 3),
    sides=st.tuples(*[st.integers(3, 14)] * 3),
    spacing_mm=st.sampled_from([(1.25, 0.75, 0.75), (2.5, 0.5, 0.5), (1.2345, 0.7171, 0.7171)]),
)
def test_masks_on_tilted_grids_are_those_of_pyradiomics(degrees, low, sides, spacing_mm):
    """Half-way planes of tilted slices go to the side that ITK takes on PyRadiomics' default crop."""
    frame = tilted((32, 40, 40), spacing_mm, degrees)
    voxels = np.zeros(frame.shape, np.bool_)
    voxels[tuple(slice(a, a + n) for a, n in zip(low, sides, strict=True))] = True
    mask = Mask(voxels, frame)
    volume = CTVolume(np.zeros(frame.shape, np.int16), frame)
    _, expected = resampled(volume, mask, (1.0, 1.0, 1.0), pad=5)
    found = resample_mask(mask, lattice_for(frame, mask.bounds, (1.0, 1.0, 1.0), pad=5))
    assert np.array_equal(found, expected > 0)


boxes = st.tuples(st.integers(0, 20), st.integers(1, 20)).map(lambda a: (a[0], a[0] + a[1]))


@given(st.lists(boxes, min_size=3, max_size=3), st.lists(st.integers(0, 30), min_size=3, max_size=3), st.booleans())
def test_larger_box_holds_the_box_and_stays_in_the_image(sides, margin, periodic):
    """A box made larger holds the box, lies in the image, and is as large as asked wherever the image is."""
    shape = (40, 40, 40)
    box = tuple(a for a, _ in sides), tuple(b for _, b in sides)
    start, stop = grown(box, tuple(margin), shape, periodic)
    for axis in range(3):
        assert 0 <= start[axis] <= box[0][axis] < box[1][axis] <= stop[axis] <= shape[axis]
        if (start[axis], stop[axis]) != (0, shape[axis]):
            inside = box[0][axis] - margin[axis] >= 0 and box[1][axis] + margin[axis] <= shape[axis]
            assert inside or not periodic
            assert start[axis] in {0, box[0][axis] - margin[axis]}
            assert stop[axis] in {shape[axis], box[1][axis] + margin[axis]}
