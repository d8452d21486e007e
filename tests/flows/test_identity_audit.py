"""A whole run, audited: with the pseudonymiser nothing of a patient is anywhere, without it the audit sees it everywhere."""

import csv
import logging
import time

import dask
import prefect.settings
import pytest
from prefect.logging.handlers import APILogHandler

from flows.cohort import cohort
from lungpipe.dicom.pseudonymise import Pseudonymiser, table_path
from lungpipe.errors import DatasetError
from lungpipe.identity import Term, audit_workspace, known_terms, search_identities
from lungpipe.store.place import Place
from tasks.cluster import ADDRESS_VARIABLE
from tasks.prefect_places import prefect_places
from tests.flows.conftest import RECIPE

GIVEN = (
    "Rosamunde", "Walpurga", "Ottfried", "Hadwig", "Isidora", "Jolanthe", "Kunibert", "Lieselotte", "Notburga",
)  # fmt: skip


def write_named_cohort(folder, make_ct, dicom_writer, family):
    """Nine patients, every other one's id their name, one with a gap; returns the recipe and all that identifies them."""
    terms, rows = [], []
    for i, given in enumerate(GIVEN):
        name, patient_id = f"{family}^{given}", f"{family}^{given}" if i % 2 == 0 else f"{family[:3].upper()}-55{i}0"
        born, accession = f"19{41 + i}0{i + 1}1{i}", f"ACC{family[:2].upper()}{7000 + i}"
        study = f"20{i + 11}1{i % 3}2{i}"

        def change(dataset, _, name=name, born=born, accession=accession, study=study):
            dataset.PatientName, dataset.PatientBirthDate = name, born
            dataset.AccessionNumber, dataset.StudyDate = accession, study

        volume, _, centre = make_ct((1.25, 0.8, 0.8), (32, 50, 50), 5.0 + 0.1 * i, seed=i)
        place = folder / "dicom" / name.replace("^", "_")
        skip = (9,) if given == GIVEN[-1] else ()
        uid = dicom_writer(place, volume, patient_id=patient_id, series=family, change=change, skip=skip)
        x, y, z = centre
        rows.append([patient_id, f"{given}-{i}", uid, x, y, z, 11, 11, 11, i % 2])
        terms += [Term("name", name), Term("id", patient_id), Term("uid", uid)]
        terms += [Term("date", born), Term("date", study), Term("accession", accession)]
    with (folder / "nodules.csv").open("w", newline="") as stream:
        stream.write("patient_id,nodule_id,series_uid,x,y,z,width_mm,height_mm,depth_mm,malignant\n")
        csv.writer(stream).writerows(rows)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder / "recipe.toml", terms


def run_and_audit(folder, make_ct, dicom_writer, family, capfd, caplog):
    """The report of a run's audit: workspace, Prefect's database, and all that was printed or logged."""
    (folder / "archive").mkdir(parents=True)
    recipe, terms = write_named_cohort(folder / "archive", make_ct, dicom_writer, family)
    with caplog.at_level(logging.DEBUG):
        cohort(str(recipe), str(folder / "workspace"), workers=2)
    APILogHandler().flush()
    time.sleep(6)  # the server writes its events with a delay
    printed = capfd.readouterr()
    (folder / "output").mkdir()
    (folder / "output" / "printed.log").write_text(printed.out + printed.err + caplog.text)
    database = [path for path in prefect_places() if path.name.startswith("prefect-test.db")]
    # The database is seen: the run's own parameters are found in it.
    seen = search_identities(database, [Term("path", str(recipe))])
    assert "table flow_run, column parameters" in {finding.place.partition(", row")[0] for finding in seen}
    also = [folder / "output", *database]
    return audit_workspace(Place.at(folder / "workspace"), known_terms(table_path(), terms), also)


