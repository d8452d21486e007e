import numpy as np
import pytest
import SimpleITK as sitk
from pyradiomics_oracle import EVERYTHING, textured
from radiomics import imageoperations

from lungpipe.dicom.read import to_sitk
from lungpipe.geometry import Geometry
from lungpipe.radiomics.groups import region_groups
from lungpipe.radiomics.image_types import FilterParameters
from lungpipe.radiomics.preparation import Normalisation, Resegmentation
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.region.expand import expand_all
from lungpipe.region.specs import grid_of_specs
from lungpipe.volume import CTVolume, Mask


@pytest.fixture(scope="module")
def case():
    volume, mask = textured()
    return volume, [region.mask for region in expand_all(mask, grid_of_specs(("grown", "shell"), (0, 2, 4)))]


def plane_of(mask):
    k = (mask.bounds[0][0] + mask.bounds[1][0]) // 2
    return mask.within((k, 0, 0), (k + 1, *mask.frame.shape[1:]))


def test_regions_of_one_grid_share_their_images(case, monkeypatch):
    """Regions stand together by grid; a region of one slice keeps its own spacing; a filter runs once a group."""
    volume, regions = case
    runs = []
    wavelets = imageoperations.getWaveletImage
    monkeypatch.setattr(imageoperations, "getWaveletImage", lambda *a, **k: runs.append(1) or wavelets(*a, **k))
    everything = [*regions, plane_of(regions[0])]
    groups, errors = region_groups(volume, everything, RadiomicsSettings(filters=("original", "wavelet")))
    assert not errors
    assert [group.indices for group in groups] == [(0, 1, 2, 3, 4), (5,)]
    assert [group.spacing_mm for group in groups] == [(1.0, 1.0, 1.0), (1.2345, 1.0, 1.0)]
    for group in groups:
        assert group.shape_masks is group.masks
        names = [name for name, values in group.images() if values.shape == group.masks.shape[1:]]
        assert len(names) == 9
        assert group.masks.any(axis=(0, 2, 3)).all()
        assert group.masks.any(axis=(0, 1, 2)).all()
    assert len(runs) == 2
    shells = groups[0].masks[1] & ~groups[0].masks[0]
    assert np.array_equal(shells, groups[0].masks[3])


def test_images_can_be_made_again(case):
    """Each call of images begins anew and gives the same values."""
    (group,), _ = region_groups(case[0], case[1], RadiomicsSettings(filters=("log", "square")))
    first, second = list(group.images()), list(group.images())
    assert [name for name, _ in first] == [name for name, _ in second]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(first, second, strict=True))


@pytest.mark.parametrize(("filters", "pad"), [(("original", "gradient"), EVERYTHING), (("original",), 5)])
def test_half_way_planes_are_rounded_as_pyradiomics_does(filters, pad):
    """Planes of the grid half way between the scan's go to the side that ITK takes: of the whole, or of the default crop."""
    frame = Geometry((48, 60, 60), (1.25, 0.7, 0.75), (-12.0, 7.0, -90.0))
    voxels = np.zeros(frame.shape, np.bool_)
    voxels[9:31, 17:43, 14:41] = True
    volume = CTVolume(np.zeros(frame.shape, np.int16), frame)
    image, mask = to_sitk(volume.hu, frame), to_sitk(voxels.astype(np.uint8), frame)
    words = {"resampledPixelSpacing": [1, 1, 1], "padDistance": pad, "label": 1}
    _, expected = imageoperations.resampleImage(image, mask, **words)
    (group,), _ = region_groups(volume, [Mask(voxels, frame)], RadiomicsSettings(filters=filters))
    assert np.count_nonzero(group.masks[0]) == sitk.GetArrayFromImage(expected).sum()


def test_own_padding_makes_a_group_a_region(case):
    """With PyRadiomics' padDistance each region's own crop is filtered, and scaled by its own greatest value."""
    volume, regions = case
    settings = {"filters": ("square",), "spacing_mm": (1.1, 1.1, 1.1)}
    groups, errors = region_groups(volume, regions, RadiomicsSettings(**settings, pad_distance=0))
    assert not errors
    assert [group.indices for group in groups] == [(0,), (1,), (2,), (3,), (4,)]
    (shared,), _ = region_groups(volume, regions, RadiomicsSettings(**settings))
    assert groups[0].masks.shape[1:] != shared.masks.shape[1:]
    ((_, own),), ((_, whole),) = groups[0].images(), shared.images()
    assert own[groups[0].masks[0]].max() > whole[shared.masks[0]].max()


