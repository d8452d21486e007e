"""The 3D classifier: its network, its warm start, its training, and the embedder."""

import dataclasses
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from lungpipe.deep import weights
from lungpipe.deep.classify.embedder import Classifier3D
from lungpipe.deep.classify.loaded import box_of, cube_of
from lungpipe.deep.classify.network import NoduleClassifier, warm_start
from lungpipe.deep.classify.training import ClassifierTraining, Labelled, shown, train_classifier
from lungpipe.deep.nets import build
from lungpipe.deep.view import View
from lungpipe.embedding import Embedder
from lungpipe.errors import DatasetError, FeatureError, PluginError
from lungpipe.segment.network import shipped

VIEW = View(voxels=16, reach=0.0, spacing_mm=2.0)
SETTINGS = ClassifierTraining(epochs=4, batch=4, learning_rate=1e-2, head_epochs=1, seed=2)


def network(seed=0, features=(4, 8), hidden=4):
    torch.manual_seed(seed)
    return NoduleClassifier(features, hidden)


def nodules(count, seed=0, side=8):
    """Half of them with a bright core, which is the label."""
    rng = np.random.default_rng(seed)
    malignant = np.arange(count) % 2
    cubes = 0.1 * rng.random((count, 2, side, side, side), dtype=np.float32)
    cubes[:, 1, 2:6, 2:6, 2:6] = 1
    cubes[:, 0, 2:6, 2:6, 2:6] += 0.3
    cubes[malignant == 1, 0, 3:5, 3:5, 3:5] += 0.5
    return Labelled(cubes, malignant)


def test_cubes_become_log_odds_and_every_weight_learns():
    """One number a nodule; each weight gets a finite gradient; sides that cannot be halved are refused."""
    one = network().eval()
    found = one(torch.from_numpy(nodules(3).cubes))
    assert found.shape == (3,)
    found.square().sum().backward()
    assert all(torch.isfinite(value.grad).all() for value in one.parameters())
    assert sum(bool(value.grad.abs().sum() > 0) for value in one.parameters()) == len([*one.parameters()])
    with pytest.raises(DatasetError, match="multiples of 2"):
        one(torch.zeros(1, 2, 7, 8, 8))
    with pytest.raises(DatasetError, match="hidden"):
        NoduleClassifier((4, 8), 0)


def test_it_begins_from_the_encoder_of_a_segmenter():
    """The shipped segmenter's encoder is its own, tensor by tensor; other widths and files without one are refused."""
    one = NoduleClassifier()
    tensors = weights.outside_tensors(weights.Path(shipped()))
    warm_start(one, tensors, "shipped")
    mine = one.state_dict()
    taken = [key for key in tensors if key.startswith("encoder.")]
    assert taken
    assert all(torch.equal(mine[key], tensors[key]) for key in taken)
    with pytest.raises(DatasetError, match="of another shape"):
        warm_start(network(features=(4, 8, 16, 32)), tensors, "shipped")
    with pytest.raises(DatasetError, match="no encoder to begin from"):
        warm_start(one, {"head.weight": torch.zeros(1)}, "x.safetensors")


def test_a_cube_is_shown_turned_and_its_prompt_with_it():
    """The prompt keeps its values and its volume, and lies where the nodule lies."""
    cube = nodules(1).cubes[0]
    cube[1], cube[0] = 0, 0
    cube[:, 1:3, 2:5, 1:7] = 1
    rng = np.random.default_rng(0)
    seen = [shown(cube, rng) for _ in range(20)]
    assert all(np.array_equal(np.sort(one[1], None), np.sort(cube[1], None)) for one in seen)
    assert all((one[0][one[1] == 1] > 0.8).all() and (one[0][one[1] == 0] < 0.2).all() for one in seen)
    assert len({one[1].tobytes() for one in seen}) > 3


def test_a_training_learns_to_tell_them_apart(tmp_path):
    """On nodules that it has not seen; the best epoch is that of the best likelihood."""
    settings = ClassifierTraining(epochs=12, batch=8, learning_rate=2e-2, head_epochs=0, seed=1)
    told = []
    trained = train_classifier(network(), nodules(24), nodules(12, seed=1), settings, tmp_path, told.append)
    assert trained.best.auc == 1
    assert trained.best.log_loss == min(one.log_loss for one in told)
    again = network()
    again.load_state_dict(trained.tensors)
    held = nodules(12, seed=1)
    with torch.inference_mode():
        found = again.eval()(torch.from_numpy(held.cubes)).numpy()
    assert found[held.malignant == 1].min() > found[held.malignant == 0].max()


def test_the_encoder_is_held_at_first(tmp_path):
    """In the epochs of the head alone it stays, in those after it learns."""
    one, still = network(), []
    before = one.encoder.levels[0][0].conv.weight.detach().clone()

    def watch(epoch):
        still.append(torch.equal(one.encoder.levels[0][0].conv.weight, before))

    train_classifier(one, nodules(8), nodules(4, 1), dataclasses.replace(SETTINGS, head_epochs=2), tmp_path, watch)
    assert still == [True, True, False, False]


