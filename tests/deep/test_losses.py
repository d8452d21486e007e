"""Losses by name, and the fields of label errors behind the one that expects them in patches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.deep import kms
from lungpipe.deep.kms_loss import KmsLoss, shrink
from lungpipe.deep.losses import LOSSES, loss
from lungpipe.errors import DatasetError

RHOS = (0.3, 0.6, 0.8)


def patches(shape=(2, 1, 6, 7, 8), seed=0):
    drawn = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(shape, generator=drawn)
    return logits, (torch.rand(shape, generator=drawn) < 0.3).float()


def scene(wrong, sure=5.0):
    """A block that the network is sure of, and labels of it that are wrong where said."""
    true = torch.zeros(1, 1, 16, 16, 16)
    true[..., 4:12, 4:12, 4:12] = 1
    label = true.clone()
    label[0, 0][wrong] = 1 - label[0, 0][wrong]
    return sure * (2 * true - 1), label


def doubt(loss_, logits, label):
    """Posterior probability of each label that it is wrong."""
    return loss_.doubt(logits, label)[0, 0]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_one_number_with_a_finite_gradient(name):
    """A loss is a number, least where the network is right, and its gradient is finite even at sure logits."""
    logits, target = patches()
    logits[0, 0, 0, 0] = 80.0
    logits[0, 0, 0, 1] = -80.0
    logits.requires_grad_()
    value = loss(name, {})(logits, target)
    value.backward()
    assert value.shape == ()
    assert torch.isfinite(logits.grad).all()
    assert float(logits.grad.abs().sum()) > 0
    right = loss(name, {})(8 * (2 * target - 1), target)
    wrong = loss(name, {})(-8 * (2 * target - 1), target)
    assert right.item() < value.item()
    assert right.item() < wrong.item()


def test_dice_ce_is_the_sum_of_both_by_their_definitions():
    """Dice of each patch and mean cross-entropy, weighted, for a target of shares too."""
    logits, target = patches()
    target = target * 0.75
    p, y = torch.sigmoid(logits).double(), target.double()
    axes = (1, 2, 3, 4)
    dice = (1 - (2 * (p * y).sum(axes) + 1e-5) / (p.sum(axes) + y.sum(axes) + 1e-5)).mean()
    entropy = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    found = loss("dice_ce", {"dice_weight": 2.0, "ce_weight": 0.5})(logits, target)
    assert float(found) == pytest.approx(float(2 * dice + entropy / 2), rel=1e-5)


def test_noise_robust_dice_of_gamma_two_is_dice_with_squares():
    """With gamma 2 the loss is one less the Dice of squares, with 1 the absolute error over the same size."""
    logits, target = patches()
    p, axes = torch.sigmoid(logits), (1, 2, 3, 4)
    size = (p**2).sum(axes) + (target**2).sum(axes)
    dice = 1 - 2 * (p * target).sum(axes) / size
    absolute = (p - target).abs().sum(axes) / size
    assert float(loss("noise_robust_dice", {"gamma": 2.0})(logits, target)) == pytest.approx(
        float(dice.mean()), rel=1e-5
    )
    found = float(loss("noise_robust_dice", {"gamma": 1.0})(logits, target))
    assert found == pytest.approx(float(absolute.mean()), rel=1e-5)
    assert found != pytest.approx(float(dice.mean()), rel=1e-2)


def test_a_wrong_label_weighs_less_in_the_noise_robust_dice():
    """One label against a sure network pulls less on it than in the Dice loss of squares, and more than nothing."""
    pulls = []
    for gamma in (1.0, 1.5, 2.0):
        logits, label = scene((0, 0, 0), sure=2.0)
        logits.requires_grad_()
        loss("noise_robust_dice", {"gamma": gamma})(logits, label).backward()
        grad = logits.grad[0, 0].abs()
        pulls.append(float(grad[0, 0, 0] / grad[8, 8, 8]))
    assert 0 < pulls[0] < pulls[1] < pulls[2]


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("dice_c", {}, "did you mean 'dice_ce'"),
        ("hinge", {}, "there are dice_ce, noise_robust_dice, kms"),
        ("dice_ce", {"gamma": 1.5}, "no parameter 'gamma'; it has dice_weight, ce_weight"),
        ("dice_ce", {"dice_weight": -1.0}, "from 0 on"),
        ("dice_ce", {"dice_weight": 0.0, "ce_weight": 0.0}, "one above 0"),
        ("noise_robust_dice", {"gamma": 2.5}, "from 1 to 2, found 2.5"),
        ("kms", {"rate": 0.5}, "found 0.5"),
        ("kms", {"rate": 0.0}, "found 0"),
        ("kms", {"correlation": 1.0}, "below 1"),
        ("kms", {"correlation": [0.5, 0.5]}, "one or three"),
        ("kms", {"spread": 0.0}, "above 0"),
        ("kms", {"steps": 0}, "1 or more"),
        ("kms", {"trusting": -1}, "0 or more of trusting"),
    ],
)
def test_a_loss_that_makes_no_sense_is_refused(name, parameters, says):
    """An unknown name or parameter, or a number outside, is said with what is expected."""
    with pytest.raises(DatasetError, match=says):
        loss(name, parameters)


@given(size=st.integers(1, 9), rho=st.floats(0, 0.95))
@settings(max_examples=40, deadline=None)
def test_matrices_of_an_axis_are_those_that_numpy_finds(size, rho):
    """Inverse, factor and determinant in closed form equal the dense ones, for a single voxel too."""
    dense = rho ** np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    tensor = torch.tensor(rho, dtype=torch.float64)
    np.testing.assert_allclose(kms.correlations(size, tensor), dense, atol=1e-12)
    np.testing.assert_allclose(kms.inverse(size, tensor), np.linalg.inv(dense), atol=1e-9)
    np.testing.assert_allclose(kms.factor(size, tensor), np.linalg.cholesky(dense), atol=1e-9)
    band = np.abs(np.subtract.outer(np.arange(size), np.arange(size))) > 1
    assert not kms.inverse(size, tensor).numpy()[band].any()


def dense_of(shape, rhos):
    place = np.indices(shape).reshape(3, -1)
    apart = np.abs(place[:, :, None] - place[:, None])
    return np.prod([rho**away for rho, away in zip(rhos, apart, strict=True)], axis=0)


def test_a_grid_of_unequal_sides_is_the_kronecker_product_of_its_axes():
    """Products and determinant equal the dense ones, and swapping two axes' correlations is noticed."""
    shape, rhos = (2, 3, 4), torch.tensor(RHOS, dtype=torch.float64)
    field = np.random.default_rng(0).standard_normal((5, *shape))
    matrices = [kms.correlations(n, r) for n, r in zip(shape, rhos, strict=True)]
    found = kms.along_axes(torch.from_numpy(field), matrices).numpy().reshape(5, -1)
    dense = dense_of(shape, RHOS)
    np.testing.assert_allclose(found, field.reshape(5, -1) @ dense.T, atol=1e-12)
    assert float(kms.log_determinant(shape, rhos)) == pytest.approx(np.linalg.slogdet(dense)[1])
    assert float(kms.log_determinant(shape, rhos.flip(0))) != pytest.approx(np.linalg.slogdet(dense)[1])


