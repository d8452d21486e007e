import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from typing import ClassVar

import numpy as np
import pytest

from lungpipe import plugins
from lungpipe.errors import PluginError, SegmentationError
from lungpipe.nodule import Nodule
from lungpipe.segment import Segmenter
from lungpipe.volume import CTVolume, Mask

#: What needs weights, a program or a file of the user's to be made; tests/segment/test_network.py and test_outside*.py are theirs.
TRAINED = {"unet", "unetpp", "r2unet", "mpunet", "unet25d", "prob_unet"}
OUTSIDE = {"command", "container", "totalsegmentator", "nnunet", "monai-bundle", "torchscript", "onnx"}
#: What takes an annotation's own mask; tests/segment/test_annotated.py are theirs.
DRAWN = {"annotated", "rater-1", "rater-2", "rater-3", "rater-4"}
CLASSICAL = [name for name in plugins.installed("segmenters") if name not in DRAWN | OUTSIDE | TRAINED]

FAKE = '''
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from lungpipe.volume import Mask

@dataclass(frozen=True)
class Threshold:
    """Everything above a threshold in the box: a stranger's plug-in."""

    name: ClassVar[str] = "fake-threshold"
    version: ClassVar[str] = "0.1"
    above_hu: float = -400.0

    def __call__(self, volume, nodule):
        from lungpipe.segment.roi import component_at_seed, crop_for
        crop = crop_for(volume, nodule, 3.0)
        return component_at_seed(np.asarray(crop.hu > self.above_hu), crop, nodule)
'''


@pytest.fixture
def fake_distribution(tmp_path, monkeypatch):
    """A foreign distribution with one segmenter, found through its entry point."""
    (tmp_path / "fake_threshold.py").write_text(FAKE)
    info = tmp_path / "fake_threshold-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-threshold\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[lungpipe.segmenters]\nfake-threshold = fake_threshold:Threshold\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugins.installed.cache_clear()
    yield "fake-threshold"
    plugins.installed.cache_clear()


@pytest.fixture(params=[*CLASSICAL, "fake-threshold"])
def segmenter(request):
    if request.param.startswith("fake"):
        request.getfixturevalue("fake_distribution")
    return plugins.find("segmenters", request.param)()


def nodule_at(centre, size_mm=13.0):
    return Nodule("p", "s", "n", centre, (size_mm,) * 3)


def dice(a: Mask, b: Mask) -> float:
    whole = [m.within((0, 0, 0), m.frame.shape).voxels for m in (a, b)]
    return 2 * (whole[0] & whole[1]).sum() / (whole[0].sum() + whole[1].sum())


def test_segmenter_finds_a_ball(segmenter, ct):
    """Every segmenter returns a clear ball, on the volume's grid, with Dice above 0.9 against the truth."""
    volume, truth, centre = ct
    mask = segmenter(volume, nodule_at(centre))
    assert mask.frame == volume.frame
    assert dice(mask, truth) > 0.9


def test_segmenter_is_deterministic(segmenter, ct):
    """Two calls give one mask."""
    volume, _, centre = ct
    first, second = (segmenter(volume, nodule_at(centre)).content_id for _ in range(2))
    assert first == second


def test_segmenter_names_itself_and_is_frozen(segmenter):
    """Name, version and parameters go into the run record, so they are there and cannot change."""
    assert isinstance(segmenter, Segmenter)
    assert segmenter.name
    assert segmenter.version
    for item in fields(segmenter):
        with pytest.raises(FrozenInstanceError):
            setattr(segmenter, item.name, 0)


