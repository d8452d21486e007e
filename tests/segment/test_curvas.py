"""Figures of the CURVAS challenge, against a three-rater example by hand and against formulas of their own."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from data_catalog.lidc.nodules import read_nodules
from lungpipe.dicom.index import index_series
from lungpipe.errors import DatasetError, GeometryError
from lungpipe.geometry import Geometry
from lungpipe.segment.agreement import dice
from lungpipe.segment.consensus import consensus_masks
from lungpipe.segment.curvas import (
    CALIBRATION_BINS,
    ProbabilityMap,
    as_probability,
    calibration_error,
    confidence,
    consensus_dice,
    curvas,
    dissensus_dice,
    regions,
    volume_crps_mm3,
)
from lungpipe.volume import Mask

#: Ten voxels of 2 mm3, numbered 0 to 4 and 5 to 9; the whole image lies within the margin of background.
FRAME = Geometry((1, 2, 5), (2.0, 1.0, 1.0), (3.0, -4.0, 5.0))


def mask(*voxels: int) -> Mask:
    inside = np.zeros(10, dtype=np.bool_)
    inside[list(voxels)] = True
    return Mask(inside.reshape(FRAME.shape), FRAME)


def probabilities(*values: float) -> ProbabilityMap:
    return ProbabilityMap(np.array(values, dtype=np.float64).reshape(FRAME.shape), FRAME)


# All agree on 1, 2, 3 (inside) and 6, 7, 8, 9 (outside); they differ on 0, 4, 5.
A, B, C = mask(0, 1, 2, 3), mask(1, 2, 3), mask(1, 2, 3, 4, 5)
P = probabilities(0.61, 0.91, 0.81, 0.31, 0.71, 0.11, 0.21, 0.0, 0.615, 0.0)
EMPTY = mask()


@pytest.fixture(scope="module")
def by_hand():
    return curvas(P, [A, B, C])


def test_regions_of_three_raters() -> None:
    """Three raters divide the voxels into those all draw, those none draws and those in between."""
    found = regions([A, B, C])
    assert found is not None
    assert np.flatnonzero(found.inside).tolist() == [1, 2, 3]
    assert np.flatnonzero(found.outside).tolist() == [6, 7, 8, 9]
    assert np.flatnonzero(found.dissensus).tolist() == [0, 4, 5]


def test_dice_by_hand(by_hand) -> None:
    """The map's mask is 0, 1, 2, 4, 8, and its overlaps follow by counting."""
    # A holds 0, 1, 2 of them: 2 * 3 / (5 + 4). B holds 1, 2: 2 * 2 / (5 + 3). C holds 1, 2, 4: 2 * 3 / (5 + 5).
    assert by_hand.dice == pytest.approx((2 / 3, 1 / 2, 3 / 5), abs=1e-9)
    # Without the dissensus the mask is 1, 2, 8 and the raters' 1, 2, 3: 2 * 2 / (3 + 3).
    assert by_hand.consensus_dice == pytest.approx(2 / 3, abs=1e-9)
    # Within it the mask is 0, 4. A has 0: 2 * 1 / (2 + 1). B has none: 0. C has 4, 5: 2 * 1 / (2 + 2).
    assert by_hand.dissensus_dice == pytest.approx((2 / 3 + 0 + 1 / 2) / 3, abs=1e-9)


def test_confidence_by_hand(by_hand) -> None:
    """Confidence is the mean of p inside and of 1 - p outside, and within the dissensus that of the likelier answer."""
    # Inside: (0.91 + 0.81 + 0.31) / 3 = 2.03 / 3. Outside: (0.79 + 1 + 0.385 + 1) / 4 = 3.175 / 4.
    assert by_hand.consensus_confidence == pytest.approx((2.03 / 3 + 3.175 / 4) / 2, abs=1e-9)
    # 0.61, 0.71 and 1 - 0.11 = 0.89.
    assert by_hand.dissensus_confidence == pytest.approx(2.21 / 3, abs=1e-9)


def test_calibration_error_by_hand(by_hand) -> None:
    """Ten voxels in nine bins, two of them (0 and 8) in the bin of 0.60 to 0.62, where what is right counts together."""
    # Confidence of 0 to 9: .61 .91 .81 .69 .71 .89 .79 1 .615 1; bins 30 45 40 34 35 44 39 50 30 50.
    # Against A all but 3, 4 and 8 are right: |1 - 1.225| + .09 + .19 + .69 + .71 + .11 + .21 + 0 = 2.225, over 10 voxels.
    # Against B 0 is wrong too: 1.225 + .09 + .19 + .69 + .71 + .11 + .21 = 3.225.
    # Against C 0, 3, 5 and 8 are wrong: 1.225 + .09 + .19 + .69 + .29 + .89 + .21 = 3.585.
    assert by_hand.calibration_error == pytest.approx((0.2225, 0.3225, 0.3585), abs=1e-9)
    assert by_hand.mean_calibration_error == pytest.approx(0.9035 / 3, abs=1e-9)


