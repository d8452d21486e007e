"""Uncertainty of probability maps, against closed forms and slow sums."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import integrate, stats

from lungpipe.deep.uncertainty import common_box, nodule_uncertainty, volume_uncertainty, voxel_uncertainty
from lungpipe.errors import DatasetError

MAPS = arrays(np.float64, st.tuples(st.integers(1, 5), st.just(2), st.just(3), st.just(2)), elements=st.floats(0, 1))


def bits(p):
    """Entropy of a coin, by the sum."""
    return -sum(q * math.log2(q) for q in (p, 1 - p) if q > 0)


def test_two_maps_by_hand():
    """Voxels on which maps agree or differ have the entropies, information and variance of the sums."""
    maps = np.array([[0.5, 0.0, 1.0, 0.2], [0.5, 1.0, 1.0, 0.6]])[:, None, None]
    found = voxel_uncertainty(maps)
    np.testing.assert_allclose(found.probability.ravel(), [0.5, 0.5, 1.0, 0.4])
    np.testing.assert_allclose(found.entropy_bits.ravel(), [1, 1, 0, bits(0.4)])
    # doubt that both share is no information; two sure maps that differ are nothing else
    np.testing.assert_allclose(
        found.mutual_information_bits.ravel(), [0, 1, 0, bits(0.4) - (bits(0.2) + bits(0.6)) / 2], atol=1e-12
    )
    np.testing.assert_allclose(found.variance.ravel(), [0, 0.25, 0, 0.04])


@given(MAPS)
@settings(max_examples=40)
def test_bounds(maps):
    """0 <= information <= entropy <= 1 bit, and variance <= p (1 - p)."""
    found = voxel_uncertainty(maps)
    assert np.all(found.mutual_information_bits >= 0)
    assert np.all(found.mutual_information_bits <= found.entropy_bits + 1e-9)
    assert np.all(found.entropy_bits <= 1 + 1e-12)
    assert np.all(found.variance <= found.probability * (1 - found.probability) + 1e-12)


@given(MAPS)
@settings(max_examples=40)
def test_order_of_maps_and_repeated_maps_do_not_matter(maps):
    """Turned order, and every map twice, give the same voxels."""
    one = voxel_uncertainty(maps)
    for other in (voxel_uncertainty(maps[::-1]), voxel_uncertainty(np.concatenate([maps, maps]))):
        np.testing.assert_allclose(other.mutual_information_bits, one.mutual_information_bits, atol=1e-12)
        np.testing.assert_allclose(other.variance, one.variance, atol=1e-12)


@given(MAPS)
@settings(max_examples=40)
def test_maps_that_agree_hold_no_information(maps):
    """Copies of one map have its entropy, no mutual information, no variance and a sure volume."""
    copies = np.repeat(maps[:1], 4, axis=0)
    found, volume = voxel_uncertainty(copies), volume_uncertainty(copies, 2.0)
    np.testing.assert_allclose(found.mutual_information_bits, 0, atol=1e-9)
    np.testing.assert_allclose(found.variance, 0, atol=1e-12)
    assert volume.sd_mm3 == pytest.approx(0, abs=1e-9)
    assert volume.low_mm3 == pytest.approx(volume.high_mm3)


def test_volume_by_hand():
    """Mean, deviation (n - 1), interval and variation of the volumes 2, 4 and 6 voxels of 0.5 mm3."""
    maps = np.zeros((3, 1, 1, 6))
    for one, count in zip(maps, (2, 4, 6), strict=True):
        one[..., :count] = 1
    found = volume_uncertainty(maps, 0.5)
    assert (found.mean_mm3, found.sd_mm3, found.variation) == pytest.approx((2.0, 1.0, 0.5))
    assert (found.low_mm3, found.high_mm3) == pytest.approx((1.05, 2.95))  # ranks 0.05 and 1.95 of 1, 2, 3
    assert math.isnan(found.crps_mm3)
    assert found.unsure_mm3 == pytest.approx(0.5 * (2 * bits(2 / 3) + 2 * bits(1 / 3)))


@pytest.mark.parametrize("reference_mm3", [1.0, 2.0, 7.0])
def test_score_of_the_volume_is_the_integral(reference_mm3):
    """The CRPS is the integral of the squared difference of the Gaussian's distribution and the reference's step."""
    maps = np.zeros((4, 1, 1, 6))
    for one, count in zip(maps, (1, 4, 5, 6), strict=True):
        one[..., :count] = 1
    volumes = np.array([1, 4, 5, 6]) * 0.5
    normal = stats.norm(volumes.mean(), volumes.std())
    below = integrate.quad(lambda x: normal.cdf(x) ** 2, -20, reference_mm3, points=[0, 2])[0]
    above = integrate.quad(lambda x: normal.sf(x) ** 2, reference_mm3, 20, points=[7])[0]
    assert volume_uncertainty(maps, 0.5, reference_mm3).crps_mm3 == pytest.approx(below + above, rel=1e-6)


def test_one_map_has_no_spread():
    """One map has a volume and an entropy, but no deviation and no pair; its score is the absolute difference."""
    maps = np.full((1, 1, 1, 4), 0.5)
    volume, nodule = volume_uncertainty(maps, 1.0, 5.0), nodule_uncertainty(maps)
    assert (volume.mean_mm3, volume.crps_mm3) == (2.0, 3.0)
    assert math.isnan(volume.sd_mm3)
    assert math.isnan(nodule.pairwise_dice)
    assert nodule.entropy_bits == pytest.approx(2.0)  # four bits over two expected voxels


def test_nodule_by_hand():
    """Bits for each expected voxel, and the mean Dice of the pairs 2/3, 0 and 2/3."""
    maps = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], dtype=float)[:, None, None]
    p = np.array([1, 2, 2, 1]) / 3
    found = nodule_uncertainty(maps)
    assert found.entropy_bits == pytest.approx(sum(bits(q) for q in p) / 2)
    assert found.mutual_information_bits == pytest.approx(found.entropy_bits)  # every map is sure
    assert found.pairwise_dice == pytest.approx((0.5 + 0.0 + 0.5) / 3)


def test_surroundings_that_are_sure_do_not_count():
    """More background of probability 0 changes no figure of the nodule."""
    maps = np.random.default_rng(0).uniform(size=(3, 4, 4, 4))
    one, two = nodule_uncertainty(maps), nodule_uncertainty(np.pad(maps, ((0, 0), (2, 2), (2, 2), (2, 2))))
    assert (two.entropy_bits, two.mutual_information_bits, two.pairwise_dice) == pytest.approx(
        (one.entropy_bits, one.mutual_information_bits, one.pairwise_dice)
    )


def test_more_disagreement_is_more_uncertainty():
    """Maps of balls whose radii differ more have more information and less Dice between them."""
    z, y, x = np.indices((21, 21, 21)) - 10.0
    r = np.sqrt(z**2 + y**2 + x**2)
    found = [
        nodule_uncertainty([1 / (1 + np.exp(2 * (r - 6 - d * spread))) for d in (-1, 0, 1)])
        for spread in (0.2, 0.8, 1.6, 3.0)
    ]
    information = [one.mutual_information_bits for one in found]
    assert information == sorted(information)
    assert [one.pairwise_dice for one in found] == sorted((one.pairwise_dice for one in found), reverse=True)


def test_empty_maps_have_no_figures():
    """Nothing anywhere has no size to be unsure about."""
    found = nodule_uncertainty(np.zeros((2, 2, 2, 2)))
    assert all(map(math.isnan, (found.entropy_bits, found.mutual_information_bits, found.pairwise_dice)))
    assert math.isnan(volume_uncertainty(np.zeros((2, 2, 2, 2)), 1.0).variation)


def test_crops_are_laid_on_one_box():
    """Crops of one image come to lie where they were, 0 between."""
    stack, start = common_box(
        [np.ones((1, 2, 2), np.float32), np.full((2, 1, 1), 0.5, np.float32)], [(3, 4, 5), (2, 4, 7)]
    )
    assert (stack.shape, start) == ((2, 2, 2, 3), (2, 4, 5))
    assert stack[0].sum() == 4
    assert stack[1, :, 0, 2].tolist() == [0.5, 0.5]
    assert stack[1].sum() == 1.0


@pytest.mark.parametrize(
    ("maps", "told"),
    [
        (np.full((2, 1, 1, 1), 1.2), "0 to 1, found 1.2"),
        (np.full((2, 1, 1, 1), np.nan), "apply a sigmoid"),
        (np.zeros((3, 3, 3)), "found shape"),
        (np.zeros((0, 3, 3, 3)), "one probability map or more"),
    ],
)
def test_what_is_no_probability_is_refused(maps, told):
    """Logits, gaps, one map without an axis of its own, and no map are refused with what was found."""
    for function in (voxel_uncertainty, nodule_uncertainty, lambda m: volume_uncertainty(m, 1.0)):
        with pytest.raises(DatasetError, match=told):
            function(maps)
    with pytest.raises(DatasetError, match="found none"):
        common_box([], [])