def test_segmenter_follows_a_moved_image(segmenter, ct):
    """Moving the whole image in patient space moves the mask and changes nothing else."""
    volume, _, centre = ct
    mask = segmenter(volume, nodule_at(centre))
    frame = volume.frame
    shifted_frame = type(frame)(frame.shape, frame.spacing_mm, (100.0, -50.0, 3.0), frame.direction)
    shift = np.subtract(shifted_frame.origin_mm, frame.origin_mm)
    moved = segmenter(CTVolume(volume.hu, shifted_frame), nodule_at(tuple(np.add(centre, shift).tolist())))
    assert moved.start == mask.start
    assert np.array_equal(moved.voxels, mask.voxels)


@pytest.mark.parametrize("name", CLASSICAL)
def test_constant_region_is_an_error(name, ct):
    """A box of one HU value is refused by code, not returned whole or empty."""
    volume, _, centre = ct
    flat = CTVolume(np.full(volume.shape, -850, np.int16), volume.frame)
    with pytest.raises(SegmentationError) as error:
        plugins.find("segmenters", name)()(flat, nodule_at(centre))
    assert error.value.code == "constant_region"


@pytest.mark.parametrize("name", CLASSICAL)
def test_centre_outside_is_an_error(name, ct):
    """A centre outside the image is refused by code; nothing wraps round."""
    volume, _, centre = ct
    with pytest.raises(Exception, match="falls on voxel") as error:
        plugins.find("segmenters", name)()(volume, nodule_at((centre[0], centre[1] - 200, centre[2])))
    assert error.value.code == "outside_volume"


@pytest.mark.parametrize("name", ["otsu", "kmeans", "gmm", "fcm"])
def test_padding_is_not_taken_for_air(name, make_ct):
    """Scanner padding beside a nodule is not a class of its own: the nodule is still found."""
    volume, truth, centre = make_ct()
    hu = volume.hu.copy()
    edge = int(volume.frame.to_index(centre)[2]) + 11
    hu[:, :, edge:] = -1024
    mask = plugins.find("segmenters", name)()(CTVolume(hu, volume.frame), nodule_at(centre))
    assert dice(mask, truth) > 0.9


def test_hole_is_filled_and_far_component_left_out(ct):
    """Holes are filled; a bright thing in the box that does not touch the seed is not the nodule."""
    volume, _, centre = ct
    hu = volume.hu.copy()
    k, j, i = np.rint(volume.frame.to_index(centre)).astype(int)
    hu[k, j, i + 3 : i + 5] = -850
    hu[k, j, i + 12 : i + 15] = 60
    mask = plugins.find("segmenters", "otsu")()(CTVolume(hu, volume.frame), nodule_at(centre, 18.0))
    whole = mask.within((0, 0, 0), volume.shape).voxels
    assert whole[k, j, i + 3]
    assert not whole[k, j, i + 13]


def test_nothing_at_seed_is_an_error(ct):
    """A centre in plain lung, with the nodule elsewhere in the box, is told."""
    volume, _, centre = ct
    with pytest.raises(SegmentationError) as error:
        plugins.find("segmenters", "otsu")()(volume, nodule_at((centre[0] + 11, centre[1], centre[2]), 8.0))
    assert error.value.code == "nothing_at_seed"


def test_unknown_plugin_lists_what_is_installed():
    """A misspelt name is answered with the names that exist."""
    with pytest.raises(PluginError, match=r"'otsuu'.*kmeans.*otsu"):
        plugins.find("segmenters", "otsuu")
    with pytest.raises(PluginError, match="kinds are"):
        plugins.installed("segmenter")


def test_listing_plugins_imports_nothing_heavy():
    """Asking what is installed does not import scikit-learn, PyRadiomics or torch."""
    code = (
        "import sys; from lungpipe import plugins; plugins.installed('segmenters');"
        "print([m for m in ('sklearn', 'radiomics', 'torch', 'prefect') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Unfinished:
    """Lacks a version."""

    name: ClassVar[str] = "unfinished"

    def __call__(self, volume, nodule):
        return None


def test_protocol_refuses_a_plugin_without_version():
    """The contract is checked: a plug-in without a version does not pass."""
    assert not isinstance(Unfinished(), Segmenter)
