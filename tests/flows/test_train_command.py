"""The command `train-segmenter`: a network from a finished workspace, used by a run's segmenter."""

import hashlib
import json

import numpy as np
import pytest

from flows import cli
from flows.lessons import share_of
from flows.training_config import load_training
from lungpipe.deep.header import read_record
from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.nodule import Nodule
from lungpipe.segment.network import UNet
from lungpipe.volume import CTVolume

RECIPE = """
[data]
source = "workspace"
workspace = "WORKSPACE"
masks = ["otsu"]
held_back = 0.5
[view]
voxels = 16
[network]
parameters = { features = [4, 8] }
[training]
epochs = 2
steps = 3
batch = 2
seed = 1
"""


@pytest.fixture
def recipe(finished, tmp_path):
    path = tmp_path / "training.toml"
    path.write_text(RECIPE.replace("WORKSPACE", str(finished[0])))
    return path


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["lungpipe", "train-segmenter", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code or 0


def test_a_network_learns_from_a_workspace(monkeypatch, capsys, tmp_path, recipe):
    """The file says what it was trained on, by pseudonyms; a segmenter of its architecture uses it; a rerun is the same."""
    out = tmp_path / "own.safetensors"
    assert run(monkeypatch, recipe, "--out", out) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == str(out)
    assert "epoch 2/2: loss" in told.err
    assert "temperature" in told.err
    record = read_record(out)
    assert record["network"] == "unet"
    assert record["view"]["voxels"] == 16
    source = record["trained_on"]
    assert source["masks"] == ["otsu"]
    assert source["nodules"] + source["held_back"] > 0
    assert all(name.startswith("P-") and share_of(name) >= 0.5 for name in source["patients"])
    frame = Geometry((20, 30, 30), (1.0, 0.7, 0.7))
    hu = np.full(frame.shape, -850, dtype=np.int16)
    hu[7:13, 11:19, 11:19] = 0
    nodule = Nodule("", "", "", tuple(frame.to_lps((9.5, 14.5, 14.5)).tolist()), (6.0, 6.0, 6.0))
    maps = UNet(weights=str(out)).maps(CTVolume(hu, frame), nodule)
    assert len(maps) == 8
    again = tmp_path / "again.safetensors"
    assert run(monkeypatch, recipe, "--out", again) == 0
    assert read_record(again)["dice_held_back"] == record["dice_held_back"]
    history = json.loads((tmp_path / "own-training" / "history.json").read_text())
    assert [one["number"] for one in history] == [1, 2]


def test_a_training_begins_with_images_alone(monkeypatch, capsys, tmp_path, recipe):
    """Volume Fusion first, then the last layer, then the others; the file says so, and what a training started from."""
    out = tmp_path / "own.safetensors"
    before = ("--set", "pretraining.steps=2", "--set", "pretraining.patches=2", "--set", "training.unfreeze_epochs=1")
    assert run(monkeypatch, recipe, "--out", out, *before) == 0
    assert "volume fusion, 2 steps: cross-entropy" in capsys.readouterr().err
    assert read_record(out)["pretraining"]["steps"] == 2
    assert read_record(out)["training"]["unfreeze_epochs"] == 1
    assert run(monkeypatch, recipe, "--out", out, *before) == 0
    assert "volume fusion" not in capsys.readouterr().err
    further = tmp_path / "further.safetensors"
    assert run(monkeypatch, recipe, "--out", further, "--set", f'network.start="{out}"') == 0
    assert read_record(further)["start"] == hashlib.sha256(out.read_bytes()).hexdigest()


def test_a_training_recipe_is_checked_whole(tmp_path, recipe):
    """A misspelt key, a value without sense, masks that are not named: told before any work."""
    for change, words in (
        ("training.epoch=3", "training.epoch"),
        ("training.steps=0", "training.steps"),
        ("data.masks=[]", "needs data.workspace and data.masks"),
        ("training.unfreeze_epochs=1", "learned before"),
    ):
        with pytest.raises(DatasetError, match=words):
            load_training(recipe, [change])
    with pytest.raises(DatasetError, match="two ways to begin"):
        load_training(recipe, ["network.start=x.safetensors", "pretraining.steps=5"])
    with pytest.raises(DatasetError, match="no recipe at"):
        load_training(tmp_path / "none.toml")


def test_masks_that_a_workspace_lacks_are_told(monkeypatch, capsys, tmp_path, recipe):
    """And so is a name that weights do not have, or an architecture that there is not."""
    assert run(monkeypatch, recipe, "--out", tmp_path / "x.safetensors", "--set", 'data.masks=["rater-1"]') == 2
    assert "no masks by 'rater-1'" in capsys.readouterr().err
    assert run(monkeypatch, recipe, "--out", tmp_path / "x.pth") == 2
    assert "ends in .safetensors" in capsys.readouterr().err
    assert run(monkeypatch, recipe, "--out", tmp_path / "x.safetensors", "--set", "network.name=unett") == 2
    assert "did you mean" in capsys.readouterr().err