@pytest.mark.slow
def test_nothing_identifying_leaves_ingestion(prefect_server, tmp_path, make_ct, dicom_writer, capfd, caplog):
    """With pseudonyms, no name, id, date, accession number or UID is in workspace, Prefect's database, output or logs."""
    report = run_and_audit(tmp_path, make_ct, dicom_writer, "Quendelbrink", capfd, caplog)
    assert report.as_text().endswith("no identity was found"), report.as_text()
    assert report.n_files > 50
    assert report.n_terms > 6 * len(GIVEN)
    real = {control.place for control in report.controls if control.real}
    assert {"parquet cell", "zarr attribute", "json value", "html text", "sqlite cell", "log line"} <= real


@pytest.mark.slow
def test_the_audit_sees_what_is_not_pseudonymised(
    prefect_server, tmp_path, make_ct, dicom_writer, capfd, caplog, monkeypatch
):
    """With the pseudonymiser disabled, names are found in each kind of file that a run writes."""
    monkeypatch.delenv(ADDRESS_VARIABLE)
    monkeypatch.setattr(Pseudonymiser, "__call__", lambda self, kind, identifier: identifier)
    with pytest.raises(DatasetError, match="breaks its contract"):
        run_and_audit(tmp_path / "refused", make_ct, dicom_writer, "Zwirnlechner", capfd, caplog)
    # The tables refuse such a cell already: without that net too, in this process and in the workers.
    monkeypatch.setattr("lungpipe.store.tables.check_table", lambda *_: None)
    (tmp_path / "no_net.py").write_text("import lungpipe.store.tables as t\nt.check_table = lambda *_: None\n")
    monkeypatch.setitem(dask.config.config["distributed"]["worker"], "preload", [str(tmp_path / "no_net.py")])
    report = run_and_audit(tmp_path, make_ct, dicom_writer, "Zwirnlechner", capfd, caplog)
    for kind in ("name", "id"):
        found = [finding.path for finding in report.findings if finding.kind == kind]
        tables = [f"tables/{name}.parquet" for name in ("series", "nodules", "features")]
        assert {*tables, "report/index.html"} <= set(found)
        for start, end in (
            ("parts/masks-", "/rows.json"),
            ("parts/features-", "/rows.json"),
            ("volumes/", ".zarr/zarr.json"),
            ("ledger/", ".json"),
        ):
            assert [path for path in found if path.startswith(start) and path.endswith(end)], (kind, start, end)
    assert ("name", "tables/exclusions.parquet") in {(finding.kind, finding.path) for finding in report.findings}
    # run.json names series only.
    assert ("uid", "run.json") in {(finding.kind, finding.path) for finding in report.findings}
    for given in GIVEN:
        assert given not in report.as_text()


def test_prefect_is_found_where_its_settings_say(tmp_path):
    """Home, database with its log, and results are found by Prefect's own settings; what does not exist is left out."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    for name in ("p q.db", "p q.db-wal"):
        (elsewhere / name).touch()
    with prefect.settings.temporary_settings(
        {
            prefect.settings.PREFECT_HOME: home,
            prefect.settings.PREFECT_LOCAL_STORAGE_PATH: tmp_path / "results",
            prefect.settings.PREFECT_SERVER_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{elsewhere / 'p q.db'}",
        }
    ):
        assert prefect_places() == [elsewhere / "p q.db", elsewhere / "p q.db-wal", home]
        (tmp_path / "results").mkdir()
        assert tmp_path / "results" in prefect_places()


@pytest.mark.parametrize("address", ["postgresql+asyncpg://u:p@host/prefect", "sqlite+aiosqlite:///:memory:"])
def test_a_database_elsewhere_is_no_place(tmp_path, address):
    """A server's own database is not on this machine; only the home is."""
    with prefect.settings.temporary_settings(
        {
            prefect.settings.PREFECT_HOME: tmp_path,
            prefect.settings.PREFECT_LOCAL_STORAGE_PATH: tmp_path / "storage",
            prefect.settings.PREFECT_SERVER_DATABASE_CONNECTION_URL: address,
        }
    ):
        assert prefect_places() == [tmp_path]
