"""Scans whose native code crashes, never returns or takes all memory are left out by name, and stop nothing else."""

import bad_scans
import pandas as pd
import pytest
from night import table

import tasks.scans
from flows.cohort import cohort


@pytest.mark.slow
def test_scans_that_end_their_workers_are_left_out_alone(recipe, undisturbed, own_workers, tmp_path, monkeypatch):
    """A crash and a scan that takes all memory end as worker_died, a scan that sleeps as timeout; all others as ever."""
    monkeypatch.setattr(tasks.scans, "process_scan", bad_scans.process_scan)
    cohort(str(recipe), str(tmp_path), ["run.scan_timeout_s=45"])
    left_out = table(tmp_path, "exclusions")
    assert sorted(left_out["code"]) == ["timeout", "worker_died", "worker_died"]
    assert set(left_out["stage"]) == {"scan"}
    bad = set(left_out["series_uid"])
    assert len(bad) == 3
    others = undisturbed.features[~undisturbed.features["series_uid"].isin(bad)].reset_index(drop=True)
    pd.testing.assert_frame_equal(table(tmp_path, "features"), others, check_exact=True)
    assert set(table(tmp_path, "series")["series_uid"]) == set(undisturbed.features["series_uid"])
