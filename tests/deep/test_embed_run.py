"""Embeddings in a run: rows beside those of regions, made once, recorded, and evaluated on the same folds."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import small_run

from flows.config import load_config
from flows.plan import check_config, recipe_of
from flows.sections import RunConfig
from lungpipe import plugins
from lungpipe.dicom.index import index_series
from lungpipe.dicom.source import digest
from lungpipe.embedding import embedders_of, named
from lungpipe.errors import DatasetError, FeatureError, PluginError
from lungpipe.learn.asked import asked, sets_of_regions
from lungpipe.learn.cohort import ConfigurationKey, known_columns
from lungpipe.learn.evaluation import Evaluation, evaluate_recorded
from lungpipe.learn.external import check_settings
from lungpipe.learn.feature_sets import feature_sets
from lungpipe.nodule import Nodule
from lungpipe.report.figures import auc_against_radius, configuration_name
from lungpipe.report.page_charts import radius_pictures
from lungpipe.report.settings_text import flat
from lungpipe.scan import ScanJob, process_scan, rows_path, stages_of
from lungpipe.store.parts import gather_rows
from lungpipe.store.place import Place
from lungpipe.store.schemas import SCHEMAS
from lungpipe.store.tables import conform, from_bytes, read_table, to_bytes

RESNET = {"weights": "random", "patch_voxels": [16, 16, 16]}


@dataclass(frozen=True, slots=True)
class Brightness:
    """Mean HU of the mask and a number that depends on nothing: an embedder without a network."""

    name: ClassVar[str] = "brightness"
    version: ClassVar[str] = "1"
    fails: bool = False
    trained_on: tuple[str, ...] = ()

    def __call__(self, volume, mask):
        if self.fails:
            raise FeatureError("not_finite", "no embedding for this nodule")
        return named([float(volume.crop(mask.start, mask.stop).hu[mask.voxels].mean()), 0.5])


@pytest.fixture(autouse=True, scope="module")
def _registered():
    """The embedders that these tests use, as entry points."""
    before = plugins.installed
    values = {
        "resnet10": "lungpipe.deep.embed.resnet:ResNet10",
        "models_genesis": "lungpipe.deep.embed.resnet:ModelsGenesis",
        "brightness": f"{__name__}:Brightness",
    }
    found = {name: EntryPoint(name, value, "lungpipe.embedders") for name, value in values.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "installed", lambda kind: found if kind == "embedders" else before(kind))
        yield


@pytest.fixture
def job(tmp_path, make_ct, dicom_writer):
    volume, _, centre = make_ct((1.25, 0.8, 0.8), (32, 50, 50), 5.0)
    dicom_writer(tmp_path / "dicom", volume)
    series = index_series(tmp_path / "dicom").series[0]
    patient, uid = f"P-{'A' * 12}", f"S-{'A' * 12}"
    nodules = (Nodule(patient, uid, f"N-{'A' * 12}", centre, (11.0,) * 3, 1),)
    return ScanJob("generic", "measured", patient, uid, series.files, series.geometry, nodules, digest(series.files))


def rows_of(result, workspace, part):
    return gather_rows(Place.at(workspace), [rows_path(ref) for ref in result.parts])[part]


def test_an_embedding_is_a_row_beside_those_of_regions(job, tmp_path):
    """512 finite numbers under the embedder's name and radius 0, made once; other weights make them anew."""

    def chosen(seed=0):
        return small_run.settings(
            methods=("otsu",), embedders=("resnet10",), embedder_parameters={"resnet10": {**RESNET, "seed": seed}}
        )

    first = process_scan(job, chosen(), tmp_path)
    features = rows_of(first, tmp_path, "features")
    row = features[features["region"] == "resnet10"]
    assert row["radius_mm"].tolist() == [0.0]
    columns = [f"emb_{number:04d}" for number in range(1, 513)]
    assert np.isfinite(row[columns].to_numpy()).all()
    assert row.filter(like="original_").isna().to_numpy().all()
    assert features.loc[features["region"] != "resnet10", columns].isna().to_numpy().all()
    assert row["n_voxels"].item() == features.loc[features["region"] == "nodule", "n_voxels"].item()
    again = process_scan(job, chosen(), tmp_path)
    assert (again.made, again.reused["features otsu"]) == ({}, 1)
    before, after = (stages_of(job, chosen(seed)) for seed in (0, 1))
    assert before.features["otsu"].ref != after.features["otsu"].ref
    assert before.masks["otsu"].ref == after.masks["otsu"].ref


