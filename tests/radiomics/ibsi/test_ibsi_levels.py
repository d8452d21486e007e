"""Discretisation and the two histograms."""

from __future__ import annotations

import numpy as np
import pytest

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi.configurations import Bins
from lungpipe.radiomics.ibsi.histogram import histogram_features, volume_histogram_features
from lungpipe.radiomics.ibsi.levels import discretise

#: Grey levels of the region of IBSI's digital phantom: 50 of 1, 1 of 3, 16 of 4, 7 of 6.
PHANTOM = np.repeat([1, 3, 4, 6], [50, 1, 16, 7])


def test_bins_of_a_fixed_width_begin_at_the_range():
    """Level 1 is at the lower end of the re-segmentation range, and a value on an edge belongs to the bin above (Q3RU)."""
    x = np.array([-500.0, -476.0, -475.0, 0.0, 399.0, 400.0])
    assert discretise(x, Bins("width", 25), (-500, 400)).tolist() == [1, 1, 2, 21, 36, 37]
    assert discretise(x + 3, Bins("width", 25)).tolist() == [1, 1, 2, 21, 36, 37]  # without a range, at the least value


def test_a_fixed_number_of_bins_divides_what_there_is():
    """The greatest value is in the last bin, whatever the range of re-segmentation (K15C)."""
    x = np.array([10.0, 12.0, 14.0, 16.0, 18.0])
    assert discretise(x, Bins("count", 4), (-500, 400)).tolist() == [1, 2, 3, 4, 4]
    assert discretise(np.full(3, 7.0), Bins("count", 32)).tolist() == [1, 1, 1]


def test_without_bins_levels_are_whole_numbers_from_one():
    """Anything else is refused, and says what to do."""
    assert discretise(np.array([1.0, 6.0]), Bins("none")).tolist() == [1, 6]
    for x in ([0.0, 1.0], [1.0, 1.5]):
        with pytest.raises(DatasetError, match="choose bins"):
            discretise(np.array(x), Bins("none"))


def test_the_histogram_counts_empty_bins():
    """Gradients of the digital phantom run over the absent levels 2 and 5 (published: 8 at 3, -50 at 1)."""
    found = histogram_features(PHANTOM)
    gradient = [found[f"ih_{name}"] for name in ("max_grad", "max_grad_g", "min_grad", "min_grad_g")]
    assert gradient == [8.0, 3.0, -50.0, 1.0]
    assert found["ih_entropy"] == pytest.approx(1.27, abs=0.005)


def test_of_several_modes_the_one_nearest_to_the_mean():
    """And of two as near the lower."""
    assert histogram_features(np.array([1, 1, 5, 5, 6]))["ih_mode"] == 5
    assert histogram_features(np.array([2, 2, 4, 4]))["ih_mode"] == 2


def test_a_single_bin_has_no_gradient():
    """Where level 1 is all there is."""
    found = histogram_features(np.ones(4, dtype=np.int64))
    assert np.isnan(found["ih_max_grad"])
    assert np.isnan(found["ih_min_grad_g"])
    assert (found["ih_entropy"], found["ih_uniformity"], found["ih_mode"]) == (0.0, 1.0, 1.0)


def test_the_volume_histogram_of_the_manual():
    """The digital phantom's fractions (manual, section 3.5): 0.324 at least 2, 0.095 at least 5; and the area under them."""
    found = volume_histogram_features(PHANTOM.astype(float), Bins("none"), None)
    assert found["ivh_v10"] == pytest.approx(24 / 74)
    assert found["ivh_v90"] == pytest.approx(7 / 74)
    assert (found["ivh_i10"], found["ivh_i90"], found["ivh_diff_i10_i90"]) == (5.0, 2.0, 3.0)
    assert found["ivh_diff_v10_v90"] == pytest.approx(17 / 74)
    curve = np.array([74, 24, 24, 23, 7, 7]) / 74
    assert found["ivh_auc"] == pytest.approx((curve[0] / 2 + curve[1:5].sum() + curve[5] / 2) * 0.2)


def test_the_range_of_the_volume_histogram_is_that_of_resegmentation():
    """Of continuous intensities, in centres of bins; counted bins know no range."""
    x = np.array([0.0, 3.0, 4.0, 9.9])
    found = volume_histogram_features(x, Bins("width", 1.0), (-10, 10))  # centres -9.5 to 9.5
    assert found["ivh_v90"] == 0.25  # from 7.6, so from the centre 8.5
    assert found["ivh_i90"] == pytest.approx(1.5)
    assert found["ivh_i10"] != found["ivh_i10"]  # a quarter lies at the top: nothing is in at most 10 %
    counted = volume_histogram_features(x, Bins("count", 1000), (-10, 10))
    assert counted["ivh_i90"] == 2.0  # bin numbers


def test_one_intensity_has_no_volume_histogram():
    """Save for the area, which the manual sets to 0."""
    found = volume_histogram_features(np.full(5, 3.0), Bins("none"), None)
    assert found.pop("ivh_auc") == 0.0
    assert np.isnan(list(found.values())).all()
