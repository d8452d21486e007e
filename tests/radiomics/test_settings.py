from dataclasses import replace

import pytest

from lungpipe.errors import DatasetError
from lungpipe.radiomics.classes import enabled
from lungpipe.radiomics.extract import PyRadiomics
from lungpipe.radiomics.filter_parameters import parameters_from
from lungpipe.radiomics.image_types import FilterParameters, image_type, type_of
from lungpipe.radiomics.preparation import Normalisation, Resegmentation
from lungpipe.radiomics.settings import RadiomicsSettings, check_extractor
from lungpipe.radiomics.texture import TextureSettings


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"bin_width_hu": 0}, "bin_width_hu must be positive"),
        ({"spacing_mm": (1.0, -1.0, 1.0)}, "three lengths"),
        ({"interpolation": "float"}, "did you mean 'float32'"),
        ({"interpolator": "sitkBspline"}, "did you mean 'sitkBSpline'"),
        ({"filters": ("wavelets",)}, "did you mean 'wavelet'"),
        ({"filters": ()}, "one image type or more"),
        ({"filters": ("log", "LoG")}, "each once"),
        ({"classes": (("glcmm", ()),)}, "did you mean 'glcm'"),
        ({"classes": (("glcm", ("Contrst",)),)}, "did you mean 'Contrast'"),
        ({"classes": (("glcm", ()), ("glcm", ()))}, "stands twice"),
        ({"classes": (("shape2D", ()),)}, "needs force_2d"),
        ({"pre_crop": True}, "needs a pad_distance"),
        ({"pad_distance": -1}, "must not be negative"),
        ({"min_dimensions": 4}, "1, 2 or 3"),
        ({"min_voxels": 0}, "must be positive"),
        ({"texture": TextureSettings(bin_width=10)}, "two bin widths"),
        ({"overrides": (("gradients", TextureSettings()),)}, "did you mean 'gradient'"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    """Each setting that makes no sense is refused by name, with the nearest that does."""
    with pytest.raises(DatasetError, match=told):
        RadiomicsSettings(**wrong)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"sigma_mm": ()}, "positive lengths"),
        ({"sigma_mm": (1.0, 0.0)}, "positive lengths"),
        ({"sigma_mm": (1.0, 1.0)}, "twice"),
        ({"wavelet": "coiff1"}, "did you mean 'coif1"),
        ({"wavelet": "mexh"}, "no discrete wavelet"),
        ({"level": 0}, "at least 1"),
        ({"start_level": -1}, "at least 0"),
        ({"lbp_2d_radius": 0.0}, "must be positive"),
        ({"lbp_2d_method": "unifrom"}, "must be one of"),
        ({"lbp_3d_levels": 0}, "at least 1"),
    ],
)
def test_impossible_filters_are_refused(wrong, told):
    """Each parameter of a filter is checked before any work."""
    with pytest.raises(DatasetError, match=told):
        FilterParameters(**wrong)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Resegmentation(()), "one or two limits"),
        (lambda: Resegmentation((1.0,), "percent"), "absolute, relative, sigma"),
        (lambda: Normalisation(scale=0), "must be positive"),
        (lambda: Normalisation(outliers=-1), "positive number"),
    ],
)
def test_impossible_preparations_are_refused(make, told):
    """Limits and scales are checked before any work."""
    with pytest.raises(DatasetError, match=told):
        make()


def test_one_bin_width():
    """The bin width stands in two places and is one: texture follows, and a second opinion is refused."""
    settings = RadiomicsSettings(bin_width_hu=10.0)
    assert settings.texture.bin_width == 10.0
    assert replace(settings, filters=("log",)).texture.bin_width == 10.0
    assert settings.with_bin_width(5.0).texture_of("original").bin_width == 5.0
    with pytest.raises(DatasetError, match="with_bin_width"):
        replace(settings, bin_width_hu=5.0)


def test_defaults_are_those_of_the_default_table():
    """Without words the original image has PyRadiomics' 107 features; its other class needs planes."""
    asked = enabled(RadiomicsSettings())
    assert list(asked) == ["firstorder", "glcm", "gldm", "glrlm", "glszm", "ngtdm", "shape"]
    assert sum(map(len, asked.values())) == 107


