"""Weights of embedders: nothing random unless it is said, nothing executed, and nothing loaded that does not fit."""

import pickle
from dataclasses import asdict

import numpy as np
import pytest
import torch
from monai.networks.nets.resnet import ResNet
from safetensors.torch import save_file

from lungpipe.deep.embed import run
from lungpipe.deep.embed.networks import ARCHITECTURES, Architecture
from lungpipe.deep.embed.resnet import Fmcb, ModelsGenesis, ResNet10, ResNet18
from lungpipe.embedding import Embedder, named, overlap
from lungpipe.errors import DatasetError, FeatureError, PluginError
from lungpipe.geometry import Geometry
from lungpipe.plugin_parameters import recorded
from lungpipe.volume import CTVolume, Mask

SMALL = {"patch_voxels": (16, 16, 16)}


@pytest.fixture(scope="module")
def scene():
    frame = Geometry((20, 24, 24), (1.0, 1.0, 1.0))
    z, y, x = np.indices(frame.shape)
    inside = (z - 10) ** 2 + (y - 12) ** 2 + (x - 12) ** 2 < 25
    hu = np.where(inside, 20 + 5 * x, -800 + 3 * y).astype(np.int16)
    return CTVolume(hu, frame), Mask(inside, frame)


def tiny():
    """A ResNet-10 with few channels: its layers have the names of the large one."""
    return ResNet("basic", [1] * 4, [4, 4, 8, 8], n_input_channels=1, conv1_t_stride=2, feed_forward=False)


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch):
    """What is refused, loaded and remembered does not depend on the size of a network."""
    monkeypatch.setitem(ARCHITECTURES, "resnet10", Architecture(tiny, ARCHITECTURES["resnet10"].without))
    run.network.cache_clear()
    yield
    run.network.cache_clear()


@pytest.fixture(scope="module")
def tensors():
    """Weights that are not those of seed 0."""
    torch.manual_seed(99)
    return tiny().state_dict()


def vector(embedder, scene):
    return np.array([*embedder(*scene).values()])


def test_weights_are_asked_for(scene):
    """Without a file the embedder says what it wants, and takes random weights only where that is said."""
    with pytest.raises(DatasetError, match=r'a file of Med3D for ResNet-18.*weights = "random"'):
        ResNet18()
    with pytest.raises(DatasetError, match="the file of Models Genesis for chest CT"):
        ModelsGenesis()
    assert len(ResNet10(weights="random", **SMALL)(*scene)) == 8


def test_random_weights_are_seeded_and_recorded(scene):
    """One seed gives one embedding, another another, and the record tells that no weights were loaded."""
    first, again, other = (ResNet10(weights="random", seed=seed, **SMALL) for seed in (0, 0, 1))
    before = torch.random.get_rng_state()
    values = vector(first, scene)
    run.network.cache_clear()
    assert np.array_equal(values, vector(again, scene))
    assert not np.allclose(values, vector(other, scene))
    assert torch.equal(before, torch.random.get_rng_state())
    parameters = recorded(first)["parameters"]
    assert (parameters["initialised"], parameters["weights_sha256"], parameters["seed"]) == ("random", "", 0)
    assert "weights" not in parameters


@pytest.mark.parametrize("form", ["bare", "wrapped", "safetensors", "without counters"])
def test_files_of_weights_load_in_every_form_they_come_in(tmp_path, scene, tensors, form):
    """Bare or under state_dict with the prefix of parallel training and the layers of another task, old and new."""
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "bare":
        torch.save(tensors, path)
    elif form == "safetensors":
        save_file(tensors, path)
    elif form == "wrapped":
        held = {f"module.{name}": value for name, value in tensors.items()}
        torch.save({"state_dict": {**held, "module.conv_seg.0.weight": torch.zeros(3)}, "epoch": 3}, path)
    else:
        torch.save({name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}, path)
    embedder = ResNet10(weights=str(path), **SMALL)
    network = tiny().eval()
    network.load_state_dict(tensors)
    with torch.inference_mode():
        expected = network(torch.from_numpy(embedder.seen(*scene)[None, None]))[0].numpy()
    assert np.allclose(vector(embedder, scene), expected, rtol=1e-5)
    assert recorded(embedder)["parameters"]["initialised"] == "file"
    assert str(tmp_path) not in repr(recorded(embedder))


def test_a_backbone_is_found_under_the_name_of_its_framework():
    """The trunk of a checkpoint counts, and its heads do not."""
    under = run._own({"model.trunk.a": 1, "model.heads.b": 2}, ARCHITECTURES["fmcb"])
    assert under == {"a": 1}
    assert run._own({"a": 1}, ARCHITECTURES["fmcb"]) == {"a": 1}


