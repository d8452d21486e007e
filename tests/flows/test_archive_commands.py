"""Curation end to end, as a user calls it: index, export, verify."""

from __future__ import annotations

import csv
import json
import os

import pandas as pd
import pydicom
import pytest

from flows import cli
from lungpipe.dicom.codes import CODES
from lungpipe.dicom.pseudonymise import load_pseudonymiser


@pytest.fixture(scope="module")
def curated(broken_archive, prefect_server, tmp_path_factory):
    """The broken archive, indexed by the command line, and the key that it was done under."""
    folder = tmp_path_factory.mktemp("curated")
    (folder / "key").write_text("fedcba9876543210fedcba9876543210")
    before = os.environ.get("LUNGPIPE_KEY_FILE")
    os.environ["LUNGPIPE_KEY_FILE"] = str(folder / "key")
    assert run("index", broken_archive / "dicom", "--workspace", folder / "w", "--json") == 0
    yield folder
    if before is not None:
        os.environ["LUNGPIPE_KEY_FILE"] = before


@pytest.fixture(autouse=True)
def same_key(curated, monkeypatch):
    monkeypatch.setenv("LUNGPIPE_KEY_FILE", str(curated / "key"))


def run(*words) -> int:
    """Exit status of a command."""
    try:
        cli.app([str(word) for word in words], standalone_mode=False)
    except SystemExit as status:
        return int(status.code or 0)
    return 0


def series_of(folder):
    return pd.read_parquet(folder / "tables" / "series.parquet")


def test_every_fault_has_exactly_its_code(curated, broken_archive):
    """Each series of the broken archive gets its codes and verdict and no other, and the sound ones get none."""
    pseudonym, _ = load_pseudonymiser()
    found = series_of(curated / "w").set_index("series_uid")
    with (broken_archive / "expected.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(found) == len(rows)
    assert {code for row in rows for code in row["code"].split(";") if code} == set(CODES)
    for row in rows:
        stack = int(row["stack"])
        name = row["series_uid"] if stack == 1 else f"{row['series_uid']}#{stack}"
        got = found.loc[pseudonym("series", name)]
        assert (got["codes"], got["verdict"]) == (row["code"], row["verdict"]), row["note"]
    assert found.loc[found["codes"] == "missing_decoder", "detail"].str.contains("1.2.840.10008.1.2.4.110").all()


def test_bad_files_are_exclusions(curated, broken_archive):
    """Damaged headers and hostile zip archives are exclusions with their code, each naming its file by pseudonym."""
    pseudonym, _ = load_pseudonymiser()
    found = pd.read_parquet(curated / "w" / "tables" / "exclusions.parquet")
    found = found[found["stage"] == "index"]
    with (broken_archive / "expected_files.csv").open() as stream:
        expected = {pseudonym("file", str(broken_archive / row["path"])): row["code"] for row in csv.DictReader(stream)}
    assert dict(zip(found["file"], found["code"], strict=True)) == expected


def test_second_index_is_the_same(curated, broken_archive, capsys):
    """An unchanged archive gives the same tables again, from memory."""
    assert run("index", broken_archive / "dicom", "--workspace", curated / "again", "--json") == 0
    pd.testing.assert_frame_equal(series_of(curated / "w"), series_of(curated / "again"))


def test_recipe_changes_limits_and_verdicts(curated, broken_archive):
    """Limits and verdicts given on the command line count; a key that is none, or a fixed verdict, is told."""
    changes = ["--set", "quality.max_slice_mm=8", "--set", "quality.verdicts={contrast='quarantine'}"]
    assert run("index", broken_archive / "dicom", "--workspace", curated / "changed", *changes) == 0
    before, after = (series_of(curated / name).set_index("series_uid") for name in ("w", "changed"))
    thick = before.index[before["codes"] == "thick_slices"]
    assert after.loc[thick, "verdict"].tolist() == ["accept"]
    assert after.loc[after["codes"] == "contrast", "verdict"].tolist() == ["quarantine"]
    from lungpipe.errors import DatasetError

    for wrong in ("quality.verdicts={missing_slice='warn'}", "quality.max_slices=3", "cohort.dicom='x'"):
        with pytest.raises(DatasetError):
            run("index", broken_archive / "dicom", "--workspace", curated / "wrong", "--set", wrong)


def test_no_identity_is_in_a_curated_workspace(curated, capsys):
    """verify proves that it can see, searches for the archive's names, ids, dates and UIDs, and finds none."""
    status = run("verify", curated / "w", "--json")
    report = json.loads(capsys.readouterr().out)
    assert report["findings"] == []
    assert status == 0
    assert report["terms"] > 300
    assert len(report["controls"]) > 5


def test_verify_finds_a_planted_name(curated, tmp_path, capsys):
    """A patient's name in one file of the workspace is found, masked in the report, and ends with status 1."""
    import shutil

    from lungpipe.dicom.memory import all_terms

    name = next(text for kind, text in all_terms() if kind == "name" and "^" in text)
    copy = shutil.copytree(curated / "w", tmp_path / "copy")
    (copy / "notes.txt").write_text(f"seen with {name.partition('^')[0]} today")
    assert run("verify", copy) == 1
    out = capsys.readouterr().out
    assert "notes.txt" in out
    assert name.partition("^")[0] not in out


@pytest.mark.slow
def test_export_is_without_identity_and_can_be_indexed(curated, broken_archive, capsys):
    """The accepted series are exported without any known identity, and come in again as good as before."""
    assert run("export-dicom", broken_archive / "dicom", "--out", curated / "out") == 0
    account = json.loads((curated / "out" / "account.json").read_text())
    copies = list((curated / "out").rglob("*.dcm"))
    before = series_of(curated / "w")
    good = before[before["verdict"] != "quarantine"]
    assert len(account["series"]) == len(good)
    assert len(copies) > 20 * len(good)
    assert str(pydicom.dcmread(copies[0]).PatientName).startswith("P-")
    assert run("verify", curated / "w", "--also", curated / "out") == 0
    assert run("index", curated / "out", "--workspace", curated / "exported") == 0
    after = series_of(curated / "exported")
    assert "quarantine" not in set(after["verdict"])
    assert sorted(after["n_slices"]) == sorted(good["n_slices"])
