"""What an autoencoder sees, the header of its weights, and the embedder ``vae``."""

import dataclasses
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.deep import weights
from lungpipe.deep.header import seen
from lungpipe.deep.vae.embedder import Vae
from lungpipe.deep.vae.header import in_words, read_header, weights_of
from lungpipe.deep.vae.loaded import Autoencoder, autoencoder, described
from lungpipe.deep.vae.networks import LesionVae
from lungpipe.deep.vae.patches import OUTSIDE_HU, Sight
from lungpipe.embedding import Embedder
from lungpipe.errors import DatasetError, PluginError
from lungpipe.geometry import Geometry
from lungpipe.volume import CTVolume, Mask

SOURCE = {
    "datasets": ["other"], "intensities": "simulated", "segmenter": "otsu", "patients": 5, "patients_held_back": 1,
    "nodules": 6, "images": 20, "scans": ["0" * 16, "1" * 16],
}  # fmt: skip


def write_weights(path, sight=None, seed=0, **changes):
    """Weights as the command writes them, untrained."""
    sight = sight or Sight(voxels=16, spacing_mm=1.5)
    parameters = {"kind": "gaussian", "latent": 3, "dims": sight.dims, "voxels": sight.voxels, "width": 8}
    torch.manual_seed(seed)
    network = LesionVae(**parameters)
    images = np.random.default_rng(0).random((12, *sight.shape), dtype=np.float32)
    about = {
        "network": "vae", "parameters": parameters, "sight": dataclasses.asdict(sight), "latents": described(network, images),
        "trained_on": SOURCE,
    }  # fmt: skip
    weights.save(path, network.state_dict(), about | changes)
    return path


@pytest.fixture
def file(tmp_path):
    return write_weights(tmp_path / "vae.safetensors")


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(*[st.floats(0.5, 3)] * 3),
    st.tuples(*[st.floats(-6, 6)] * 3),
    st.sampled_from([2, 3]),
)
def test_the_patch_is_about_the_nodules_centre(spacing_mm, off, dims):
    """HU that grow along x, y and z are seen as they are at the patch's own voxels, whatever the scan's grid."""
    frame = Geometry((30, 34, 38), spacing_mm, (-3.0, 5.0, 11.0))
    index = np.indices(frame.shape).astype(float)
    hu = sum(w * index[axis] * spacing_mm[axis] for axis, w in enumerate((3.0, 2.0, 1.0))) - 700
    centre = np.clip(np.round(np.array(frame.shape) / 2 + off), 2, np.array(frame.shape) - 3).astype(int)
    inside = np.zeros(frame.shape, bool)
    inside[tuple(slice(c - 1, c + 2) for c in centre)] = True
    sight = Sight(dims=dims, voxels=4, spacing_mm=0.4)
    images, share = sight.images(CTVolume(hu.astype(np.float32), frame), Mask(inside, frame))
    steps = (np.arange(4) - 1.5) * 0.4
    middle = 3 * centre[0] * spacing_mm[0] + 2 * centre[1] * spacing_mm[1] + centre[2] * spacing_mm[2] - 700
    plane = middle + 2 * steps[:, None] + steps[None, :]
    rows = [-spacing_mm[0], 0, spacing_mm[0]] if dims == 2 else steps
    expected = np.stack([plane + 3 * row for row in rows])
    np.testing.assert_allclose((images if dims == 2 else images[0]) * 1400 - 1000, expected, atol=0.5)
    assert share.sum() == pytest.approx(1)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_box_holds_all_that_is_seen(make_ct, dims):
    """Cut to its box, a scan gives the same images as whole; cut closer, others."""
    volume, mask, _ = make_ct()
    sight = Sight(dims=dims, voxels=16, spacing_mm=1.5)
    start, stop = sight.box(mask)
    whole, _ = sight.images(volume, mask)
    np.testing.assert_array_equal(sight.images(volume.crop(start, stop), mask)[0], whole)
    closer = volume.crop((start[0], start[1] + 16, start[2] + 16), (stop[0], stop[1] - 16, stop[2] - 16))
    assert not np.array_equal(sight.images(closer, mask)[0], whole)


def test_slices_are_those_of_the_mask_and_weigh_by_their_share(make_ct):
    """Every slice with voxels of the mask is an image; beyond the scan there is air."""
    volume, mask, _ = make_ct()
    images, share = Sight(voxels=64, spacing_mm=1.5).images(volume, mask)
    areas = mask.voxels.sum(axis=(1, 2))
    np.testing.assert_allclose(share, areas[areas > 0] / areas.sum())
    assert len(images) == (areas > 0).sum()
    assert images[0, 0, 0] == (OUTSIDE_HU + 1000) / 1400  # 96 mm are seen of a scan of 56


@pytest.mark.parametrize("wrong", [{"dims": 1}, {"voxels": 0}, {"spacing_mm": 0.0}, {"window_hu": (400.0, -1000.0)}])
def test_sights_that_make_no_sense_are_refused(wrong):
    """Each is told with what was found."""
    with pytest.raises(DatasetError, match="autoencoder sees"):
        Sight(**wrong)


