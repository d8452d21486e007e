"""The Croissant description is accepted by mlcroissant without a word, and the tables are read through it."""

import hashlib
import json
import math

import pytest
import typer
from typer.testing import CliRunner
from workspaces import FEATURES, SEGMENTERS, SOURCE, make_workspace

from flows.export_commands import export_croissant
from lungpipe.errors import DatasetError
from lungpipe.lineage.about import about_run
from lungpipe.lineage.croissant import describe_tables, meaning_of
from lungpipe.store.place import Place
from lungpipe.store.schemas import BENCHMARK_TABLES
from lungpipe.store.tables import SCHEMAS, read_table

mlc = pytest.importorskip("mlcroissant", reason="pip install 'lungpipe[provenance]'")
pytestmark = [
    # What mlcroissant 1.1 calls of others.
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("croissant") / "workspace", title='A title, with "quotes" & more')


@pytest.fixture(scope="module")
def described(place):
    return json.loads(describe_tables(place, SOURCE))


@pytest.fixture
def beside(place, described, tmp_path):
    """The description where a user puts it: at the top of (a copy of) the workspace."""
    for name in place.files("tables"):
        Place.at(tmp_path).write(name, place.read(name))
    (tmp_path / "croissant.json").write_text(json.dumps(described))
    return tmp_path / "croissant.json"


def fields(described, table):
    (records,) = (one for one in described["recordSet"] if one["@id"] == table)
    return {one["name"]: one for one in records["field"]}


def test_the_library_has_neither_error_nor_warning(beside):
    found = mlc.Dataset(beside)
    assert found.metadata.ctx.issues.errors == set()
    assert found.metadata.ctx.issues.warnings == set()


def test_a_description_that_names_a_missing_file_is_refused(described):
    """The check of the test above can fail."""
    broken = json.loads(json.dumps(described))
    broken["recordSet"][0]["field"][0]["source"]["fileObject"]["@id"] = "nowhere.parquet"
    with pytest.raises(mlc.ValidationError):
        mlc.Dataset(broken)


@pytest.mark.parametrize("table", ["series", "nodules", "features", *BENCHMARK_TABLES])
def test_records_read_through_it_are_those_of_the_table(beside, place, table):
    frame = read_table(place, f"tables/{table}.parquet")
    found = list(mlc.Dataset(beside).records(table))
    assert len(found) == len(frame)
    for record, row in zip(found, frame.to_dict("records"), strict=True):
        assert record.keys() == {f"{table}/{name}" for name in row}
        for name, value in row.items():
            read = record[f"{table}/{name}"]
            if isinstance(value, str):
                assert read.decode() == value
            elif isinstance(value, float) and math.isnan(value):
                assert read is None
            else:
                assert read == value


def test_files_have_digest_size_and_type(described, place):
    for one in described["distribution"]:
        content = place.read(one["contentUrl"])
        assert one["sha256"] == hashlib.sha256(content).hexdigest()
        assert one["contentSize"] == f"{len(content)} B"
        assert one["encodingFormat"] == "application/x-parquet"
    assert {one["@id"] for one in described["distribution"]} == {f"{name}.parquet" for name in SCHEMAS}


def test_every_column_has_type_meaning_and_key(described, place):
    for table in SCHEMAS:
        frame = read_table(place, f"tables/{table}.parquet")
        found = fields(described, table)
        assert list(found) == list(frame)
        assert all(one["description"] for one in found.values())
    types = {name: one["dataType"] for name, one in fields(described, "nodules").items()}
    assert (types["segmenter"], types["n_voxels"], types["malignant"], types["x_mm"]) == (
        "sc:Text",
        "cr:Int64",
        "cr:Int64",
        "cr:Float64",
    )
    (features,) = (one for one in described["recordSet"] if one["@id"] == "features")
    assert [one["@id"] for one in features["key"]] == [f"features/{name}" for name in SCHEMAS["features"].keys]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        # Codes and units of the IBSI reference manual, arXiv:1612.07003.
        ("original_shape_MeshVolume", ("Volume (mesh)", "IBSI RNU0", "HCUG", "Unit: mm3")),
        ("original_glcm_Contrast", ("Contrast", "IBSI ACUI", "LFYI", "No unit")),
        ("original_firstorder_Kurtosis", ("IBSI IPH6", "Differs from IBSI", "larger by 3")),
        ("original_firstorder_TotalEnergy", ("IBSI does not define", "Unit: HU^2 mm3")),
        ("volume_mm3", ("Voxels times the volume of one", "Unit: mm3", "more than 0")),
        ("embedding_0", ("plug-in",)),
    ],
)
def test_units_and_codes_are_in_the_description(column, words):
    said = meaning_of("features", column)
    for word in words:
        assert word in said


