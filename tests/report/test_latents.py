"""The section on an autoencoder's latents."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lungpipe.report.latents import Traversed, latents_content, traversed
from lungpipe.report.latents_figures import plane_picture, traversal_picture
from lungpipe.report.page import report_html

LATENTS = 4
ABOUT = {
    "network": "vae",
    "parameters": {"kind": "gaussian", "latent": LATENTS},
    "sight": {"dims": 2, "voxels": 16, "spacing_mm": 1.5, "window_hu": [-1000.0, 400.0]},
    "latents": {"mean": [0.0] * LATENTS, "low": [-1.0] * LATENTS, "high": [1.0] * LATENTS, "information": [0.5, 3.0, 0.0, 1.0]},
    "trained_on": {
        "datasets": ["other<b>"], "intensities": "measured", "segmenter": "otsu", "patients": 7, "patients_held_back": 1,
        "nodules": 9, "images": 50, "scans": [f"{k:016x}" for k in range(3)],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def nodules():
    """Forty nodules of 36 patients; the last has no label."""
    return pd.DataFrame(
        {
            "dataset": "phantom",
            "patient_id": [f"P{k % 36:04d}" for k in range(40)],
            "series_uid": [f"S{k % 36:04d}" for k in range(40)],
            "nodule_id": [f"n{k:02d}" for k in range(40)],
            "segmenter": "otsu",
            "malignant": pd.array([*(k % 2 for k in range(39)), None], dtype="Int64"),
            "voxels_sha256": [f"{k % 36 + 1:016x}{'0' * 48}" for k in range(40)],
        }
    )


@pytest.fixture(scope="module")
def features(nodules):
    """Two far groups by the first latent, which follows the label; a row of radiomics besides."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, LATENTS))
    values[:, 1] += 10 * (np.arange(40) % 2)
    keys = nodules[["dataset", "patient_id", "series_uid", "nodule_id", "segmenter"]]
    own = keys.assign(region="mine", radius_mm=0.0, **{f"emb_{k + 1:04d}": values[:, k] for k in range(LATENTS)})
    return pd.concat([keys.assign(region="nodule", radius_mm=0.0, original_glcm_Contrast=1.0), own], ignore_index=True)


def images(count=3):
    return tuple(np.random.default_rng(k).normal(-400, 300, (7, 16, 16)).astype(np.float32) for k in range(count))


@pytest.fixture(scope="module")
def content(nodules, features):
    shown = Traversed("mine", ABOUT, (1, 3, 0), images())
    return latents_content([shown], features, nodules, simulated=True)[0]


def test_groups_are_told_with_their_share_of_malignant_nodules(content):
    """Two groups, each of one label, with an interval of patients; the CSV has a line a nodule."""
    clusters = content["clusters"]
    assert (clusters["n"], clusters["count"]) == (40, 2)
    assert sorted(row["malignant"] for row in clusters["rows"]) == [0.0, 1.0]
    assert sum(row["labelled"] for row in clusters["rows"]) == 39
    for row in clusters["rows"]:
        assert 0 <= row["low"] <= row["malignant"] <= row["high"] <= 1
        assert row["high"] - row["low"] > 0.05
    table = pd.read_csv(io.BytesIO(base64.b64decode(clusters["csv"].split(",")[1])))
    assert len(table) == 40
    assert set(table["group"]) == {1, 2}


def test_the_auc_of_a_latent_is_its_own(content, features, nodules):
    """It is scikit-learn's, over labelled nodules, of the column that the row names."""
    labelled = nodules["malignant"].notna().to_numpy()
    own = features[features["region"] == "mine"]
    for row in content["traversal"]["rows"]:
        expected = roc_auc_score(nodules["malignant"][labelled].astype(int), own[row["column"]].to_numpy()[labelled])
        assert row["auc"] == pytest.approx(expected)
    assert [row["column"] for row in content["traversal"]["rows"]] == ["emb_0002", "emb_0004", "emb_0001"]


def test_scans_that_were_seen_in_training_are_counted(content):
    """Two of the cohort's 36 scans are among the three that the header names."""
    assert (content["seen"], content["scans"]) == (2, 36)


def test_what_is_missing_is_said(nodules, features):
    """Without rows there are no groups, without images the reason stands; two nodules are too few to group."""
    shown = Traversed("mine", ABOUT, (1,), (), "torch is not installed")
    other = latents_content([shown], features[features["region"] == "nodule"], nodules, simulated=False)[0]
    assert (other["clusters"], other["traversal"], other["why"]) == (None, None, "torch is not installed")
    assert latents_content([shown], None, nodules, simulated=False)[0]["clusters"] is None
    few = features[features["region"] == "mine"].head(2)
    assert "3 or more" in latents_content([shown], few, nodules, simulated=False)[0]["clusters"]["why"]
    unlabelled = nodules.assign(malignant=pd.array([None] * 40, dtype="Int64"))
    none = latents_content([Traversed("mine", ABOUT, (1,), images(1))], features, unlabelled, simulated=False)[0]
    assert np.isnan(none["traversal"]["rows"][0]["auc"])
    assert {row["labelled"] for row in none["clusters"]["rows"]} == {0}


