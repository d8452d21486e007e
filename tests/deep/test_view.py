"""What a network sees of a nodule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.deep.view import View, box_cover
from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.nodule import Click, Nodule
from lungpipe.volume import CTVolume

FRAME = Geometry((40, 60, 60), (2.0, 0.7, 0.7), (-20.0, -30.0, 5.0))


def scene(size_mm=(10.0, 8.0, 12.0), **more):
    """A scan of lung with a bright box in it, and the nodule that annotates it."""
    centre_mm = tuple(FRAME.to_lps((20, 30, 30)).tolist())
    hu = np.full(FRAME.shape, -850, dtype=np.int16)
    hu[17:24, 24:37, 23:38] = 40
    return CTVolume(hu, FRAME), Nodule("", "", "", centre_mm, size_mm, **more)


@settings(max_examples=30, deadline=None)
@given(
    sides=st.tuples(*[st.floats(0.5, 12.0)] * 3),
    centre=st.tuples(*[st.floats(8.0, 15.0)] * 3),
)
def test_the_box_channel_holds_the_boxs_volume(sides, centre):
    """Shares of voxels add up to the volume of the box that lies within, wherever its sides fall."""
    cover = box_cover((24, 24, 24), np.asarray(centre), np.asarray(sides) / 2)
    assert cover.min() >= 0
    assert cover.max() <= 1
    if min(sides) >= 1:
        assert cover.sum() == pytest.approx(np.prod(sides), rel=1e-4)


@pytest.mark.parametrize("size_mm", [(10.0, 8.0, 12.0), (30.0, 8.0, 12.0), (2.0, 3.0, 2.0)])
def test_a_nodule_of_any_size_fills_the_same_share(size_mm):
    """The cube's side is `reach` times the box's longest, and a tiny box counts as `least_mm`."""
    volume, nodule = scene(size_mm)
    view = View(voxels=32, reach=2.5, least_mm=6.0)
    patch = view.patch(FRAME, nodule.centre_mm, nodule.size_mm)
    sides_mm = np.multiply(patch.step, FRAME.spacing_mm) * patch.shape
    assert sides_mm == pytest.approx([2.5 * max(*size_mm, 6.0)] * 3)
    channels = view.channels(volume, nodule, patch)
    assert channels.shape == (2, 32, 32, 32)
    step_mm = sides_mm[0] / 32
    expected = np.prod(size_mm)
    assert channels[1].sum() * step_mm**3 == pytest.approx(expected, rel=0.01)


def test_the_first_channel_is_the_scan():
    """HU are clipped to the window and scaled; outside the scan is air."""
    volume, nodule = scene()
    view = View(voxels=24, reach=2.0)
    patch = view.patch(FRAME, nodule.centre_mm, nodule.size_mm)
    image = view.channels(volume, nodule, patch)[0]
    assert image[12, 12, 12] == pytest.approx(1040 / 1400)
    assert image[0, 0, 0] == pytest.approx(150 / 1400)
    beyond = Nodule("", "", "", tuple(FRAME.to_lps((20, 30, 0)).tolist()), (10.0, 8.0, 12.0))
    patch = view.patch(FRAME, beyond.centre_mm, beyond.size_mm)
    assert view.channels(volume, beyond, patch)[0][12, 12, 0] == 0


def test_a_fixed_spacing_sees_more_voxels_of_a_larger_nodule():
    """With a spacing of its own the cube grows along the axes that need it."""
    view = View(voxels=16, reach=0.0, spacing_mm=1.0)
    centre = tuple(FRAME.to_lps((20, 30, 30)).tolist())
    assert view.patch(FRAME, centre, (6.0, 6.0, 6.0)).shape == (16, 16, 16)
    assert view.patch(FRAME, centre, (20.0, 6.0, 7.0)).shape == (16, 16, 40)


def test_a_point_and_clicks_are_gaussians():
    """The centre and clicks inside are hills, clicks outside hollows."""
    at = tuple(FRAME.to_lps((20, 30, 36)).tolist())
    volume, nodule = scene(clicks=(Click(at, inside=False),))
    view = View(voxels=32, reach=2.0, prompt="point")
    patch = view.patch(FRAME, nodule.centre_mm, nodule.size_mm)
    prompt = view.channels(volume, nodule, patch)[1]
    assert prompt.max() == pytest.approx(1, abs=0.1)
    assert np.unravel_index(prompt.argmax(), prompt.shape) in {
        (z, y, x) for z in (15, 16) for y in (15, 16) for x in (15, 16)
    }
    low = np.unravel_index(prompt.argmin(), prompt.shape)
    assert prompt.min() < -0.8
    assert low[2] > 18


def test_saliency_is_high_where_the_nodule_stands_out():
    """The third prompt comes from the image alone."""
    volume, nodule = scene()
    view = View(voxels=32, reach=2.0, prompt="saliency")
    patch = view.patch(FRAME, nodule.centre_mm, nodule.size_mm)
    prompt = view.channels(volume, nodule, patch)[1]
    assert prompt[16, 16, 16] > 0.5
    assert prompt[2, 2, 2] < 0.05


@pytest.mark.parametrize(
    "change",
    [
        {"voxels": 4},
        {"reach": 0.0},
        {"spacing_mm": 1.0},
        {"window_hu": (400.0, -1000.0)},
        {"prompt": "circle"},
        {"least_mm": 0.0},
    ],
)
def test_a_view_without_sense_is_refused(change):
    """Each wrong value is told."""
    with pytest.raises(DatasetError, match="network's"):
        View(**change)


def test_a_view_survives_its_record():
    """What a file of weights names is the view that was trained."""
    from dataclasses import asdict

    view = View(voxels=32, reach=2.5, prompt="point")
    assert View.of({**asdict(view), "window_hu": list(view.window_hu)}) == view
