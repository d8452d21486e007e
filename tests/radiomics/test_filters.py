import dataclasses
import json

import numpy as np
import pytest
import pywt
import SimpleITK as sitk
from pyradiomics_oracle import EVERYTHING, agree, by_pyradiomics, old_harmonics, textured
from radiomics import imageoperations

from lungpipe.dicom.index import index_series
from lungpipe.dicom.read import read_volume, to_sitk
from lungpipe.errors import FeatureError, GeometryError
from lungpipe.geometry import Geometry
from lungpipe.radiomics.extract import PyRadiomics
from lungpipe.radiomics.filters import reach_of
from lungpipe.radiomics.groups import region_groups
from lungpipe.radiomics.ibsi_codes import describe
from lungpipe.radiomics.image_types import IMAGE_TYPES, FilterParameters
from lungpipe.radiomics.parameter_file import FILTER_WORDS
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.radiomics.texture import TextureSettings
from lungpipe.volume import CTVolume, Mask

pytestmark = [
    pytest.mark.filterwarnings("ignore:Applying `local_binary_pattern`:UserWarning"),
    pytest.mark.filterwarnings("ignore:Please import `map_coordinates`:DeprecationWarning"),
]
SMALL = FilterParameters(sigma_mm=(0.6, 1.0))


@pytest.fixture(scope="module")
def large():
    """An image so large that every filter's crop is a real crop."""
    return textured((64, 100, 104))


def whole_images(volume, mask, settings):
    """PyRadiomics' images of all of the (resampled) image, at the voxels of the region, by name."""
    image = to_sitk(volume.hu, volume.frame)
    inside = to_sitk(mask.within((0, 0, 0), mask.frame.shape).voxels.astype(np.uint8), mask.frame)
    if settings.spacing_mm is not None:
        image = to_sitk(volume.hu.astype(settings.interpolation), volume.frame)
        words = {"resampledPixelSpacing": list(settings.spacing_mm), "padDistance": EVERYTHING, "label": 1}
        image, inside = imageoperations.resampleImage(image, inside, **words)
    where = sitk.GetArrayFromImage(inside) > 0
    words = {theirs: getattr(settings.parameters, ours) for theirs, ours in FILTER_WORDS.items()}
    words |= {"force2D": settings.texture.force_2d, "force2Ddimension": settings.texture.force_2d_axis}
    found = {}
    for kind in settings.filters:
        for made, name, _ in getattr(imageoperations, f"get{IMAGE_TYPES[kind]}Image")(image, inside, **words):
            found[name] = sitk.GetArrayFromImage(made)[where]
    return found


def compare_images(volume, mask, settings):
    (group,), errors = region_groups(volume, [mask], settings)
    assert not errors
    found = {name: values[group.masks[0]] for name, values in group.images()}
    expected = whole_images(volume, mask, settings)
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        assert found[name].shape == values.shape
        # The recursive Gaussian never ends: where it is cut off, the last bit of float32 may differ.
        scale = 2e-7 if name.startswith("log-sigma") else 0.0
        assert np.abs(found[name] - values.astype(np.float64)).max() <= scale * np.abs(values).max(), name


@pytest.mark.parametrize("interpolation", ["float32", "int16"])
@pytest.mark.parametrize("kind", IMAGE_TYPES)
def test_filtered_crop_has_the_values_of_the_whole_image(large, monkeypatch, kind, interpolation):
    """On a crop as wide as the filter reaches, every image has PyRadiomics' values and type of the whole image, bit for bit."""
    old_harmonics(monkeypatch)
    compare_images(*large, RadiomicsSettings(filters=(kind,), interpolation=interpolation, parameters=SMALL))


@pytest.mark.parametrize("kind", IMAGE_TYPES)
def test_filtered_crop_on_the_images_own_grid(large, monkeypatch, kind):
    """Without resampling PyRadiomics filters the whole image, and so do we."""
    old_harmonics(monkeypatch)
    compare_images(*large, RadiomicsSettings(filters=(kind,), spacing_mm=None, parameters=SMALL))


