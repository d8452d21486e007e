"""The command ``train-vae`` on a finished workspace."""

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from flows.vae_command import load_vae, train_vae
from lungpipe.deep.header import seen
from lungpipe.deep.vae.embedder import Vae
from lungpipe.deep.vae.header import read_header
from lungpipe.errors import DatasetError
from lungpipe.store.contents import stored_mask, volume_name
from lungpipe.store.place import Place
from lungpipe.store.volumes import read_volume

RECIPE = """
[data]
workspace = "{workspace}"
segmenter = "otsu"
held_back = 0.4
[vae]
latent = 3
width = 8
voxels = 16
spacing_mm = 1.5
[training]
epochs = 2
structure = 0.0
"""


@pytest.fixture
def recipe(finished, tmp_path):
    path = tmp_path / "vae.toml"
    path.write_text(RECIPE.format(workspace=finished[0]))
    return path


def run(*words):
    app = typer.Typer()
    app.command()(train_vae)
    return CliRunner().invoke(app, [str(word) for word in words])


def table_of(finished):
    table = pd.read_parquet(finished[0] / "tables" / "nodules.parquet")
    return table[table["segmenter"] == "otsu"]


def test_a_workspace_ends_as_weights_that_say_whom_they_saw(recipe, finished, tmp_path):
    """The file embeds the workspace's nodules, names its scans by content, holds no pseudonym, and is the same again."""
    out = tmp_path / "vae.safetensors"
    done = run(recipe, "--out", out)
    assert done.exit_code == 0, done.output
    assert "held-back nodules" in done.stderr
    about, table = read_header(out), table_of(finished)
    assert about["trained_on"]["datasets"] == ["generic"]
    assert (about["trained_on"]["patients"], about["trained_on"]["nodules"]) == (8, 8)
    assert 0 < about["trained_on"]["patients_held_back"] < 8
    assert seen(about, table["voxels_sha256"]) == (8, 8)
    content = out.read_bytes()
    assert not any(pseudonym.encode() in content for pseudonym in table["patient_id"])
    place, row = Place.at(finished[0]), table.to_dict("records")[0]
    volume = read_volume(place, volume_name(row["volume_id"]))
    assert len(Vae(str(out))(volume, stored_mask(place, row))) == 3
    assert run(recipe, "--out", out, "--folder", tmp_path / "anew").exit_code == 0
    assert out.read_bytes() == content
    assert "other settings" in str(run(recipe, "--out", out, "--set", "training.seed=1").exception)
    done = run(recipe, "--out", out, "--folder", tmp_path / "other", "--set", "training.seed=1")
    assert done.exit_code == 0, done.output
    assert out.read_bytes() != content


def test_patients_who_are_left_out_are_not_seen(recipe, finished, tmp_path):
    """Neither patients of data.exclude nor those beyond data.only are in the file."""
    table = table_of(finished)
    patients = sorted(table["patient_id"])
    for key, gone in (("exclude", patients[:2]), ("only", patients[4:])):
        out = tmp_path / f"{key}.safetensors"
        given = gone if key == "exclude" else patients[:4]
        done = run(recipe, "--out", out, "--set", f"data.{key}={given}", "--set", "data.held_back=0.5")
        assert done.exit_code == 0, done.output
        about = read_header(out)
        assert seen(about, table["voxels_sha256"][table["patient_id"].isin(gone)])[0] == 0
        assert about["trained_on"]["patients"] == 8 - len(gone)


def test_cubes_and_dirichlet_latents_train_too(recipe, tmp_path):
    """The file says what it is, and its latents are shares."""
    out = tmp_path / "vae.safetensors"
    words = ("--set", "vae.dims=3", "--set", "vae.kind=dirichlet", "--set", "vae.parameters={concentration = 0.5}")
    done = run(recipe, "--out", out, *words)
    assert done.exit_code == 0, done.output
    about = read_header(out)
    assert (about["parameters"]["dims"], about["parameters"]["kind"]) == (3, "dirichlet")
    assert np.sum(about["latents"]["mean"]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("data.segmenter=snake", "no masks by 'snake'; there are: kmeans, otsu"),
        ('data.exclude=["P-NOBODY"]', "no patient 'P-NOBODY'"),
        ("data.held_back=0.001", "0 held back"),
        ("vae.kind=beta", "vae.kind"),
        ("vae.voxels=20", "4 times a power of 2"),
        ("vae.depth=3", "vae.depth"),
        ("data.workspace=/nowhere", "finished run"),
    ],
)
def test_wrong_settings_are_told_before_training(recipe, tmp_path, change, words):
    """Each with what was expected or what there is."""
    done = run(recipe, "--out", tmp_path / "vae.safetensors", "--set", change)
    assert isinstance(done.exception, DatasetError)
    assert words in str(done.exception)


def test_recipes_and_names_that_cannot_be_are_refused(recipe, tmp_path):
    """No recipe, a recipe that is no TOML, and a file of weights by another ending."""
    assert "ends in .safetensors" in str(run(recipe, "--out", tmp_path / "vae.pt").exception)
    with pytest.raises(DatasetError, match="no recipe"):
        load_vae(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[data")
    with pytest.raises(DatasetError, match="is not TOML"):
        load_vae(tmp_path / "bad.toml")


def test_the_recipe_in_the_repository_is_one(request):
    """recipes/train/vae.toml is whole, and its values are the defaults."""
    path = request.config.rootpath / "recipes" / "train" / "vae.toml"
    config = load_vae(path)
    assert config.vae == type(config.vae)()
    assert config.training == type(config.training)()