def test_the_divergence_is_that_of_the_dense_normal_distributions():
    """The divergence equals that computed with dense matrices, for a spread at every voxel too, and is 0 from itself."""
    shape, rng = (2, 3, 4), np.random.default_rng(1)
    shift, spread, own = rng.standard_normal((1, *shape)), rng.uniform(0.5, 2, (1, *shape)), (0.2, 0.5, 0.4)
    first = dense_of(shape, own) * np.outer(spread, spread)
    second = dense_of(shape, RHOS) * 1.7**2
    inner = shift.ravel() @ np.linalg.solve(second, shift.ravel()) + np.trace(np.linalg.solve(second, first)) - 24
    wanted = (inner + np.linalg.slogdet(second)[1] - np.linalg.slogdet(first)[1]) / 2
    shift, spread = torch.from_numpy(shift), torch.from_numpy(spread)
    prior, wide = torch.tensor(RHOS, dtype=torch.float64), torch.tensor(1.7, dtype=torch.float64)
    found = kms.divergence(shift, spread, torch.tensor(own, dtype=torch.float64), wide, prior)
    assert float(found[0]) == pytest.approx(wanted)
    flat = torch.full_like(spread, 1.7)
    same = kms.divergence(torch.zeros_like(shift), flat, prior, wide, prior)
    assert float(same[0]) == pytest.approx(0, abs=1e-9)


def test_a_patch_of_wrong_labels_is_doubted_and_one_voxel_hardly():
    """Labels that disagree with a sure network as a patch are held for wrong, one alone is not, right ones least of all."""
    logits, label = scene((slice(4, 8), slice(4, 8), slice(4, 8)))
    label[0, 0, 14, 14, 14] = 1
    found = doubt(KmsLoss(), logits, label)
    assert float(found[4:8, 4:8, 4:8].min()) > 0.5
    assert float(found[14, 14, 14]) < 0.2
    assert float(found[9:12, 9:12, 9:12].max()) < 0.1
    unsure = doubt(KmsLoss(), 0 * logits, label)
    np.testing.assert_allclose(unsure, 0.2, atol=1e-3)


def test_without_correlation_a_patch_is_doubted_no_more_than_one_voxel():
    """With a correlation of 0 only a voxel's own logit counts; with one, its neighbours' too."""
    logits, label = scene((slice(4, 8), slice(4, 8), slice(4, 8)))
    label[0, 0, 14, 14, 14] = 1
    alone = doubt(KmsLoss(correlation=0.0), logits, label)
    assert float(alone[5, 5, 5]) == pytest.approx(float(alone[14, 14, 14]), rel=1e-3)
    along = doubt(KmsLoss(correlation=(0.0, 0.0, 0.9)), logits, label)
    assert float(along[5, 5, 5]) > 3 * float(along[14, 14, 14])


