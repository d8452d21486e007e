"""Mean HU against distance."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lungpipe.errors import DatasetError
from lungpipe.report.profile import MEAN_HU, hu_profile, profiles, ring_means

WHO = ["patient_id", "series_uid", "nodule_id"]


def regions(patient: str, nodule: str, kind: str, means: dict[float, float], volumes: dict[float, float]):
    """Rows of features of one nodule."""
    rows = [(patient, "S", nodule, "nodule" if r == 0 else kind, r, 0.0, volumes[r], m) for r, m in means.items()]
    return pd.DataFrame(rows, columns=[*WHO, "region", "radius_mm", "inner_mm", "volume_mm3", MEAN_HU])


def test_rings_between_shells_follow_from_their_volumes():
    """Shells of 100 and 400 mm3 with means of -500 and -725 HU leave a ring of 300 mm3 with -800 HU."""
    table = regions(
        "P", "N", "shell", {0: 30.0, 2: -500.0, 4: -725.0, 6: -725.0}, {0: 50.0, 2: 100.0, 4: 400.0, 6: 400.0}
    )
    rings = ring_means(table)
    assert rings[["inner_mm", "outer_mm"]].to_numpy().tolist() == [[0, 0], [0, 2], [2, 4]]  # 6 mm adds nothing
    assert rings["mean_hu"].to_numpy() == pytest.approx([30.0, -500.0, -800.0])


def test_rings_of_the_table_are_taken_as_they_are():
    """Where the recipe asked for rings, nothing is derived from shells."""
    ring = regions("P", "N", "ring", {0: 30.0, 4: -700.0}, {0: 50.0, 4: 300.0}).assign(inner_mm=[0.0, 2.0])
    both = pd.concat([ring, regions("P", "N", "shell", {4: -1.0}, {4: 400.0})])
    assert ring_means(both)["mean_hu"].tolist() == [30.0, -700.0]


def test_intervals_count_patients():
    """Two nodules of a patient count once, as their mean; the interval is Student's over patients; unlabelled are left out."""
    means = {"A": [-800.0, -700.0], "B": [-650.0], "C": [-820.0], "D": [-10.0]}
    table = pd.concat(
        regions(patient, f"{patient}{k}", "shell", {2: mean}, {2: 100.0})
        for patient, values in means.items()
        for k, mean in enumerate(values)
    )
    nodules = table[WHO].assign(malignant=[1 if p in "ABC" else pd.NA for p in table["patient_id"]])
    found = profiles(ring_means(table), nodules)
    assert len(found) == 1
    row, values = found.iloc[0], np.array([-750.0, -650.0, -820.0])
    assert (row["malignant"], row["n_patients"]) == (1, 3)
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert [row["mean_hu"], row["low_hu"], row["high_hu"]] == pytest.approx([values.mean(), low, high])


def test_profile_is_drawn_with_its_classes():
    """The figure names both classes with their patients, says that intensities are simulated, and where the effect ends."""
    table = pd.concat(
        regions(p, p, "shell", {0: 20.0, 2: -600.0, 4: -800.0}, {0: 9.0, 2: 90.0, 4: 300.0}) for p in "ABCD"
    )
    nodules = table[WHO].drop_duplicates().assign(malignant=[0, 1, 0, 1])
    profile = profiles(ring_means(table), nodules)
    assert profile["n_patients"].tolist() == [2] * 6
    assert hu_profile(profile, planted_radius_mm=8.0, simulated=True).startswith("<svg")
    assert hu_profile(profile) == hu_profile(profile)


def test_nothing_to_draw_is_said():
    """Without mean HU there are no rings, and without rings no figure."""
    table = regions("P", "N", "shell", {0: 20.0}, {0: 9.0})
    assert ring_means(table.drop(columns=MEAN_HU)).empty
    nodules = table[WHO].assign(malignant=1)
    with pytest.raises(DatasetError, match="no profile"):
        hu_profile(profiles(ring_means(table), nodules))
