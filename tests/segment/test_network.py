"""The segmenter `network`: the weights that come with lungpipe, other weights, and what is refused."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from data_catalog.phantom.lessons import is_held_back, lessons
from lungpipe import plugins
from lungpipe.deep.header import read_record
from lungpipe.errors import DatasetError, PluginError
from lungpipe.geometry import Geometry
from lungpipe.nodule import Nodule
from lungpipe.segment.agreement import dice
from lungpipe.segment.network import Network
from lungpipe.segment.quality import measure_quality
from lungpipe.segment.verdict import MaskLimits, codes_of
from lungpipe.volume import CTVolume

#: Of scans that no training sees (recipes/train/network.toml names others).
SEED = 300_000


@pytest.fixture(scope="module")
def network():
    return plugins.find("segmenters", "network")()


def overlaps(network, count, *, point=False):
    found = []
    for one in lessons(count, SEED, held_back=True):
        nodule = replace(one.nodule, size_mm=None) if point else one.nodule
        mask = network(one.volume, nodule)
        assert mask.n_voxels
        found.append(dice(mask, one.mask))
    return np.array(found)


def test_the_shipped_network_finds_held_back_nodules(network):
    """Shapes and scans that it has not learned from, from their boxes and from a point."""
    assert overlaps(network, 3).mean() > 0.88
    assert overlaps(network, 2, point=True).mean() > 0.8


@pytest.mark.slow
def test_mean_dice_of_the_shipped_network(network, capsys):
    """On 100 held-back nodules its mean Dice is 0.88 or more."""
    found = overlaps(network, 100)
    with capsys.disabled():
        print(f"\nnetwork: mean Dice {found.mean():.3f}, lowest {found.min():.3f}")  # noqa: T201  a figure to look at
    assert found.mean() >= 0.88


def test_what_it_was_trained_on_is_in_its_file(network):
    """The header names the data, the seeds and the figure on held-back nodules; the hash is in the record of a run."""
    record = read_record(Path(network.paths[0]))
    assert network.trained_on == ("LIDC-IDRI",)
    assert record["trained_on"]["datasets"] == ["LIDC-IDRI"]
    assert record["trained_on"]["intensities"] == "simulated"
    assert record["trained_on"]["seed"] != SEED != record["trained_on"]["held_seed"]
    assert record["dice_held_back"] > 0.88
    assert len(network.weights_sha256) == 64


def test_patients_are_divided_once_and_for_all():
    """About a fifth is held back, the same ones every time."""
    names = [f"LIDC-IDRI-{n:04d}" for n in range(1, 1013)]
    held = [is_held_back(name) for name in names]
    assert 0.15 < np.mean(held) < 0.25
    assert held == [is_held_back(name) for name in names]
    learned, kept = ({one.source.split()[0] for one in lessons(3, 1, held_back=back)} for back in (False, True))
    assert not any(map(is_held_back, learned))
    assert all(map(is_held_back, kept))


def test_a_rerun_gives_the_same_mask(network):
    """And one by another plug-in object too; without flips it may differ, but not by much."""
    (one,) = lessons(1, SEED, held_back=True)
    first = network(one.volume, one.nodule)
    assert first.content_id == Network()(one.volume, one.nodule).content_id
    assert dice(first, Network(flips=False)(one.volume, one.nodule)) > 0.9


def test_probabilities_come_by_reflection(network):
    """Each of the eight maps lies on the image's grid, between 0 and 1."""
    (one,) = lessons(1, SEED, held_back=True)
    maps = network.maps(one.volume, one.nodule)
    assert len(maps) == 8
    assert all(m.values.min() >= 0 and m.values.max() <= 1 for m in maps)
    assert network.mask_of(one.volume, one.nodule, maps).content_id == network(one.volume, one.nodule).content_id
    assert {m.start for m in maps} == {maps[0].start}


