import numpy as np
import pytest
import SimpleITK as sitk
from radiomics import featureextractor

from lungpipe.dicom.read import to_sitk
from lungpipe.errors import DatasetError, FeatureError, GeometryError
from lungpipe.geometry import Geometry
from lungpipe.radiomics.extract import PyRadiomics
from lungpipe.radiomics.lattice import SUPPORT_VOXELS, lattice_for, resample_image
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.region.expand import expand_all
from lungpipe.region.specs import grid_of_specs
from lungpipe.volume import CTVolume, Mask

EXTRACT = PyRadiomics()


def textbook(volume: CTVolume, mask: Mask, settings: RadiomicsSettings) -> dict[str, float]:
    """PyRadiomics run the documented way: whole image, its own resampling."""
    extractor = featureextractor.RadiomicsFeatureExtractor(
        binWidth=settings.bin_width_hu,
        resampledPixelSpacing=list(settings.spacing_mm) if settings.spacing_mm else None,
        interpolator=sitk.sitkBSpline,
        additionalInfo=False,
    )
    dtype = np.int16 if settings.interpolation == "int16" else np.float32
    whole = mask.within((0, 0, 0), mask.frame.shape).voxels.astype(np.uint8)
    values = extractor.execute(to_sitk(volume.hu.astype(dtype), volume.frame), to_sitk(whole, mask.frame))
    return {k: float(v) for k, v in values.items() if k.startswith("original_")}


def worst(found, expected):
    assert set(found) == set(expected)
    return max((abs(found[k] - v) / max(abs(v), 1e-12), k) for k, v in expected.items())


@pytest.fixture(scope="module")
def textured(make_ct):
    """A ball in lung with smooth texture, off centre in a larger image, so that a crop is a real crop."""
    from scipy import ndimage

    volume, mask, _ = make_ct((1.25, 0.7, 0.75), (70, 120, 130), 6.0)
    field = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=volume.shape), 1.5) * 400
    hu = np.rint(np.clip(volume.hu + field, -1024, 600)).astype(np.int16)
    return CTVolume(hu, volume.frame), mask


@pytest.mark.parametrize("interpolation", ["float32", "int16"])
def test_crop_gives_the_values_of_the_whole_image(textured, interpolation):
    """Every feature of nodule, grown region and shell equals PyRadiomics on the whole image to 1e-6 relative."""
    volume, nodule = textured
    settings = RadiomicsSettings(interpolation=interpolation)
    regions = [r.mask for r in expand_all(nodule, grid_of_specs(("grown", "shell"), (0, 4, 8)))]
    for region, found in zip(regions, EXTRACT(volume, regions, settings), strict=True):
        assert len(found) == 107
        assert worst(found, textbook(volume, region, settings))[0] < 1e-6


def test_crop_without_resampling_is_exact(textured):
    """On the image's own grid the values are PyRadiomics' own."""
    volume, nodule = textured
    settings = RadiomicsSettings(spacing_mm=None)
    assert worst(EXTRACT(volume, [nodule], settings)[0], textbook(volume, nodule, settings))[0] < 1e-9


def test_result_does_not_depend_on_company(textured):
    """A region has the same features alone and beside others."""
    volume, nodule = textured
    regions = [r.mask for r in expand_all(nodule, grid_of_specs(("shell",), (0, 2, 10)))]
    together = EXTRACT(volume, regions, RadiomicsSettings())
    for region, found in zip(regions, together, strict=True):
        alone = EXTRACT(volume, [region], RadiomicsSettings())[0]
        assert worst(found, alone)[0] < 1e-9


def test_region_of_one_slice_is_not_resampled_across(textured):
    """A region on one slice keeps its slice spacing, as PyRadiomics does."""
    volume, nodule = textured
    k = (nodule.bounds[0][0] + nodule.bounds[1][0]) // 2
    flat = nodule.within((k, 0, 0), (k + 1, *volume.shape[1:]))
    settings = RadiomicsSettings()
    assert worst(EXTRACT(volume, [flat], settings)[0], textbook(volume, flat, settings))[0] < 1e-6


def test_region_at_the_image_border(textured):
    """A region that touches the image's border has the whole image's values too."""
    volume, _ = textured
    voxels = np.zeros(volume.shape, np.bool_)
    voxels[:6, -9:, :8] = True
    corner = Mask(voxels, volume.frame)
    settings = RadiomicsSettings()
    assert worst(EXTRACT(volume, [corner], settings)[0], textbook(volume, corner, settings))[0] < 1e-6


@pytest.mark.parametrize(
    ("box", "hu", "code"),
    [
        ((5, 5, 5), -850, "constant_region"),
        ((1, 1, 1), None, "region_too_small"),
        ((8, 1, 1), None, "region_is_a_line"),
        ((0, 0, 0), None, "empty_region"),
    ],
)
def test_undefined_features_are_errors_with_a_code(ct, box, hu, code):
    """Constant, tiny, thread-like and empty regions are refused by code; the regions beside them are not."""
    volume, nodule, _ = ct
    values = volume.hu.copy()
    if hu is not None:
        values[4:14, 4:24, 4:24] = hu
    voxels = np.zeros(volume.shape, np.bool_)
    voxels[tuple(slice(8, 8 + n) for n in box)] = True
    settings = RadiomicsSettings(spacing_mm=None)
    bad, good = EXTRACT(CTVolume(values, volume.frame), [Mask(voxels, volume.frame), nodule], settings)
    assert isinstance(bad, FeatureError)
    assert bad.code == code
    assert len(good) == 107


def test_lattice_needs_its_support(ct):
    """A crop too small for the interpolator is refused, not resampled against its own edge."""
    volume, nodule, _ = ct
    lattice = lattice_for(volume.frame, nodule.bounds, (1.0, 1.0, 1.0))
    tight = volume.crop(*nodule.bounds)
    with pytest.raises(GeometryError):
        resample_image(tight, lattice, "float32")
    assert SUPPORT_VOXELS >= 13


def test_lattice_corners_are_those_of_the_image():
    """The resampled grid of the whole image shares its outer corner, whatever the spacing."""
    frame = Geometry((40, 50, 60), (2.5, 0.7, 0.8), (10.0, -20.0, 30.0))
    lattice = lattice_for(frame, ((0, 0, 0), frame.shape), (1.0, 1.0, 1.0))
    corner = np.asarray(lattice.origin_mm) - 0.5
    assert np.allclose(corner, np.asarray(frame.origin_mm) - np.asarray(frame.spacing_mm[::-1]) / 2)


@pytest.mark.parametrize("wrong", [{"bin_width_hu": 0}, {"spacing_mm": (1.0, -1.0, 1.0)}, {"filters": ("wavelets",)}])
def test_impossible_settings_are_refused(wrong):
    """Settings that cannot be honoured are refused before any work."""
    with pytest.raises(DatasetError):
        RadiomicsSettings(**wrong)
