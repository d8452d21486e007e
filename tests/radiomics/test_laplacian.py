import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.errors import FeatureError
from lungpipe.radiomics.laplacian import laplacian_of_gaussian


def itk(values, spacing_mm, sigma_mm):
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing_mm[::-1])
    laplacian = sitk.LaplacianRecursiveGaussianImageFilter()
    laplacian.SetNormalizeAcrossScale(True)
    laplacian.SetSigma(sigma_mm)
    return sitk.GetArrayFromImage(laplacian.Execute(image))


@settings(max_examples=8, deadline=None)
@given(
    shape=st.tuples(*[st.integers(4, 40)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.5, 0.7, 1.0, 1.25, 2.5])] * 3),
    sigma=st.sampled_from([0.5, 1.0, 2.0, 3.0, 5.0]),
    seed=st.integers(0, 2**31),
)
def test_any_part_of_an_image_has_the_values_of_itk(shape, spacing, sigma, seed):
    """A window of any image equals ITK's filter of the whole, to the last bits of single precision."""
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=shape) * 300 - 500).astype(np.float32)
    low = [int(rng.integers(0, n)) for n in shape]
    window = tuple(slice(a, int(rng.integers(a + 1, n + 1))) for a, n in zip(low, shape, strict=True))
    expected = itk(values, spacing, sigma)[window]
    found = laplacian_of_gaussian(values, spacing, sigma, window)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-6 * max(np.abs(expected).max(), 1.0)


def test_same_bits_as_itk_on_a_cubic_grid():
    """On 1 mm voxels not one bit differs from ITK's."""
    values = (np.random.default_rng(3).normal(size=(30, 41, 35)) * 300 - 500).astype(np.float32)
    whole = tuple(slice(0, n) for n in values.shape)
    for sigma_mm in (1.0, 2.0, 3.0):
        found = laplacian_of_gaussian(values, (1.0, 1.0, 1.0), sigma_mm, whole)
        assert np.array_equal(found, itk(values, (1.0, 1.0, 1.0), sigma_mm))


def test_blob_has_its_analytic_response():
    """At the centre of a Gaussian blob of 3 mm, a filter of s answers -3 s^2 (3^3) / (9 + s^2)^(5/2) of its height, in 3 D."""
    grid = np.indices((61, 61, 61)) - 30
    blob = (1000 * np.exp(-(grid**2).sum(axis=0) / (2 * 3.0**2))).astype(np.float32)
    at = (slice(30, 31),) * 3
    for sigma_mm in (2.0, 3.0, 4.0):
        expected = -1000 * 3 * sigma_mm**2 * 3.0**3 / (3.0**2 + sigma_mm**2) ** 2.5
        found = laplacian_of_gaussian(blob, (1.0, 1.0, 1.0), sigma_mm, at).item()
        assert found == pytest.approx(expected, rel=1.5e-2)  # the recursion's own error


def test_thin_image_is_refused():
    """Fewer than four voxels along an axis are refused by code."""
    with pytest.raises(FeatureError) as caught:
        laplacian_of_gaussian(np.zeros((3, 9, 9), np.float32), (1.0, 1.0, 1.0), 1.0, (slice(0, 3),) * 3)
    assert caught.value.code == "image_too_thin"
