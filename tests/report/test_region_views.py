"""A nodule in three views."""

import io

import matplotlib.image
import numpy as np
import pytest

from lungpipe.errors import GeometryError
from lungpipe.geometry import Geometry
from lungpipe.region.expand import expand
from lungpipe.region.specs import ShellSpec
from lungpipe.report.region_views import STRUCTURES, region_views
from lungpipe.volume import CTVolume, Mask


@pytest.fixture(scope="module")
def scene(make_ct):
    volume, mask, _ = make_ct((1.25, 0.7, 0.7), (48, 80, 80), 6.0)
    return volume, mask


def pixels(png: bytes) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(png))[..., :3]


def has(image: np.ndarray, colour: str) -> bool:
    wanted = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return bool((np.abs(image - wanted).max(axis=-1) < 0.03).any())


def test_structures_are_outlined_in_their_colours(scene):
    """What is passed is drawn in its colour, what is not is not; the same picture every time."""
    volume, mask = scene
    vessel = Mask(np.broadcast_to(np.arange(80) > 60, volume.shape).copy(), volume.frame)
    regions = {4.0: expand(mask, ShellSpec("grown", 4.0)), 8.0: expand(mask, ShellSpec("grown", 8.0))}
    png = region_views(volume, mask, regions, {"large vessels": vessel}, title="N-A")
    assert has(pixels(png), STRUCTURES["large vessels"])
    assert not has(pixels(png), STRUCTURES["airways"])
    assert png == region_views(volume, mask, regions, {"large vessels": vessel}, title="N-A")


def test_views_do_not_depend_on_how_a_scan_is_stored(scene):
    """A scan stored upside down and left for right shows the same picture: the patient's right is on the left."""
    volume, mask = scene
    frame = volume.frame
    spots = np.zeros(frame.shape, np.bool_)
    spots[30:34, 20:24, 52:60] = True  # not symmetric
    flipped = Geometry(
        frame.shape,
        frame.spacing_mm,
        tuple(frame.to_lps((frame.shape[0] - 1, 0, frame.shape[2] - 1)).tolist()),
        (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    )
    turned = [np.ascontiguousarray(array[::-1, :, ::-1]) for array in (volume.hu, mask.voxels, spots)]
    first = region_views(volume, mask, {}, {"airways": Mask(spots, frame)})
    second = region_views(
        CTVolume(turned[0], flipped), Mask(turned[1], flipped), {}, {"airways": Mask(turned[2], flipped)}
    )
    assert np.array_equal(pixels(first), pixels(second))


def test_masks_of_another_grid_are_refused(scene):
    """An outline of another scan is an error, not a picture."""
    volume, mask = scene
    other = Geometry(volume.shape, (1.0, 0.7, 0.7))
    with pytest.raises(GeometryError, match="not on the image's grid"):
        region_views(volume, mask, {2.0: Mask(mask.voxels, other)}, {})