def test_a_column_that_is_no_feature_has_no_code():
    for column in ("mean_hu", "embedding_0"):
        assert "IBSI RNU0" not in meaning_of("nodules", column)


def test_features_of_the_table_are_described(described):
    assert set(FEATURES) <= fields(described, "features").keys()


def test_licence_citation_and_date_are_those_of_data_set_and_run(described, place):
    assert described["license"] == "https://creativecommons.org/licenses/by/3.0/"
    assert described["citeAs"] == SOURCE.citation
    assert described["datePublished"] == about_run(place).made_at.replace(tzinfo=None).isoformat()
    assert described["name"] == 'A title, with "quotes" & more'


def test_simulated_intensities_are_said(tmp_path, described):
    simulated = json.loads(describe_tables(make_workspace(tmp_path, intensities="simulated"), SOURCE))
    assert "Simulated intensities" in simulated["description"]
    assert "imulated" not in described["description"]


def test_a_run_without_a_benchmark_is_described_without_scores(tmp_path):
    described = json.loads(describe_tables(make_workspace(tmp_path, benchmark=False), SOURCE))
    assert {one["@id"] for one in described["recordSet"]} == {
        "series",
        "exclusions",
        "nodules",
        "agreement",
        "features",
    }


def test_the_tables_of_a_run_of_the_pipeline_are_read_through_it(finished):
    workspace = finished[0]
    (workspace / "croissant.json").write_bytes(describe_tables(Place.at(workspace), SOURCE))
    found = mlc.Dataset(workspace / "croissant.json")
    assert (found.metadata.ctx.issues.errors, found.metadata.ctx.issues.warnings) == (set(), set())
    column = "original_firstorder_Entropy"
    read = [row[f"features/{column}"] for row in found.records("features")]
    assert read == read_table(Place.at(workspace), "tables/features.parquet")[column].tolist()


def test_filtered_images_have_a_column_each(tmp_path):
    place = make_workspace(
        tmp_path, extra={"wavelet-LLH_glcm_Contrast": 1.0, "log-sigma-3-0-mm-3D_firstorder_Mean": 2.0}
    )
    (tmp_path / "croissant.json").write_bytes(describe_tables(place, SOURCE))
    (first, *_) = mlc.Dataset(tmp_path / "croissant.json").records("features")
    assert first["features/wavelet-LLH_glcm_Contrast"] == 1.0
    assert first["features/log-sigma-3-0-mm-3D_firstorder_Mean"] == 2.0


def test_the_command_says_where_the_file_belongs(place, tmp_path):
    app = typer.Typer()
    app.command()(export_croissant)
    elsewhere = CliRunner().invoke(app, [str(place), "--out", str(tmp_path / "croissant.json")])
    assert elsewhere.exit_code == 0, elsewhere.output
    assert "top of the workspace" in elsewhere.stderr
    copy = make_workspace(tmp_path / "w")
    top = CliRunner().invoke(app, [str(copy), "--out", str(tmp_path / "w" / "croissant.json")])
    assert (top.exit_code, top.stderr) == (0, "")
    assert len(list(mlc.Dataset(tmp_path / "w" / "croissant.json").records("nodules"))) == 2 * len(SEGMENTERS)


def test_a_workspace_on_a_server_is_described_alike(described):
    """Any address of fsspec; here one in memory."""
    remote = json.loads(describe_tables(make_workspace("memory://croissant/remote"), SOURCE))
    assert remote["recordSet"] == described["recordSet"]


def test_no_run_is_said(tmp_path):
    with pytest.raises(DatasetError, match="did its run finish"):
        describe_tables(Place.at(tmp_path), SOURCE)


def test_without_the_package_the_extra_is_named(place, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlcroissant", None)
    with pytest.raises(DatasetError, match=r"pip install 'lungpipe\[provenance\]'"):
        describe_tables(place, SOURCE)