def test_an_embedding_is_the_mean_over_slices_by_their_share(file, make_ct):
    """The embedder's numbers are those of the network's means, put together by hand; columns are named as all embedders'."""
    volume, mask, _ = make_ct()
    found = Vae(str(file))(volume, mask)
    loaded = autoencoder(str(file), "any")
    images, share = loaded.sight.images(volume, mask)
    with torch.inference_mode():
        means = loaded.network.encode(torch.from_numpy(images)[:, None])[:, :3].double().numpy()
    assert list(found) == ["emb_0001", "emb_0002", "emb_0003"]
    np.testing.assert_allclose(list(found.values()), (share[:, None] * means).sum(axis=0), atol=1e-6)
    bigger, other, _ = make_ct(radius_mm=9.0)
    assert Vae(str(file))(bigger, other) != found


def test_the_plug_in_is_a_frozen_value_that_says_what_it_learned_from(file):
    """It keeps the seam's contract, pickles, and records hash and training set, not the path."""
    one = Vae(str(file))
    assert isinstance(one, Embedder)
    assert pickle.loads(pickle.dumps(one)) == one
    assert (one.trained_on, one.weights_sha256) == (("other",), weights.digest(file))
    assert one.learned_from == "6 nodules of 5 patients of other (simulated intensities), masks by otsu, without labels"
    assert not {f.name: f for f in dataclasses.fields(one)}["weights"].metadata["recorded"]
    assert weights_of({"mine": one}) == {"mine": str(file)}


def test_weights_that_changed_or_are_missing_are_refused(tmp_path, make_ct):
    """None named, none there, another file than planned, and one whose tensors do not fit its header."""
    with pytest.raises(DatasetError, match="train-vae writes one"):
        Vae()
    with pytest.raises(PluginError, match="no weights"):
        Vae(str(tmp_path / "none.safetensors"))
    volume, mask, _ = make_ct()
    one = Vae(str(write_weights(tmp_path / "a.safetensors")))
    write_weights(tmp_path / "a.safetensors", seed=1)
    with pytest.raises(PluginError, match="run again"):
        one(volume, mask)
    parameters = {"kind": "gaussian", "latent": 4, "dims": 2, "voxels": 16, "width": 8}
    wrong = Vae(str(write_weights(tmp_path / "b.safetensors", parameters=parameters)))
    with pytest.raises(DatasetError, match="does not fit"):
        wrong(volume, mask)


class Harmful:
    def __reduce__(self):
        return open, ("harm-was-done", "w")


def test_files_of_other_kinds_are_refused_and_nothing_of_them_is_executed(tmp_path, monkeypatch):
    """A pickle with code, a network for segmenting, a file cut short: each is told apart from an autoencoder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pickle.safetensors").write_bytes(pickle.dumps(Harmful()))
    torch.save({"x": Harmful()}, tmp_path / "torch.safetensors")
    weights.save(tmp_path / "unet.safetensors", {"x": torch.zeros(1)}, {"network": "unet"})
    (tmp_path / "short.safetensors").write_bytes(b"\x10")
    (tmp_path / "list.safetensors").write_bytes((2).to_bytes(8, "little") + b"[]")
    for name in ("pickle", "torch", "unet", "short", "list"):
        with pytest.raises(DatasetError, match=r"no autoencoder|no safetensors"):
            Vae(str(tmp_path / f"{name}.safetensors"))
    assert not (tmp_path / "harm-was-done").exists()


def test_scans_seen_in_training_are_counted_by_their_content(file):
    """Scans are known by the beginning of their fingerprint, each once."""
    about = read_header(file)
    assert seen(about, ["0" * 64, "0" * 64, "1" * 64, "2" * 64]) == (2, 3)
    assert seen(about, ["2" * 64]) == (0, 1)
    assert "without labels" in in_words(about)


def test_a_traversal_moves_one_latent_over_its_span(file):
    """Values go evenly from low to high; images are the decoder's of the means with that latent set, in HU."""
    loaded = autoencoder(str(file), "any")
    span = loaded.about["latents"]
    images, values = loaded.traversal(1, steps=5)
    np.testing.assert_allclose(values, np.linspace(span["low"][1], span["high"][1], 5))
    latents = torch.tensor([span["mean"]])
    latents[0, 1] = span["high"][1]
    with torch.inference_mode():
        last = loaded.network.decode(latents)[0, 0].numpy() * 1400 - 1000
    np.testing.assert_allclose(images[-1], last, atol=0.01)
    assert images.shape == (5, 16, 16)


def test_a_traversal_of_cubes_shows_their_middle_slice(tmp_path):
    """Of a cube of 16 slices the ninth is shown."""
    path = write_weights(tmp_path / "cube.safetensors", Sight(dims=3, voxels=16, spacing_mm=2.0))
    loaded = autoencoder(str(path), "any")
    assert isinstance(loaded, Autoencoder)
    assert loaded.traversal(0, steps=3)[0].shape == (3, 16, 16)


def test_planning_with_the_embedder_loads_no_torch(file):
    """Whoever hands out the work stays small: the plug-in is made, named and pickled without torch."""
    words = (
        "import json, pickle, sys; from lungpipe.deep.vae.embedder import Vae; "
        f"pickle.dumps(Vae({str(file)!r})); print(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert not {"torch", "monai", "sklearn", "matplotlib"} & set(json.loads(done.stdout))


@pytest.mark.parametrize("module", ["torch", "monai", "safetensors"])
def test_without_the_extra_it_says_what_to_install(file, monkeypatch, module):
    """Each of the three libraries is asked for before any work."""
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *more: None if name == module else find(name, *more))
    with pytest.raises(PluginError, match=r"lungpipe\[deep\]"):
        Vae(str(file))
