"""Outlines and series that a workspace holds of a nodule are copies of it."""

import pandas as pd
import pytest

from lungpipe.errors import DatasetError
from lungpipe.learn.copies import of_outlines, of_series


def tables():
    """Two series of one study with one nodule 2 mm apart, one that is in the first only, and another study."""
    nodules = pd.DataFrame(
        [
            ("T1", "S1", "A", 0.0), ("T1", "S2", "B", 2.0), ("T1", "S1", "C", 60.0), ("T2", "S3", "D", 0.0),
        ],
        columns=["study_uid", "series_uid", "nodule_id", "x_mm"],
    )  # fmt: skip
    nodules = nodules.assign(y_mm=0.0, z_mm=0.0, volume_mm3=500.0, segmenter="otsu", patient_id="P")
    series = nodules[["series_uid", "study_uid"]].drop_duplicates()
    series = series.assign(kernel=series["series_uid"].map({"S1": "B70f", "S2": "B30f", "S3": "B30f"}))
    features = nodules[["patient_id", "series_uid", "nodule_id", "segmenter"]].assign(
        dataset="d", region="nodule", radius_mm=0.0, codes="", f=[1.0, 2.0, 3.0, 4.0]
    )
    return features, nodules, series


def test_kernels_of_a_study_pair_nodules_by_place():
    """Nodules of two series of a study are one where their centres are closer than the smaller one's radius."""
    features, nodules, series = tables()
    found = of_series(features, nodules, series, "otsu", "nodule", 0.0)
    assert found[["nodule_id", "perturbation", "f"]].to_numpy().tolist() == [["B", "first", 2.0], ["B", "second", 1.0]]
    far = nodules.assign(x_mm=[0.0, 6.0, 60.0, 0.0])  # beyond the radius of 4.9 mm
    with pytest.raises(DatasetError, match="no nodule was found in two series"):
        of_series(features, far, series, "otsu", "nodule", 0.0)


def test_outlines_of_segmenters_are_copies():
    """Masks of two segmenters are two copies of a nodule; one alone is refused."""
    features, _, _ = tables()
    both = pd.concat([features, features.assign(segmenter="rater-1", f=features["f"] + 1)])
    found = of_outlines(both, ["otsu", "rater-1"], "nodule", 0.0)
    assert sorted(found["perturbation"].unique()) == ["otsu", "rater-1"]
    assert len(found) == 8
    with pytest.raises(DatasetError, match="two segmenters or more"):
        of_outlines(both, ["otsu"], "nodule", 0.0)
