"""Values, regions and settings at the edge of what can be: a code for the region, and nothing for those beside it."""

from dataclasses import replace

import numpy as np
import pytest

from lungpipe.errors import DatasetError, FeatureError, GeometryError
from lungpipe.geometry import Geometry
from lungpipe.radiomics.extract import PyRadiomics
from lungpipe.radiomics.image_types import FilterParameters
from lungpipe.radiomics.nested.extract import Nested
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.radiomics.texture import TextureSettings
from lungpipe.volume import CTVolume, Mask

FRAME = Geometry((16, 18, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
PLAIN = RadiomicsSettings(spacing_mm=None)
BOTH = pytest.mark.parametrize("extractor", [PyRadiomics(), Nested()], ids=lambda one: one.name)


def box(low, high, frame=FRAME):
    voxels = np.zeros(frame.shape, np.bool_)
    voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return Mask(voxels, frame)


def noise(dtype=np.float32, scale=150):
    return (np.random.default_rng(3).normal(size=FRAME.shape) * scale).astype(dtype)


@BOTH
@pytest.mark.parametrize(
    ("value", "code"),
    [
        (1e30, "too_many_grey_levels"),
        (1e15, "too_many_grey_levels"),
        (5e9, "too_many_grey_levels"),
        (np.nan, "not_finite"),
        (np.inf, "not_finite"),
    ],
)
def test_one_extreme_value_costs_its_region_alone(extractor, value, code):
    """Whatever a voxel holds, its region is refused by code and the region beside it has its features."""
    hu = noise()
    hu[3, 3, 3] = value
    bad, good = extractor(CTVolume(hu, FRAME), [box((2, 2, 2), (7, 7, 7)), box((8, 8, 8), (13, 14, 15))], PLAIN)
    assert isinstance(bad, FeatureError)
    assert bad.code == code
    assert not isinstance(good, FeatureError)
    assert np.isfinite(good["original_firstorder_Entropy"])


@BOTH
def test_bins_that_numbers_cannot_tell_apart_are_refused(extractor):
    """Near 10^10 float32 numbers are 1024 apart: bins of 25 would be rounding."""
    hu = noise(scale=5000) + np.float32(1e10)
    (found,) = extractor(CTVolume(hu, FRAME), [box((2, 2, 2), (7, 7, 7))], PLAIN)
    assert isinstance(found, FeatureError)
    assert found.code == "values_too_large"


@BOTH
@pytest.mark.parametrize(("dtype", "start"), [(np.uint8, 0), (np.int16, 32512)])
def test_whole_number_bins_do_not_overflow(extractor, dtype, start):
    """All 256 values alike often in bins of 25: 11 bins, ten of 25/256 and one of 6/256, whatever the image's type."""
    frame = Geometry((8, 8, 8), (1.0, 1.0, 1.0))
    values = np.random.default_rng(0).permutation(np.repeat(np.arange(256) + start, 2)).astype(dtype)
    settings = RadiomicsSettings(spacing_mm=None, texture=TextureSettings(bin_width=25))
    volume = CTVolume(values.reshape(frame.shape), frame)
    (found,) = extractor(volume, [box((0, 0, 0), frame.shape, frame)], settings)
    # PyRadiomics' bins begin at a multiple of the width, here at or below the least value.
    counts = np.bincount(np.arange(start, start + 256) // 25 - start // 25) / 256
    assert found["original_firstorder_Entropy"] == pytest.approx(-np.sum(counts * np.log2(counts)))


@BOTH
def test_a_region_without_room_for_a_neighbour_is_refused_alone(extractor):
    """No step of two voxels fits in a cube of two; one of three has some."""
    settings = replace(PLAIN, texture=TextureSettings(distances=(2,)))
    regions = [box((2, 2, 2), (4, 4, 4)), box((2, 2, 2), (5, 5, 5))]
    small, large = extractor(CTVolume(noise(), FRAME), regions, settings)
    assert isinstance(small, FeatureError)
    assert small.code == "no_direction"
    assert not isinstance(large, FeatureError)


def test_what_pyradiomics_refuses_is_a_code(monkeypatch):
    """A region for which PyRadiomics raises is refused with its words; the one beside it is not."""
    from radiomics import featureextractor

    asked = []
    compute = featureextractor.RadiomicsFeatureExtractor.computeFeatures

    def sometimes(self, image, mask, name, **words):
        asked.append(name)
        if len(asked) == 1:
            raise RuntimeError("Error calculating matrices")
        return compute(self, image, mask, name, **words)

    monkeypatch.setattr(featureextractor.RadiomicsFeatureExtractor, "computeFeatures", sometimes)
    regions = [box((2, 2, 2), (6, 6, 6)), box((8, 8, 8), (13, 14, 15))]
    bad, good = PyRadiomics()(CTVolume(noise(), FRAME), regions, PLAIN)
    assert isinstance(bad, FeatureError)
    assert (bad.code, "Error calculating matrices" in bad.message) == ("pyradiomics_failed", True)
    assert not isinstance(good, FeatureError)


@BOTH
def test_no_number_in_the_image_reaches_what_is_scaled_by_all_of_it(extractor):
    """Images scaled by the greatest value of the whole have no value where a voxel of it is no number."""
    hu = noise()
    hu[15, 17, 19] = np.nan
    settings = replace(PLAIN, filters=("square",))
    (found,) = extractor(CTVolume(hu, FRAME), [box((2, 2, 2), (7, 7, 7))], settings)
    assert isinstance(found, FeatureError)
    assert found.code == "not_finite"


@BOTH
def test_regions_of_another_grid_are_refused(extractor):
    """A region elsewhere or of another size is a mistake of the caller, said as one."""
    shifted = Geometry(FRAME.shape, FRAME.spacing_mm, (5.0, 0.0, 0.0))
    smaller = Geometry((8, 8, 8), FRAME.spacing_mm, FRAME.origin_mm)
    for frame in (shifted, smaller):
        with pytest.raises(GeometryError, match="region 1 is not on the volume's grid"):
            extractor(CTVolume(noise(), FRAME), [box((2, 2, 2), (7, 7, 7)), box((2, 2, 2), (7, 7, 7), frame)], PLAIN)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda value: TextureSettings(bin_width=value),
        lambda value: TextureSettings(bin_origin=value),
        lambda value: TextureSettings(voxel_array_shift=value),
        lambda value: TextureSettings(gldm_a=value),
        lambda value: RadiomicsSettings(bin_width_hu=value),
        lambda value: RadiomicsSettings(spacing_mm=(1.0, value, 1.0)),
        lambda value: FilterParameters(sigma_mm=(value,)),
        lambda value: FilterParameters(lbp_2d_radius=value),
        lambda value: FilterParameters(lbp_3d_radius=value),
    ],
)
def test_settings_that_are_no_numbers_are_refused(make, wrong):
    """Infinity and what is no number are refused where settings are made."""
    with pytest.raises(DatasetError, match=r"finite|positive lengths|three lengths"):
        make(wrong)


@pytest.mark.parametrize("name", ["level", "start_level", "lbp_3d_subdivision"])
def test_filters_larger_than_a_chest_are_refused(name):
    """A slip of the finger does not fill the memory."""
    with pytest.raises(DatasetError, match=f"{name} must be at most"):
        FilterParameters(**{name: 60})


#: Layouts of regions and images that a scan may have, and settings that refuse small regions.
LAYOUTS = [
    (FRAME.shape, (2, 2, 2), (8, 9, 10)),
    (FRAME.shape, (2, 2, 2), (3, 9, 10)),
    (FRAME.shape, (2, 2, 2), (8, 3, 10)),
    (FRAME.shape, (2, 2, 2), (8, 9, 3)),
    ((1, 18, 20), (0, 2, 2), (1, 9, 10)),
    ((6, 18, 5), (1, 2, 1), (5, 9, 4)),
]


def test_after_one_nodule_nothing_is_compiled():
    """Once a nodule's features were extracted, no layout of a region, an image or its memory makes numba compile another variant of a function."""
    import gc

    import numba.core.dispatcher

    settings = RadiomicsSettings(
        filters=("original", "log", "wavelet", "gradient"),
        parameters=FilterParameters(sigma_mm=(1.0,)),
        min_dimensions=1,
    )
    frame = Geometry((20, 24, 28), (1.25, 0.7, 0.8))
    hu = np.random.default_rng(0).normal(-300, 200, frame.shape).astype(np.int16)
    Nested()(CTVolume(hu, frame), [box((8, 8, 10), (12, 16, 18), frame), box((6, 6, 8), (14, 18, 20), frame)], settings)

    def variants():
        functions = [o for o in gc.get_objects() if issubclass(type(o), numba.core.dispatcher.Dispatcher)]
        return {f"{f.py_func.__module__}.{f.py_func.__name__}": len(f.signatures) for f in functions}

    before = variants()
    assert sum(before.values()) >= 15  # functions that have been compiled, or read from their cache
    for shape, low, high in LAYOUTS:
        frame = Geometry(shape, (1.25, 0.7, 0.8))
        hu = np.random.default_rng(1).normal(-300, 200, shape).astype(np.int16)
        some = settings if min(shape) > 3 else replace(settings, filters=("original", "gradient"))
        for values in (hu, np.asfortranarray(hu), hu.transpose(2, 1, 0).copy().transpose(2, 1, 0)):
            (found,) = Nested()(CTVolume(values, frame), [box(low, high, frame)], some)
            assert not isinstance(found, FeatureError) or found.code == "image_too_thin", found
    assert variants() == before