def test_weights_that_do_not_fit_are_refused(tmp_path, scene, tensors):
    """A layer of another shape, missing or beyond, is named, and nothing is half loaded."""
    for change, words in (
        (
            {"conv1.weight": torch.zeros(4, 3, 7, 7, 7)},
            r"conv1.weight is \(4, 3, 7, 7, 7\), expected \(4, 1, 7, 7, 7\)",
        ),
        ({"layer5.0.conv1.weight": torch.zeros(1)}, "without a place: layer5.0.conv1.weight"),
        ({"bn1.bias": None}, "missing: bn1.bias"),
    ):
        path = tmp_path / "w.pth"
        torch.save({name: value for name, value in {**tensors, **change}.items() if value is not None}, path)
        with pytest.raises(DatasetError, match=words):
            ResNet10(weights=str(path), **SMALL)(*scene)


class Evil:
    """What writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


@pytest.mark.parametrize("how", ["torch", "pickle", "named like safetensors"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, scene, tensors, how):
    """The file that the code would write is not there afterwards; loaded carelessly it would be."""
    mark, path = tmp_path / "mark", tmp_path / ("w.safetensors" if how.startswith("named") else "w.pth")
    content = {"state_dict": {**tensors, "layer": Evil(mark)}}
    if how == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({"layer": Evil(mark)}))
    with pytest.raises(DatasetError, match="Nothing of it was executed"):
        ResNet10(weights=str(path), **SMALL)(*scene)
    assert not mark.exists()
    if how == "pickle":
        pickle.loads(path.read_bytes())
        assert mark.exists()


def test_another_file_than_expected_is_refused(tmp_path, scene, tensors):
    """By its SHA-256 on planning; and a file that changes afterwards stops the run."""
    path = tmp_path / "w.pth"
    torch.save(tensors, path)
    sha256 = ResNet10(weights=str(path)).weights_sha256
    with pytest.raises(DatasetError, match=f"expected weights with SHA-256 {'0' * 64}, found {sha256}"):
        ResNet10(weights=str(path), weights_sha256="0" * 64)
    with pytest.raises(DatasetError, match="found random ones"):
        ResNet10(weights="random", weights_sha256=sha256)
    planned = ResNet10(weights=str(path), weights_sha256=sha256.upper(), **SMALL)
    torch.save({**tensors, "bn1.bias": torch.ones(4)}, path)
    with pytest.raises(PluginError, match="not what it was when the run was planned"):
        planned(*scene)
    with pytest.raises(PluginError, match="no weights at"):
        ResNet10(weights=str(tmp_path / "absent.pth"))


def test_data_sets_that_taught_are_known_and_compared():
    """Named weights bring theirs; names are compared without regard to their writing, against all that share patients."""
    random = {"weights": "random"}
    assert Fmcb(**random).trained_on == ("DeepLesion",)
    genesis = ModelsGenesis(**random)
    assert overlap(genesis, ("some-cohort", "luna16")).startswith("its weights were trained on LUNA16")
    assert overlap(genesis, ("luna25",)) == overlap(ResNet10(**random), ("luna16",)) == ""
    mine = ResNet10(trained_on=["My Cohort 2"], **random)
    assert mine.trained_on == ("My Cohort 2",)
    assert hash(mine) != hash(ResNet10(**random))
    assert overlap(mine, ("my-cohort-2",))
    with pytest.raises(DatasetError, match="trained_on is a list of names"):
        ResNet10(trained_on=(3,), **random)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patch": "lung"}, "lesion or chest_region"),
        ({"patch_voxels": (16, 16)}, "patch_voxels is a list of 3 numbers"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "must be positive"),
        ({"window_hu": (400.0, -1000.0)}, "window_hu go upwards"),
    ],
)
def test_impossible_parameters_are_refused(changes, words):
    """Before anything is loaded."""
    with pytest.raises(DatasetError, match=words):
        ResNet10(weights="random", **changes)


def test_a_missing_library_names_the_extra(monkeypatch):
    """Without MONAI the message says what installs it."""
    monkeypatch.setattr(ResNet10, "packages", ("torch", "no-such-package"))
    with pytest.raises(PluginError, match=r"no-such-package is not installed.*lungpipe\[deep\]"):
        ResNet10(weights="random")


def test_embeddings_have_their_columns():
    """Numbered from 1 with leading zeros; what is no number is no embedding."""
    assert named([0.5, 2]) == {"emb_0001": 0.5, "emb_0002": 2.0}
    with pytest.raises(FeatureError, match="no numbers"):
        named([0.5, float("nan")])
    embedder = ResNet10(weights="random")
    assert isinstance(embedder, Embedder)
    assert not isinstance(object(), Embedder)
    assert "runtime" in asdict(embedder)