def test_features_are_asked_by_name():
    """Named features keep their order; a deprecated one counts only if it is named and PyRadiomics has its value."""
    classes = (("glcm", ("Id", "Dissimilarity", "Contrast")), ("firstorder", ("StandardDeviation",)), ("gldm", ()))
    asked = enabled(RadiomicsSettings(classes=classes))
    assert asked["glcm"] == ("Id", "Contrast")
    assert asked["firstorder"] == ("StandardDeviation",)
    assert len(asked["gldm"]) == 14
    assert enabled(RadiomicsSettings(classes=(("glcm", ("Homogeneity1",)),))) == {}


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ("original", "original"),
        ("log-sigma-1-5-mm-3D", "log"),
        ("logarithm", "logarithm"),
        ("wavelet2-LLH", "wavelet"),
        ("square", "square"),
        ("squareroot", "squareroot"),
        ("lbp-2D", "lbp-2d"),
        ("lbp-3D-k", "lbp-3d"),
    ],
)
def test_images_lead_back_to_their_types(image, kind):
    """The name of a filtered image says of which type it is."""
    assert type_of(image) == kind


def test_image_types_in_any_spelling():
    """The case of letters does not count, and PyRadiomics' names will do."""
    assert [image_type(name) for name in ("LoG", "SquareRoot", "LBP3D", "lbp-3D")] == [
        "log",
        "squareroot",
        "lbp-3d",
        "lbp-3d",
    ]
    with pytest.raises(DatasetError, match="did you mean 'gradient'"):
        type_of("gradientt")


def test_parameters_of_single_image_types():
    """Tables of a recipe set a filter's parameters and what its bins are; lengths may be whole numbers."""
    tables = {"log": {"sigma_mm": [1, 2.5], "bin_width": 5}, "LBP2D": {"radius": 2, "bin_count": 8}, "original": {}}
    parameters, overrides, ibsi = parameters_from(
        tables, ("original", "LoG", "lbp-2d"), TextureSettings(distances=(1, 2))
    )
    assert parameters == FilterParameters(sigma_mm=(1.0, 2.5), lbp_2d_radius=2.0)
    assert ibsi == ()
    expected = {"log": {"bin_width": 5.0}, "lbp-2d": {"bin_count": 8}}
    assert dict(overrides) == {k: TextureSettings(distances=(1, 2), **v) for k, v in expected.items()}


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"log": {"sigma": [1]}}, "did you mean 'sigma_mm'"),
        ({"log": {"sigma_mm": 1}}, r"expected a value like \[1.0, 2.0, 3.0\], found 1"),
        ({"log": {"sigma_mm": ["1"]}}, "expected a value like"),
        ({"log": {"bin_count": 8.5}}, "found 8.5"),
        ({"log": {"weighting": "euclid"}}, "'euclidean'"),
        ({"log": {"force_2d": 1}}, "expected a value like False"),
        ({"wavelet": {"level": 2}}, "not among features.filters"),
        ({"wavelit": {}}, "did you mean 'wavelet'"),
    ],
)
def test_wrong_parameters_of_image_types_are_refused(tables, told):
    """Unknown keys are answered with the nearest known one, and values of another kind with one that would do."""
    with pytest.raises(DatasetError, match=told):
        parameters_from(tables, ("log",), TextureSettings())


def test_extractor_is_asked_before_any_work():
    """What PyRadiomics cannot do is refused by it at once; an extractor without an opinion is let through."""
    for texture in (TextureSettings(bin_origin=-1000.0), TextureSettings(gldm_a=0.5)):
        with pytest.raises(DatasetError, match="PyRadiomics"):
            check_extractor(PyRadiomics(), RadiomicsSettings(texture=texture))
        with pytest.raises(DatasetError, match="PyRadiomics"):
            check_extractor(PyRadiomics(), RadiomicsSettings(overrides=(("original", texture),)))
        check_extractor(object(), RadiomicsSettings(texture=texture))