def test_without_embedders_no_artefact_gets_another_name(job):
    """What was made before there were embedders stands."""
    plain = small_run.settings(methods=("otsu",))
    assert "embedders" not in plain.feature_names()
    assert "trained_on_this_cohort" not in plain.names()
    other = small_run.settings(methods=("otsu",), embedders=("brightness",))
    names = [stages_of(job, one).features["otsu"].id for one in (plain, other)]
    assert names[0] != names[1]
    assert stages_of(job, plain).masks["otsu"].id == stages_of(job, other).masks["otsu"].id


def test_a_nodule_without_embedding_is_an_exclusion(job, tmp_path):
    """The other rows of the nodule stand."""
    chosen = small_run.settings(
        methods=("otsu",), embedders=("brightness",), embedder_parameters={"brightness": {"fails": True}}
    )
    result = process_scan(job, chosen, tmp_path)
    assert set(rows_of(result, tmp_path, "features")["region"]) == {"nodule", "shell"}
    exclusions = rows_of(result, tmp_path, "exclusions")
    assert exclusions["message"].tolist() == ["otsu, brightness 0 mm: no embedding for this nodule"]


def test_one_embedder_stands_under_two_names():
    """Lesion and chest region by the same network, each with its parameters."""
    found = embedders_of(
        ("lesion", "chest"),
        {
            "lesion": {"embedder": "resnet10", **RESNET},
            "chest": {"embedder": "resnet10", "weights": "random", "patch": "chest_region"},
        },
    )
    assert {name: (one.name, one.patch) for name, one in found.items()} == {
        "lesion": ("resnet10", "lesion"),
        "chest": ("resnet10", "chest_region"),
    }


@pytest.mark.parametrize(
    ("names", "parameters", "error", "words"),
    [
        (("nothing",), {}, PluginError, "no embedder named 'nothing'"),
        (("shell",), {"shell": {"embedder": "brightness"}}, DatasetError, "'shell' cannot be the name of an embedder"),
        (("a b",), {}, DatasetError, "'a b' cannot be the name"),
        (("brightness", "brightness"), {}, DatasetError, "names one twice"),
        (("brightness",), {"resnet10": {}}, DatasetError, "'resnet10' is not among features.embedders"),
        (("resnet10",), {"resnet10": {"weigths": "x"}}, DatasetError, "did you mean 'weights'"),
        (("resnet10",), {"resnet10": {"seed": "x"}}, DatasetError, "expected a value like 0, found 'x'"),
        (("resnet10",), {}, DatasetError, "name a file as weights"),
    ],
)
def test_embedders_that_cannot_be_are_refused(names, parameters, error, words):
    """Before anything is started."""
    with pytest.raises(error, match=words):
        embedders_of(names, parameters)


def test_the_record_says_that_weights_have_seen_the_cohort():
    """Name, version, hash and data sets of each embedder, and a sentence where this cohort is among them."""
    words = {
        "embedders": ("models_genesis", "brightness"),
        "embedder_parameters": {"models_genesis": {"weights": "random"}},
    }
    chosen = small_run.settings(**words, datasets=("generic", "luna16"))
    record = json.loads(json.dumps(chosen.names()))
    assert record["embedders"]["models_genesis"]["parameters"]["trained_on"] == ["LUNA16"]
    assert list(record["trained_on_this_cohort"]) == ["models_genesis"]
    shown = dict(flat(record))
    assert "shares patients with it" in shown["trained_on_this_cohort.models_genesis"]
    assert "trained_on_this_cohort" not in small_run.settings(**words, datasets=("generic",)).names()


