"""Designs and preparations of a recipe on the tables of a finished run."""

from dataclasses import replace

import pandas as pd
import pytest
import small_run

from lungpipe.errors import DatasetError

PARTS = ("train", "train", "train", "train", "test", "test", "validation", "validation")


def test_a_split_of_the_annotations_is_the_benchmarks_design(small_archive, finished):
    """Test nodules are predicted, no others; batches of the series are brought together on the way."""
    archive, nodules = small_archive
    parted = [replace(nodule, split=part) for nodule, part in zip(nodules, PARTS, strict=True)]
    small_run.run(archive, parted, finished[0], design="split", harmonise="kernel", selection="mrmr", n_features=(2,))
    tables = {
        name: pd.read_parquet(finished[0] / "tables" / f"{name}.parquet")
        for name in ("nodules", "predictions", "scores")
    }
    tested = tables["nodules"].loc[tables["nodules"]["split"] == "test", "nodule_id"]
    assert tested.nunique() == 2
    assert set(tables["predictions"]["nodule_id"]) == set(tested)
    assert set(tables["scores"]["n"]) == {2}
    assert tables["scores"]["inner_auc"].notna().any()


def test_a_split_without_parts_is_refused(small_archive, finished):
    """Annotations without a split give no such design."""
    with pytest.raises(DatasetError, match="Fill the annotations' column split"):
        small_run.run(*small_archive, finished[0], design="split")


def test_clinical_columns_and_ratings_reach_the_tables(small_archive, finished):
    """They are joined as labels are: no mask depends on them, and a corrected one changes the table alone."""
    archive, nodules = small_archive

    def told(age):
        return [
            replace(n, clinical=(("clinical_age", age + k), ("clinical_sex", "FM"[k % 2])), ratings=(("margin", 3.0),))
            for k, n in enumerate(nodules)
        ]

    first = small_run.run(archive, told(60.0), finished[0], clinical=("age", "sex"))
    table = pd.read_parquet(finished[0] / "tables" / "nodules.parquet")
    assert sorted(table["clinical_age"].unique()) == [60.0 + k for k in range(8)]
    assert set(table["clinical_sex"]) == {"F", "M"}
    assert (table["rating_margin"] == 3.0).all()
    again = small_run.run(archive, told(61.0), finished[0], clinical=("age", "sex"))
    assert not any(result.made for result in again.results)
    assert again.tables.refs["nodules"] != first.tables.refs["nodules"]
    assert pd.read_parquet(finished[0] / "tables" / "nodules.parquet")["clinical_age"].min() == 61.0
