"""Segmentation architectures: shapes, gradients, parameters, and that they can learn."""

from __future__ import annotations

from itertools import pairwise, permutations
from math import isqrt
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.deep.nets import NETWORKS, build
from lungpipe.deep.nets.blocks import Encoder, check_sides, double
from lungpipe.deep.nets.r2unet import R2UNet, Recurrent
from lungpipe.deep.nets.unet25d import with_neighbours
from lungpipe.deep.nets.unetpp import UNetPlusPlus
from lungpipe.errors import DatasetError

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"features": [4, 8, 16]},
    "unetpp": {"features": [4, 8, 16]},
    "r2unet": {"features": [4, 8, 16], "steps": 1},
    "mpunet": {"features": [6, 12, 24]},
    "unet25d": {"features": [6, 12, 24]},
    "prob_unet": {"features": [4, 8, 16], "codes": 3},
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def parameters(network: Any) -> int:
    return sum(one.numel() for one in network.parameters())


def dice_and_cross_entropy(logits: Any, y: Any) -> Any:
    inside = torch.sigmoid(logits)
    dice = (2 * (inside * y).sum((1, 2, 3, 4)) + 1) / ((inside + y).sum((1, 2, 3, 4)) + 1)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, y) + 1 - dice.mean()


def loss_of(network: Any, x: Any, y: Any) -> Any:
    own = getattr(network, "training_loss", None)
    return own(x, y, dice_and_cross_entropy) if own else dice_and_cross_entropy(network(x), y)


