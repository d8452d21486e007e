"""A crate holds the run's files with their digests, and passes what rocrate checks when it reads one."""

import hashlib
import json
import shutil
import subprocess
from datetime import UTC, datetime

import pytest
import typer
from typer.testing import CliRunner
from workspaces import SOURCE, make_workspace

from data_catalog import load_dataset
from flows.export_commands import export_crate
from lungpipe.errors import DatasetError
from lungpipe.lineage.about import Source, about_run, licence_address
from lungpipe.lineage.crate import PROFILE, write_crate
from lungpipe.store import ledger
from lungpipe.store.place import Place
from lungpipe.store.schemas import BENCHMARK_TABLES

rocrate = pytest.importorskip("rocrate.rocrate", reason="pip install 'lungpipe[provenance]'")
TABLES = [
    f"tables/{name}.parquet" for name in ("series", "exclusions", "nodules", "agreement", "features", *BENCHMARK_TABLES)
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("crate") / "workspace")


@pytest.fixture(scope="module")
def crate(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("crates") / "crate"
    write_crate(place, out, SOURCE)
    return out


def graph(folder):
    entities = json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]
    assert len({entity["@id"] for entity in entities}) == len(entities)
    return {entity["@id"]: entity for entity in entities}


def test_the_library_reads_it_back_with_every_part(crate):
    found = rocrate.ROCrate(crate)
    assert found.name == "Example run"
    assert found.metadata.version == "1.1"
    assert {entity.id for entity in found.data_entities} == {*TABLES, "run.json", "recipe.json", "report/index.html"}
    assert found.root_dataset["conformsTo"].id == PROFILE


def test_every_reference_leads_to_an_entity(crate):
    """RO-Crate 1.1 wants a flat graph: each @id that is referred to is described, or is an address of the outside."""
    entities = graph(crate)

    def ids(value):
        if isinstance(value, dict):
            yield value["@id"]
        elif isinstance(value, list):
            for one in value:
                yield from ids(one)

    for entity in entities.values():
        for key, value in entity.items():
            if key not in ("@id", "@type"):
                assert [
                    one for one in ids(value) if one not in entities and not one.startswith("https://w3id.org")
                ] == []


def test_files_are_those_of_the_workspace_with_digest_and_type(crate, place):
    entities = graph(crate)
    for name in (*TABLES, "run.json", "report/index.html"):
        content = (crate / name).read_bytes()
        assert content == place.read(name)
        assert entities[name]["sha256"] == hashlib.sha256(content).hexdigest()
        assert entities[name]["contentSize"] == str(len(content))
    assert entities["recipe.json"]["sha256"] == hashlib.sha256((crate / "recipe.json").read_bytes()).hexdigest()
    assert entities[TABLES[0]]["encodingFormat"] == "application/vnd.apache.parquet"
    assert entities["run.json"]["encodingFormat"] == "application/json"
    assert not (crate / "volumes").exists()


def test_one_action_leads_from_the_data_set_to_the_files(crate, place):
    entities, about = graph(crate), about_run(place)
    run = entities["#run"]
    assert run["@type"] == "CreateAction"
    assert {one["@id"] for one in run["result"]} == {*TABLES, "run.json", "report/index.html", "#volumes"}
    assert {one["@id"] for one in run["object"]} == {"#data-set", "recipe.json"}
    lungpipe = entities[run["instrument"]["@id"]]
    assert lungpipe["softwareVersion"] == about.environment["lungpipe"]
    assert about.environment["code_sha256"] in lungpipe["description"]
    packages = {entities[one["@id"]]["name"]: entities[one["@id"]] for one in lungpipe["softwareRequirements"]}
    assert packages["numpy"]["softwareVersion"] == about.environment["packages"]["numpy"]
    assert packages["python"]["softwareVersion"] == about.environment["python"]


def test_licence_and_citation_are_those_of_the_data_set(crate):
    entities = graph(crate)
    licence = entities[entities["./"]["license"]["@id"]]
    assert (licence["@id"], licence["name"]) == ("https://creativecommons.org/licenses/by/3.0/", "CC BY 3.0")
    assert entities["#data-set"]["citation"] == SOURCE.citation
    assert entities["#data-set"]["license"] == entities["./"]["license"]


def test_dates_are_those_of_the_run(crate, place):
    last = max(entry.made_at_s for entry in ledger.records(place, ledger.COHORT))
    assert graph(crate)["./"]["datePublished"] == datetime.fromtimestamp(last, UTC).isoformat()


def test_with_volumes_the_folder_is_copied_whole(place, tmp_path):
    write_crate(place, tmp_path / "crate", SOURCE, with_volumes=True)
    copied = Place.at(tmp_path / "crate")
    assert copied.files("volumes") == place.files("volumes") != []
    assert copied.digest("volumes") == place.digest("volumes")
    entities = graph(tmp_path / "crate")
    assert entities["volumes/"]["@type"] == "Dataset"
    assert "#volumes" not in entities


