"""Every published row of IBSI 1: the digital phantom and configurations A, B and C of the CT phantom."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi.check import FAIL, NOT_OFFERED, PASS, UNPUBLISHED, judge, main, summary
from lungpipe.radiomics.ibsi.configurations import CONFIGURATIONS, Bins
from lungpipe.radiomics.ibsi.profile import profile_rows
from lungpipe.radiomics.ibsi.reference import Reference, read_phantom, read_references

DOCS = Path(__file__).parents[3] / "docs" / "ibsi.md"
#: On these IBSI's teams found no consensus.
WITHOUT_CONSENSUS = {
    "morph_vol_dens_ombb",
    "morph_area_dens_ombb",
    "morph_vol_dens_mvee",
    "morph_area_dens_mvee",
    "ivh_auc",
}


@pytest.fixture(scope="module")
def references(real_data):
    return read_references(real_data / "ibsi-reference")


@pytest.fixture(scope="module")
def verdicts(real_data, references):
    return judge(references, real_data)


def reference(value, tolerance, **more):
    named = {"config": "digital_phantom", "family": "Statistics", "feature": "Mean", "ibsi_code": "Q4LE"}
    return Reference(**named, aggregation="", tag="stat_mean", value=value, tolerance=tolerance, **more)


@pytest.mark.real_data
def test_every_published_row_is_met(verdicts):
    """All 1,564 published values, diagnostic features included; every feature without consensus has a number of ours."""
    missed = [one.cells for one in verdicts if one.verdict in {FAIL, NOT_OFFERED}]
    assert not missed
    counts = Counter(one.verdict for one in verdicts)
    assert counts[PASS] == 1564
    assert {one.reference.tag for one in verdicts if one.verdict == UNPUBLISHED} == WITHOUT_CONSENSUS


@pytest.mark.real_data
def test_no_published_row_is_left_out(real_data, verdicts):
    """The table has exactly the rows of the published files."""
    published = Counter()
    for path in (real_data / "ibsi-reference").glob("ibsi1_*.csv"):
        with path.open(newline="") as file:
            published.update((row["config"], row["tag"]) for row in csv.DictReader(file))
    assert Counter((one.reference.config, one.reference.tag) for one in verdicts) == published
    assert set(published.values()) == {1}
    assert {config for config, _ in published} == {"digital_phantom", "config_A", "config_B", "config_C"}


@pytest.mark.real_data
def test_names_and_order_are_those_of_the_published_tables(real_data, references):
    """Feature, code, aggregation, family and tag of each row, in the published order."""
    rows = profile_rows(*read_phantom(real_data / "ibsi1-ct-phantom"), "ibsi-C")
    published = [one for one in references if one.config == "config_C"]
    assert [(r.feature, r.ibsi_code, r.aggregation, r.family, r.tag) for r in rows] == [
        (r.feature, r.ibsi_code, r.aggregation, r.family, r.tag) for r in published
    ]


@pytest.mark.real_data
@pytest.mark.parametrize(
    "change",
    [
        {"order": 3},
        {"range_hu": (-500, 400)},
        {"outlier_sigma": 3},
        {"texture": Bins("count", 32)},
        {"volume_histogram": Bins("none")},
        {"spacing_mm": (3.0, 2.0, 2.0)},
    ],
)
def test_another_preparation_misses_published_values(change, real_data, references, monkeypatch):
    """The published values of configuration C tell settings apart, so that meeting them says something."""
    wrong = replace(CONFIGURATIONS["ibsi-C"], **change)
    monkeypatch.setitem(CONFIGURATIONS, "ibsi-C", wrong)
    rows = [one for one in references if one.config == "config_C"]
    assert any(one.verdict == FAIL for one in judge(rows, real_data))


@pytest.mark.real_data
def test_the_documented_counts_are_those_found(verdicts):
    """``docs/ibsi.md`` quotes the summary."""
    text = DOCS.read_text(encoding="utf-8")
    quoted = text.partition("<!-- counts -->\n")[2].partition("\n<!-- /counts -->")[0]
    assert quoted.splitlines()[1:-1] == summary(verdicts)


def test_agreement_without_a_tolerance_is_that_of_three_digits():
    """And of more where the published value has more."""
    assert reference(2.15, 0.0).is_met(2.1486)
    assert not reference(2.15, 0.0).is_met(2.1449)
    assert reference(3065.0, 0.0).is_met(3065.2)
    assert not reference(3065.0, 0.0).is_met(3071.0)
    assert reference(-1000.0, 0.0).is_met(-1000.0)
    assert reference(0.0, 0.0).is_met(0.0)
    assert not reference(0.0, 0.0).is_met(0.001)


def test_agreement_with_a_tolerance_is_within_it():
    """The tolerance itself is in, a value that is no number is not, and without a published value any number will do."""
    assert reference(0.3, 0.1).is_met(0.4)
    assert not reference(0.3, 0.1).is_met(0.41)
    assert not reference(0.3, 0.1).is_met(float("nan"))
    assert reference(None, None).is_met(7.0)
    assert not reference(None, None).is_met(float("nan"))


@pytest.fixture
def folder(tmp_path):
    """A small phantom in the place of IBSI's, and a table with a right value, a wrong one and one of a future feature."""
    nifti = tmp_path / "ibsi1-digital-phantom" / "nifti"
    for part, name, values in (("image", "phantom", np.full((2, 2, 2), 3)), ("mask", "mask", np.ones((2, 2, 2)))):
        (nifti / part).mkdir(parents=True)
        sitk.WriteImage(sitk.GetImageFromArray(values.astype(np.int16)), str(nifti / part / f"{name}.nii.gz"))
    (tmp_path / "ibsi-reference").mkdir()
    table = tmp_path / "ibsi-reference" / "ibsi1_digital_phantom.csv"
    head = "config,family,feature,ibsi_code,value,tolerance,consensus,aggregation_code,tag\n"
    one = "digital_phantom,Statistics,Mean,Q4LE,{},0.0,strong,,{}\n"
    table.write_text(head + one.format(3.0, "stat_mean") + one.format(3.0, "stat_new"))
    return tmp_path, table, head + one.format(4.0, "stat_mean")


def test_the_command_prints_and_writes_every_row(folder, capsys):
    """A row that we do not have is there as "not offered"; no value is missed, so the command succeeds."""
    root, _, _ = folder
    assert main([str(root), "--out", str(root / "new" / "table.csv")]) == 0
    with (root / "new" / "table.csv").open(newline="") as file:
        assert [(row["tag"], row["verdict"]) for row in csv.DictReader(file)] == [
            ("stat_mean", PASS),
            ("stat_new", NOT_OFFERED),
        ]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5
    assert printed[-1] == "digital_phantom: 2 rows: 1 pass, 0 FAIL, 1 not offered, 0 no published value"


def test_the_command_fails_where_a_value_is_missed(folder, capsys):
    """Exit status 1, and the row says so."""
    root, table, wrong = folder
    table.write_text(wrong)
    assert main([str(root)]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_the_command_says_what_is_missing(folder, capsys):
    """A folder without tables, a table without its columns and a phantom without its mask: exit status 2."""
    root, table, _ = folder
    (root / "ibsi1-digital-phantom" / "nifti" / "mask" / "mask.nii.gz").unlink()
    assert main([str(root)]) == 2
    assert "no image" in capsys.readouterr().err
    table.write_text("config,value\n")
    assert main([str(root)]) == 2
    assert "lacks the columns" in capsys.readouterr().err
    table.unlink()
    with pytest.raises(DatasetError, match="no published values"):
        read_references(root / "ibsi-reference")
