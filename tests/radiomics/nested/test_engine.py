"""The nested engine against PyRadiomics' own feature classes, region by region."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from radiomics import firstorder, glcm, gldm, glrlm, glszm, ngtdm
from scipy import ndimage

from lungpipe.errors import FeatureError
from lungpipe.radiomics.nested.engine import CLASSES, Texture
from lungpipe.radiomics.texture import TextureSettings

THEIRS = {
    "firstorder": firstorder.RadiomicsFirstOrder,
    "glcm": glcm.RadiomicsGLCM,
    "gldm": gldm.RadiomicsGLDM,
    "glrlm": glrlm.RadiomicsGLRLM,
    "glszm": glszm.RadiomicsGLSZM,
    "ngtdm": ngtdm.RadiomicsNGTDM,
}
#: Settings of ours and the same under PyRadiomics' names.
BOTH = [
    (TextureSettings(), {"binWidth": 25}),
    (TextureSettings(force_2d=True), {"binWidth": 25, "force2D": True}),
    (
        TextureSettings(force_2d=True, force_2d_axis=2, bin_width=10),
        {"binWidth": 10, "force2D": True, "force2Ddimension": 2},
    ),
    (TextureSettings(distances=(1, 2)), {"binWidth": 25, "distances": [1, 2]}),
    (TextureSettings(bin_count=8), {"binCount": 8}),
    (TextureSettings(symmetrical_glcm=False), {"binWidth": 25, "symmetricalGLCM": False}),
    (TextureSettings(weighting="euclidean"), {"binWidth": 25, "weightingNorm": "euclidean"}),
    (TextureSettings(weighting="infinity"), {"binWidth": 25, "weightingNorm": "infinity"}),
    (
        TextureSettings(weighting="manhattan", symmetrical_glcm=False),
        {"binWidth": 25, "weightingNorm": "manhattan", "symmetricalGLCM": False},
    ),
    (
        TextureSettings(gldm_a=2, bin_width=7.3, voxel_array_shift=1000),
        {"binWidth": 7.3, "gldm_a": 2, "voxelArrayShift": 1000},
    ),
]
#: Where nothing is divided by nothing PyRadiomics has 0, 1 or 10^6 by convention, and the engine NaN.
CONVENTIONS = {
    "firstorder_Kurtosis", "firstorder_Skewness", "glcm_Correlation", "glcm_Imc1", "glcm_Imc2", "glcm_InverseVariance",
    "glcm_MCC", "glrlm_RunEntropy", "glrlm_RunVariance", "ngtdm_Busyness", "ngtdm_Coarseness", "ngtdm_Contrast",
    "ngtdm_Strength",
}  # fmt: skip
SPACING_MM = (1.25, 0.7, 0.8)


def theirs(image, mask, **options):
    """Features by PyRadiomics of one region, cut to its box as its extractor does."""
    logging.disable(logging.CRITICAL)
    window = ndimage.find_objects(mask.astype(np.int8))[0]
    pair = [sitk.GetImageFromArray(a[window]) for a in (image, mask.astype(np.uint8))]
    for one in pair:
        one.SetSpacing(SPACING_MM[::-1])
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, made in THEIRS.items():
            features = made(*pair, label=1, **options)
            features.enableAllFeatures()
            found |= {f"{name}_{key}": float(np.real(value)) for key, value in features.execute().items()}
    logging.disable(logging.NOTSET)
    return found


def ours(image, masks, options=None, classes=CLASSES):
    found = Texture.of(masks, SPACING_MM, options or TextureSettings(), classes).features(image)
    return [one if isinstance(one, FeatureError) else one.values for one in found]


def differences(found, expected):
    """Features that differ by more than 1e-9 of their value, or 1e-12 of moments that cancel, with both values."""
    assert set(found) == set(expected)
    return {
        name: (found[name], value)
        for name, value in expected.items()
        if not (np.isnan(value) and np.isnan(found[name]))
        and not abs(found[name] - value) <= 1e-9 * max(abs(value), 1e-3)
    }


def rounding_decides(name, mine, other, symmetric):
    """Whether two values differ by what rounding decides in PyRadiomics.

    The root of a rounding error is up to 1e-7, or drops its direction out of the mean over all if the error is negative; the
    variance of one level's pairs is 0, a correlation of 1 by convention, or next to it, a correlation of nothing.
    """
    directions = range(1, 63)  # of distances 1 and 2
    if name in {"glcm_MCC", "glcm_Imc2"}:
        if np.isnan(other):
            return mine <= 1e-7
        shares = {left / n for n in directions for left in range(1, n)}
        low, high = sorted((mine, other))
        return high - low <= 1e-7 or any(abs(low - high * share) < 1e-7 for share in shares)
    if name == "glcm_Correlation" and not symmetric:
        return any(abs((mine - other) * n - 1) < 1e-6 for n in directions)
    return False


@pytest.fixture(scope="module")
def scene():
    """Texture with a bright ball, seven nested balls and two shells and a box about it."""
    shape = (26, 30, 28)
    rng = np.random.default_rng(5)
    distance = np.linalg.norm(np.indices(shape) - np.array([12, 14, 13])[:, None, None, None], axis=0)
    image = ndimage.gaussian_filter(rng.normal(size=shape), 1.0) * 500 + np.where(distance < 6, 0, -700)
    balls = [distance <= radius for radius in (3, 5, 6, 8, 9, 10, 12)]
    box = np.zeros(shape, np.bool_)
    box[2:15, 3:20, 5:25] = True
    return image, np.array([*balls, balls[4] & ~balls[1], balls[6] & ~balls[1], box])


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_nested_and_other_regions_have_the_values_of_pyradiomics(scene, dtype):
    """Balls, shells and a box of one image have all of PyRadiomics' values, to 1e-9."""
    image, masks = scene
    for mask, found in zip(masks, ours(image.astype(dtype), masks), strict=True):
        assert len(found) == 93
        assert not differences(found, theirs(image.astype(dtype), mask, binWidth=25))


