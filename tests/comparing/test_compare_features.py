"""What changed in the features."""

import numpy as np
import pytest
from made_runs import features, held, nodule, record

from lungpipe.comparing.features import compare_features, relative_difference
from lungpipe.comparing.matching import match_nodules

MEAN, ENTROPY = "original_firstorder_Mean", "original_firstorder_Entropy"


def compared(first, second, key="A", nodules=(3, 3)):
    """Compare two tables of features of nodules 0, 1, 2."""
    one = held(record(), features=first, nodules=[nodule(n) for n in range(nodules[0])])
    rows = [nodule(n, key) for n in range(nodules[1])]
    other = held(record(key), features=second, nodules=rows)
    return compare_features(one, other, match_nodules(one, other))


def table(values, feature=MEAN, key="A", **changes):
    """A row a nodule with that feature."""
    return [features(number, {feature: value}, key, **changes) for number, value in enumerate(values)]


def test_equal_tables_are_equal_to_the_last_bit():
    """Missing values on both sides are equal too."""
    found = compared(table([1.0, np.nan, 3.0]), table([1.0, np.nan, 3.0]))
    assert found.n_shared == 3
    assert found.columns == [MEAN]
    assert not found.changed
    assert found.values["n_differ"].tolist() == [0]
    assert not len(found.differ)


def test_one_changed_value_is_counted_and_measured():
    """4 against 5: relative difference 1/5."""
    row = compared(table([1.0, 2.0, 4.0]), table([1.0, 2.0, 5.0])).differ.iloc[0]
    assert (row["feature"], row["n"], row["n_differ"], row["n_missing"]) == (MEAN, 3, 1, 0)
    assert row["largest_relative"] == pytest.approx(0.2, abs=1e-15)


def test_correlation_counts_a_shift_as_disagreement():
    """1, 2, 3 against 2, 3, 4: mean squares 2 between nodules, 1.5 between runs, 0 of the rest; ICC(2,1) = 2/3."""
    row = compared(table([1.0, 2.0, 3.0]), table([2.0, 3.0, 4.0])).differ.iloc[0]
    assert row["icc"] == pytest.approx(2 / 3, abs=1e-12)


def test_a_value_missing_in_one_run_is_a_difference_without_a_size():
    """Two of three nodules remain and are equal."""
    row = compared(table([1.0, 2.0, 3.0]), table([1.0, np.nan, 3.0])).differ.iloc[0]
    assert (row["n_differ"], row["n_missing"], row["largest_relative"]) == (1, 1, 0.0)


def test_regions_are_kept_apart_and_the_worst_is_named():
    """The nodule's own rows are equal, the shell's Entropy is off by half, its Mean by a tenth."""
    own = [features(n, {MEAN: 1.0 + n, ENTROPY: 2.0 + n}) for n in range(3)]
    shell = {"region": "shell", "radius_mm": 8.0}
    first = own + [features(n, {MEAN: 10.0 + n, ENTROPY: 4.0 + n}, **shell) for n in range(3)]
    second = own + [features(n, {MEAN: (9.0, 11.0, 12.0)[n], ENTROPY: (2.0, 5.0, 6.0)[n]}, **shell) for n in range(3)]
    found = compared(first, second).regions.set_index("region")
    assert found.loc["nodule", "n_features_differ"] == 0
    assert found.loc["shell", "n_features_differ"] == 2
    assert found.loc["shell", "worst"] == ENTROPY
    assert found.loc["shell", "largest_relative"] == 0.5


def test_columns_and_rows_of_one_run_are_counted():
    """B lacks nodule 2, whose row is counted as of a nodule of A alone, and one row of nodule 1."""
    shell = {"region": "shell", "radius_mm": 8.0}
    first = [*table([1.0, 2.0, 3.0]), features(1, {MEAN: 5.0}, **shell)]
    second = [features(n, {ENTROPY: 1.0}) for n in range(2)]
    found = compared(first, second, nodules=(3, 2))
    assert (found.columns, found.columns_only_a, found.columns_only_b) == ([], [MEAN], [ENTROPY])
    assert found.only_a.to_dict("records") == [
        {"segmenter": "otsu", "region": "nodule", "radius_mm": 0.0, "n": 1, "of_nodules_in_both": 0},
        {"segmenter": "otsu", "region": "shell", "radius_mm": 8.0, "n": 1, "of_nodules_in_both": 1},
    ]
    assert not len(found.only_b)
    assert found.changed


def test_rows_meet_under_other_keys_and_another_data_sets_name():
    """Matched by mask; the only data set of each counts as the same."""
    second = table([1.0, 2.0, 3.0], key="B", dataset="renamed")
    found = compared(table([1.0, 2.0, 3.0]), second, key="B")
    assert found.n_shared == 3
    assert not found.changed


def test_without_a_table_nothing_is_compared():
    """One run stopped before features."""
    one = held(record(), nodules=[nodule(0)], features=table([1.0]))
    other = held(record(), nodules=[nodule(0)])
    assert compare_features(one, other, match_nodules(one, other)) is None


def test_relative_difference_of_zero_signs_and_infinity():
    """Zero against zero is 0, zero against anything 1, opposite signs 2."""
    found = relative_difference(np.array([0.0, 0.0, -2.0, np.nan]), np.array([0.0, 3.0, 2.0, 1.0]))
    assert found[:3].tolist() == [0.0, 1.0, 2.0]
    assert np.isnan(found[3])