def test_a_recipe_names_embedders_and_no_path_is_recorded(tmp_path):
    """Paths are relative to the recipe, and what of them is recorded is a hash; random weights are told."""
    (tmp_path / "images").mkdir()
    weights = tmp_path / "MUSTERMANN" / "w.pth"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    (tmp_path / "recipe.toml").write_text(
        '[cohort]\ndicom = "images"\ndataset = "phantom"\n[features]\nembedders = ["resnet10", "models_genesis"]\n'
        '[features.embedder_parameters.resnet10]\nweights = "MUSTERMANN/w.pth"\n'
        '[features.embedder_parameters.models_genesis]\nweights = "random"\n'
    )
    config = load_config(tmp_path / "recipe.toml")
    assert config.features.embedder_parameters["resnet10"]["weights"] == str(weights)
    settings = check_config(config)[1]
    assert list(settings.seen_before()) == ["models_genesis"]  # phantoms are shaped after nodules of LUNA16's patients
    recorded = json.dumps([recipe_of(config), settings.names()])
    assert "MUSTERMANN" not in recorded
    assert settings.embedders["resnet10"].weights_sha256 in recorded
    assert recipe_of(config)["features"]["embedder_parameters"]["models_genesis"] == {"weights": "random"}
    assert RunConfig.model_validate({"cohort": {"dicom": "."}}).features.embedders == ()


