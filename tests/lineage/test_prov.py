"""The PROV export says what the ledger says, and reads back equal."""

import itertools

import pytest
import typer
from typer.testing import CliRunner
from workspaces import SEGMENTERS, SLICES, instances, make_workspace, pseudonym

from flows.export_commands import export_prov
from lungpipe.errors import DatasetError
from lungpipe.lineage.prov import FORMATS, packed, provenance
from lungpipe.lineage.summed import leading_to
from lungpipe.store import ledger
from lungpipe.store.place import Place

prov = pytest.importorskip("prov.model", reason="pip install 'lungpipe[provenance]'")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("prov") / "workspace")


def names(document, kind):
    return {str(record.identifier) for record in document.get_records(kind)}


def pairs(document, kind):
    """First two arguments of every relation of a kind."""
    return {tuple(str(value) for value in record.args[:2]) for record in document.get_records(kind)}


def records(place):
    return [entry for scope in ledger.scopes(place) for entry in ledger.records(place, scope)]


def test_every_artefact_is_an_entity_with_an_activity_and_an_agent(place):
    """Names, times and relations are compared with the ledger, read without the export's help."""
    document = provenance(place)
    made = [entry for entry in records(place) if entry.kind != "environment"]
    assert {f"making:{entry.ref}" for entry in made} == names(document, prov.ProvActivity)
    series = {f"series:{pseudonym('series', number)}" for number in (0, 1)}
    assert {f"artefact:{entry.ref}" for entry in made} | series == names(document, prov.ProvEntity)
    agents = names(document, prov.ProvAgent)
    assert agents == {f"environment:{made[0].made_by.split('/')[1]}"}
    assert pairs(document, prov.ProvGeneration) == {(f"artefact:{e.ref}", f"making:{e.ref}") for e in made}
    assert pairs(document, prov.ProvAssociation) == {(f"making:{e.ref}", *agents) for e in made}
    derived = {(f"artefact:{e.ref}", f"artefact:{ref}") for e in made for ref in e.made_from}
    volumes = {(f"artefact:{e.ref}", f"series:{e.subject['series_uid']}") for e in made if e.kind == "volume"}
    assert pairs(document, prov.ProvDerivation) == derived | volumes
    for entry in made:
        (activity,) = document.get_record(f"making:{entry.ref}")
        assert activity.get_endTime().timestamp() == entry.made_at_s
        (entity,) = document.get_record(f"artefact:{entry.ref}")
        digests = {value.split("sha256:")[1] for value in entity.get_attribute("lungpipe:output")}
        assert digests == set(entry.outputs.values())


def test_a_series_is_a_collection_with_its_number_of_instances(place):
    document = provenance(place)
    (series,) = document.get_record(f"series:{pseudonym('series', 0)}")
    assert series.get_attribute("lungpipe:instances") == {SLICES}
    assert list(document.get_records(prov.ProvMembership)) == []


def test_a_nodule_names_its_own_instances_and_nothing_of_another_patient(place):
    document = provenance(place, pseudonym("nodule", 1))
    members = pairs(document, prov.ProvMembership)
    assert members == {(f"series:{pseudonym('series', 1)}", f"instance:{uid}") for uid in instances(1)}
    (rows,) = document.get_record(f"nodule:{pseudonym('nodule', 1)}")
    assert {value.split()[0] for value in rows.get_attribute("lungpipe:mask")} == set(SEGMENTERS)
    text = packed(document, ".provn").decode()
    assert pseudonym("patient", 1) in text
    assert pseudonym("patient", 0) not in text


@pytest.mark.filterwarnings("ignore:Dataset.default_context is deprecated:DeprecationWarning")  # rdflib's own reader
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("nodule", [False, True])
def test_what_was_written_reads_back_equal(place, suffix, nodule):
    document = provenance(place, pseudonym("nodule", 0) if nodule else "")
    options = {"rdf_format": "turtle"} if suffix == ".ttl" else {}
    content = packed(document, suffix).decode()
    found = prov.ProvDocument.deserialize(content=content, format=FORMATS[suffix], **options)
    assert found == document
    assert found != provenance(place, pseudonym("nodule", 1))


def test_provn_has_the_statements_of_the_standard(place):
    text = packed(provenance(place), ".provn").decode()
    assert text.startswith("document\n")
    assert text.rstrip().endswith("endDocument")
    for statement in (
        "entity(",
        "activity(",
        "agent(",
        "used(",
        "wasGeneratedBy(",
        "wasDerivedFrom(",
        "wasAssociatedWith(",
    ):
        assert f"\n  {statement}" in text


