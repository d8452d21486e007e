"""The command ``corruption-ladder`` on a finished workspace."""

import json

import numpy as np
import pandas as pd
import pytest
import typer
from tiny_network import write_weights

from flows.ladder_command import corruption_ladder
from flows.sections import BenchmarkSection, FeaturesSection, SegmentSection
from lungpipe.deep.shift import read_reference
from lungpipe.errors import DatasetError

WORDS = ("--corruptions", "noise,slice_thickness", "--seed", 3)


@pytest.fixture
def workspace(finished):
    """A finished run with the recipe in its record, as the flow writes it."""
    place, _ = finished
    record = json.loads((place / "run.json").read_text())
    benchmark = BenchmarkSection(outer_folds=2, inner_folds=2).model_dump(mode="json")
    record["recipe"] = {
        "features": FeaturesSection(extractor="nested").model_dump(mode="json"),
        "segment": SegmentSection(methods=("otsu", "kmeans")).model_dump(mode="json"),
        "benchmark": benchmark,
    }
    (place / "run.json").write_text(json.dumps(record))
    return place


def run(workspace, out, *words):
    app = typer.Typer()
    app.command()(corruption_ladder)
    app([str(workspace), "--out", str(out), *map(str, words)], standalone_mode=False)
    return pd.read_parquet(out / "ladder.parquet")


def test_ladder_of_a_classical_segmenter(tmp_path, capsys, workspace):
    """Every nodule has a row for the image as it is and for each severity, and the page shows Dice; twice is the same."""
    table = run(workspace, tmp_path / "a", "--segmenter", "otsu", "--nodules", 3, *WORDS)
    assert len(table) == 3 * (1 + 2 * 5)
    assert set(table["segmenter"]) == {"otsu"}
    assert table["nodule_id"].str.match(r"N-[A-Z2-7]{12}$").all()  # pseudonyms
    assert (table.loc[table["severity"] == 0, "dice"] == 1).all()
    assert table.groupby("corruption")["severity"].nunique().to_dict() == {"none": 1, "noise": 5, "slice_thickness": 5}
    thick = table[table["corruption"] == "slice_thickness"].groupby("severity")["dice"].mean()
    assert thick[5] < thick[1]
    assert "mahalanobis" not in table
    assert not (tmp_path / "a" / "reference.npz").exists()
    page = (tmp_path / "a" / "ladder.html").read_text()
    assert "<h2>Dice</h2>" in page
    assert "<h2>AUC</h2>" not in page
    said = capsys.readouterr().out
    assert "slice_thickness" in said
    assert said.splitlines()[-1].endswith("ladder.html")
    run(workspace, tmp_path / "b", "--segmenter", "otsu", "--nodules", 3, *WORDS)
    for name in ("ladder.parquet", "ladder.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_auc_of_a_classifier_and_masks_of_others(tmp_path, workspace):
    """With a classifier every labelled row has a probability and the page the AUC; with --against Dice is with stored masks."""
    words = ("--classifier", "logistic", "--against", "kmeans", "--corruptions", "blur")
    table = run(workspace, tmp_path / "a", "--segmenter", "pins-otsu", *words)
    assert table["p"].between(0, 1).all()
    assert table["malignant"].isin([0, 1]).all()
    assert "radiomics" not in table
    first = table[table["severity"] == 0]
    assert len(first) == 8
    assert (first["dice"] > 0.8).all()
    assert (first["dice"] < 1).any()
    assert "<h2>AUC</h2>" in (tmp_path / "a" / "ladder.html").read_text()


@pytest.mark.slow
def test_ladder_of_a_network(tmp_path, workspace):
    """A network has uncertainty and distances too, and its reference serves another run with the same weights alone."""
    weights = write_weights(tmp_path / "tiny.safetensors")
    words = ("--segmenter", "unet", "--set", f"weights={weights}", *WORDS)
    table = run(workspace, tmp_path / "a", *words)
    measures = ["entropy_bits", "mutual_information_bits", "map_volume_crps_mm3", "mahalanobis", "prototype_distance"]
    assert table[measures].notna().all(axis=None)
    noise = table[table["corruption"] == "noise"].groupby("severity")["mahalanobis"].mean()
    assert noise[5] > noise[1]
    reference = read_reference(tmp_path / "a" / "reference.npz")
    assert reference.about["network"] == "unet"
    again = run(workspace, tmp_path / "b", *words, "--reference", tmp_path / "a" / "reference.npz")
    assert not np.allclose(again["mahalanobis"], table["mahalanobis"])
    other = write_weights(tmp_path / "other.safetensors", steps=3, seed=1)
    with pytest.raises(DatasetError, match="other weights"):
        run(
            workspace, tmp_path / "c", "--segmenter", "unet", "--set", f"weights={other}", "--reference",
            tmp_path / "a" / "reference.npz",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--segmenter", "otsu", "--corruptions", "noise,fog"), "no corruption 'fog'; there are noise"),
        (("--segmenter", "otsu", "--box", "fcm"), "no mask by fcm; there are: kmeans, otsu"),
        (("--segmenter", "otsu", "--against", "rater-1"), "no mask by rater-1; there are: kmeans, otsu"),
        (("--segmenter", "otsu", "--reference", "r.npz"), "only a network has features"),
        (("--segmenter", "otsu", "--set", "keep=3"), "no parameter 'keep'"),
        (("--segmenter", "rater-1", "--corruptions", "blur"), "finds none of the nodules"),
    ],
)
def test_wrong_words_are_told(tmp_path, workspace, words, told):
    """What cannot be done is said, and nothing is written."""
    with pytest.raises(DatasetError, match=told):
        run(workspace, tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


def test_workspace_without_a_finished_run_is_told(tmp_path):
    """A folder that no run wrote is refused."""
    with pytest.raises(DatasetError, match="give the workspace of a finished run"):
        run(tmp_path, tmp_path / "out", "--segmenter", "otsu")