@pytest.mark.parametrize(
    ("kind", "parameters", "axis"),
    [
        ("wavelet", FilterParameters(wavelet="db3", level=2, start_level=1), None),
        ("wavelet", FilterParameters(wavelet="bior3.9"), 1),
        ("wavelet", FilterParameters(wavelet="sym4", level=2), 2),
        ("gradient", FilterParameters(gradient_use_spacing=False), None),
        ("lbp-2d", FilterParameters(lbp_2d_radius=2.5, lbp_2d_samples=12, lbp_2d_method="var"), 1),
        ("lbp-2d", FilterParameters(lbp_2d_method="ror"), 2),
        ("lbp-3d", FilterParameters(lbp_3d_levels=3, lbp_3d_radius=1.5, lbp_3d_subdivision=0), None),
    ],
)
def test_parameters_of_filters_are_pyradiomics_own(large, monkeypatch, kind, parameters, axis):
    """Levels, families, radii and planes give PyRadiomics' images too."""
    old_harmonics(monkeypatch)
    texture = TextureSettings() if axis is None else TextureSettings(force_2d=True, force_2d_axis=axis)
    compare_images(*large, RadiomicsSettings(filters=(kind,), spacing_mm=None, parameters=parameters, texture=texture))


@pytest.mark.parametrize("kind", IMAGE_TYPES)
def test_region_in_the_images_corner(large, monkeypatch, kind):
    """At the image's end filters mirror, wrap round or stop as on the whole image."""
    old_harmonics(monkeypatch)
    volume, _ = large
    voxels = np.zeros(volume.shape, np.bool_)
    voxels[:5, -9:, :8] = True
    compare_images(
        volume, Mask(voxels, volume.frame), RadiomicsSettings(filters=(kind,), spacing_mm=None, parameters=SMALL)
    )


@pytest.mark.parametrize("wavelet", ["haar", "coif1", "db4", "rbio3.9", "sym20"])
def test_wavelets_reach_no_less_and_no_more(wavelet):
    """Half the filter's length is what a wavelet needs on either side: one voxel less gives other values."""
    noise = np.random.default_rng(2).normal(size=(1, 1, 160))
    settings = RadiomicsSettings(filters=("wavelet",), parameters=FilterParameters(wavelet=wavelet))
    reach = reach_of("wavelet", settings, (1.0, 1.0, 1.0))[2]

    def middle(r):
        part = noise[..., 80 - r : 84 + r]
        return pywt.swtn(part, wavelet, level=1, axes=(2,))[0]["d"][..., r : r + 4]

    whole = pywt.swtn(noise, wavelet, level=1, axes=(2,))[0]["d"][..., 80:84]
    assert np.array_equal(middle(reach), whole)
    assert not np.allclose(middle(reach - 1), whole, rtol=1e-9, atol=0)


CASES = {
    "all image types": {
        "parameters": SMALL,
        "filters": tuple(IMAGE_TYPES),
        "classes": (("firstorder", ()), ("glcm", ())),
    },
    "every class": {"filters": ("original", "gradient")},
    "whole numbers": {
        "filters": ("log", "wavelet"),
        "interpolation": "int16",
        "classes": (("gldm", ()), ("glszm", ())),
    },
    "own grid": {"filters": ("square", "gradient"), "spacing_mm": None, "classes": (("ngtdm", ()), ("glrlm", ()))},
    "in planes": {"filters": ("original", "wavelet"), "texture": TextureSettings(force_2d=True, force_2d_axis=2)},
    "bins by number": {"filters": ("exponential",), "texture": TextureSettings(bin_count=24, weighting="manhattan")},
}


@pytest.mark.parametrize("case", CASES)
def test_features_are_those_of_the_whole_image(monkeypatch, case):
    """Every feature of every image equals PyRadiomics' execute() on the whole image to 1e-6 relative."""
    old_harmonics(monkeypatch)
    volume, mask = textured()
    settings = RadiomicsSettings(**CASES[case])
    (found,) = PyRadiomics()(volume, [mask], settings)
    agree(found, by_pyradiomics(volume, mask, settings))


def test_scale_of_the_whole_image_is_asked_of_the_whole_image(large):
    """A crop does not know the whole image's greatest value, and says so; the other filters work on it."""
    volume, mask = large
    crop = volume.crop((1, 0, 0), volume.shape)
    for kind in ("square", "squareroot", "logarithm", "exponential"):
        (group,), _ = region_groups(crop, [mask], RadiomicsSettings(filters=(kind,), spacing_mm=None))
        with pytest.raises(GeometryError, match="whole image"):
            list(group.images())
    (group,), _ = region_groups(crop, [mask], RadiomicsSettings(filters=("gradient",), spacing_mm=None))
    assert [name for name, _ in group.images()] == ["gradient"]