def nodules(side: int) -> tuple[Any, Any]:
    """Two noisy ellipsoids with their boxes, and their masks."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1) - (side - 1) / 2
    xs, ys = [], []
    for centre, radii in (((-1, 0, -2), (5, 7, 6)), ((1, -3, 1), (7, 4, 5))):
        inside = (((grid - centre) / np.array(radii)) ** 2).sum(-1) <= 1
        box = (np.abs(grid - centre) <= 1.1 * np.array(radii)).all(-1)
        xs.append([np.where(inside, 0.7, 0.2) + rng.normal(0, 0.1, inside.shape), box])
        ys.append([inside])
    return torch.tensor(np.array(xs), dtype=torch.float32), torch.tensor(np.array(ys), dtype=torch.float32)


def steps_to_learn(name: str, *, at_most: int) -> int:
    """Steps after which both nodules are segmented with a Dice above 0.95."""
    x, y = nodules(24)
    network = build(name, 2, SMALL[name])
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(1, at_most + 1):
        optimiser.zero_grad()
        loss_of(network, x, y).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)  # as in training
        optimiser.step()
        if step % 10 == 0:
            with torch.inference_mode():
                found, true = network(x) > 0, y > 0.5
            both = (found & true).sum((1, 2, 3, 4))
            if (2 * both / (found.sum((1, 2, 3, 4)) + true.sum((1, 2, 3, 4)))).min() > 0.95:
                return step
    return at_most + 1


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_have_the_shape_of_the_patch(name: str) -> None:
    """Patches of unequal sides come back as one channel of logits."""
    network = build(name, 2, SMALL[name]).eval()
    with torch.inference_mode():
        logits = network(torch.rand(2, 2, 8, 16, 12))
    assert logits.shape == (2, 1, 8, 16, 12)
    assert torch.isfinite(logits).all()
    assert logits.std() > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns(name: str) -> None:
    """After one backward pass every parameter has a gradient that is finite and not zero."""
    network = build(name, 2, SMALL[name])
    x, y = nodules(16)
    loss_of(network, x, y).backward()
    for key, one in network.named_parameters():
        assert one.grad is not None, key
        assert torch.isfinite(one.grad).all(), key
        assert one.grad.abs().max() > 1e-9, key


@pytest.mark.parametrize("name", NETWORKS)
def test_patches_of_a_batch_do_not_see_each_other(name: str) -> None:
    """A patch's logits are those that it has alone, in training as in use."""
    network = build(name, 2, SMALL[name])
    x = torch.rand(2, 2, 8, 8, 8)
    with torch.inference_mode():
        together, alone = network(x)[:1], network(x[:1])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_seed_decides_the_weights(name: str) -> None:
    """The same seed builds the same network, another seed another."""
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append(torch.cat([one.flatten() for one in build(name, 2, SMALL[name]).parameters()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_patch_that_cannot_be_halved_is_refused(name: str) -> None:
    """The error names the multiple and the sides."""
    network = build(name, 2, SMALL[name])
    with pytest.raises(DatasetError, match=r"multiples of 4, from 8 on; found .*10"):
        network(torch.rand(1, 2, 8, 8, 10))


@pytest.mark.parametrize("features", [[8], [], [8, 0], [8, 16.0], [8, True], [8, -16]])
@pytest.mark.parametrize("name", NETWORKS)
def test_widths_that_are_none_are_refused(name: str, features: list[Any]) -> None:
    """The error names the network and what was given."""
    with pytest.raises(DatasetError, match=f"{name}.*two or more levels"):
        build(name, 2, {"features": features})


def test_unet_halves_its_widths() -> None:
    """The first convolution of a level is half as wide as the second, so that an odd width is refused."""
    with pytest.raises(DatasetError, match="even whole numbers"):
        build("unet", 2, {"features": [4, 9]})


@given(st.lists(st.integers(1, 40), min_size=3, max_size=3), st.integers(2, 4))
@settings(max_examples=50, deadline=None)
def test_refused_sides_are_those_that_do_not_halve(sides: list[int], levels: int) -> None:
    """A patch passes exactly where every side can be halved without a rest, and more than one voxel is left."""

    def halvable(side: int) -> bool:
        for _ in range(levels - 1):
            if side % 2:
                return False
            side //= 2
        return side > 1

    if all(map(halvable, sides)):
        check_sides("any", sides, levels)
    else:
        with pytest.raises(DatasetError, match="multiples"):
            check_sides("any", sides, levels)


def test_a_flat_encoder_halves_y_and_x() -> None:
    """Levels of a flat encoder keep the slices, those of another one do not."""
    x = torch.rand(1, 1, 8, 8, 8)
    flat = [tuple(one.shape) for one in Encoder(1, (2, 4), double, flat=True)(x)]
    full = [tuple(one.shape) for one in Encoder(1, (2, 4), double)(x)]
    assert flat == [(1, 2, 8, 8, 8), (1, 4, 8, 4, 4)]
    assert full == [(1, 2, 8, 8, 8), (1, 4, 4, 4, 4)]


def test_unet_has_the_parameters_of_its_paper() -> None:
    """With three channels in and three classes out, and a bias in place of each norm's two: 19 069 955 (Çiçek et al. 2016)."""
    with torch.device("meta"):
        network = build("unet", 3, {"features": [64, 128, 256, 512]})
    two_more_classes = 2 * (64 + 1)
    outputs_of_convolutions = 32 + 64 + 64 + 128 + 128 + 256 + 256 + 512 + 2 * (256 + 128 + 64)
    assert parameters(network) + two_more_classes - outputs_of_convolutions == 19_069_955


def test_default_unet_is_small_enough_to_ship() -> None:
    """As float32 it fits into 4 MB."""
    assert 0.5e6 < parameters(build("unet", 2, {})) < 0.95e6


def pair(a: int, b: int, taps: int) -> int:
    """Two convolutions from a to b channels, and two numbers for each of their norms' channels."""
    return taps * (a * b + b * b) + 4 * b


@pytest.mark.parametrize("features", [(4, 8), (4, 8, 16), (3, 5, 7, 11)])
@pytest.mark.parametrize("flat", [False, True])
def test_unetpp_has_the_parameters_of_its_grid(features: tuple[int, ...], flat: bool) -> None:
    """Block (level i, step j) sees j maps of its level and one from below that is raised to its width."""
    taps, corners = (9, 4) if flat else (27, 8)
    count = sum(pair(a, b, taps) for a, b in pairwise((2, *features)))
    for i, own in enumerate(features):
        for j in range(1, len(features) - i):
            count += pair((j + 1) * own, own, taps) + corners * own * features[i + 1]
    count += (len(features) - 1) * (features[0] + 1)
    assert parameters(UNetPlusPlus(2, features, flat=flat)) == count


def test_2d_networks_have_the_parameters_of_their_papers() -> None:
    """UNet++ of 9.04 million (Zhou et al. 2018); MPUNet of 62 million (Perslev et al. 2019)."""
    with torch.device("meta"):
        unetpp = UNetPlusPlus(1, (32, 64, 128, 256, 512), flat=True)
        mpunet = build("mpunet", 1, {"features": [isqrt(2 * width**2) for width in (64, 128, 256, 512, 1024)]})
    assert round(parameters(unetpp) / 1e6, 2) == 9.04
    assert round(parameters(mpunet) / 1e6) == 62


def test_unetpp_averages_branches_that_each_are_trained() -> None:
    """Logits are the branches' mean and the training loss is that of the branches, not of their mean."""
    network = build("unetpp", 2, SMALL["unetpp"])
    x, y = nodules(16)
    first, second = network.branches(x)
    assert not torch.allclose(first, second)
    assert torch.allclose(network(x), (first + second) / 2, atol=1e-6)
    expected = (dice_and_cross_entropy(first, y) + dice_and_cross_entropy(second, y)) / 2
    assert torch.allclose(network.training_loss(x, y, dice_and_cross_entropy), expected)


@pytest.mark.parametrize("flat", [False, True])
def test_a_recurrent_convolution_adds_its_past(flat: bool) -> None:
    """Each step is leaky(norm(K x + R state)), as computed here by the formula."""
    block = Recurrent(2, 2, flat=flat)
    x = torch.randn(1, 2, 4, 4, 4)
    scale, shift = (one.detach()[None, :, None, None, None] for one in block.settle[0].parameters())

    def settled(values: Any) -> Any:
        mean = values.mean((2, 3, 4), keepdim=True)
        deviation = values.var((2, 3, 4), keepdim=True, unbiased=False).add(1e-5).sqrt()
        normed = (values - mean) / deviation * scale + shift
        return torch.maximum(normed, 0.01 * normed)

    def convolved(values: Any, weight: Any) -> Any:
        return torch.nn.functional.conv3d(values, weight, padding=(0, 1, 1) if flat else 1)

    driven = convolved(x, block.driving.weight)
    state = settled(driven)
    for _ in range(2):
        state = settled(driven + convolved(state, block.returning.weight))
    assert torch.allclose(block(x), state, atol=1e-5)


def test_more_steps_of_r2unet_cost_no_parameters() -> None:
    """A recurrent convolution uses its kernels again, and says something else."""
    networks = []
    for steps in (1, 3):
        torch.manual_seed(0)
        networks.append(build("r2unet", 2, {"features": [4, 8], "steps": steps}))
    x = torch.rand(1, 2, 8, 8, 8)
    assert parameters(networks[0]) == parameters(networks[1])
    assert not torch.allclose(networks[0](x), networks[1](x), atol=1e-3)


def test_r2unet_has_the_parameters_of_its_formula() -> None:
    """A block has an entry of one voxel and twice two kernels with one norm; raising narrows."""

    def block(a: int, b: int) -> int:
        return a * b + 2 * (2 * 27 * b * b + 2 * b)

    expected = block(2, 4) + block(4, 8) + 8 * 8 * 4 + block(8, 4) + 4 + 1
    assert parameters(R2UNet(2, (4, 8), 2)) == expected


@pytest.mark.parametrize("steps", [0, -1, 1.5, True])
def test_r2unet_without_a_step_is_refused(steps: Any) -> None:
    """Without a step it would not be recurrent."""
    with pytest.raises(DatasetError, match="steps is a whole number from 1 on"):
        build("r2unet", 2, {"steps": steps})


@pytest.mark.parametrize("order", [*permutations((2, 3, 4))])
def test_planes_of_mpunet_follow_the_axes(order: tuple[int, int, int]) -> None:
    """Of a patch with other axes the planes are the same, in another order and each perhaps transposed within."""
    network = build("mpunet", 2, SMALL["mpunet"]).double().eval()
    network.encoder, network.decoder = _symmetric(network.encoder), _symmetric(network.decoder)
    x = torch.rand(1, 2, 8, 12, 16, dtype=torch.float64)
    turned = x.permute(0, 1, *order)
    with torch.inference_mode():
        found, expected = network.planes(turned), network.planes(x)
    for k, axis in enumerate(order):
        assert torch.allclose(found[:, k], expected[:, axis - 2].permute(0, *(a - 1 for a in order)), atol=1e-9)
    with torch.inference_mode():
        assert torch.allclose(network(turned), network(x).permute(0, 1, *order), atol=1e-9)


def test_planes_of_mpunet_differ() -> None:
    """The same voxels are judged anew in each plane."""
    found = build("mpunet", 2, SMALL["mpunet"]).planes(torch.rand(1, 2, 8, 8, 8))
    assert not torch.allclose(found[:, 0], found[:, 1], atol=1e-3)
    assert not torch.allclose(found[:, 1], found[:, 2], atol=1e-3)


def _symmetric(module: Any) -> Any:
    """The module with kernels that are their own transposes within a slice."""
    with torch.no_grad():
        for one in module.modules():
            if isinstance(one, torch.nn.Conv3d | torch.nn.ConvTranspose3d):
                one.weight.copy_((one.weight + one.weight.transpose(3, 4)) / 2)
    return module


def test_slices_stand_with_their_neighbours() -> None:
    """Channels are those of the slice below, the slice and the one above; the end slices stand again beyond the ends."""
    x = torch.tensor([[[10.0, 20, 30], [1, 2, 3]]])[..., None, None]
    found = with_neighbours(x, 3)[0, :, :, 0, 0]
    expected = [[10, 10, 20], [1, 1, 2], [10, 20, 30], [1, 2, 3], [20, 30, 30], [2, 3, 3]]
    assert found.tolist() == expected


@pytest.mark.parametrize("slices", [1, 4, 0, 3.0])
def test_a_stack_without_a_middle_is_refused(slices: Any) -> None:
    """The network says the middle slice, so that their number is odd, and one has no neighbours."""
    with pytest.raises(DatasetError, match="odd number from 3 on"):
        build("unet25d", 2, {"slices": slices})


def test_unet_learns_two_nodules_by_heart() -> None:
    """Within a hundred steps, and not within none."""
    assert 10 < steps_to_learn("unet", at_most=100) <= 100


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "unet"])
def test_every_architecture_learns_two_nodules_by_heart(name: str) -> None:
    """Within two hundred steps."""
    assert 10 < steps_to_learn(name, at_most=200) <= 200
