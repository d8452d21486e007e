"""Crops: what lies further than a filter's reach has no bearing on its response."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.errors import GeometryError
from lungpipe.radiomics.ibsi2 import (
    Gabor,
    LaplacianOfGaussian,
    Laws,
    Mean,
    SeparableWavelet,
    Simoncelli,
    response,
)

ONE_MM = (1.0, 1.0, 1.0)
LOCAL = [
    Mean(5),
    Mean(7, 2, "zero"),
    LaplacianOfGaussian(1.5),
    LaplacianOfGaussian(0.8, dimensions=2, boundary="nearest"),
    Laws("L5E5E5", energy_distance=3),
    Laws("S3W5", energy_distance=0, pooling="min", boundary="zero"),
    Gabor(1.0, 2.0, 1.5, step_deg=45.0),
    Gabor(1.0, 3.0, 0.7, theta_deg=20.0, dimensions=2, boundary="nearest"),
    SeparableWavelet("db3", "LLH"),
    SeparableWavelet("coif1", "HH", 2, "max", "zero"),
    SeparableWavelet("haar", "LHH", 3, None, "nearest"),
]


@pytest.mark.parametrize("spec", LOCAL, ids=lambda spec: f"{spec.label()}-{spec.boundary}")
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_a_crop_by_the_reach_gives_the_whole_images_values(spec, data):
    """Wherever the region lies, at the image's edge too, and whatever is beyond the reach."""
    shape = [data.draw(st.integers(8, 30), label="side") for _ in range(3)]
    image = np.random.default_rng(data.draw(st.integers(0, 2**16), label="seed")).normal(0, 300, shape)
    region, crop = [], []
    reach = spec.reach_voxels(ONE_MM)
    for side in shape:
        start = data.draw(st.integers(0, side - 1), label="start")
        stop = data.draw(st.integers(start + 1, side), label="stop")
        low, high = max(start - reach, 0), min(stop + reach, side)
        crop.append(slice(low, high))
        region.append((slice(start, stop), slice(start - low, stop - low)))
    whole = response(image, ONE_MM, spec)[tuple(outer for outer, _ in region)]
    cropped = response(image[tuple(crop)], ONE_MM, spec)[tuple(inner for _, inner in region)]
    np.testing.assert_allclose(cropped, whole, rtol=1e-10, atol=1e-8)


@pytest.mark.parametrize("spec", LOCAL, ids=lambda spec: f"{spec.label()}-{spec.boundary}")
def test_the_reach_is_no_longer_than_it_must_be(spec):
    """An impulse is felt at the reach, or one voxel short of it for a kernel without a middle, and not beyond."""
    reach = spec.reach_voxels(ONE_MM)
    side = 2 * reach + 5
    image = np.zeros((side,) * 3)
    image[(side // 2,) * 3] = 1.0
    felt = np.argwhere(response(image, ONE_MM, spec)) if not isinstance(spec, Gabor) else None
    if felt is None:  # transforms leave rounding errors everywhere
        felt = np.argwhere(response(image, ONE_MM, spec) > 1e-12)
    furthest = int(np.abs(felt - side // 2).max())
    assert reach - 1 <= furthest <= reach


@pytest.mark.parametrize(
    "spec",
    [Simoncelli(1), Mean(3, 3, "periodic"), SeparableWavelet("haar", "LH", 1, "mean", "periodic")],
    ids=lambda spec: spec.label(),
)
def test_a_periodic_image_has_no_crop(spec):
    """The far side is the neighbour of the near one, so the reach is without end."""
    assert spec.reach_voxels(ONE_MM) is None


@pytest.mark.parametrize("shape", [(4, 5), (0, 4, 4), (1, 2, 3, 4)])
def test_what_is_not_a_volume_is_refused(shape):
    """Three axes, none of them empty."""
    with pytest.raises(GeometryError, match="a filter needs a volume of three axes"):
        response(np.zeros(shape), ONE_MM, Mean(3))