def test_too_many_artefacts_become_one_collection_for_each_kind(tmp_path):
    """Counts, settings and derivations of the kinds are those of the single records."""
    place = make_workspace(tmp_path / "w", patients=3)
    every = [entry for entry in records(place) if entry.scope.startswith("P-")]
    assert leading_to(place, most=len(every))[1] is False
    found, summed = leading_to(place, most=len(every) - 1)
    assert summed
    kinds = {entry.kind: entry for entry in found if entry.scope == "scans"}
    assert {kind: entry.inputs["count"] for kind, entry in kinds.items()} == {
        "volume": 3,
        "annotations": 3,
        "lung": 3,
        "masks": 6,
        "features": 6,
    }
    assert kinds["volume"].inputs["instances"] == 3 * SLICES
    settings = kinds["masks"].settings["any of"]
    assert sorted(one["segmenter"]["name"] for one in settings) == sorted(SEGMENTERS)
    assert set(kinds["features"].made_from) == {kinds[kind].ref for kind in ("volume", "masks", "lung")}
    document = provenance(place, most=1)
    assert not [name for name in names(document, prov.ProvEntity) if "P-" in name]
    known = names(document, prov.ProvEntity) | names(document, prov.ProvActivity) | names(document, prov.ProvAgent)
    for kind in (prov.ProvDerivation, prov.ProvUsage, prov.ProvGeneration, prov.ProvAssociation):
        assert set(itertools.chain(*pairs(document, kind))) <= known


def test_every_record_of_a_run_of_the_pipeline_is_there(finished):
    place = Place.at(finished[0])
    document = provenance(place)
    made = {f"artefact:{entry.ref}" for entry in records(place) if entry.kind != "environment"}
    assert {name for name in names(document, prov.ProvEntity) if name.startswith("artefact:")} == made
    assert prov.ProvDocument.deserialize(content=packed(document, ".json").decode(), format="json") == document


def test_a_failure_is_named(tmp_path):
    place = make_workspace(tmp_path / "w")
    (run,) = ledger.records(place, ledger.COHORT, "run")
    entry = ledger.named(run.scope, "run", subject={"dataset": "example"}, made_from=run.made_from)
    ledger.forget(place, run.ref)
    ledger._write(
        place,
        ledger.Record(**{**_fields(entry), "failed": {"code": "no_lung", "message": "x"}, "made_by": run.made_by}),
    )
    (entity,) = provenance(place).get_record(f"artefact:{entry.ref}")
    assert entity.get_attribute("lungpipe:failure") == {"no_lung"}


def _fields(entry):
    return {name: getattr(entry, name) for name in ledger.Record.__dataclass_fields__}


def test_artefacts_of_an_earlier_setting_are_not_part_of_the_run(place, tmp_path):
    other = make_workspace(tmp_path / "w")
    scope = pseudonym("patient", 0)
    old = ledger.record(other, ledger.named(scope, "masks", subject={"segmenter": "old"}))
    assert f"artefact:{old.ref}" not in names(provenance(other), prov.ProvEntity)


def test_the_command_writes_by_the_ending_of_the_file(place, tmp_path):
    app = typer.Typer()
    app.command()(export_prov)
    done = CliRunner().invoke(app, [str(place), "--out", str(tmp_path / "p.json"), "--nodule", pseudonym("nodule", 0)])
    assert done.stdout.strip() == str(tmp_path / "p.json")
    found = prov.ProvDocument.deserialize(source=tmp_path / "p.json", format="json")
    assert found == provenance(place, pseudonym("nodule", 0))
    refused = CliRunner().invoke(app, [str(place), "--out", str(tmp_path / "p.docx")])
    assert isinstance(refused.exception, DatasetError)
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_what_is_wrong_is_said(place, tmp_path):
    with pytest.raises(DatasetError, match=r"\.json, \.provn, \.ttl, not to \.xlsx"):
        packed(provenance(place), ".xlsx")
    with pytest.raises(DatasetError, match="has no nodule N-"):
        provenance(place, "N-AAAAAAAAAAAA")
    with pytest.raises(DatasetError, match="did its run finish"):
        provenance(Place.at(tmp_path / "nothing"))
    broken = make_workspace(tmp_path / "w")
    ledger.forget(broken, next(r for r in ledger.refs(broken, pseudonym("patient", 0)) if "/masks-" in r))
    with pytest.raises(DatasetError, match="lungpipe verify"):
        provenance(broken)


def test_without_the_package_the_extra_is_named(place, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "prov.model", None)
    with pytest.raises(DatasetError, match=r"pip install 'lungpipe\[provenance\]'"):
        provenance(place)
