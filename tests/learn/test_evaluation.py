"""Designs and preparations of a recipe on the tables of a finished run."""

from dataclasses import replace

import pandas as pd
import pytest
import small_run

from lungpipe.errors import DatasetError

PARTS = ("train", "train", "train", "train", "test", "test", "validation", "validation")


@pytest.fixture
def key(tmp_path, monkeypatch):
    """A key of this test's own."""
    (tmp_path / "pseudonym.key").write_text("a key of the tests alone")
    monkeypatch.setenv("LUNGPIPE_KEY_FILE", str(tmp_path / "pseudonym.key"))


def test_a_split_of_the_annotations_is_the_benchmarks_design(small_archive, key, tmp_path):
    """Test nodules are predicted, no others; batches of the series are brought together on the way."""
    archive, nodules = small_archive
    parted = [replace(nodule, split=part) for nodule, part in zip(nodules, PARTS, strict=True)]
    small_run.run(
        archive, parted, tmp_path / "w", design="split", harmonise="kernel", selection="mrmr", n_features=(2,)
    )
    tables = {
        name: pd.read_parquet(tmp_path / "w" / "tables" / f"{name}.parquet")
        for name in ("nodules", "predictions", "scores")
    }
    tested = tables["nodules"].loc[tables["nodules"]["split"] == "test", "nodule_id"]
    assert tested.nunique() == 2
    assert set(tables["predictions"]["nodule_id"]) == set(tested)
    assert set(tables["scores"]["n"]) == {2}
    assert tables["scores"]["inner_auc"].notna().any()


def test_a_split_without_parts_is_refused(small_archive, key, tmp_path):
    """Annotations without a split give no such design."""
    with pytest.raises(DatasetError, match="Fill the annotations' column split"):
        small_run.run(*small_archive, tmp_path / "w", design="split")