def test_crop_narrower_than_the_filter_is_refused(large):
    """A crop that ends before the filter does is an error, not another value."""
    volume, mask = large
    (low, high), margin = mask.bounds, 2
    crop = volume.crop(tuple(np.subtract(low, margin).tolist()), tuple(np.add(high, margin).tolist()))
    (group,), _ = region_groups(crop, [mask], RadiomicsSettings(filters=("wavelet",), spacing_mm=None))
    with pytest.raises(GeometryError, match="leaves the block"):
        list(group.images())


def test_image_too_thin_for_a_laplacian_is_left_out():
    """Where PyRadiomics leaves out a standard deviation because the image is too thin, so do we."""
    volume, mask = textured((7, 40, 44), (2.0, 0.7, 0.7))
    thin = mask.within((1, 0, 0), (6, 40, 44))
    settings = RadiomicsSettings(
        filters=("log",),
        spacing_mm=None,
        parameters=FilterParameters(sigma_mm=(1.0, 14.0)),
        classes=(("firstorder", ("Mean",)),),
    )
    (found,) = PyRadiomics()(volume, [thin], settings)
    assert list(found) == ["log-sigma-1-0-mm-3D_firstorder_Mean"]
    agree(found, by_pyradiomics(volume, thin, settings))


def test_image_without_values_gives_a_code():
    """The kurtosis of equal samples is not a number: the region is refused with a code, where PyRadiomics breaks off."""
    frame = Geometry((20, 20, 20), (1.0, 1.0, 1.0))
    voxels = np.zeros(frame.shape, np.bool_)
    voxels[8:12, 8:12, 8:12] = True
    volume = CTVolume(np.full(frame.shape, -1000, np.int16), frame)
    (found,) = PyRadiomics()(volume, [Mask(voxels, frame)], RadiomicsSettings(filters=("lbp-3d",)))
    assert isinstance(found, FeatureError)
    assert found.code == "not_finite"


def test_settings_are_a_record():
    """Settings can be hashed and written as JSON, for the names of artefacts."""
    settings = RadiomicsSettings(filters=("LoG", "LBP2D"), overrides=(("LoG", TextureSettings(bin_width=3)),))
    assert hash(settings) == hash(dataclasses.replace(settings))
    assert json.loads(json.dumps(dataclasses.asdict(settings)))["filters"] == ["log", "lbp-2d"]
    assert settings.texture_of("log-sigma-2-0-mm-3D").bin_width == 3
    assert settings.texture_of("lbp-2D").bin_width == 25


def test_every_image_has_an_entry_in_the_dictionary():
    """Features of every image, at every level of wavelets, are described with the unit of its intensities."""
    volume, mask = textured()
    parameters = FilterParameters(sigma_mm=(0.6, 1.0), level=3)
    settings = RadiomicsSettings(filters=tuple(IMAGE_TYPES), spacing_mm=None, parameters=parameters)
    (group,), _ = region_groups(volume, [mask], settings)
    names = [name for name, _ in group.images()]
    assert {"wavelet3-LLH", "lbp-3D-k", "log-sigma-0-6-mm-3D"} < set(names)
    assert all(describe(f"{name}_glcm_Contrast") for name in names)
    assert describe("lbp-2D_firstorder_Mean").unit == "1"


@pytest.mark.slow
@pytest.mark.real_data
def test_real_nodule_has_the_features_of_the_whole_scan(lidc_0314):
    """Wavelet and Laplacian features of a ball at LIDC-IDRI-0314's nodule equal PyRadiomics' on the scan to 1e-6.

    PyRadiomics pads by 40 voxels, wider than the filters reach; the whole scan would take minutes and give the same.
    """
    series = index_series(lidc_0314).series[0]
    scan = read_volume(series.files, series.geometry)
    start, middle = np.array([140, 215, 155]), np.array([160, 245, 185])
    at = np.indices((40, 60, 60)).transpose(1, 2, 3, 0) + start
    ball = np.linalg.norm((at - middle) * scan.frame.spacing_mm, axis=-1) < 9
    region = Mask(ball, scan.frame, tuple(start.tolist()))
    settings = RadiomicsSettings(
        filters=("wavelet", "log"),
        spacing_mm=(1.1, 1.1, 1.1),
        parameters=FilterParameters(sigma_mm=(1.0, 2.0)),
        classes=(("firstorder", ()), ("glrlm", ())),
    )
    (found,) = PyRadiomics()(scan, [region], settings)
    agree(found, by_pyradiomics(scan, region, settings, pad=40))
