"""IBSI 2's published values of the CT phantom."""

from __future__ import annotations

import numpy as np
import pytest

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi2 import Laws, Mean, Simoncelli, response
from lungpipe.radiomics.ibsi2.check import main
from lungpipe.radiomics.ibsi2.phantom import CONFIGURATIONS, Reference, prepare, read_references, values_of

CSV = "ibsi2_ct_phantom_reference_values.csv"


@pytest.fixture(scope="module")
def references(real_data):
    return read_references(real_data / "ibsi-reference" / CSV)


@pytest.fixture(scope="module")
def prepared(real_data):
    return prepare(real_data / "ibsi1-ct-phantom")


@pytest.mark.real_data
def test_every_published_row_is_of_a_configuration_that_we_have(references):
    """18 configurations of 18 statistics; one statistic (8.B) has no published value."""
    assert {reference.configuration for reference in references} == set(CONFIGURATIONS)
    assert len(references) == 18 * 18
    assert [(r.configuration, r.tag) for r in references if r.value is None] == [("8.B", "stat_qcod")]


@pytest.mark.real_data
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_every_published_value_is_met(configuration, references, prepared):
    """Each of the 18 statistics within its tolerance."""
    found = values_of(configuration, prepared[configuration[-1]])
    rows = [reference for reference in references if reference.configuration == configuration]
    missed = [(row.tag, found[row.tag], row.value, row.tolerance) for row in rows if not row.is_met(found[row.tag])]
    assert len(rows) == 18
    assert not missed


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("configuration", "wrong"),
    [
        ("2.A", Mean(3, dimensions=2)),
        ("4.A", Laws("L5E5", pooling="mean")),
        ("4.A", Laws("L5E5", energy_distance=5)),
        ("4.A", Laws("E5E5")),
        ("9.A", Simoncelli(1, dimensions=2)),
    ],
)
def test_another_filter_misses_them(configuration, wrong, references, prepared, monkeypatch):
    """The published values tell filters apart."""
    monkeypatch.setattr("lungpipe.radiomics.ibsi2.phantom.CONFIGURATIONS", {configuration: wrong})
    found = values_of(configuration, prepared[configuration[-1]])
    rows = [reference for reference in references if reference.configuration == configuration]
    assert any(not row.is_met(found[row.tag]) for row in rows)


@pytest.mark.real_data
def test_a_crop_by_the_reach_has_the_phantoms_values(prepared):
    """Configuration 4.A on the region's box and the filter's reach is that of the whole image, value by value."""
    phantom, spec = prepared["A"], CONFIGURATIONS["4.A"]
    reach = spec.reach_voxels(phantom.spacing_mm)
    box = tuple(slice(max(int(at.min()) - reach, 0), int(at.max()) + reach + 1) for at in np.nonzero(phantom.region))
    cropped = response(phantom.hu[box], phantom.spacing_mm, spec)[phantom.region[box]]
    whole = response(phantom.hu, phantom.spacing_mm, spec)[phantom.region]
    np.testing.assert_allclose(cropped, whole, rtol=1e-12)


@pytest.mark.real_data
def test_the_check_prints_every_row_and_its_verdict(real_data, tmp_path, capsys):
    """A row met, a row missed by a spoilt tolerance, one without a published value; the exit status says which."""
    source = (real_data / "ibsi-reference" / CSV).read_text().splitlines()
    rows = [line for line in source if line.startswith("2.A,Statistics,M")]
    table = tmp_path / "reference.csv"
    table.write_text("\n".join([source[0], *rows]) + "\n")
    assert main([str(table), str(real_data / "ibsi1-ct-phantom")]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" yes\n") == len(rows)
    spoilt = "2.A,Statistics,Mean,Q4LE,-49.9,0.0001,,stat_mean"
    unpublished = "2.A,Statistics,Median,Y12H,,,,stat_median"
    table.write_text("\n".join([source[0], spoilt, unpublished]) + "\n")
    assert main([str(table), str(real_data / "ibsi1-ct-phantom")]) == 1
    printed = capsys.readouterr().out
    assert printed.count(" NO\n") == printed.count(" not published\n") == 1
    assert "published values: 1, missed: 1, without a published value: 1" in printed
    table.write_text("\n".join([source[0], "99.C,Statistics,Mean,Q4LE,1,1,,stat_mean"]) + "\n")
    assert main([str(table), str(real_data / "ibsi1-ct-phantom")]) == 1
    assert "99.C: not offered" in capsys.readouterr().out


def test_missing_files_are_told_before_any_work(tmp_path, capsys):
    """Exit 2 and one line that names the file."""
    assert main([str(tmp_path / "no.csv"), str(tmp_path)]) == 2
    assert "no reference values at" in capsys.readouterr().err
    (tmp_path / "short.csv").write_text("config,value\n1.A,3\n")
    with pytest.raises(DatasetError, match=r"short\.csv lacks the columns feature, feature_tag, ibsi_code, tolerance"):
        read_references(tmp_path / "short.csv")


def test_a_value_meets_its_tolerance_with_both_ends():
    """The tolerance counts to either side, its ends included."""
    row = Reference("1.A", "Mean", "Q4LE", "stat_mean", 2.0, 0.5)
    assert [row.is_met(value) for value in (1.4, 1.5, 2.5, 2.6)] == [False, True, True, False]
    assert not row.is_met(float("nan"))
