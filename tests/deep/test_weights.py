"""Weights: ours say what they are, others' are read without running anything."""

import os
import pickle

import pytest
import torch

from lungpipe.deep import weights
from lungpipe.errors import DatasetError


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv3d(2, 3, 3), torch.nn.Conv3d(3, 1, 1))


def test_weights_come_back_with_their_record(tmp_path):
    """Tensors and record are what was written, and the file is whole or not there."""
    path, about = tmp_path / "one.safetensors", {"network": "unet", "parameters": {"features": [4, 8]}}
    weights.save(path, network().state_dict(), about)
    found, tensors = weights.read(path)
    assert found == about
    other = torch.nn.Sequential(torch.nn.Conv3d(2, 3, 3), torch.nn.Conv3d(3, 1, 1))
    weights.load_into(other, tensors, path.name)
    assert all(
        torch.equal(a, b) for a, b in zip(other.state_dict().values(), network().state_dict().values(), strict=True)
    )
    assert [p.name for p in tmp_path.iterdir()] == ["one.safetensors"]


class Bomb:
    """Runs when a pickle of it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, how):
    """A file that would run something is told, and nothing of it has run."""
    path, mark = tmp_path / "given.pth", tmp_path / "was-run"
    if how == "torch":
        torch.save({"state_dict": network().state_dict(), "more": Bomb(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(DatasetError, match=r"given\.pth is refused.*Nothing of it was executed"):
        weights.outside_tensors(path)
    assert not mark.exists()
    if how == "pickle":  # the file is one that would have
        pickle.loads(path.read_bytes())
        assert mark.exists()


def test_a_checkpoint_of_another_tool_is_read(tmp_path):
    """A state_dict within a checkpoint, its names with the prefix of parallel wrappers, or as it is."""
    plain = network().state_dict()
    for content in (
        plain,
        {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in plain.items()}},
    ):
        torch.save(content, tmp_path / "given.pth")
        found = weights.outside_tensors(tmp_path / "given.pth", weights.digest(tmp_path / "given.pth").upper())
        assert found.keys() == plain.keys()


def test_another_file_than_expected_is_refused(tmp_path):
    """A hash that differs is told with both; so are files that are missing, hold nothing, or are no checkpoint."""
    path = tmp_path / "given.pth"
    torch.save(network().state_dict(), path)
    with pytest.raises(DatasetError, match=r"expected SHA-256 00ff, found [0-9a-f]{64}"):
        weights.outside_tensors(path, "00ff")
    with pytest.raises(DatasetError, match="no weights at"):
        weights.outside_tensors(tmp_path / "nowhere.pth")
    torch.save({"epoch": 3}, path)
    with pytest.raises(DatasetError, match="holds no tensors by name"):
        weights.outside_tensors(path)
    for name in ("given.pth", "given.safetensors"):
        (tmp_path / name).write_bytes(b"not weights at all")
        with pytest.raises(DatasetError, match="is refused"):
            weights.outside_tensors(tmp_path / name)


def test_weights_that_do_not_fit_are_told_by_name():
    """Another shape, what is missing and what has no place: each is named, and the network stays as it was."""
    own, given = network(), network().state_dict()
    before = own.state_dict()["0.weight"].clone()
    given["0.weight"] = torch.zeros(3, 1, 3, 3, 3)
    del given["1.bias"]
    given["fc.weight"] = torch.zeros(2)
    with pytest.raises(DatasetError) as told:
        weights.load_into(own, given, "given.pth")
    assert "0.weight is (3, 1, 3, 3, 3), expected (3, 2, 3, 3, 3)" in str(told.value)
    assert "missing: 1.bias" in str(told.value)
    assert "without a place: fc.weight" in str(told.value)
    assert torch.equal(own.state_dict()["0.weight"], before)
    del given["0.weight"]
    weights.load_into(own, {**network().state_dict(), "fc.weight": torch.zeros(2)}, "given.pth", without=("fc.",))


def test_a_file_without_a_record_is_no_network_of_ours(tmp_path):
    """A safetensors file that says nothing of its network, or no such file at all."""
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(DatasetError, match="says nothing of its network"):
        weights.read(tmp_path / "bare.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(DatasetError, match="no safetensors file"):
        weights.read(tmp_path / "text.safetensors")
    with pytest.raises(DatasetError, match="no weights at"):
        weights.read(tmp_path / "none.safetensors")
