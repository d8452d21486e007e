"""From a recipe's words to filtered images."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungpipe.errors import DatasetError, GeometryError
from lungpipe.radiomics.ibsi2 import Gabor, LaplacianOfGaussian, Laws, Mean, SeparableWavelet, Simoncelli, response
from lungpipe.radiomics.ibsi2.boundary import BOUNDARIES
from lungpipe.radiomics.ibsi2.names import FILTERS, image_filters, image_name

ONE_MM = (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("ibsi-mean", {"support": 5}, [("mean-5", 2)]),
        ("ibsi-mean", {"support": [3, 5], "dimensions": 2}, [("mean-3-2D", 1), ("mean-5-2D", 2)]),
        ("ibsi-log", {"sigma_mm": [1.5, 3]}, [("log-1-5mm", 6), ("log-3mm", 12)]),
        ("ibsi-log", {"sigma_mm": 1, "cutoff": 3.5}, [("log-1mm-cutoff3-5", 4)]),
        ("ibsi-laws", {"kernels": "L5E5E5"}, [("laws-L5E5E5-energy7", 9)]),
        (
            "ibsi-laws",
            {"kernels": "L3S3", "energy_distance": 0, "pooling": ["min", "none"]},
            [("laws-L3S3-min", 1), ("laws-L3S3-unpooled", 1)],
        ),
        (
            "ibsi-gabor",
            {"sigma_mm": 5.0, "lambda_mm": 2.0, "gamma": 1.5, "step_deg": 22.5},
            [("gabor-5mm-2mm-gamma1-5-step22-5", 30)],
        ),
        ("ibsi-wavelet", {"wavelet": "db3", "band": "LLH"}, [("wavelet-db3-LLH-level1", 3)]),
        (
            "ibsi-wavelet",
            {"wavelet": "haar", "band": ["LH", "HH"], "level": [1, 2], "boundary": "periodic"},
            [
                ("wavelet-haar-LH-level1-periodic", None),
                ("wavelet-haar-LH-level2-periodic", None),
                ("wavelet-haar-HH-level1-periodic", None),
                ("wavelet-haar-HH-level2-periodic", None),
            ],
        ),
        (
            "ibsi-simoncelli",
            {"level": 2, "dimensions": [3, 2]},
            [("simoncelli-level2", None), ("simoncelli-level2-2D", None)],
        ),
    ],
)
def test_a_filter_is_named_images_and_their_reach(name, parameters, expected):
    """A list asks for an image for each value; what is not the default is in the name."""
    assert [(image, reach) for image, reach, _ in image_filters(name, parameters)] == expected


@pytest.mark.parametrize(
    ("name", "parameters", "spec"),
    [
        ("ibsi-mean", {"support": 3, "boundary": "zero"}, Mean(3, 3, "zero")),
        ("ibsi-log", {"sigma_mm": 1.5}, LaplacianOfGaussian(1.5)),
        ("ibsi-laws", {"kernels": "E5S5", "pooling": "none"}, Laws("E5S5", 7, None)),
        ("ibsi-gabor", {"sigma_mm": 1.0, "lambda_mm": 3.0}, Gabor(1.0, 3.0)),
        ("ibsi-wavelet", {"wavelet": "coif1", "band": "HH", "level": 2}, SeparableWavelet("coif1", "HH", 2)),
        ("ibsi-simoncelli", {"level": 1}, Simoncelli(1)),
    ],
)
def test_the_function_is_the_filter(name, parameters, spec):
    """And it survives the way to a worker."""
    image = np.random.default_rng(21).normal(size=(8, 9, 10)).astype(np.float32)
    ((_, _, function),) = image_filters(name, parameters)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(function))(image, ONE_MM), response(image, ONE_MM, spec))


def test_every_filter_has_its_recipe_name():
    """Six names, all of them IBSI's."""
    assert sorted(FILTERS) == ["ibsi-gabor", "ibsi-laws", "ibsi-log", "ibsi-mean", "ibsi-simoncelli", "ibsi-wavelet"]