def test_an_ensemble_gives_the_maps_of_each_of_its_networks(network, tmp_path):
    """Its mask is that of their mean, its hash that of all files, and a member that is missing is told."""
    from safetensors.numpy import load_file, save_file

    from lungpipe.deep.header import ABOUT

    tensors = load_file(network.paths[0])
    rng = np.random.default_rng(0)
    other = {
        name: value + 0.02 * rng.standard_normal(value.shape).astype(value.dtype) for name, value in tensors.items()
    }
    path = tmp_path / "other.safetensors"
    save_file(other, path, metadata={ABOUT: json.dumps(read_record(Path(network.paths[0])))})
    both = Network(ensemble=[str(path)])
    (one,) = lessons(1, SEED, held_back=True)
    maps = both.maps(one.volume, one.nodule)
    assert len(maps) == 16
    for mine, alone in zip(
        maps,
        (*network.maps(one.volume, one.nodule), *Network(weights=str(path)).maps(one.volume, one.nodule)),
        strict=True,
    ):
        np.testing.assert_array_equal(mine.values, alone.values)
    assert both.weights_sha256 not in {network.weights_sha256, Network(weights=str(path)).weights_sha256}
    assert both.trained_on == ("LIDC-IDRI",)
    mean = np.mean([m.values for m in maps], axis=0)
    assert np.count_nonzero(mean >= 0.5) == pytest.approx(both(one.volume, one.nodule).n_voxels, rel=0.02)
    with pytest.raises(PluginError, match="no weights at"):
        Network(ensemble=["/nowhere/x.safetensors"])


def test_what_it_draws_where_nothing_is_there_is_doubtful(network):
    """It has always seen a nodule; what it draws in plain lung has a code that says what is wrong."""
    frame = Geometry((40, 60, 60), (1.0, 0.7, 0.7))
    hu = np.random.default_rng(0).normal(-870, 15, frame.shape)
    volume = CTVolume(hu.astype(np.int16), frame)
    nodule = Nodule("", "", "", tuple(frame.to_lps((20, 30, 30)).tolist()), (8.0, 8.0, 8.0))
    mask = network(volume, nodule)
    figures = {**asdict(measure_quality(mask, volume, nodule)), "n_voxels": mask.n_voxels, "disagreement": np.nan}
    assert "hu_implausible" in codes_of(figures, MaskLimits())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threshold": 1.0}, "threshold"),
        ({"samples": -1}, "samples"),
        ({"precision": "half"}, "precision"),
        ({"weights": "/nowhere/x.safetensors"}, "no weights at"),
    ],
)
def test_settings_without_sense_are_refused(change, words):
    """Each is told by its name before anything runs."""
    with pytest.raises((DatasetError, PluginError), match=words):
        Network(**change)


def test_an_architecture_needs_weights_of_its_own(tmp_path):
    """`unetpp` without weights says what writes them; with those of another architecture, what they are."""
    plugin = plugins.find("segmenters", "unetpp")
    with pytest.raises(DatasetError, match="train-segmenter"):
        plugin()
    from lungpipe.segment.network import shipped

    (one,) = lessons(1, SEED, held_back=True)
    with pytest.raises(DatasetError, match="holds a network 'unet'; expected 'unetpp'"):
        plugin(weights=shipped())(one.volume, one.nodule)


def test_weights_that_change_under_a_run_are_refused(tmp_path):
    """A file that was written anew after the plan is not used in silence."""
    import shutil

    from lungpipe.segment.network import shipped

    path = tmp_path / "own.safetensors"
    shutil.copy(shipped(), path)
    network = Network(weights=str(path))
    path.write_bytes(path.read_bytes() + b" ")
    (one,) = lessons(1, SEED, held_back=True)
    with pytest.raises(PluginError, match="not what it was"):
        network(one.volume, one.nodule)


def test_without_torch_it_says_which_extra_to_install(tmp_path):
    """Everything else goes on without PyTorch: the plug-in alone refuses, in one sentence."""
    code = """
import sys
from importlib import metadata
class No:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "monai", "safetensors", "tensorboardX"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, No())
real = metadata.version
def version(name):
    if name == "torch":
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.version = version
from lungpipe import plugins
from lungpipe.errors import PluginError
for name in plugins.installed("segmenters"):
    plugins.find("segmenters", name)
import flows.cli, flows.cohort
try:
    plugins.find("segmenters", "network")()
except PluginError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "pip install 'lungpipe[deep]'" in done.stdout
