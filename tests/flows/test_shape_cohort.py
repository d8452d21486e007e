"""The flow of outlines without images, on the first scans of LIDC-IDRI."""

import json
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from data_catalog.lidc import read_annotations, read_scans, shape_cohort
from flows.config import load_config
from flows.shape_cohort import shape_cohort as flow
from flows.shape_plan import check_shapes, standing_shapes
from lungpipe.errors import DatasetError, StoreError
from lungpipe.lineage.trace import trace_nodule
from lungpipe.store.contents import volume_name
from lungpipe.store.place import Place
from lungpipe.store.verify import verify_workspace

RECIPE = """
[cohort]
dataset = "lidc-shape"
[benchmark]
classifiers = ["logistic"]
outer_folds = 3
inner_folds = 2
"""
SCANS = 50


@pytest.fixture(scope="module")
def run(prefect_server, tmp_path_factory):
    """Some 60 nodules, run with two workers."""
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "key").write_text("fedcba9876543210fedcba9876543210")
    (folder / "recipe.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUNGPIPE_KEY_FILE", str(folder / "key"))
        scans = read_scans()[:SCANS]
        patch.setattr(shape_cohort, "read_scans", lambda: scans)
        patch.setattr(shape_cohort, "read_annotations", partial(read_annotations, [s.scan_id for s in scans]))
        first = flow(str(folder / "recipe.toml"), str(folder / "workspace"), workers=2)
        pages = {path: path.read_bytes() for path in (folder / "workspace" / "tables").iterdir()}
        config, place = load_config(folder / "recipe.toml"), Place.at(folder / "workspace")
        standing = standing_shapes(config, place)
        next((folder / "workspace").glob("parts/masks-*/rows.json")).unlink()
        broken = standing_shapes(config, place)
        again = flow(str(folder / "recipe.toml"), str(folder / "workspace"), workers=1)
        changed = [path.name for path, content in pages.items() if path.read_bytes() != content]
        yield folder / "workspace", first, standing, broken, again, changed


def table(workspace, name):
    return pd.read_parquet(workspace / "tables" / f"{name}.parquet")


@pytest.mark.slow
def test_every_nodule_has_its_rows(run):
    """Each nodule by three raters has one mask and one row of fourteen shape features; small ones stand there once more."""
    workspace, *_ = run
    nodules, features = table(workspace, "nodules"), table(workspace, "features")
    limit_mm3 = json.loads((workspace / "run.json").read_text())["subsets"]["largest_mm3"]["lidc-shape-small"]
    whole = nodules[nodules["dataset"] == "lidc-shape"]
    assert 50 < len(whole) < 100
    small = nodules[nodules["dataset"] == "lidc-shape-small"]
    assert set(small["nodule_id"]) == set(whole.loc[whole["volume_mm3"] <= limit_mm3, "nodule_id"])
    assert len(features) == len(nodules)
    assert features.filter(like="original_").shape[1] == features.filter(like="original_shape_").shape[1] == 14
    assert features.filter(like="original_").notna().all().all()


@pytest.mark.slow
def test_scores_are_of_both_data_sets(run):
    """The whole and the small nodules are evaluated apart, each with folds of its own that split no patient."""
    workspace, *_ = run
    scores, predictions = table(workspace, "scores"), table(workspace, "predictions")
    assert list(scores.drop_duplicates("dataset")["dataset"]) == ["lidc-shape", "lidc-shape-small"]
    assert set(scores["selection"]) == {"fixed", "inside", "baseline"}
    assert scores["auc"].notna().all()
    assert set(scores["trained_on"]) == {"lidc-shape", "lidc-shape-small"}
    ratings = scores[scores["region"] == "ratings"].set_index("dataset")["auc"]
    assert ratings["lidc-shape"] > 0.75
    assert len(ratings) == 2
    folds = predictions.groupby(["dataset", "classifier", "patient_id"])["fold"].nunique()
    assert (folds == 1).all()


@pytest.mark.slow
def test_a_second_run_reuses_what_stands(run):
    """A finished run stands until a file of it is lost; then that scan alone is made again, and tables have the same bytes."""
    _, first, standing, broken, again, changed = run
    assert first.reused == 0
    assert standing is not None
    assert standing.reused == standing.scans == first.scans
    assert broken is None
    assert again.reused == again.scans - 1
    assert changed == []


@pytest.mark.slow
def test_the_page_says_that_there_is_no_ct(run):
    """The page says so at its head, has no pictures of nodules, and explains the second data set."""
    page = (run[0] / "report" / "index.html").read_text()
    assert "Contours and ratings without CT." in page
    assert "nodules outlined" in page
    assert "lidc-shape-small</b>: the nodules of up to" in page
    assert "data:image/webp" not in page
    assert 'class="tile"' in page
    assert "curation.html" not in page


@pytest.mark.slow
def test_nothing_identifies_and_everything_is_recorded(run, monkeypatch):
    """No published id is in the workspace, and the ledger agrees with every file."""
    workspace, *_ = run
    for path in workspace.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"LIDC-IDRI-0" not in content, path
            assert b"1.3.6.1.4.1.14519" not in content, path
    assert list(verify_workspace(Place.at(workspace))) == []


@pytest.mark.slow
def test_a_nodule_leads_back_to_its_outlines(run):
    """A trace ends at the masks, once, with the digest of the outlines and no slices; pictures say why there are none."""
    workspace, *_ = run
    nodules = table(workspace, "nodules")
    small = nodules[nodules["dataset"] == "lidc-shape-small"].iloc[0]
    trace = trace_nodule(Place.at(workspace), small["nodule_id"])
    assert len(trace.rows) == 1
    assert trace.instances == ()
    assert trace.artefacts[trace.rows[0]["mask"]].inputs["source_sha256"] == small["source_sha256"]
    with pytest.raises(StoreError, match="outlines alone"):
        volume_name(small["volume_id"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("cohort.dicom=images", "cohort.dicom"),
        ("cohort.annotations=xml", "cohort.annotations"),
        ("segment.methods=['otsu']", "segment.methods"),
        ("regions.radii_mm=[0, 4]", "regions.radii_mm"),
        ("features.bin_width_hu=10", "features.bin_width_hu"),
        ("quality.min_slices=9", "quality.min_slices"),
    ],
)
def test_keys_that_ask_for_images_are_refused(tmp_path: Path, change, named):
    """What has no meaning without images is named, and nothing is begun."""
    (tmp_path / "recipe.toml").write_text(RECIPE)
    with pytest.raises(DatasetError, match=f"{named}: .*without images"):
        check_shapes(load_config(tmp_path / "recipe.toml", [change]))
