"""Known terms, the controls that prove the search can see, and the report."""

import json

import pyarrow as pa
import pytest
from identity_files import (
    CLEAN,
    DATE,
    ID,
    LEAK,
    TERMS,
    damaged_parquet,
    html_text,
    json_value,
    parquet,
    sqlite,
    zarr_attribute,
)

from lungpipe.dicom.pseudonymise import Pseudonymiser
from lungpipe.errors import DatasetError, LungpipeError
from lungpipe.identity import KINDS, Term, audit_workspace, known_terms, prove
from lungpipe.store.place import Place


def test_known_terms_come_from_the_table_of_pseudonyms(tmp_path):
    """Patients, UIDs, paths and telling names are terms; nodules and images called like any other are not."""
    pseudonym = Pseudonymiser(b"k" * 32)
    for kind, original in (
        ("patient", "Mustermann^Erika"), ("patient", "7"), ("series", "1.2.3.4.5#2"), ("study", "1.2.840.10008.1.1"),
        ("nodule", "7/nodule-3"), ("nodule", "7/Mustermann-nodule"), ("series", "image_01"), ("instance", "IM000123"),
    ):  # fmt: skip
        pseudonym(kind, original)
    pseudonym.write_table(tmp_path / "t.csv")
    extra = Term("accession", "ACC-1")
    assert set(known_terms(tmp_path / "t.csv", [extra])) == {
        Term("id", "Mustermann^Erika"),
        Term("name", "Mustermann^Erika"),
        Term("id", "7"),
        Term("uid", "1.2.3.4.5"),
        Term("id", "Mustermann-nodule"),
        extra,
    }
    assert known_terms(tmp_path / "none.csv", [extra]) == [extra]
    (tmp_path / "t.csv").write_text("a,b\n")
    with pytest.raises(DatasetError, match="2 columns"):
        known_terms(tmp_path / "t.csv")


@pytest.fixture
def workspace(tmp_path):
    """A workspace with one file of each kind, pseudonymous, and neither ledger nor volumes."""
    root = tmp_path / "workspace"
    (root / "tables").mkdir(parents=True)
    (root / "report").mkdir()
    parquet(root / "tables", pa.array([CLEAN]))
    html_text(root / "report", CLEAN)
    zarr_attribute(root, CLEAN)
    sqlite(root, CLEAN)
    json_value(root, CLEAN)
    return root


def test_controls_prove_that_the_audit_sees(workspace):
    """Every control is found, in copies of the workspace's own files where it has the kind, which stay as they are."""
    before = {p: p.read_bytes() for p in workspace.rglob("*") if p.is_file()}
    controls = prove(workspace, TERMS)
    real = {control.place for control in controls if control.real}
    assert {"parquet cell", "json value", "html text", "sqlite cell", "zarr attribute"} <= real
    assert {"log line", "png text", "gzip"} <= {control.place for control in controls} - real
    assert {p: p.read_bytes() for p in workspace.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("reader", "blind"),
    [
        ("read_parquet", "parquet cell"),
        ("read_zarr_array", "zarr strings"),
        ("read_sqlite", "sqlite cell"),
        ("read_png", "png text"),
        ("read_pickle", "pickle in zlib"),
        ("read_compressed", "gzip inside zip"),
        ("read_dicom", "dicom value"),
    ],
)
def test_a_blind_reader_fails_loudly(workspace, monkeypatch, reader, blind):
    """If one reader finds nothing, no result is given and the error says where the audit was blind."""
    monkeypatch.setattr(f"lungpipe.identity.search.{reader}", lambda *_: iter(()))
    with pytest.raises(LungpipeError, match=blind):
        prove(workspace)


def test_a_damaged_sample_does_not_stop_the_controls(workspace):
    """Where the only file of a kind is damaged, the control makes one; the search tells of the damaged file."""
    damaged_parquet(workspace)
    (workspace / "tables" / "t.parquet").unlink()
    assert not next(c for c in prove(workspace) if c.place == "parquet cell").real


def test_the_report_says_what_was_looked_at(workspace):
    """The report counts files, bytes, terms and controls; findings are listed, terms masked, as text and as JSON."""
    html_text(workspace / "report", LEAK)
    (workspace.parent / "other.log").write_text(f"{ID}\n")
    report = audit_workspace(Place.at(workspace), [*TERMS, Term("id", "median")], [workspace.parent / "other.log"])
    files = [p for p in workspace.rglob("*") if p.is_file()]
    assert (report.n_files, report.n_terms, report.n_not_searched) == (len(files) + 1, 3, 1)
    assert report.n_bytes == sum(p.stat().st_size for p in files) + len(ID) + 1
    assert not report.sound
    leaks = {(f.kind, f.path) for f in report.findings if f.kind in KINDS}
    assert leaks == {(k, "report/index.html") for k in ("name", "id", "date")} | {("id", "other.log")}
    text, values = report.as_text(), json.loads(json.dumps(report.as_dict()))
    assert "control: found the planted person in parquet cell" in text
    assert "missing_table: tables/series.parquet" in text
    assert values["sound"] is False
    assert len(values["findings"]) == len(report.findings)
    for secret in ("Wurstmann", "Gerlinde", ID, DATE):
        assert secret not in text + json.dumps(values)


def test_an_orphan_called_after_a_patient_is_not_named(workspace):
    """A difference from the ledger does not repeat a name that a file has."""
    (workspace / "parts" / "Wurstmann").mkdir(parents=True)
    report = audit_workspace(Place.at(workspace), TERMS)
    assert {"orphan", "name"} <= {f.kind for f in report.findings}
    assert "Wurstmann" not in report.as_text()
