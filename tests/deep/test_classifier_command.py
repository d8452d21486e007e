"""The command ``train-classifier`` on a finished workspace."""

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from flows.classifier_command import load_classifier, train_classifier
from lungpipe.deep.classify.embedder import Classifier3D, read_classifier
from lungpipe.deep.header import seen
from lungpipe.deep.weights import digest
from lungpipe.errors import DatasetError, FeatureError
from lungpipe.segment.network import shipped
from lungpipe.store.contents import stored_mask, volume_name
from lungpipe.store.place import Place
from lungpipe.store.volumes import read_volume

RECIPE = """
[data]
workspace = "{workspace}"
segmenter = "otsu"
held_back = 0.5
[view]
voxels = 16
spacing_mm = 2.0
[training]
epochs = 2
batch = 2
head_epochs = 1
"""


@pytest.fixture
def recipe(finished, tmp_path):
    path = tmp_path / "classifier.toml"
    path.write_text(RECIPE.format(workspace=finished[0]))
    return path


def run(*words):
    app = typer.Typer()
    app.command()(train_classifier)
    return CliRunner().invoke(app, [str(word) for word in words])


def table_of(finished):
    table = pd.read_parquet(finished[0] / "tables" / "nodules.parquet")
    return table[table["segmenter"] == "otsu"]


def test_a_workspace_ends_as_a_classifier_that_knows_whom_it_saw(recipe, finished, tmp_path):
    """Patients left out get features, those that it learned from get none; no pseudonym is in the file; a rerun is the same."""
    table, out = table_of(finished), tmp_path / "classifier.safetensors"
    patients = sorted(table["patient_id"])
    words = ("--set", f"data.exclude={patients[:2]}")
    done = run(recipe, "--out", out, *words)
    assert done.exit_code == 0, done.output
    assert "by which the epoch was chosen" in done.stderr
    about = read_classifier(out)
    assert about["start"] == digest(type(out)(shipped()))
    assert seen(about, table["voxels_sha256"]) == (6, 8)
    assert (about["trained_on"]["patients"], about["trained_on"]["nodules"]) == (6, 6)
    content = out.read_bytes()
    assert not any(pseudonym.encode() in content for pseudonym in patients)
    place, found, codes = Place.at(finished[0]), {}, []
    for row in table.to_dict("records"):
        volume = read_volume(place, volume_name(row["volume_id"]))
        try:
            found[row["patient_id"]] = Classifier3D(str(out))(volume, stored_mask(place, row))
        except FeatureError as error:
            codes.append(error.code)
    assert sorted(found) == patients[:2]
    assert codes == ["seen_in_training"] * 6
    assert run(recipe, "--out", out, "--folder", tmp_path / "anew", *words).exit_code == 0
    assert out.read_bytes() == content


def test_it_begins_from_nothing_or_from_a_file_too(recipe, tmp_path):
    """The record says which."""
    out = tmp_path / "plain.safetensors"
    assert run(recipe, "--out", out, "--set", "network.start=", "--set", "network.features=[4, 8]").exit_code == 0
    assert read_classifier(out)["start"] == ""
    done = run(recipe, "--out", tmp_path / "x.safetensors", "--set", f"network.start={shipped()}")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("network.features=[4, 8]", "of another shape"),
        ("network.start=none.safetensors", "no weights at"),
        ("network.depth=3", "network.depth"),
        ("view.voxels=20", "multiples of 8"),
        ("data.segmenter=snake", "no masks by 'snake'"),
        ("data.workspace=/nowhere", "finished run"),
    ],
)
def test_wrong_settings_are_told(recipe, tmp_path, change, words):
    """Each with what was expected or what there is."""
    done = run(recipe, "--out", tmp_path / "classifier.safetensors", "--set", change)
    assert isinstance(done.exception, DatasetError)
    assert words in str(done.exception)


def test_the_recipe_in_the_repository_is_one(request, tmp_path):
    """recipes/train/classifier.toml is whole, and its values are the defaults; another ending of the file is refused."""
    path = request.config.rootpath / "recipes" / "train" / "classifier.toml"
    config = load_classifier(path)
    assert config.view == type(config.view)()
    assert config.network == type(config.network)()
    assert config.training == type(config.training)()
    assert "ends in .safetensors" in str(run(path, "--out", tmp_path / "x.pt").exception)