def test_the_reach_follows_the_grid_that_is_told():
    """A sigma of 1.5 mm is 12 voxels of half a millimetre at 4 sigma; the finest axis counts."""
    parameters = {"sigma_mm": 1.5, "dimensions": 2, "spacing_mm": [2.0, 0.5, 0.5]}
    ((_, reach, function),) = image_filters("ibsi-log", parameters)
    assert reach == 12
    assert function(np.zeros((3, 4, 5)), (2.0, 0.5, 0.5)).shape == (3, 4, 5)


def test_a_grid_finer_than_told_is_refused():
    """The crop would be too narrow, so the values would not be the whole image's."""
    ((_, reach, function),) = image_filters("ibsi-log", {"sigma_mm": 1.5})
    assert reach == 6
    with pytest.raises(GeometryError, match=r"6 voxels .* 0\.7 x 0\.7 x 0\.7 mm .* reads 9, .* pass spacing_mm"):
        function(np.zeros((4, 4, 4)), (0.7, 0.7, 0.7))
    assert function(np.zeros((4, 4, 4)), (2.0, 2.0, 2.0)).shape == (4, 4, 4)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("ibsi-wavelets", {}, "there is no filter 'ibsi-wavelets'; .* Did you mean 'ibsi-wavelet'"),
        ("log", {}, "there is no filter 'log'"),
        ("ibsi-log", {"sigma": 1.0}, "ibsi-log has no parameter 'sigma'; it has sigma_mm, .* Did you mean 'sigma_mm'"),
        ("ibsi-simoncelli", {"level": 1, "boundary": "mirror"}, "ibsi-simoncelli has no parameter 'boundary'"),
        ("ibsi-gabor", {"sigma_mm": 5.0}, "ibsi-gabor needs lambda_mm; found sigma_mm"),
        ("ibsi-mean", {}, "ibsi-mean needs support; found no parameter"),
        ("ibsi-mean", {"support": []}, "support is an empty list"),
        ("ibsi-mean", {"support": [3, 4]}, "support must be odd"),
        ("ibsi-mean", {"support": 3, "spacing_mm": 1.0}, "spacing_mm must be three voxel sides"),
        ("ibsi-mean", {"support": 3, "spacing_mm": [1.0, 0.0, 1.0]}, "spacing_mm must be a positive number"),
    ],
)
def test_wrong_words_are_refused_before_any_work(name, parameters, message):
    """With the nearest known word."""
    with pytest.raises(DatasetError, match=message):
        image_filters(name, parameters)


lengths = st.floats(0.01, 100.0).map(lambda value: round(value, 3))
boundaries = st.sampled_from(BOUNDARIES)
poolings = st.sampled_from(["max", "mean", "min", None])
dimensions = st.sampled_from([2, 3])
specs = st.one_of(
    st.builds(Mean, st.integers(0, 20).map(lambda k: 2 * k + 1), dimensions, boundaries),
    st.builds(LaplacianOfGaussian, lengths, lengths, dimensions, boundaries),
    st.builds(Laws, st.sampled_from(["L5E5", "E5L5", "L3E3S3"]), st.integers(0, 9), poolings, boundaries),
    st.builds(
        Gabor,
        lengths,
        lengths,
        lengths,
        st.integers(-180, 180),
        st.sampled_from([None, 22.5, 45.0, 90.0]),
        st.sampled_from(["max", "mean", "min"]),
        dimensions,
        boundaries,
    ),
    st.builds(
        SeparableWavelet,
        st.sampled_from(["haar", "db3"]),
        st.sampled_from(["LH", "LLH"]),
        st.integers(1, 3),
        poolings,
        boundaries,
    ),
    st.builds(Simoncelli, st.integers(1, 9), dimensions),
)


@given(specs, specs)
def test_different_filters_have_different_names(one, other):
    """A name tells all parameters, and fits between the underscores of a feature's name."""
    assert (image_name(one) == image_name(other)) == (one == other)
    assert not set("_. ") & set(image_name(one))