def test_volume_score_by_hand(by_hand) -> None:
    """The map's volume is 4.285 * 2 mm3; the raters' 8, 6 and 10 mm3 have mean 8 and variance 8 / 3."""
    assert by_hand.volume_mm3 == pytest.approx(8.57, abs=1e-9)
    # sigma = sqrt(8 / 3) = 1.632993 and z = 0.57 / sigma = 0.349052, so 2 Phi(z) - 1 = 0.272952 and phi(z) = 0.375364:
    # sigma * (0.349052 * 0.272952 + 2 * 0.375364 - 1 / sqrt(pi)) = 1.632993 * (0.095275 + 0.750728 - 0.564190) = 0.46020.
    # The integral that defines it, in thirty digits:
    assert by_hand.crps_mm3 == pytest.approx(0.460199601972048, abs=1e-9)


@given(
    st.floats(-3000, 3000),
    st.lists(st.floats(10, 900), min_size=2, max_size=5).filter(lambda volumes: np.std(volumes) > 1),
)
def test_volume_score_is_the_integral_that_defines_it(off: float, volumes: list[float]) -> None:
    """The closed form equals the integral of the squared difference of distribution and step, also far beyond three sigma."""
    mean, spread = float(np.mean(volumes)), float(np.std(volumes))
    volume, far = mean + off, 10 * spread
    normal = stats.norm(mean, spread)
    below, _ = integrate.quad(lambda v: normal.cdf(v) ** 2, min(mean - far, volume), min(volume, mean + far), limit=200)
    above, _ = integrate.quad(lambda v: normal.sf(v) ** 2, max(volume, mean - far), max(mean + far, volume), limit=200)
    flat = max(0.0, off - far) + max(0.0, -off - far)  # where the distribution is 1, or 0, and the step is not
    assert volume_crps_mm3(volume, volumes) == pytest.approx(below + above + flat, rel=1e-6, abs=1e-6)


def test_volume_score_without_spread_is_the_difference() -> None:
    """One rater, or raters of equal volumes, leave the absolute difference."""
    assert volume_crps_mm3(130.0, [100.0]) == 30.0
    assert volume_crps_mm3(70.0, [100.0, 100.0]) == 30.0
    assert volume_crps_mm3(100.0, [100.0, 100.0 + 1e-13]) == pytest.approx(0.0, abs=1e-9)


def in_words(p: list[int], drawn: list[bool]) -> float:
    """The calibration error of probabilities in thousandths, voxel by voxel in exact fractions."""
    bins: dict[int, list[tuple[Fraction, bool]]] = {}
    for thousandths, inside in zip(p, drawn, strict=True):
        value = Fraction(thousandths, 1000)
        sure = max(value, 1 - value)
        bins.setdefault(math.floor(sure * CALIBRATION_BINS), []).append((sure, (value > Fraction(1, 2)) == inside))
    total = Fraction(0)
    for held in bins.values():
        share = Fraction(sum(right for _, right in held), len(held))
        total += abs(share - sum(sure for sure, _ in held) / len(held)) * Fraction(len(held), len(p))
    return float(total)


#: Thousandths that are no edge of a bin (a multiple of 20), where rounding would decide.
OFF_EDGE = st.integers(0, 1000).filter(lambda n: n % 20 or n in {0, 500, 1000})


@given(st.lists(OFF_EDGE, min_size=10, max_size=10), st.lists(st.booleans(), min_size=10, max_size=10).filter(any))
def test_calibration_error_equals_that_in_exact_fractions(p: list[int], drawn: list[bool]) -> None:
    """Binned sums over arrays give what a loop over voxels gives in fractions."""
    rater = mask(*np.flatnonzero(drawn).tolist())
    assert calibration_error(probabilities(*(n / 1000 for n in p)), [rater]) == pytest.approx(
        [in_words(p, drawn)], abs=1e-12
    )


def test_a_mask_is_a_map_of_0_and_1() -> None:
    """A mask's calibration error is the share of voxels where it differs, and its confidence is 1 where it decides."""
    found = curvas(mask(1, 2, 8), [A, B, C])
    # Against A: 0, 3 and 8 differ; against B: 3 and 8; against C: 3, 4, 5 and 8.
    assert found.calibration_error == pytest.approx((0.3, 0.2, 0.4), abs=1e-9)
    # Right on two of three inside and three of four outside.
    assert found.consensus_confidence == pytest.approx((2 / 3 + 3 / 4) / 2, abs=1e-9)
    assert found.dissensus_confidence == 1.0
    assert found.volume_mm3 == 6.0
    assert found == curvas(as_probability(mask(1, 2, 8)), [A, B, C])


def test_the_order_of_raters_and_the_crops_change_nothing(by_hand) -> None:
    """Raters in another order give their figures in that order; a crop of zeros taken off changes none."""
    turned = curvas(P, [C, A, B])
    assert turned.dice == (by_hand.dice[2], *by_hand.dice[:2])
    assert turned.mean_calibration_error == pytest.approx(by_hand.mean_calibration_error, abs=1e-12)
    wide = Geometry((40, 60, 60), FRAME.spacing_mm)
    start = (20, 30, 30)
    raters = [Mask(one.voxels, wide, start) for one in (A, B, C)]
    values = np.zeros(wide.shape)
    values[20:21, 30:32, 30:35] = P.voxels
    assert curvas(ProbabilityMap(values, wide), raters) == curvas(ProbabilityMap(P.voxels, wide, start), raters)


