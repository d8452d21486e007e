"""Volume Fusion: what is fused, what is learned of it, and that a segmenter can start from it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn

from lungpipe.deep import weights
from lungpipe.deep.nets import build
from lungpipe.deep.volume_fusion import LEVELS, fuse, pretrain
from lungpipe.errors import DatasetError


def smooth(count, side=16, seed=0):
    """Images as different from each other as tissue is: smooth fields about levels of their own."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.standard_normal((side,) * 3), 2) for _ in range(count)]
    return [(0.1 + 0.8 * k / (count - 1) + 0.2 * f).astype(np.float32) for k, f in enumerate(fields)]


def unet(seed=0, features=(4, 8)):
    torch.manual_seed(seed)
    return build("unet", 2, {"features": features})


@given(shape=st.tuples(*[st.integers(1, 14)] * 3), levels=st.integers(1, 6), seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_every_voxel_is_mixed_as_its_target_says(shape, levels, seed):
    """The image is target / levels of the one and the rest of the other, and some voxel holds a block."""
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    image, target = fuse(a, b, levels, rng)
    share = target / levels
    np.testing.assert_allclose(image, share * a + (1 - share) * b, atol=1e-5)
    assert 0 <= target.min() <= target.max() <= levels
    assert target.max() > 0


def test_all_shares_come_and_some_of_the_background_stays():
    """Over some fusions every share occurs, the untouched background too, as blocks and not as single voxels."""
    rng = np.random.default_rng(0)
    ones, zeros = np.ones((16,) * 3, np.float32), np.zeros((16,) * 3, np.float32)
    targets = np.stack([fuse(ones, zeros, LEVELS, rng)[1] for _ in range(40)])
    assert set(np.unique(targets)) == set(range(LEVELS + 1))
    assert 0.1 < (targets == 0).mean() < 0.9
    assert (targets[..., 1:] == targets[..., :-1]).mean() > 0.75


def test_images_of_two_shapes_are_refused():
    """So is no level at all."""
    a, b = np.zeros((4, 4, 4), np.float32), np.zeros((4, 4, 5), np.float32)
    for second, levels in ((b, 4), (a, 0)):
        with pytest.raises(DatasetError, match="of one shape are fused in 1 or more levels"):
            fuse(a, second, levels, np.random.default_rng(0))


def test_a_network_learns_to_name_the_shares():
    """After some steps on tiny patches the cross-entropy is well below chance, at first it is not."""
    found = pretrain(unet(features=(8, 16)), smooth(6, 12), 60, 3, levels=1, learning_rate=1e-2)
    assert len(found.cross_entropy) == 60
    assert np.mean(found.cross_entropy[:3]) > np.mean(found.chance[:3])
    assert np.mean(found.cross_entropy[-15:]) < 0.8 * np.mean(found.chance[-15:])


def test_the_same_seed_learns_the_same():
    """Weights and course depend on the seed alone, whatever PyTorch drew before."""
    first, second, other = (pretrain(unet(), smooth(3, 8), 2, seed) for seed in (1, 1, 2))
    assert first.cross_entropy == second.cross_entropy != other.cross_entropy
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


def test_a_segmenter_starts_from_what_was_learned():
    """All but the last layer loads into a segmenter of the same architecture, which then gives one channel."""
    found = pretrain(unet(), smooth(3, 8), 2, 0)
    fresh = unet(seed=5)
    kept = fresh.head.weight.detach().clone()
    weights.load_into(fresh, found.tensors, "pretrained", without=(found.head,))
    own = fresh.state_dict()
    assert found.head == "head."
    assert set(own) - set(found.tensors) == {"head.weight", "head.bias"}
    assert all(torch.equal(own[name], one) for name, one in found.tensors.items())
    torch.testing.assert_close(fresh.head.weight, kept)
    assert fresh(torch.zeros(1, 2, 8, 8, 8)).shape == (1, 1, 8, 8, 8)


def test_what_was_learned_does_not_load_into_another_architecture():
    """A wider network refuses it, with the tensors that do not fit."""
    found = pretrain(unet(), smooth(3, 8), 1, 0)
    with pytest.raises(DatasetError, match="of another shape"):
        weights.load_into(build("unet", 2, {"features": (6, 12)}), found.tensors, "pretrained", without=(found.head,))


@pytest.mark.parametrize(
    ("patches", "steps"),
    [(smooth(2, 8)[:1], 1), ([*smooth(2, 8), np.zeros((8, 8, 4), np.float32)], 1), (smooth(2, 8), 0)],
)
def test_too_few_or_unlike_patches_are_refused(patches, steps):
    """Two patches of one shape and a step are the least."""
    with pytest.raises(DatasetError, match="two or more patches of one shape"):
        pretrain(unet(), patches, steps, 0)


def test_a_network_that_ends_otherwise_is_refused():
    """The last layer must be a convolution of one channel out; the message says what it is."""
    network = nn.Sequential(nn.Conv3d(2, 1, 1), nn.BatchNorm3d(1))
    with pytest.raises(DatasetError, match="Sequential ends with BatchNorm3d '1'"):
        pretrain(network, smooth(2, 8), 1, 0)