@pytest.mark.parametrize(("options", "named"), BOTH, ids=lambda value: "")
def test_every_setting_means_what_it_means_in_pyradiomics(scene, options, named):
    """Bins, distances, planes, weights and the other settings give PyRadiomics' values."""
    image, masks = scene
    some = masks[[0, 3, 7]]
    for mask, found in zip(some, ours(image.astype(np.float32), some, options), strict=True):
        assert not differences(found, theirs(image.astype(np.float32), mask, **named))


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 8)] * 3),
    share=st.sampled_from([0.1, 0.3, 0.7, 0.95]),
    which=st.integers(0, len(BOTH) - 1),
    height=st.sampled_from([30, 150, 700]),
    seed=st.integers(0, 2**31),
)
def test_scattered_regions_have_the_values_of_pyradiomics(shape, share, which, height, seed):
    """Whatever their shape, regions have PyRadiomics' values, or NaN where PyRadiomics has nothing to count."""
    rng = np.random.default_rng(seed)
    options, named = BOTH[which]
    image = (ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0, 1.2)) * height).astype(np.float32)
    first, second = rng.random(shape) < share, rng.random(shape) < 0.5
    masks = np.array([mask for mask in (first, second, first | second) if np.count_nonzero(mask) > 1])
    if not len(masks):
        return
    for mask, found in zip(masks, ours(image, masks, options), strict=True):
        try:
            left = differences(found, theirs(image, mask, **named))
        except RuntimeError:  # PyRadiomics has no directions of length 2 in a box of two voxels
            continue
        made_up = {name for name, (mine, other) in left.items() if np.isnan(mine) and other in {0, 1, 1e6}}
        assert made_up <= CONVENTIONS
        rest = {name: both for name, both in left.items() if name not in made_up}
        assert all(rounding_decides(name, *both, options.symmetrical_glcm) for name, both in rest.items()), rest


def test_a_region_does_not_depend_on_its_company(scene):
    """A region has the same bits alone, in any order, and among others."""
    image, masks = scene
    together = ours(image, masks)
    backwards = ours(image, masks[::-1])[::-1]
    for mask, one, other in zip(masks, together, backwards, strict=True):
        assert one == other == ours(image, mask[None])[0]  # no NaN among them


def test_more_regions_than_ranks(scene):
    """A nest of 300 regions, more than a rank can number, has the values of a few of them alone."""
    image, _ = scene
    distance = np.linalg.norm(np.indices(image.shape) - np.array([12, 14, 13])[:, None, None, None], axis=0)
    masks = np.array([distance <= radius for radius in np.linspace(2, 11, 300)])
    found = ours(image, masks, None, ("firstorder", "gldm", "glszm"))
    for row in (0, 100, 253, 254, 255, 299):
        assert found[row] == ours(image, masks[[row]], None, ("firstorder", "gldm", "glszm"))[0]


def test_edges_that_differ_between_regions_are_kept_apart():
    """Where rounding puts the bins of two nested regions differently, each has its own, as in PyRadiomics."""
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, size=(9, 9, 9)).astype(np.float32)
    image[4, 4, 4], image[0, 0, 0] = np.float32(0.3), np.float32(-1.7)
    masks = np.zeros((2, 9, 9, 9), np.bool_)
    masks[0, 2:7, 2:7, 2:7] = True
    masks[1] = True
    image[2:7, 2:7, 2:7] = np.float32(0.1) * rng.integers(0, 9, size=(5, 5, 5)).astype(np.float32)
    for mask, found in zip(masks, ours(image, masks, TextureSettings(bin_width=0.1)), strict=True):
        assert not differences(found, theirs(image, mask, binWidth=0.1))


