import json
import shutil

import pandas as pd
import pytest
from event_server import Server

from data_catalog import load_dataset
from flows.cohort import cohort, plan_run
from flows.config import load_config
from lungpipe.curate import curate_folder
from lungpipe.errors import DatasetError
from lungpipe.store import ledger
from lungpipe.store.place import Place
from lungpipe.store.schemas import BASELINES
from tasks.cluster import ADDRESS_VARIABLE


@pytest.fixture(scope="module")
def run(prefect_server, broken_cohort, tmp_path_factory):
    """The broken cohort, run with two workers."""
    import os

    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text("fedcba9876543210fedcba9876543210")
    before = os.environ.get("LUNGPIPE_KEY_FILE")
    os.environ["LUNGPIPE_KEY_FILE"] = str(key)
    workspace = tmp_path_factory.mktemp("workspace")
    outcome = cohort(str(broken_cohort.recipe), str(workspace), workers=2)
    yield outcome, workspace, key
    if before is not None:
        os.environ["LUNGPIPE_KEY_FILE"] = before


@pytest.fixture
def same_key(run, monkeypatch):
    monkeypatch.setenv("LUNGPIPE_KEY_FILE", str(run[2]))


def table(workspace, name) -> pd.DataFrame:
    return pd.read_parquet(workspace / "tables" / f"{name}.parquet")


def test_every_bad_case_is_excluded_with_its_code(run):
    """One bad case of each kind is a row with its stage and code, and stops nothing."""
    _, workspace, _ = run
    found = table(workspace, "exclusions")
    codes = set(zip(found["stage"], found["code"], strict=True))
    assert codes == {
        ("annotation", "series_not_found"),
        ("annotation", "outside_volume"),
        ("quality", "missing_slice"),
        ("quality", "series_quarantined"),
        ("segment", "constant_region"),
        ("segment", "no_annotated_mask"),
        ("quality", "unreadable_pixels"),
    }
    assert (found["message"].str.len() > 20).all()


def test_sound_cases_have_every_row(run):
    """Each sound nodule has its nodule, grown and shell row and the benchmark's controls, with 107 features and no gap."""
    _, workspace, _ = run
    features = table(workspace, "features")
    assert len(features) == 8 * 5
    assert set(features["region"]) == {"nodule", "grown", "shell", "box", "shuffled"}
    values = features.filter(like="original_")
    assert values.shape[1] == 107
    assert values.notna().all().all()
    nodules = table(workspace, "nodules")
    assert nodules["volume_mm3"].between(350, 1200).all()
    verdicts = table(workspace, "series")["verdict"].value_counts().to_dict()
    assert verdicts["quarantine"] == 2
    assert sum(verdicts.values()) == 12


def test_benchmark_covers_every_configuration(run):
    """Scores hold each region and classifier, the honest choice and all baselines; each nodule is predicted once by each."""
    outcome, workspace, _ = run
    scores = table(workspace, "scores")
    assert scores["selection"].value_counts().to_dict() == {"fixed": 3 * 2, "inside": 1, "baseline": len(BASELINES) - 3}
    # The annotations have neither clinical columns nor ratings, and nodules are not taken out unless a recipe says so.
    without = {"clinical", "ratings", "without-nodule"}
    assert set(scores.loc[scores["selection"] == "baseline", "region"]) == set(BASELINES) - without
    assert outcome.auc == scores.loc[scores["selection"] == "inside", "auc"].iloc[0]
    predictions = table(workspace, "predictions")
    assert (predictions.groupby(["segmenter", "region", "radius_mm", "classifier"], dropna=False).size() == 8).all()


def test_the_choice_is_explained(run):
    """Every feature has a row, every nodule its neighbours, and the page has the section; the record counts it once."""
    _, workspace, _ = run
    importance, neighbours = table(workspace, "importance"), table(workspace, "neighbours")
    assert len(importance) == 107
    assert importance["cluster_importance"].notna().all()
    assert set(neighbours["nodule_id"]) == set(table(workspace, "nodules")["nodule_id"])
    assert json.loads((workspace / "run.json").read_text())["artefacts"]["explanation"] == {"made": 1, "reused": 0}
    page = (workspace / "report" / "index.html").read_text()
    assert "none of it says what causes malignancy" in page


def test_no_identity_leaves_ingestion(run, broken_cohort):
    """Patient ids, names and UIDs are in no file of the workspace."""
    _, workspace, _ = run
    names = [
        b"Mustermann",
        b"Roe^Jane",
        b"Ghost-Patient",
        b"Truncated",
        *(uid.encode() for uid in broken_cohort.uids.values()),
    ]
    files = [p for p in workspace.rglob("*") if p.is_file()]
    assert len(files) > 50
    for path in files:
        content = path.read_bytes() + path.name.encode()
        assert not [name for name in names if name in content], path


def test_run_record_says_what_made_it(run):
    """run.json holds recipe, versions, input hashes, seeds, timings and plug-ins."""
    outcome, workspace, _ = run
    record = json.loads((workspace / "run.json").read_text())
    assert record["recipe"]["regions"]["radii_mm"] == [0, 3]
    assert record["environment"]["packages"]["pyradiomics-bhklab"][0].isdigit()
    assert len(record["inputs"]["volumes"]) == 10
    assert record["seeds"] == {"benchmark": 7}
    assert record["plugins"]["segmenters"]["otsu"]["parameters"]["keep_margin_mm"] == 2.0
    assert record["timings_s"]["inside_scans"]["features"] > 0
    page = (workspace / "report" / "index.html").read_text()
    assert outcome.report.endswith("index.html")
    assert "missing_slice" in page
    assert "Simulated intensities" not in page