def test_greatest_value_is_looked_for_once_and_only_if_asked(case, monkeypatch):
    """The whole image is read for its scale once, however many nodules, and not at all without a filter that needs it."""
    from lungpipe.radiomics import whole

    volume = CTVolume(case[0].hu, case[0].frame)
    reads = []
    resample = whole.resample_image
    monkeypatch.setattr(whole, "resample_image", lambda *a: reads.append(a[1].shape) or resample(*a))
    settings = RadiomicsSettings(filters=("gradient",))
    for (group,), _ in (region_groups(volume, case[1], settings) for _ in range(2)):
        list(group.images())
    assert len(reads) == 2
    reads.clear()
    for (group,), _ in (region_groups(volume, case[1], RadiomicsSettings(filters=("square",))) for _ in range(3)):
        list(group.images())
    assert len(reads) == 4
    assert max(reads, key=np.prod) == whole.whole_shape(volume.frame, (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("box", "changes", "code"),
    [
        ((0, 0, 0), {}, "empty_region"),
        ((1, 1, 1), {}, "region_too_small"),
        ((8, 1, 1), {}, "region_is_a_line"),
        ((6, 6, 1), {"min_dimensions": 3}, "region_is_a_line"),
        ((4, 4, 4), {"min_voxels": 64}, "region_too_small"),
        ((4, 4, 4), {"resegment": Resegmentation((3000.0,))}, "resegmented_away"),
    ],
)
def test_regions_without_features_have_a_code(case, box, changes, code):
    """Regions that PyRadiomics refuses are refused by code, and those beside them are not."""
    volume, regions = case
    voxels = np.zeros(volume.shape, np.bool_)
    voxels[tuple(slice(8, 8 + n) for n in box)] = True
    settings = RadiomicsSettings(spacing_mm=None, **changes)
    groups, errors = region_groups(volume, [Mask(voxels, volume.frame), regions[0]], settings)
    assert errors[0].code == code
    beside = changes.get("resegment") is None  # whose limits leave nothing of either
    assert [group.indices for group in groups] == ([(1,)] if beside else [])


def test_limits_of_a_region_are_at_its_edge(case):
    """A region with one voxel more than the least number is large enough, a line is if one dimension will do."""
    volume, _ = case
    voxels = np.zeros(volume.shape, np.bool_)
    voxels[8:12, 8, 8] = True
    settings = RadiomicsSettings(spacing_mm=None, min_dimensions=1, min_voxels=3)
    (group,), errors = region_groups(volume, [Mask(voxels, volume.frame)], settings)
    assert not errors
    assert group.masks.sum() == 4


def test_resegmentation_leaves_voxels_within_the_limits(case):
    """Only values within the limits count, the limits included; shape keeps the region, cut to what is left of it."""
    volume, regions = case
    limits = (-200.0, 300.0)
    for shape in (False, True):
        settings = RadiomicsSettings(spacing_mm=None, resegment=Resegmentation(limits, shape=shape))
        (group,), errors = region_groups(volume, regions[:2], settings)
        assert not errors
        ((_, values),) = group.images()
        (before,), _ = region_groups(volume, regions[:2], RadiomicsSettings(spacing_mm=None))
        expected = before.masks & (values >= limits[0]) & (values <= limits[1])
        assert np.array_equal(group.masks, expected)
        assert (group.shape_masks is group.masks) == shape
        assert (group.shape_masks >= group.masks).all()


def test_normalised_image_has_mean_and_deviation_of_the_whole(case):
    """Values are standard deviations of the whole image from its mean, times the scale, cut at the outliers."""
    volume, regions = case
    settings = RadiomicsSettings(spacing_mm=None, normalise=Normalisation(scale=100.0, outliers=1.5))
    (group,), _ = region_groups(volume, regions[:1], settings)
    ((_, values),) = group.images()
    hu = volume.hu.astype(np.float64)
    expected = np.clip((hu - hu.mean()) / hu.std(ddof=1), -1.5, 1.5) * 100
    assert np.abs(values).max() == pytest.approx(150, rel=1e-6)
    low, high = regions[0].bounds
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    assert values == pytest.approx(expected[window], rel=1e-5, abs=1e-4)


def test_laplacians_do_not_depend_on_company(case):
    """A region has the same filtered values alone and beside others."""
    volume, regions = case
    settings = RadiomicsSettings(filters=("log", "wavelet"), parameters=FilterParameters(sigma_mm=(1.0,)))
    (together,), _ = region_groups(volume, regions, settings)
    (alone,), _ = region_groups(volume, regions[:1], settings)
    for (name, many), (_, few) in zip(together.images(), alone.images(), strict=True):
        a, b = many[together.masks[0]], few[alone.masks[0]]
        assert np.abs(a - b).max() <= 1e-6 * np.abs(b).max(), name