def test_fixed_origin_numbers_levels_alike():
    """With a fixed origin the numbers of grey levels do not follow the region's least value."""
    image = np.full((4, 4, 4), -900.0)
    image[1:3, 1:3, 1:3] = -100.0
    image[1, 1, 1] = -70.0
    masks = np.zeros((2, 4, 4, 4), np.bool_)
    masks[0, 1:3, 1:3, 1:3] = True
    masks[1] = True
    small, _ = ours(image, masks, TextureSettings(bin_origin=-1000.0), ("gldm", "ngtdm"))
    # Levels (-100 + 1000) // 25 + 1 = 37 and 38: seven voxels of the one, one of the other.
    assert small["gldm_HighGrayLevelEmphasis"] == pytest.approx((7 * 37**2 + 38**2) / 8)
    free, _ = ours(image, masks, TextureSettings(), ("gldm",))
    assert free["gldm_HighGrayLevelEmphasis"] == pytest.approx((7 * 1 + 4) / 8)


def test_zones_runs_and_pairs_of_a_known_pattern():
    """Two blocks side by side: counts by hand."""
    image = np.zeros((2, 2, 4))
    image[:, :, 2:] = 30.0
    mask = np.ones((1, 2, 2, 4), np.bool_)
    (found,) = ours(image, mask, TextureSettings(force_2d=True))
    assert found["glszm_ZonePercentage"] == pytest.approx(4 / 16)  # a zone a block and plane, of 4 voxels
    assert found["glszm_LargeAreaEmphasis"] == pytest.approx(16)
    (found,) = ours(image, mask)
    assert found["glszm_LargeAreaEmphasis"] == pytest.approx(64)
    assert found["glszm_ZonePercentage"] == pytest.approx(2 / 16)
    # Pairs across the border are 1/3 along x, 0 along y and z, 1/3 along each of the eight diagonals with x, 0 along two.
    assert found["glcm_Contrast"] == pytest.approx((1 + 8) / 3 / 13)


@pytest.mark.parametrize(
    ("value", "code"), [(np.nan, "not_finite"), (np.inf, "not_finite"), (1e9, "too_many_grey_levels")]
)
def test_impossible_values_are_refused_for_the_regions_that_have_them(value, code):
    """A region with values that cannot be binned is refused by code; the regions beside it are not."""
    image = np.random.default_rng(0).normal(size=(5, 5, 5)) * 100
    image[0, 0, 0] = value
    masks = np.ones((2, 5, 5, 5), np.bool_)
    masks[0, 0] = False
    good, bad = ours(image, masks)
    assert isinstance(bad, FeatureError)
    assert bad.code == code
    assert len(good) == 93


@pytest.mark.parametrize("seed", [42, 276, 349, 386, 530, 600, 654, 835, 1302, 1501])
def test_maximal_correlation_of_rare_levels(seed):
    """Where the eigenvector sits on levels of few voxels, it is PyRadiomics' too; these were off by up to 7e-3."""
    rng = np.random.default_rng(seed)
    shape = (9, 10, 9)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), [0.5, 0.8, 1.2][seed % 3])
    image = smooth / smooth.std() * [300, 600, 1200][(seed // 3) % 3]
    distance = np.linalg.norm(np.indices(shape) - np.array([4, 4.5, 4])[:, None, None, None], axis=0)
    mask = distance <= [3.2, 4.4][(seed // 9) % 2]
    (found,) = ours(image, mask[None], None, ("glcm",))
    assert found["glcm_MCC"] == pytest.approx(theirs(image, mask, binWidth=25)["glcm_MCC"], rel=1e-7)


def test_what_is_undefined_is_nan():
    """In a flat region nothing stands for 0 divided by 0; what is defined keeps its value."""
    (found,) = ours(np.full((4, 4, 4), 7.0), np.ones((1, 4, 4, 4), np.bool_))
    undefined = {name for name, value in found.items() if np.isnan(value)}
    assert undefined == CONVENTIONS - {"glcm_InverseVariance", "glrlm_RunEntropy", "glrlm_RunVariance"}
    assert found["glcm_JointEnergy"] == found["firstorder_Uniformity"] == 1
    assert found["glszm_ZonePercentage"] == 1 / 64


def test_only_the_classes_asked_for(scene):
    """A class that is not asked for is not there."""
    image, masks = scene
    found = ours(image, masks[:1], TextureSettings(), ("firstorder",))[0]
    assert {name.split("_")[0] for name in found} == {"firstorder"}