@pytest.mark.slow
def test_one_worker_and_two_give_identical_features(run, same_key, broken_cohort, tmp_path, monkeypatch):
    """Neither features nor the explanation depend on the number of workers, bit for bit."""
    monkeypatch.delenv(ADDRESS_VARIABLE)
    _, workspace, _ = run
    cohort(str(broken_cohort.recipe), str(tmp_path), workers=1)
    for name in ("features", "importance", "neighbours"):
        pd.testing.assert_frame_equal(table(workspace, name), table(tmp_path, name), check_exact=True)


def test_a_lineage_server_is_told_of_the_stages(run, same_key, broken_cohort, tmp_path, monkeypatch):
    """Where a lineage server is named, the run and its stages are told to it in order, without names or paths."""
    pytest.importorskip("openlineage.client", reason="pip install 'lungpipe[provenance]'")
    copy = tmp_path / "copy"
    shutil.copytree(run[1], copy)
    server = Server()
    with server.running() as address:
        monkeypatch.setenv("OPENLINEAGE_URL", address)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        cohort(str(broken_cohort.recipe), str(copy), workers=1)
    told = [(event["eventType"], event["job"]["name"]) for event in server.events]
    stages = ["curate", "frame", "scans", "tables", "benchmark", "report"]
    expected = [(kind, f"cohort.{stage}") for stage in stages for kind in ("START", "COMPLETE")]
    assert told == [("START", "cohort"), *expected, ("COMPLETE", "cohort")]
    text = json.dumps(server.events)
    assert not any(word in text for word in ("Mustermann", str(tmp_path), *broken_cohort.uids.values()))


@pytest.mark.slow
def test_scores_do_not_depend_on_the_pseudonym_key(run, broken_cohort, tmp_path):
    """Under another key the pseudonyms differ and every score is the same: folds follow the data, not the names."""
    _, workspace, _ = run
    cohort(str(broken_cohort.recipe), str(tmp_path), workers=2)
    assert set(table(workspace, "nodules")["nodule_id"]).isdisjoint(table(tmp_path, "nodules")["nodule_id"])
    for name in ("scores", "importance"):
        pd.testing.assert_frame_equal(table(workspace, name), table(tmp_path, name), check_exact=True)


def test_rerun_reuses_and_repairs(run, same_key, broken_cohort, tmp_path):
    """A rerun reuses every scan; after parts of two scans are damaged and lost, only those two are made again."""
    copy = tmp_path / "copy"
    shutil.copytree(run[1], copy)
    place = Place.at(copy)
    damaged, lost = (next(iter(ledger.records(place, scope, "features"))) for scope in ledger.patients(place)[:2])
    path = copy / "parts" / f"features-{damaged.id}" / "rows.json"
    path.write_bytes(path.read_bytes()[:-1])
    shutil.rmtree(copy / "parts" / f"features-{lost.id}")
    outcome = cohort(str(broken_cohort.recipe), str(copy), ["benchmark.classifiers=['knn']"], workers=2)
    assert outcome.scans == 10
    assert outcome.reused == 10 - 2
    pd.testing.assert_frame_equal(table(run[1], "features"), table(copy, "features"), check_exact=True)


def plan(folder, *overrides):
    config = load_config(folder / "recipe.toml", list(overrides))
    return plan_run(config, load_dataset(config.cohort.dataset), curate_folder(folder / "dicom"))


def test_labels_that_allow_no_benchmark_stop_before_any_work(sound_cohort, tmp_path):
    """One class only, or fewer patients than folds, is refused before a pixel is read."""
    with pytest.raises(DatasetError, match="outer_folds"):
        plan(sound_cohort.folder, "benchmark.outer_folds=9")
    text = (sound_cohort.folder / "nodules.csv").read_text().replace(",11,1\r", ",11,0\r").replace(",11,1\n", ",11,0\n")
    (tmp_path / "benign.csv").write_text(text)
    with pytest.raises(DatasetError, match="one class only"):
        plan(sound_cohort.folder, f"cohort.annotations={tmp_path / 'benign.csv'}")


def test_a_split_is_checked_before_any_work(sound_cohort, tmp_path):
    """The annotations' own split is a design if every part has both classes, and is refused without a pixel read if not."""
    design = 'benchmark.design="split"'
    with pytest.raises(DatasetError, match="Fill the annotations' column split"):
        plan(sound_cohort.folder, design)
    head, *lines = (sound_cohort.folder / "nodules.csv").read_text().splitlines()
    for name, parts in (("good", ["train"] * 4 + ["test"] * 4), ("bad", ["train"] * 7 + ["test"])):
        rows = [f"{line},{part}" for line, part in zip(lines, parts, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join([f"{head},split", *rows]) + "\n")
    assert {
        nodule.split
        for nodule in plan(sound_cohort.folder, design, f"cohort.annotations={tmp_path / 'good.csv'}").nodules
    } == {"train", "test"}
    with pytest.raises(DatasetError, match="no benign nodule is in the part 'test'"):
        plan(sound_cohort.folder, design, f"cohort.annotations={tmp_path / 'bad.csv'}")


def test_nothing_to_work_on_stops(sound_cohort, tmp_path):
    """Annotations that match no series are refused with the reason."""
    lines = (sound_cohort.folder / "nodules.csv").read_text().splitlines()
    (tmp_path / "strangers.csv").write_text("\n".join([lines[0], "x,n,9.9.9,0,0,0,5,5,5,1"]) + "\n")
    with pytest.raises(DatasetError, match="series_not_found"):
        plan(sound_cohort.folder, f"cohort.annotations={tmp_path / 'strangers.csv'}")