def test_background_counts_up_to_the_margin() -> None:
    """A map that is wrong beyond 20 mm of what raters drew is as well calibrated as one that is not; its volume tells."""
    frame = Geometry((1, 1, 200), (1.0, 1.0, 1.0))
    rater = Mask(np.ones((1, 1, 10), dtype=np.bool_), frame, (0, 0, 95))
    leaking = np.zeros(frame.shape, dtype=np.bool_)
    leaking[..., 95:105] = leaking[..., :75] = True
    found = curvas(Mask(leaking, frame), [rater])
    assert found.calibration_error == (0.0,)
    assert found.crps_mm3 == 75.0
    assert found.consensus_dice == pytest.approx(2 * 10 / (85 + 10))
    leaking[..., 75] = True  # one voxel nearer: one of the 50 within the margin
    assert curvas(Mask(leaking, frame), [rater]).calibration_error == pytest.approx((1 / 50,))


def test_raters_who_agree_leave_no_dissensus() -> None:
    """Of one rater, or of equal ones, figures of the dissensus are not numbers and the consensus is that rater."""
    for raters in ([A], [A, A]):
        found = curvas(P, raters)
        assert math.isnan(found.dissensus_dice)
        assert math.isnan(found.dissensus_confidence)
        assert found.consensus_dice == pytest.approx(found.dice[0])


def test_empty_masks_are_not_numbers() -> None:
    """Raters who drew nothing leave no region, and an empty prediction has no overlap with them."""
    found = curvas(EMPTY, [EMPTY, EMPTY])
    undefined = [*found.dice, found.consensus_dice, found.dissensus_dice, found.consensus_confidence]
    undefined += [found.dissensus_confidence, *found.calibration_error, found.mean_calibration_error]
    assert all(math.isnan(value) for value in undefined)
    assert (found.volume_mm3, found.crps_mm3) == (0.0, 0.0)
    nothing = curvas(EMPTY, [A, B, C])
    assert nothing.dice == (0.0, 0.0, 0.0)
    assert nothing.consensus_dice == 0.0
    # Raters with no voxel in common leave nothing inside to be sure of.
    assert math.isnan(confidence(P, [mask(0), mask(5)])[0])


def test_one_rater_who_drew_nothing_is_a_rater() -> None:
    """With an empty mask among them nothing is agreed to be inside."""
    assert consensus_dice(mask(0, 9), [A, EMPTY]) == 0.0
    assert math.isnan(consensus_dice(mask(0), [A, EMPTY]))
    # Against A: 2 * 1 / (1 + 4); against the empty one: 0.
    assert dissensus_dice(mask(0), [A, EMPTY]) == pytest.approx(0.4 / 2)


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan])
def test_what_is_no_probability_is_refused(value: float) -> None:
    """Values below 0, above 1 or not numbers stop the evaluation."""
    with pytest.raises(DatasetError, match="from 0 to 1"):
        probabilities(*[0.5] * 9, value)


def test_other_grids_and_no_raters_are_refused() -> None:
    """Figures are of one grid and of at least one rater."""
    other = ProbabilityMap(P.voxels, Geometry(FRAME.shape, (2.5, 1.0, 1.0)))
    with pytest.raises(GeometryError, match="one grid"):
        curvas(other, [A, B])
    with pytest.raises(GeometryError, match="one grid"):
        calibration_error(other, [A])
    with pytest.raises(GeometryError, match="at least one"):
        curvas(P, [])


@pytest.mark.real_data
def test_four_raters_of_a_real_nodule(lidc_0314) -> None:
    """Every consensus of the four raters of scan 0314 is right where they agree, and the score of their mean volume is best."""
    (series,) = index_series(lidc_0314).series
    (nodule,) = read_nodules(series.series_uid, "LIDC-IDRI-0314", series.geometry)
    raters = list(nodule.raters)
    assert len(raters) == 4
    agreed = consensus_masks(raters)
    for one in (agreed.majority, agreed.union, agreed.intersection, agreed.staple.mask):
        found = curvas(one, raters)
        assert found.consensus_dice == 1.0
        assert found.consensus_confidence == 1.0
    mean = np.mean([rater.volume_mm3 for rater in raters])
    spread = np.std([rater.volume_mm3 for rater in raters])
    # At the mean the score is sigma * (2 phi(0) - 1 / sqrt(pi)) = 0.2337 sigma.
    best = volume_crps_mm3(mean, [rater.volume_mm3 for rater in raters])
    assert best == pytest.approx(0.2336950 * spread, rel=1e-6)
    for rater in raters:
        found = curvas(rater, raters)
        assert found.dice == tuple(dice(rater, other) for other in raters)
        assert found.crps_mm3 >= best