def bound(loss_, logits, label, shift, spread):
    """The evidence's lower bound without what does not depend on the posterior, computed as defined."""
    wrong = torch.sigmoid((loss_.mean.detach() + shift) * shrink(spread))
    evidence = ((1 - 2 * label) * logits)[:, 0]
    cost = kms.divergence(shift, spread.expand_as(shift), loss_.rhos, loss_.spread, loss_.rhos)
    return float((evidence * wrong).sum() - cost.sum())


def test_the_posterior_is_the_maximum_of_the_bound():
    """With steps enough no change of the posterior's mean or spread raises the bound; with few it is nearer than the prior."""
    logits, label = scene((slice(4, 8), slice(4, 8), slice(4, 8)))
    long = KmsLoss(steps=150)
    shift, spread = long.posterior(logits[:, 0], label[:, 0])
    best = bound(long, logits, label, shift, spread)
    drawn = torch.Generator().manual_seed(0)
    lower = [kms.factor(16, rho) for rho in long.rhos]
    for _ in range(5):
        step = 0.05 * kms.along_axes(torch.randn(shift.shape, generator=drawn), lower)
        assert bound(long, logits, label, shift + step, spread) < best
    for by in (0.9, 1.1):
        assert bound(long, logits, label, shift, by * spread) < best
    few = [bound(one, logits, label, *one.posterior(logits[:, 0], label[:, 0])) for one in map(stepping, (1, 5, 20))]
    start = bound(long, logits, label, 0 * shift, spread)
    assert start < few[0] < few[1] < few[2]
    assert best - few[2] < 0.02 * (best - start)


def stepping(steps):
    return KmsLoss(steps=steps)


def test_a_probability_over_a_normal_field_is_about_a_shrunk_one():
    """The mean of the logistic function over a normal variable is met within two hundredths."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    for spread in (0.5, 1.0, 2.0, 3.0):
        for mean in (-4.0, -2.0, 0.0, 1.0):
            exact = float((weights / weights.sum()) @ (1 / (1 + np.exp(-mean - spread * nodes))))
            about = float(torch.sigmoid(mean * shrink(torch.tensor(spread))))
            assert about == pytest.approx(exact, abs=0.02)
    assert KmsLoss(rate=0.3, spread=3.0).rate == pytest.approx(0.3)


def test_the_rate_is_drawn_towards_that_of_the_labels():
    """At a sure network the expected rate falls where labels are right, and rises where half of them are wrong."""
    slopes = []
    for wrong in ((slice(0, 0),) * 3, (slice(4, 12), slice(4, 12), slice(4, 8))):
        one = KmsLoss(rate=0.1, correlation=0.3, trusting=0)
        one(*(a[..., 4:12, 4:12, 4:12] for a in scene(wrong))).backward()
        slopes.append(float(one.mean.grad))
    assert slopes[0] > 0 > slopes[1]


def test_wrong_labels_pull_less_on_a_sure_network_than_by_cross_entropy():
    """At doubted labels the network is drawn to them by less than a third of what cross-entropy does."""
    logits, label = scene((slice(4, 8), slice(4, 8), slice(4, 8)))
    pulls = []
    for found in (loss("kms", {"trusting": 0}), loss("dice_ce", {"dice_weight": 0.0})):
        one = logits.clone().requires_grad_()
        found(one, label).backward()
        pulls.append(float(one.grad[0, 0, 5, 5, 5]))
    assert pulls[1] > 0  # label 0 where the network says nodule: cross-entropy pulls the logit down
    assert pulls[0] < pulls[1] / 3


def test_labels_are_doubted_alike_until_the_network_segments():
    """In the first steps the loss is cross-entropy smoothed by the rate, whatever the network says; afterwards it is not."""
    logits, label = scene((slice(4, 8), slice(4, 8), slice(4, 8)))
    one = KmsLoss(trusting=2)
    soft = label + 0.2 * (1 - 2 * label)
    smoothed = torch.nn.functional.binary_cross_entropy_with_logits(logits, soft).item()
    found = [one(logits, label).item() for _ in range(3)]
    assert found[:2] == pytest.approx([smoothed] * 2, rel=1e-5)
    assert found[2] < 0.9 * smoothed
    other = KmsLoss(trusting=2)
    other.load_state_dict(one.state_dict())
    assert other(logits, label).item() == pytest.approx(found[2], rel=1e-5)


def test_a_patch_does_not_depend_on_those_beside_it():
    """The doubt of a patch is the same alone and in a batch."""
    logits, label = scene((slice(4, 8), slice(4, 8), slice(4, 8)))
    other, target = patches((1, 1, 16, 16, 16))
    both = KmsLoss().doubt(torch.cat([logits, other]), torch.cat([label, target]))
    np.testing.assert_allclose(both[:1], KmsLoss().doubt(logits, label), atol=1e-5)


def test_the_loss_is_the_same_under_bfloat16():
    """Lower precision about it does not reach into the loss."""
    logits, label = scene((slice(4, 8), slice(4, 8), slice(4, 8)))
    with torch.autocast("cpu", torch.bfloat16):
        found = KmsLoss()(logits, label)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(KmsLoss()(logits, label).item(), rel=1e-6)
