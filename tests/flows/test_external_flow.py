"""External validation from recipe to page, on two parts of LIDC-IDRI's outlines."""

import json
from functools import partial

import pandas as pd
import pytest

from data_catalog.lidc import read_annotations, read_scans, shape_cohort
from flows.config import load_config
from flows.shape_cohort import shape_cohort as flow
from flows.shape_plan import standing_shapes
from lungpipe.errors import DatasetError
from lungpipe.store.place import Place
from lungpipe.store.verify import verify_workspace

pytestmark = pytest.mark.slow

RECIPE = """
[cohort]
dataset = "lidc-shape"
[benchmark]
classifiers = ["logistic"]
outer_folds = 3
inner_folds = 2
"""


def test_two_parts_of_a_data_set(prefect_server, tmp_path, monkeypatch, capfd):
    """The second part is tested by what the first taught, the page and the record warn, and a shared scan is refused."""
    (tmp_path / "key").write_text("fedcba9876543210fedcba9876543210")
    monkeypatch.setenv("LUNGPIPE_KEY_FILE", str(tmp_path / "key"))
    every = read_scans()

    def use(scans):
        monkeypatch.setattr(shape_cohort, "read_scans", lambda: scans)
        monkeypatch.setattr(shape_cohort, "read_annotations", partial(read_annotations, [s.scan_id for s in scans]))

    def run(name, scans, more=""):
        use(scans)
        (tmp_path / f"{name}.toml").write_text(RECIPE + more)
        flow(str(tmp_path / f"{name}.toml"), str(tmp_path / name), workers=2)
        return tmp_path / name

    run("there", every[50:90])
    external = '[benchmark.external]\npart-2 = "there"\n'
    here = run("here", every[:50], external)
    scores = pd.read_parquet(here / "tables" / "scores.parquet")
    assert list(scores["dataset"].unique()) == ["lidc-shape", "lidc-shape-small", "part-2"]
    there = scores[scores["dataset"] == "part-2"]
    assert set(there["trained_on"]) == {"lidc-shape"}
    assert there.loc[there["selection"] == "inside", "auc"].item() > 0.75
    record = json.loads((here / "run.json").read_text())
    assert record["recipe"]["benchmark"]["external"] == ["part-2"]
    assert "both are parts of lidc-shape" in record["external"]["part-2"]["warnings"][0]
    assert str(tmp_path) not in (here / "run.json").read_text()
    assert "both are parts of lidc-shape" in capfd.readouterr().err
    assert "part-2: external validation" in (here / "report" / "index.html").read_text()
    assert list(verify_workspace(Place.at(here))) == []
    config = load_config(tmp_path / "here.toml")
    assert standing_shapes(config, Place.at(here)) is not None
    with pytest.raises(DatasetError, match="patients are in this cohort and in that one too"):
        run("again", every[:51], external)
    use(every[:50])
    nodules = pd.read_parquet(tmp_path / "there" / "tables" / "nodules.parquet")
    nodules.iloc[::-1].to_parquet(tmp_path / "there" / "tables" / "nodules.parquet")
    assert standing_shapes(config, Place.at(here)) is None