@pytest.fixture(scope="module")
def with_embeddings(_registered, small_archive, tmp_path_factory):
    """A small run with an embedder, its scores still without it."""
    root = tmp_path_factory.mktemp("run")
    (root / "key").write_text("0123456789abcdef0123456789abcdef")
    chosen = small_run.settings(methods=("otsu",), embedders=("brightness",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUNGPIPE_KEY_FILE", str(root / "key"))
        small_run.run(*small_archive, root / "workspace", chosen)
    return Place.at(root / "workspace")


def test_a_region_has_the_sets_that_its_columns_belong_to():
    """Columns without any value are not a region's; a set that no region has is every region's, to be refused there."""
    nothing = float("nan")
    rows = [("nodule", 0.0, 1.0, nothing), ("brightness", 0.0, nothing, 2.0), ("nodule", 0.0, nothing, nothing)]
    table = pd.DataFrame(rows, columns=["region", "radius_mm", "original_firstorder_Mean", "emb_0001"])
    sets = feature_sets(("all", "embedding", "first_order", "shape"))
    design = Evaluation("generic", "malignant", "patient_id", ("knn",), 2, 2, 1, 7, feature_sets=sets)
    assert sets_of_regions(table.assign(segmenter="otsu"), design) == {
        ("otsu", "nodule", 0.0): ["all", "first_order", "shape"],
        ("otsu", "brightness", 0.0): ["all", "embedding", "shape"],
    }


@pytest.mark.slow
def test_embeddings_are_evaluated_beside_radiomics(with_embeddings):
    """The same nodules and folds, each configuration with its own columns alone, and sets where they have members."""
    features = read_table(with_embeddings, "tables/features.parquet")
    sets = feature_sets(("all", "embedding", "first_order"))
    design = Evaluation("generic", "malignant", "patient_id", ("knn",), 2, 2, 1, 7, feature_sets=sets)
    regions = sets_of_regions(features, design)
    assert regions["otsu", "brightness", 0.0] == ["all", "embedding"]
    assert regions["otsu", "nodule", 0.0] == regions["otsu", "shell", 3.0] == ["all", "first_order"]
    cohort = design.cohort(read_table(with_embeddings, "tables/nodules.parquet"))
    embedded = asked([(with_embeddings, cohort)], ConfigurationKey("otsu", "brightness", 0.0, "knn"), design)
    radiomics = asked([(with_embeddings, cohort)], ConfigurationKey("otsu", "nodule", 0.0, "knn"), design)
    assert embedded.columns == ("emb_0001", "emb_0002")
    assert not any(name.startswith("emb_") for name in radiomics.columns)
    assert len(radiomics.columns) == len(known_columns(features[features["region"] == "nodule"])) >= 100
    assert embedded.matrix.shape[0] == radiomics.matrix.shape[0] == small_run.PATIENTS
    found = [
        evaluate_recorded(with_embeddings, ConfigurationKey("otsu", region, 0.0, "knn"), design).result.p
        for region in ("brightness", "nodule")
    ]
    assert np.isfinite(found).all()


@pytest.mark.slow
def test_a_set_that_no_region_has_is_still_refused(with_embeddings):
    """A recipe that asks for filters without any is told so."""
    design = Evaluation(
        "generic", "malignant", "patient_id", ("knn",), 2, 2, 1, 7, feature_sets=feature_sets(("all", "filtered"))
    )
    regions = sets_of_regions(read_table(with_embeddings, "tables/features.parquet"), design)
    assert regions["otsu", "nodule", 0.0] == ["all", "filtered"]
    with pytest.raises(DatasetError, match="no feature is in the set 'filtered'"):
        evaluate_recorded(with_embeddings, ConfigurationKey("otsu", "nodule", 0.0, "knn", "filtered"), design)


@pytest.mark.slow
def test_an_embedding_is_named_and_not_drawn_against_a_radius(with_embeddings):
    """The report gives its row a name without millimetres, and the chart of radii leaves it out."""
    scores = read_table(with_embeddings, "tables/scores.parquet")
    row = scores[scores["region"] == "nodule"].iloc[[0]].assign(region="brightness")
    assert configuration_name(row.iloc[0].to_dict()) == "Otsu, brightness, k nearest neighbours"
    both = pd.concat([scores, row], ignore_index=True)
    (alone,), (beside,) = (radius_pictures([("run", table, False)], None) for table in (scores, both))
    assert alone["src"] == beside["src"]
    assert auc_against_radius(both) != auc_against_radius(scores)


def test_naming_embedders_loads_no_heavy_library():
    """The process that plans a run makes them, and leaves PyTorch and what reads images to the workers."""
    code = (
        "import json, pickle, sys\n"
        "from lungpipe.deep.embed import astra, outside, resnet, slice_graph\n"
        "made = [kind(weights='random') for kind in (resnet.ResNet10, resnet.Fmcb, slice_graph.SliceGraph, astra.LungCancerAstra)]\n"
        "pickle.dumps(made)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "monai", "SimpleITK", "pydicom", "sklearn", "zarr"}.isdisjoint(json.loads(done.stdout))


@pytest.mark.parametrize("name", ["features", "predictions", "scores", "importance", "neighbours"])
def test_tables_take_the_name_of_an_embedder_and_no_radius_of_it(name):
    """Wherever a region stands; the table of features tells an embedder from a shell by its radius."""
    schema = SCHEMAS[name]
    row = {**schema.example, "region": "resnet10", "radius_mm": 0.0, "clipped_fraction": 0.0, "clipped_wall": 0.0}
    frame = conform(name, pd.DataFrame([{column: row[column] for column in schema.columns}]))
    assert from_bytes(name, to_bytes(name, frame))["region"].tolist() == ["resnet10"]
    with pytest.raises(DatasetError, match="column 'region'"):
        to_bytes(name, frame.assign(region="two words"))
    if name == "features":
        with pytest.raises(DatasetError, match="radius_mm is 0 for the nodule, controls and embedders"):
            to_bytes(name, frame.assign(radius_mm=4.0))


def test_a_model_is_not_tested_on_embeddings_by_other_weights():
    """An external workspace must have each embedder as it is here; further ones of its own do not matter."""
    here, other = (
        small_run.settings(
            embedders=("resnet10", *more), embedder_parameters={"resnet10": {**RESNET, "seed": seed}}
        ).names()
        for seed, more in ((0, ()), (1, ("brightness",)))
    )
    check_settings("elsewhere", here, {**here, "embedders": {**here["embedders"], "brightness": {}}})
    with pytest.raises(DatasetError, match=r"embedders.resnet10.parameters.seed is 0 here and 1 there"):
        check_settings("elsewhere", here, other)
    with pytest.raises(DatasetError, match=r"embedders.resnet10 is .* here and None there"):
        check_settings("elsewhere", here, {name: value for name, value in here.items() if name != "embedders"})
