"""The command ``extract``."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk

from flows.cli import main
from lungpipe.dicom.read import to_sitk
from lungpipe.radiomics.oneoff import extract_pair
from lungpipe.radiomics.settings import RadiomicsSettings


@pytest.fixture
def pair(ct, tmp_path):
    volume, mask, _ = ct
    image_path, mask_path = tmp_path / "ct.nrrd", tmp_path / "mask.nrrd"
    sitk.WriteImage(to_sitk(volume.hu, volume.frame), str(image_path))
    sitk.WriteImage(to_sitk(mask.voxels.astype(np.uint8) * 3, mask.frame), str(mask_path))
    return image_path, mask_path


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["lungpipe", "extract", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return end.code or 0
    return 0


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_filters_by_name(monkeypatch, capsys, tmp_path, pair):
    """--filters computes the images it names, in any case of letters, and writes feature,value rows."""
    out = tmp_path / "new" / "features.csv"
    assert run(monkeypatch, *pair, "--label", 3, "--filters", "original, Gradient", "--out", out) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out)
    assert said.err == "200 features\n"
    values = {row["feature"]: float(row["value"]) for row in rows_of(out)}
    assert values == pytest.approx(
        extract_pair(*pair, 3, RadiomicsSettings(filters=("original", "gradient"))), nan_ok=True
    )
    assert sum(name.startswith("gradient_") for name in values) == 93


def test_parameter_file_and_its_label(monkeypatch, capsys, tmp_path, pair):
    """--settings takes a PyRadiomics file, the label of which counts unless --label is given; --json prints the rows."""
    parameters, out = tmp_path / "parameters.yaml", tmp_path / "features.csv"
    parameters.write_text("setting: {label: 3, binWidth: 50}\nfeatureClass: {firstorder: [Mean, Entropy]}")
    assert run(monkeypatch, *pair, "--settings", parameters, "--out", out, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["out"] == str(out)
    assert [row["feature"] for row in printed["features"]] == [
        "original_firstorder_Mean",
        "original_firstorder_Entropy",
    ]
    assert printed["features"] == [{**row, "value": float(row["value"])} for row in rows_of(out)]
    assert run(monkeypatch, *pair, "--settings", parameters, "--label", 1, "--out", out) == 2
    assert "no value 1" in capsys.readouterr().err


def test_engines_may_be_chosen(monkeypatch, tmp_path, pair):
    """Both engines give the same rows."""
    tables = []
    for name in ("pyradiomics", "nested"):
        out = tmp_path / f"{name}.csv"
        assert run(monkeypatch, *pair, "--label", 3, "--extractor", name, "--filters", "wavelet", "--out", out) == 0
        tables.append({row["feature"]: float(row["value"]) for row in rows_of(out)})
    assert tables[1] == pytest.approx(tables[0], rel=1e-6, abs=1e-9, nan_ok=True)


def test_profile_writes_ibsi_columns(monkeypatch, tmp_path, pair):
    """--profile writes IBSI's names, codes and aggregation, by IBSI's definitions."""
    out = tmp_path / "features.csv"
    assert run(monkeypatch, *pair, "--label", 3, "--profile", "IBSI-a", "--out", out) == 0
    rows = rows_of(out)
    assert list(rows[0]) == ["feature", "ibsi_code", "aggregation", "value"]
    assert len(rows) > 150
    assert any(row["ibsi_code"] == "Q4LE" for row in rows)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--filters", "wavelets"), "did you mean 'wavelet'"),
        (("--filters", ""), "one image type or more"),
        (("--profile", "ibsi-F"), "known: ibsi-A, ibsi-B"),
        (("--profile", "ibsi-A", "--extractor", "nested"), "leave out --extractor"),
        (("--profile", "ibsi-A", "--filters", "log"), "do not go together"),
        (("--settings", "none.yaml"), "no parameter file at none.yaml"),
        (("--settings", "none.yaml", "--filters", "log"), "do not go together"),
        (("--extractor", "nestled"), "no extractor named 'nestled'"),
    ],
)
def test_wrong_words_are_told_and_nothing_is_written(monkeypatch, capsys, tmp_path, pair, words, told):
    """What cannot be done ends with exit 2, one message and no file."""
    out = tmp_path / "features.csv"
    assert run(monkeypatch, *pair, "--label", 3, *words, "--out", out) == 2
    assert told in capsys.readouterr().err
    assert not out.exists()


def test_region_without_features_is_told(monkeypatch, capsys, tmp_path, pair, ct):
    """A region in which features are undefined ends with exit 2 and the reason."""
    volume, mask, _ = ct
    voxels = np.zeros(volume.shape, np.uint8)
    voxels[4, 4, 4:9] = 1
    sitk.WriteImage(to_sitk(voxels, mask.frame), str(tmp_path / "line.nrrd"))
    assert run(monkeypatch, pair[0], tmp_path / "line.nrrd", "--out", tmp_path / "features.csv") == 2
    assert "features need 2 dimensions" in capsys.readouterr().err
