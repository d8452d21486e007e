"""Networks in the worker itself: what they see, and that what they say comes back to the right voxels."""

from __future__ import annotations

import hashlib
import pickle
import sys
import warnings
from dataclasses import asdict, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, special

from lungpipe.errors import DatasetError, PluginError, SegmentationError
from lungpipe.geometry import Geometry
from lungpipe.nodule import Nodule
from lungpipe.segment.outside.inprocess import Onnx, TorchScript
from lungpipe.segment.outside.patch import Patch
from lungpipe.volume import CTVolume, Mask

#: A convolution of 3 x 3 x 3 means followed by a steep line: inside where the mean of the scaled HU is above 0.4.
STEEP, MIDDLE = 50.0, 0.4


def saved(network, path, side=8) -> str:
    """Write a network as TorchScript, which PyTorch calls deprecated."""
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(network.eval(), torch.zeros(1, 1, side, side, side)), str(path))
    return str(path)


def torchscript_model(path, channels=1, kernel=3, weight=None):
    """Save the convolution; with two channels the first is the background's."""
    torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install 'lungpipe[deep]'")
    network = torch.nn.Conv3d(1, channels, kernel, padding=kernel // 2)
    with torch.no_grad():
        network.weight.fill_(STEEP / kernel**3 if weight is None else weight)
        network.bias.fill_(-STEEP * MIDDLE)
        if channels == 2:
            network.weight[0] = 0
            network.bias[0] = 0
    return saved(network, path)


def onnx_model(path):
    """The same convolution in ONNX."""
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is an extra: pip install 'lungpipe[onnx]'")
    onnx = pytest.importorskip("onnx", reason="the test writes its network with the package onnx")
    weight = np.full((1, 1, 3, 3, 3), STEEP / 27, np.float32)
    bias = np.array([-STEEP * MIDDLE], np.float32)
    shape = [1, 1, "z", "y", "x"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["ct", "w", "b"], ["logit"], pads=[1] * 6)],
        "means",
        [onnx.helper.make_tensor_value_info("ct", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("logit", onnx.TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(bias, "b")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return str(path)


NETWORKS = [(TorchScript, torchscript_model), (Onnx, onnx_model)]
both = pytest.mark.parametrize(("kind", "write"), NETWORKS, ids=["torchscript", "onnx"])


def nodule_at(centre, size_mm=13.0) -> Nodule:
    return Nodule("p", "s", "n", centre, (size_mm,) * 3)


def whole(mask: Mask) -> np.ndarray:
    return mask.within((0, 0, 0), mask.frame.shape).voxels


def by_hand(hu) -> np.ndarray:
    """Component of the convolution's threshold, on the image's own grid, zeros beyond it as the convolution has them."""
    scaled = (np.clip(hu.astype(np.float64), -1000, 400) + 1000) / 1400
    mean = ndimage.convolve(scaled, np.full((3, 3, 3), 1 / 27), mode="constant")
    labels, _ = ndimage.label(special.expit(STEEP * (mean - MIDDLE)) >= 0.5)
    sizes = np.bincount(labels.ravel())
    return labels == 1 + int(np.argmax(sizes[1:]))


def unit_ct(shape=(31, 33, 35), radius_mm=7.0, spacing=(1.0, 1.0, 1.0), seed=5):
    """A ball at the image's middle voxel, in lung with noise."""
    frame = Geometry(shape, spacing, (10.0, -20.0, 30.0))
    centre = frame.to_lps((np.asarray(shape) - 1) / 2)
    index = np.indices(shape).transpose(1, 2, 3, 0)
    inside = np.linalg.norm(frame.to_lps(index) - centre, axis=-1) <= radius_mm
    hu = np.where(inside, 30.0, -850.0) + np.random.default_rng(seed).normal(0, 20, shape)
    return CTVolume(np.rint(hu).astype(np.int16), frame), tuple(centre.tolist()), inside


@both
def test_a_network_gives_what_the_same_sums_give_by_hand(tmp_path, kind, write):
    """On a grid of the network's own spacing, its mask equals convolution and threshold done with SciPy."""
    volume, centre, _ = unit_ct()
    model = kind(model=write(tmp_path / "net"), patch_voxels=[31, 33, 35])
    assert np.array_equal(whole(model(volume, nodule_at(centre))), by_hand(volume.hu))


@both
def test_a_network_of_another_spacing_finds_the_ball(tmp_path, kind, write):
    """On slices of 2.5 mm and a network of 1 mm, the mask of a ball has Dice above 0.9 with the truth."""
    volume, centre, inside = unit_ct((25, 80, 80), 9.0, (2.5, 0.7, 0.7))
    model = kind(model=write(tmp_path / "net"), patch_voxels=(40, 40, 40))
    found = whole(model(volume, nodule_at(centre)))
    assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.9


def test_softmax_and_sigmoid_are_what_they_are_called(tmp_path):
    """Softmax over (0, v) is the sigmoid of v: both masks are one."""
    volume, centre, _ = unit_ct()
    one = TorchScript(model=torchscript_model(tmp_path / "one"), patch_voxels=(31, 31, 31))
    two = TorchScript(
        model=torchscript_model(tmp_path / "two", channels=2),
        patch_voxels=(31, 31, 31),
        activation="softmax",
        channel=1,
    )
    first, second = one(volume, nodule_at(centre)), two(volume, nodule_at(centre))
    assert first.content_id == second.content_id


def test_a_higher_threshold_gives_a_smaller_mask(tmp_path):
    """The threshold counts."""
    volume, centre, _ = unit_ct()
    path = torchscript_model(tmp_path / "net")
    sizes = [TorchScript(model=path, threshold=t)(volume, nodule_at(centre)).n_voxels for t in (0.05, 0.5, 0.9999)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_window_and_scale_are_what_the_network_sees(tmp_path):
    """The network's input is the window's HU brought to the declared numbers, clipped."""
    torch = pytest.importorskip("torch")

    class Same(torch.nn.Module):
        def forward(self, x):
            return x

    path = saved(Same(), tmp_path / "same", 2)
    model = TorchScript(model=path, window_hu=(-500.0, 300.0), scaled_to=(-1.0, 1.0), activation="none")
    seen = model.probability(np.array([[[-900.0, -500.0], [-100.0, 100.0]], [[300.0, 900.0], [0.0, 0.0]]], np.float32))
    assert seen.ravel() == pytest.approx([-1, -1, 0, 0.5, 1, 1, 0.25, 0.25])


def test_a_mask_that_reaches_the_patch_is_not_cut_off(tmp_path):
    """A nodule larger than the patch is an error, not a mask with flat sides; at the image's own edge it is a mask."""
    volume, centre, _ = unit_ct()
    path = torchscript_model(tmp_path / "net", kernel=1)
    with pytest.raises(SegmentationError, match="patch of 10 x 10 x 10 mm") as error:
        TorchScript(model=path, patch_voxels=(10, 10, 10))(volume, nodule_at(centre))
    assert error.value.code == "beyond_patch"
    cut = volume.hu[14:]
    frame = volume.frame.crop((14, 0, 0), cut.shape)
    mask = TorchScript(model=path, patch_voxels=(40, 40, 40))(CTVolume(cut, frame), nodule_at(centre, 8.0))
    assert mask.start[0] == 0


def test_a_network_that_sees_nothing_at_the_seed_is_told(tmp_path):
    """No voxel above the threshold at the nodule: ``nothing_at_seed``."""
    volume, centre, _ = unit_ct()
    model = TorchScript(model=torchscript_model(tmp_path / "net"))
    with pytest.raises(SegmentationError) as error:
        model(CTVolume(np.full(volume.shape, -850, np.int16), volume.frame), nodule_at(centre))
    assert error.value.code == "nothing_at_seed"


def test_a_network_that_gives_no_numbers_is_told(tmp_path):
    """NaN is not a mask."""
    volume, centre, _ = unit_ct()
    model = TorchScript(model=torchscript_model(tmp_path / "net", weight=float("nan")))
    with pytest.raises(SegmentationError, match="no numbers"):
        model(volume, nodule_at(centre))


def test_an_output_of_another_shape_is_told(tmp_path):
    """A channel that the network does not have, and an output of another size, stop the run."""
    torch = pytest.importorskip("torch")
    volume, centre, _ = unit_ct()
    with pytest.raises(PluginError, match="more than channel 1"):
        TorchScript(model=torchscript_model(tmp_path / "net"), channel=1)(volume, nodule_at(centre))
    path = saved(torch.nn.AvgPool3d(2), tmp_path / "pool")
    with pytest.raises(PluginError, match=r"output of shape \(1, 1, 32, 32, 32\); expected \(1, .*64, 64, 64\)"):
        TorchScript(model=path)(volume, nodule_at(centre))


@both
def test_hash_and_runtime_are_recorded(tmp_path, kind, write):
    """``asdict`` holds the SHA-256 of the network and the version of what runs it; its path is not to be recorded."""
    path = write(tmp_path / "net")
    model = kind(model=path)
    with open(path, "rb") as stream:  # noqa: PTH123  the path is text here
        assert asdict(model)["weights_sha256"] == hashlib.file_digest(stream, "sha256").hexdigest()
    assert asdict(model)["runtime"].split()[0] in ("torch", "onnxruntime")
    assert [f.name for f in fields(model) if not f.metadata.get("recorded", True)] == ["model"]
    assert pickle.loads(pickle.dumps(model)) == model


@both
def test_a_network_that_changed_stops_the_run(tmp_path, kind, write):
    """A file that is another than when the run was planned stops it."""
    volume, centre, _ = unit_ct()
    path = write(tmp_path / "net")
    model = kind(model=path)
    with open(path, "ab") as stream:  # noqa: PTH123  the path is text here
        stream.write(b"more")
    with pytest.raises(PluginError, match="not what it was"):
        model(volume, nodule_at(centre))


@both
def test_a_file_that_is_no_network_is_told_before_any_work(tmp_path, kind, write):
    """Text instead of a network, and no file at all, are refused when the plug-in is made."""
    write(tmp_path / "net")
    (tmp_path / "text").write_text("no network")
    with pytest.raises(PluginError, match="text is no"):
        kind(model=str(tmp_path / "text"))
    with pytest.raises(PluginError, match="no weights at"):
        kind(model=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({}, "name the file"),
        ({"spacing_mm": (1.0, 1.0)}, "a list of 3 numbers"),
        ({"spacing_mm": (0.0, 1.0, 1.0)}, "must be positive"),
        ({"patch_voxels": (64, 64, 1)}, "2 or more"),
        ({"window_hu": (400.0, -1000.0)}, "go upwards"),
        ({"threshold": 1.0}, "between 0 and 1"),
        ({"activation": "relu"}, "none, sigmoid or softmax"),
    ],
)
def test_impossible_parameters_of_a_network_are_refused(parameters, says):
    """Numbers that cannot be are refused before the file is looked at."""
    with pytest.raises(DatasetError, match=says):
        TorchScript(**parameters)


@pytest.mark.parametrize(("kind", "package", "extra"), [(TorchScript, "torch", "deep"), (Onnx, "onnxruntime", "onnx")])
def test_a_missing_runtime_names_its_extra(tmp_path, monkeypatch, kind, package, extra):
    """Without PyTorch or ONNX Runtime the error says what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PluginError, match=rf"{package} is not installed.*lungpipe\[{extra}\]"):
        kind(model=str(tmp_path / "net"))


@settings(max_examples=40, deadline=None)
@given(
    spacing=st.tuples(*[st.floats(0.5, 3.0)] * 3),
    step_mm=st.tuples(*[st.floats(0.6, 2.0)] * 3),
    place=st.tuples(*[st.floats(0.2, 0.8)] * 3),
    slope=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
)
def test_a_ramp_goes_to_the_patch_and_back_unchanged(spacing, step_mm, place, slope):
    """Linear interpolation keeps a ramp: at voxels within patch and image, what comes back is what went out."""
    frame = Geometry((12, 14, 16), spacing, (3.0, -5.0, 7.0))
    index = np.indices(frame.shape).transpose(1, 2, 3, 0)
    ramp = (index * np.asarray(slope)).sum(axis=-1).astype(np.float32)
    centre = frame.to_lps(np.asarray(place) * (np.asarray(frame.shape) - 1))
    patch = Patch.around(frame, tuple(centre.tolist()), step_mm, (7, 8, 9))
    back, start = patch.bring_back(patch.sample(CTVolume(ramp, frame), 0.0), frame)
    first, last = np.asarray(patch.first), patch.first + np.asarray(patch.step) * (np.asarray(patch.shape) - 1)
    # voxels between two patch voxels that both lie within the image
    low = np.ceil(first + np.ceil(np.maximum(-first / patch.step, 0)) * patch.step)
    over = np.ceil(np.maximum((last - np.asarray(frame.shape) + 1) / patch.step, 0))
    high = np.floor(last - over * patch.step)
    inside = np.all((index >= low + 1e-9) & (index <= high - 1e-9), axis=-1)
    window = tuple(slice(s, s + n) for s, n in zip(start, back.shape, strict=True))
    covered = np.zeros(frame.shape, bool)
    covered[window] = True
    assert not np.any(inside & ~covered)
    kept = inside[window]
    assert np.allclose(back[kept], ramp[window][kept], atol=2e-3)
