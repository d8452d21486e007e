"""IBSI-2's filters as image types of a recipe."""

import numpy as np
import pytest

from flows.sections import FeaturesSection
from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.radiomics.extract import PyRadiomics
from lungpipe.radiomics.groups import region_groups
from lungpipe.radiomics.ibsi2 import Gabor, LaplacianOfGaussian, Laws, Mean, SeparableWavelet, Simoncelli, response
from lungpipe.radiomics.ibsi_codes import describe
from lungpipe.radiomics.nested.extract import Nested
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.volume import CTVolume, Mask

WORDS = {
    "ibsi-mean": {"support": 5},
    "ibsi-log": {"sigma_mm": 1.5},
    "ibsi-laws": {"kernels": "L5E5E5"},
    "ibsi-gabor": {"sigma_mm": 2.0, "lambda_mm": 4.0},
    "ibsi-wavelet": {"wavelet": "db3", "band": "LLH"},
    "ibsi-simoncelli": {"level": 1},
}


def scene():
    rng = np.random.default_rng(4)
    frame = Geometry((34, 40, 38), (1.0, 1.0, 1.0))
    hu = rng.normal(-500, 200, frame.shape).astype(np.int16)
    inside = np.zeros(frame.shape, np.bool_)
    inside[14:20, 17:24, 15:22] = True
    return CTVolume(hu, frame), Mask(inside, frame)


def settings(names, words, **others):
    return FeaturesSection(filters=tuple(names), filter_parameters=words, **others).settings()


def test_names_of_parameters_are_those_of_the_filters():
    """The words used below are the filters' own."""
    for kind in (Mean, LaplacianOfGaussian, Laws, Gabor, SeparableWavelet, Simoncelli):
        assert set(WORDS[kind.recipe_name]) <= set(kind.__dataclass_fields__)


@pytest.mark.parametrize("name", WORDS)
def test_region_has_the_response_of_the_whole_image(name):
    """On a region's box the image is what the filter makes of the whole image there."""
    volume, region = scene()
    chosen = settings([name], {name: WORDS[name]}, spacing_mm=None) if name == "ibsi-mean" else settings(
        [name], {name: WORDS[name]}
    )  # fmt: skip
    (group,), errors = region_groups(volume, [region], chosen)
    assert not errors
    ((image, values),) = group.images()
    assert image.startswith(f"{name}-")
    spec = chosen.ibsi[0].images((1.0, 1.0, 1.0))
    whole = spec[0][2](volume.hu.astype(np.float64), (1.0, 1.0, 1.0))
    expected = whole[14:20, 17:24, 15:22]
    assert values == pytest.approx(expected, abs=1e-9 * np.abs(whole).max())
    assert describe(f"{image}_glcm_Contrast") is not None


def test_both_engines_take_them_as_any_other_image():
    """Features of a filtered image are there under its name, the same with both engines."""
    volume, region = scene()
    chosen = settings(["original", "ibsi-laws"], {"ibsi-laws": {"kernels": ["L5E5E5", "E3W5R5"]}})
    (nested,), (reference,) = (engine(volume, [region], chosen) for engine in (Nested(), PyRadiomics()))
    names = [name for name in nested if name.startswith("ibsi-laws-")]
    assert len(names) == 2 * 93
    for name in names:
        assert nested[name] == pytest.approx(reference[name], rel=1e-6, abs=1e-9, nan_ok=True)


def test_mean_is_ibsi_s_own():
    """Through the settings the mean filter is the function that the published values were met with."""
    volume, _ = scene()
    chosen = settings(["ibsi-mean"], {"ibsi-mean": {"support": 3}})
    found = chosen.ibsi[0].images((1.0, 1.0, 1.0))[0][2](volume.hu.astype(np.float64), (1.0, 1.0, 1.0))
    assert np.array_equal(found, response(volume.hu.astype(np.float64), (1.0, 1.0, 1.0), Mean(3)))


@pytest.mark.parametrize(
    ("words", "others", "match"),
    [
        ({"ibsi-mean": {"support": 4}}, {}, "support"),
        ({"ibsi-mean": {"suport": 5}}, {}, "Did you mean .support."),
        ({"ibsi-log": {}}, {}, "sigma_mm"),
        ({"ibsi-log": {"sigma_mm": 1.5}}, {"spacing_mm": None}, "equal"),
        ({"ibsi-log": {"sigma_mm": 1.5}}, {"spacing_mm": (1.0, 1.0, 2.0)}, "equal"),
        ({"ibsi-log": {"sigma_mm": 1.5, "spacing_mm": [1, 1, 1]}}, {}, r"features\.spacing_mm"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(words, others, match):
    """Wrong parameters, and grids on which a filter is not defined, stop the recipe."""
    with pytest.raises(DatasetError, match=match):
        settings(list(words), words, **others)


def test_parameters_without_the_filter_are_refused():
    """Parameters of a filter that the settings do not name have no meaning."""
    with pytest.raises(DatasetError, match="not among"):
        RadiomicsSettings(ibsi=(settings(["ibsi-mean"], {"ibsi-mean": {"support": 3}}).ibsi[0],))


def test_a_thin_region_is_refused_alone():
    """A region of one slice keeps its slice spacing, on which 3-D filters are not defined; the region beside it goes on."""
    rng = np.random.default_rng(1)
    frame = Geometry((20, 30, 30), (2.0, 0.8, 0.8))
    volume = CTVolume(rng.normal(-500, 200, frame.shape).astype(np.int16), frame)
    thick, thin = np.zeros((2, *frame.shape), np.bool_)
    thick[6:12, 8:20, 8:20] = True
    thin[9, 8:20, 8:20] = True
    chosen = settings(["original", "ibsi-log"], {"ibsi-log": {"sigma_mm": 1.5}})
    good, bad = Nested()(volume, [Mask(thick, frame), Mask(thin, frame)], chosen)
    assert bad.code == "unequal_voxel_sides"
    assert "ibsi-log-1-5mm_firstorder_Mean" in good