@pytest.mark.parametrize("seen", [True, False])
def test_the_page_says_whether_the_test_is_clean(make_report, nodules, features, seen):
    """The section is on the page, with a warning where scans were seen; names are escaped; nothing is there without one."""
    about = ABOUT if seen else ABOUT | {"trained_on": ABOUT["trained_on"] | {"scans": []}}
    shown = [Traversed("mine", about, (1, 3, 0), images())]
    fields = {"scores": None, "predictions": None, "tiles": [], "features": features, "segmenter": "otsu"}
    page = report_html(make_report(nodules=nodules, latents=shown, **fields))
    assert '<h2 id="latents">' in page
    assert '<a href="#latents">' in page
    assert ("Not a clean test." in page) == seen
    assert ("saw none of the 36 scans" in page) == (not seen)
    assert "other&lt;b&gt;" in page
    without = report_html(make_report(nodules=nodules, **fields))
    assert 'id="latents"' not in without
    assert "Latents" not in without


def test_pictures_are_the_same_each_time_and_say_simulated():
    """Two drawings are the same bytes; the words stand only where asked for."""
    rng = np.random.default_rng(3)
    plane, group, labels = rng.normal(size=(9, 2)), np.arange(9) % 2, np.array([0.0, 1, np.nan] * 3)
    drawn = [plane_picture(plane, group, labels, (0.5, 0.2), simulated=s) for s in (True, True, False)]
    assert drawn[0] == drawn[1] != drawn[2]
    rows = [traversal_picture(images(2), ["a", "b"], (-1000.0, 400.0), simulated=s) for s in (True, True, False)]
    assert rows[0] == rows[1] != rows[2]
    assert rows[0].startswith("<svg")
    assert rows[0].count("<image") == 14


def test_latents_that_tell_most_are_decoded(tmp_path):
    """Of a file of weights, images come in the order of information; without torch the reason does."""
    import torch

    from lungpipe.deep import weights
    from lungpipe.deep.vae.networks import LesionVae

    torch.manual_seed(0)
    parameters = {"kind": "gaussian", "latent": LATENTS, "dims": 2, "voxels": 16, "width": 8}
    weights.save(tmp_path / "w.safetensors", LesionVae(**parameters).state_dict(), ABOUT | {"parameters": parameters})
    (found,) = traversed({"mine": str(tmp_path / "w.safetensors")})
    assert (found.region, found.numbers) == ("mine", (1, 3, 0, 2))
    assert [one.shape for one in found.images] == [(7, 16, 16)] * 4
    assert not np.array_equal(found.images[0], found.images[1])
    assert traversed({}) == ()


def test_without_the_extra_the_page_says_why(tmp_path, monkeypatch):
    """The rest of the section stands, and the traversal's place says what to install."""
    import torch

    from lungpipe.deep import extra, weights
    from lungpipe.errors import PluginError

    weights.save(tmp_path / "w.safetensors", {"x": torch.zeros(1)}, ABOUT)

    def refuse(name, extra):
        raise PluginError(f"{name} is not installed; install it with: pip install 'lungpipe[{extra}]'")

    monkeypatch.setattr(extra, "needed", refuse)
    (found,) = traversed({"mine": str(tmp_path / "w.safetensors")})
    assert found.images == ()
    assert "lungpipe[deep]" in found.why


def test_a_workspaces_report_has_the_section_of_its_autoencoder(tmp_path):
    """From the tables of a workspace and a file of weights the page gets the section, with the workspace's own nodules."""
    import torch
    from table_workspace import write_tables

    from lungpipe.deep import weights
    from lungpipe.deep.vae.networks import LesionVae
    from lungpipe.report.workspace import Asked, write_report
    from lungpipe.store.tables import make_table, read_table, write_table

    place = write_tables(tmp_path / "workspace", 12)
    rows = read_table(place, "tables/features.parquet").to_dict("records")
    rng = np.random.default_rng(5)
    for row in [row for row in rows if row["region"] == "nodule"]:
        rows.append(row | {"region": "mine"} | {f"emb_{k + 1:04d}": rng.normal() for k in range(LATENTS)})
    write_table(make_table("features", rows), place, "tables/features.parquet")
    write_table(make_table("exclusions", []), place, "tables/exclusions.parquet")
    torch.manual_seed(0)
    parameters = {"kind": "gaussian", "latent": LATENTS, "dims": 2, "voxels": 16, "width": 8}
    file = tmp_path / "w.safetensors"
    weights.save(file, LesionVae(**parameters).state_dict(), ABOUT | {"parameters": parameters})
    write_report(Asked(autoencoders=(("mine", str(file)),)), str(place))
    page = place.read("report/index.html").decode()
    assert '<h2 id="latents">' in page
    assert "12 nodules in the plane" in page
    assert str(tmp_path) not in page