def test_a_training_that_was_cut_off_ends_as_one_that_was_not(tmp_path):
    """Weights and history are the same; what it depends on is compared."""
    whole = train_classifier(network(), nodules(8), nodules(4, 1), SETTINGS, tmp_path / "whole")

    def cut(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_classifier(network(), nodules(8), nodules(4, 1), SETTINGS, tmp_path / "cut", cut)
    resumed = train_classifier(network(seed=9), nodules(8), nodules(4, 1), SETTINGS, tmp_path / "cut")
    assert resumed.epochs == whole.epochs
    assert all(torch.equal(whole.tensors[name], resumed.tensors[name]) for name in whole.tensors)
    with pytest.raises(DatasetError, match="other settings"):
        train_classifier(network(), nodules(8), nodules(4, 1), SETTINGS, tmp_path / "cut", of="others")


def test_both_classes_are_needed_on_both_sides(tmp_path):
    """Of either side without one it is said which."""
    benign = Labelled(nodules(4).cubes, np.zeros(4, dtype=np.int64))
    for sides, words in (((benign, nodules(4)), "learned from"), ((nodules(4), benign), "held back")):
        with pytest.raises(DatasetError, match=f"nodules {words} 4 are benign and 0 malignant"):
            train_classifier(network(), *sides, SETTINGS, tmp_path)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"learning_rate": 0.0}, {"head_epochs": -1}, {"weight_decay": 1.0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    """Each is named by its key in the recipe."""
    with pytest.raises(DatasetError, match=r"training\."):
        ClassifierTraining(**wrong)


def write_weights(path, seed=0, scans=(), **changes):
    """Weights as the command writes them, untrained."""
    about = {
        "network": "classifier3d",
        "parameters": {"features": [4, 8], "hidden": 4},
        "view": dataclasses.asdict(VIEW),
        "trained_on": {
            "datasets": ["other"], "segmenter": "otsu", "patients": 5, "nodules": 6, "scans": [one[:16] for one in scans],
        },
    }  # fmt: skip
    weights.save(path, network(seed).state_dict(), about | changes)
    return path


@pytest.fixture
def file(tmp_path):
    return write_weights(tmp_path / "classifier.safetensors")


def test_features_are_the_log_odds_and_what_is_before_them(file, make_ct):
    """By hand: the cube through the network; and what is cut to its box gives the same cube."""
    volume, mask, _ = make_ct()
    found = Classifier3D(str(file))(volume, mask)
    cube = cube_of(VIEW, volume, mask)
    with torch.inference_mode():
        one = network().eval()
        vector = one.vector(torch.from_numpy(cube)[None])
        expected = [float(one.head(vector)), *vector[0].tolist()]
    assert list(found) == [f"emb_{k:04d}" for k in range(1, 6)]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(cube_of(VIEW, volume.crop(*box_of(VIEW, mask)), mask), cube)


def test_a_scan_that_it_learned_from_gets_no_features(tmp_path, make_ct):
    """Its labels are known to the network; any other scan gets them."""
    (volume, mask, _), (other, its, _) = make_ct(), make_ct(seed=9)
    one = Classifier3D(str(write_weights(tmp_path / "a.safetensors", scans=[volume.hu_sha256])))
    with pytest.raises(FeatureError, match="learned from this scan") as refused:
        one(volume, mask)
    assert refused.value.code == "seen_in_training"
    assert len(one(other, its)) == 5


def test_the_plug_in_is_a_frozen_value_that_says_what_it_learned_from(file):
    """It keeps the seam's contract, pickles, and records hash and training set, not the path; planning loads no torch."""
    one = Classifier3D(str(file))
    assert isinstance(one, Embedder)
    assert pickle.loads(pickle.dumps(one)) == one
    assert (one.trained_on, one.weights_sha256) == (("other",), weights.digest(file))
    assert one.learned_from == "6 labelled nodules of 5 patients of other, boxes of masks by otsu"
    words = (
        "import json, pickle, sys; from lungpipe.deep.classify.embedder import Classifier3D; "
        f"pickle.dumps(Classifier3D({str(file)!r})); print(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert not {"torch", "monai", "sklearn"} & set(json.loads(done.stdout))


def test_weights_of_other_kinds_or_that_changed_are_refused(tmp_path, make_ct):
    """None named, none there, a segmenter's, one whose tensors do not fit, and another file than planned."""
    with pytest.raises(DatasetError, match="train-classifier writes one"):
        Classifier3D()
    with pytest.raises(PluginError, match="no weights"):
        Classifier3D(str(tmp_path / "none.safetensors"))
    with pytest.raises(DatasetError, match="is no classifier"):
        Classifier3D(shipped())
    volume, mask, _ = make_ct()
    wrong = Classifier3D(str(write_weights(tmp_path / "b.safetensors", parameters={"features": [4, 8], "hidden": 5})))
    with pytest.raises(DatasetError, match="does not fit"):
        wrong(volume, mask)
    one = Classifier3D(str(write_weights(tmp_path / "c.safetensors")))
    write_weights(tmp_path / "c.safetensors", seed=1)
    with pytest.raises(PluginError, match="run again"):
        one(volume, mask)


@pytest.mark.parametrize("module", ["torch", "monai", "safetensors"])
def test_without_the_extra_it_says_what_to_install(file, monkeypatch, module):
    """Each of the three libraries is asked for before any work."""
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *more: None if name == module else find(name, *more))
    with pytest.raises(PluginError, match=r"lungpipe\[deep\]"):
        Classifier3D(str(file))


def test_a_segmenter_of_the_same_widths_is_a_start():
    """One that was trained here serves as well as the shipped one."""
    torch.manual_seed(4)
    tensors = build("unet", 2, {"features": (4, 8)}).state_dict()
    one = network()
    warm_start(one, tensors, "mine.safetensors")
    assert torch.equal(one.encoder.state_dict()["levels.0.0.conv.weight"], tensors["encoder.levels.0.0.conv.weight"])
