"""The two radiomics engines, switched in a whole run."""

import numpy as np
import pandas as pd
import pytest
import small_run

from lungpipe.radiomics.settings import RadiomicsSettings


@pytest.mark.slow
def test_switching_engines_gives_the_same_tables(small_archive, finished, tmp_path):
    """A run with the other extractor has the same rows, codes and exclusions, and every feature within 1e-6."""
    workspace, _ = finished
    other = tmp_path / "workspace"
    small_run.run(*small_archive, other, small_run.settings(extractor="pyradiomics"))
    tables = [pd.read_parquet(place / "tables/features.parquet") for place in (workspace, other)]
    keys = ["nodule_id", "segmenter", "region", "radius_mm"]
    nested, reference = (table.sort_values(keys).reset_index(drop=True) for table in tables)
    features = [name for name in nested.columns if name.startswith("original_")]
    assert len(features) == 107
    assert list(nested.columns) == list(reference.columns)
    assert len(nested) == 2 * 2 * small_run.PATIENTS
    own = nested.columns.difference([*features, "artefact"])
    pd.testing.assert_frame_equal(nested[own], reference[own])
    found, expected = nested[features].to_numpy(), reference[features].to_numpy()
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    difference = np.abs(found - expected) / np.maximum(np.abs(expected), 1e-8)
    assert np.nanmax(difference) <= 1e-6
    assert nested["artefact"].ne(reference["artefact"]).all()  # each engine's rows say whose they are


def test_filtered_images_are_columns_of_the_table(small_archive, tmp_path):
    """Filters of a recipe end as columns under PyRadiomics' names."""
    words = RadiomicsSettings(filters=("original", "gradient", "wavelet"), classes=(("firstorder", ("Mean",)),))
    small_run.run(
        small_archive[0],
        small_archive[1],
        tmp_path / "w",
        small_run.settings(radiomics=words, methods=("otsu",), radii_mm=(0,)),
    )
    table = pd.read_parquet(tmp_path / "w/tables/features.parquet")
    means = {name for name in table.columns if name.endswith("firstorder_Mean")}
    bands = {f"wavelet-{a}{b}{c}" for a in "LH" for b in "LH" for c in "LH"}
    assert means == {f"{image}_firstorder_Mean" for image in bands | {"original", "gradient"}}
    assert table[sorted(means)].notna().all().all()