def test_a_workspace_on_a_server_becomes_the_same_crate(tmp_path):
    """Any address of fsspec; here one in memory."""
    place = make_workspace("memory://crate/remote")
    write_crate(place, tmp_path / "crate", SOURCE, with_volumes=True)
    copied = Place.at(tmp_path / "crate")
    for name in (*TABLES, "run.json", "volumes"):
        assert copied.digest(name) == place.digest(name)
    assert [path.name for path in tmp_path.iterdir()] == ["crate"]


def test_simulated_intensities_are_said_first_hand(tmp_path):
    write_crate(make_workspace(tmp_path / "w", intensities="simulated"), tmp_path / "crate", SOURCE)
    assert "Simulated intensities" in graph(tmp_path / "crate")["./"]["description"]


def test_measured_intensities_are_not_called_simulated(crate):
    assert "imulated" not in graph(crate)["./"]["description"]


def test_a_licence_without_an_address_is_named(place, tmp_path):
    write_crate(place, tmp_path / "crate", Source("own", "Own data", "yours", "none"))
    entities = graph(tmp_path / "crate")
    assert entities[entities["./"]["license"]["@id"]]["name"] == "yours"
    assert "citation" not in entities["#data-set"]


@pytest.mark.parametrize(
    ("licence", "address"),
    [
        ("CC BY 3.0", "https://creativecommons.org/licenses/by/3.0/"),
        ("CC BY-NC 4.0", "https://creativecommons.org/licenses/by-nc/4.0/"),
        ("CC BY-NC-SA 4.0", "https://creativecommons.org/licenses/by-nc-sa/4.0/"),
        ("yours", ""),
        ("MIT; shapes under CC BY 3.0", ""),
    ],
)
def test_only_a_licence_that_is_one_has_an_address(licence, address):
    assert licence_address(licence) == address


def test_a_folder_that_is_there_stays_as_it_is(place, tmp_path):
    (tmp_path / "crate").mkdir()
    with pytest.raises(DatasetError, match="is there already"):
        write_crate(place, tmp_path / "crate", SOURCE)
    assert list((tmp_path / "crate").iterdir()) == []


def test_a_failure_leaves_nothing_behind(place, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(rocrate.ROCrate, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        write_crate(place, tmp_path / "crate", SOURCE)
    assert list(tmp_path.iterdir()) == []


def test_a_crate_that_the_library_refuses_is_not_kept(place, tmp_path, monkeypatch):
    """Without its root entity the library cannot read a crate, and neither is one left."""
    whole = rocrate.ROCrate.write

    def spoil(self, folder):
        whole(self, folder)
        path = folder / "ro-crate-metadata.json"
        values = json.loads(path.read_text())
        values["@graph"] = [entity for entity in values["@graph"] if entity["@id"] != "./"]
        path.write_text(json.dumps(values))

    monkeypatch.setattr(rocrate.ROCrate, "write", spoil)
    with pytest.raises(ValueError, match="root"):
        write_crate(place, tmp_path / "crate", SOURCE)
    assert not (tmp_path / "crate").exists()


def test_the_command_takes_licence_and_citation_from_the_catalog(tmp_path):
    app = typer.Typer()
    app.command()(export_crate)
    place = make_workspace(tmp_path / "w", dataset="dlcs24")
    done = CliRunner().invoke(app, [str(place), "--out", str(tmp_path / "crate")])
    assert done.stdout.strip() == str(tmp_path / "crate")
    spec, entities = load_dataset("dlcs24"), graph(tmp_path / "crate")
    assert entities["#data-set"]["citation"] == spec.citation
    assert entities[entities["./"]["license"]["@id"]]["name"] == spec.licence


def test_a_data_set_that_the_catalog_does_not_know_has_no_licence_made_up(place, tmp_path):
    app = typer.Typer()
    app.command()(export_crate)
    assert CliRunner().invoke(app, [str(place), "--out", str(tmp_path / "crate")]).exit_code == 0
    entities = graph(tmp_path / "crate")
    assert entities[entities["./"]["license"]["@id"]]["name"] == "unknown"


def test_no_run_is_said(tmp_path):
    with pytest.raises(DatasetError, match="did its run finish"):
        write_crate(Place.at(tmp_path / "nothing"), tmp_path / "crate", SOURCE)


def test_without_the_package_the_extra_is_named(place, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rocrate.rocrate", None)
    with pytest.raises(DatasetError, match=r"pip install 'lungpipe\[provenance\]'"):
        write_crate(place, tmp_path / "crate", SOURCE)


@pytest.mark.network
@pytest.mark.parametrize("profile", ["ro-crate-1.1", "process-run-crate-0.5"])
def test_the_validator_of_the_specification_finds_nothing_required_missing(crate, profile):
    """Needs ``rocrate-validator`` (PyPI: roc-validator) on the path, which loads the JSON-LD context from the network."""
    program = shutil.which("rocrate-validator")
    if program is None:
        pytest.skip("rocrate-validator is not installed")
    command = [program, "--no-interactive", "validate", str(crate), "--profile-identifier", profile, "--no-paging"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
