"""The error that a region is to be reckoned with."""

import numpy as np
import pytest

from lungpipe.region.accuracy import expected_error
from lungpipe.region.expand import expand_all
from lungpipe.region.specs import ShellSpec
from lungpipe.volume import Mask


@pytest.mark.parametrize(
    ("spec", "slices_mm", "error"),
    [
        (ShellSpec("nodule"), 5.0, 0.0),
        (ShellSpec("shell", 2.0), 1.25, 0.05),
        (ShellSpec("shell", 4.0), 1.25, 0.02),
        (ShellSpec("ring", 10.0, inner_mm=8.0), 1.0, 0.05),
        (ShellSpec("grown", 8.0), 2.5, 0.05),
        (ShellSpec("shell", 8.0), 3.0, 0.07),
        (ShellSpec("shell", 2.0), 5.0, 0.35),
    ],
)
def test_thin_regions_and_thick_slices_cost_more(spec, slices_mm, error):
    """The error follows from the region's thickness and the largest voxel side."""
    assert expected_error(spec, (slices_mm, 0.7, 0.7)) == error


def test_what_was_not_measured_is_not_claimed():
    """Cuboids, and slices thicker than those of the benchmark, have no figure."""
    assert np.isnan(expected_error(ShellSpec("shell", 8.0, "cuboid"), (1.0, 0.7, 0.7)))
    assert np.isnan(expected_error(ShellSpec("shell", 8.0), (6.0, 0.7, 0.7)))


@pytest.mark.parametrize(
    "spacing", [(0.6, 0.6, 0.6), (1.0, 1.0, 1.0), (1.25, 0.7, 0.7), (2.5, 0.75, 0.75), (5.0, 0.8, 0.8)]
)
@pytest.mark.parametrize("radius_mm", [3.0, 6.0])
def test_shells_of_balls_have_the_volume_of_analysis(make_ball, spacing, radius_mm):
    """Averaged over positions within a voxel, shells of a ball are as large as analysis says, within that error."""
    from lungpipe.geometry import Geometry

    specs = [ShellSpec("shell", shell) for shell in (2.0, 4.0, 8.0)]
    half = [int(np.ceil((radius_mm + 9.0) / s)) + 1 for s in spacing]
    frame = Geometry(tuple(2 * n + 1 for n in half), spacing)
    rng = np.random.default_rng(11)
    volumes = [
        [region.mask.volume_mm3 for region in expand_all(Mask(make_ball(frame, centre, radius_mm), frame), specs)]
        for centre in (frame.to_lps(np.add(half, rng.uniform(-0.5, 0.5, 3))) for _ in range(20))
    ]
    for spec, mean in zip(specs, np.mean(volumes, axis=0), strict=True):
        expected = 4 / 3 * np.pi * ((radius_mm + spec.radius_mm) ** 3 - radius_mm**3)
        assert mean == pytest.approx(expected, rel=expected_error(spec, spacing))
