"""The simulated cohort through the whole pipeline: what was planted is found, and nothing where nothing is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_catalog.phantom import write_phantom
from flows.cohort import cohort

pytestmark = pytest.mark.slow

PATIENTS = 40


def scores_of(tmp_path: Path, shell_mm: float, effect: float) -> pd.DataFrame:
    recipe = write_phantom(tmp_path / "cohort", PATIENTS, 7, shell_mm, effect)
    cohort(str(recipe), str(tmp_path / "workspace"), ["segment.methods=['otsu']"], workers=2)
    page = (tmp_path / "workspace" / "report" / "index.html").read_text(encoding="utf-8")
    assert "imulated intensities" in page
    assert "AUC against radius" in page
    for path in (tmp_path / "workspace" / "tables").glob("*.parquet"):
        table = pd.read_parquet(path)
        assert (table["intensities"] == "simulated").all(), path.name
    return pd.read_parquet(tmp_path / "workspace" / "tables" / "scores.parquet")


@pytest.mark.parametrize("shell_mm", [8.0, 4.0])
def test_auc_peaks_at_the_planted_radius(prefect_server, tmp_path, shell_mm):
    """The best AUC lies within 2 mm of the radius out to which the effect was planted, and is high."""
    scores = scores_of(tmp_path, shell_mm, 1.0)
    fixed = scores[scores["selection"] == "fixed"]
    best = fixed.loc[fixed["auc"].idxmax()]
    assert abs(best["radius_mm"] - shell_mm) <= 2
    assert best["auc"] > 0.8
    honest = scores[scores["selection"] == "inside"].iloc[0]
    assert honest["auc_low"] > 0.5
    chosen_mm = [one["radius_mm"] for one in json.loads(honest["chosen"])]
    assert abs(float(np.median(chosen_mm)) - shell_mm) <= 2, chosen_mm  # found without the test patients


def test_nothing_is_found_where_nothing_was_planted(prefect_server, tmp_path):
    """Without an effect, the intervals of the best AUC and of the honest choice contain 0.5, and no configuration or baseline
    differs from the choice after Holm's correction.
    """
    scores = scores_of(tmp_path, 8.0, 0.0)
    fixed = scores[scores["selection"] == "fixed"]
    best = fixed.loc[fixed["auc"].idxmax()]
    assert best["auc_low_all"] <= 0.5 <= best["auc_high_all"]
    honest = scores[scores["selection"] == "inside"].iloc[0]
    assert honest["auc_low"] <= 0.5 <= honest["auc_high"]
    assert len(scores) > 20
    compared = scores[scores["p"].notna()]
    assert {"fixed", "baseline"} <= set(compared["selection"])
    assert not (compared["p_holm"] < 0.05).any(), compared.loc[compared["p_holm"] < 0.05]
