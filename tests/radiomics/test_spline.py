import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.dicom.read import to_sitk
from lungpipe.geometry import Geometry
from lungpipe.radiomics.lattice import Lattice, resample_image, whole_shape
from lungpipe.radiomics.spline import interpolate
from lungpipe.volume import CTVolume


def itk(values, frame, lattice):
    """The whole image resampled by ITK, and the lattice's part of it."""
    whole = Lattice(frame, lattice.spacing_mm, (0, 0, 0), whole_shape(frame, lattice.spacing_mm))
    resampler = sitk.ResampleImageFilter()
    resampler.SetOutputSpacing(lattice.spacing_mm[::-1])
    resampler.SetOutputDirection(frame.direction)
    resampler.SetSize(whole.shape[::-1])
    resampler.SetOutputOrigin(whole.origin_mm.tolist())
    resampler.SetInterpolator(sitk.sitkBSpline)
    found = sitk.GetArrayFromImage(resampler.Execute(to_sitk(values.astype(np.float32), frame)))
    return found[tuple(slice(a, b) for a, b in zip(lattice.start, lattice.stop, strict=True))]


@settings(max_examples=10, deadline=None)
@given(
    shape=st.tuples(*[st.integers(3, 45)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.6, 0.703125, 1.0, 1.25, 2.5, 5.0])] * 3),
    side=st.sampled_from([0.8, 1.0, 2.0]),
    seed=st.integers(0, 2**31),
)
def test_any_box_of_the_lattice_has_the_values_of_itk(shape, spacing, side, seed):
    """Axis by axis, any box of the resampled image has what ITK has there, to the last bits of float32, borders too."""
    rng = np.random.default_rng(seed)
    frame = Geometry(shape, spacing, (-31.0, 12.5, 100.0))
    values = rng.integers(-1024, 1200, size=shape).astype(np.int16)
    n = whole_shape(frame, (side,) * 3)
    low = [int(rng.integers(0, k)) for k in n]
    high = [int(rng.integers(a + 1, k + 1)) for a, k in zip(low, n, strict=True)]
    lattice = Lattice(frame, (side,) * 3, tuple(low), tuple(high))
    found = resample_image(CTVolume(values, frame), lattice, "float32")
    assert found.dtype == np.float32
    assert np.abs(found - itk(values, frame, lattice)).max() <= 2.0**-12


def test_a_cubic_is_reproduced():
    """Away from the border a polynomial of third degree comes back exactly."""
    z = np.arange(60.0)
    values = np.broadcast_to((0.01 * z**3 - 0.3 * z**2 + z)[:, None, None], (60, 5, 5))
    u = np.linspace(28, 32, 17)
    found = interpolate(values, [u, np.array([2.0]), np.array([2.5])])[:, 0, 0]
    assert found == pytest.approx(0.01 * u**3 - 0.3 * u**2 + u, abs=1e-8)


def test_voxel_centres_keep_their_values():
    """At the voxels' own centres the spline has their values."""
    values = np.random.default_rng(1).normal(size=(6, 1, 9))
    found = interpolate(values, [np.arange(float(n)) for n in values.shape])
    assert found == pytest.approx(values, abs=1e-12)
