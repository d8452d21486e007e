"""The command ``stability`` on a finished workspace."""

import json

import pandas as pd
import pytest

from flows import cli
from flows.sections import FeaturesSection
from lungpipe.radiomics.perturbed_features import perturbed_features


@pytest.fixture
def workspace(finished):
    """A finished run with the recipe in its record, as the flow writes it."""
    place, _ = finished
    record = json.loads((place / "run.json").read_text())
    record["recipe"] = {"features": FeaturesSection().model_dump(mode="json"), "segment": {"preset": "default"}}
    (place / "run.json").write_text(json.dumps(record))
    return place


def run(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["lungpipe", "stability", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code or 0


def test_copies_of_nodules_end_as_a_table(monkeypatch, capsys, tmp_path, workspace):
    """Every feature has both correlations over the copies, and the same table on a second run."""
    out, copies = tmp_path / "s.csv", tmp_path / "c.parquet"
    words = (workspace, "--nodules", 3, "--perturbations", "translation,noise", "--out", out, "--copies", copies)
    assert run(monkeypatch, *words) == 0
    table, held = pd.read_csv(out), pd.read_parquet(copies)
    assert len(table) == 2 * 107
    assert set(table["n_nodules"]) == {3}
    assert held["perturbation"].nunique() == 1 + 4 + 3
    assert held["nodule_id"].str.match(r"N-[A-Z2-7]{12}$").all()  # pseudonyms
    assert "over 8 copies of 3 nodules" in capsys.readouterr().out
    first = out.read_bytes()
    assert run(monkeypatch, *words, "--json") == 0
    assert out.read_bytes() == first
    assert json.loads(capsys.readouterr().out.rsplit("}", 1)[0] + "}")["n_nodules"] == 3


def test_copies_of_the_published_tools_regions(monkeypatch, tmp_path, workspace):
    """Under preset = "pins" copies have the run's cuboids and whole HU."""
    record = json.loads((workspace / "run.json").read_text())
    record["recipe"]["segment"]["preset"] = "pins"
    (workspace / "run.json").write_text(json.dumps(record))
    asked = []

    def watched(*words):
        asked.append((words[3], words[6]))
        return perturbed_features(*words)

    monkeypatch.setattr("lungpipe.radiomics.perturbed_features.perturbed_features", watched)
    words = (
        "--nodules",
        2,
        "--perturbations",
        "noise",
        "--region",
        "grown",
        "--radius-mm",
        2,
        "--out",
        tmp_path / "s.csv",
    )
    assert run(monkeypatch, workspace, *words) == 0
    assert {(spec.metric, settings.interpolation) for spec, settings in asked} == {("cuboid", "int16")}


def test_masks_of_segmenters_are_compared(monkeypatch, tmp_path, workspace):
    """The run's own segmenters are copies without any new extraction."""
    out = tmp_path / "s.parquet"
    assert run(monkeypatch, workspace, "--by", "segmenters", "--region", "shell", "--radius-mm", 3, "--out", out) == 0
    assert set(pd.read_parquet(out)["n_perturbations"]) == {2}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--by", "raters"), "expected one of perturbation, segmenters, series"),
        (("--by", "series"), "two series of one study"),
        (("--perturbations", "rotatoin"), "no perturbation 'rotatoin'"),
        (("--segmenter", "fcm"), "no mask by fcm; there are: kmeans, otsu"),
        (("--region", "shell"), "radius 0.0 mm"),
    ],
)
def test_wrong_words_are_told(monkeypatch, capsys, tmp_path, workspace, words, told):
    """What cannot be done is said before any work, with exit status 2, and nothing is written."""
    out = tmp_path / "s.csv"
    assert run(monkeypatch, workspace, *words, "--out", out) == 2
    assert told in capsys.readouterr().err
    assert not out.exists()
