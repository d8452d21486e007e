"""Unfreezing: the last layers learn first, the first ones last and slowest."""

import pytest
import torch
from torch import nn

from lungpipe.deep.nets import build
from lungpipe.deep.unfreeze import Unfreezing, freeze, groups_of, layers_of, parameter_groups
from lungpipe.errors import DatasetError

PATCH = torch.zeros(1, 2, 8, 8, 8)


class Crossed(nn.Module):
    """Registers its layers in another order than a patch passes them, one twice, and has one that none passes."""

    def __init__(self):
        super().__init__()
        self.last = nn.Conv3d(3, 1, 1)
        self.middle = nn.Conv3d(3, 3, 1)
        self.first = nn.Conv3d(2, 3, 1)
        self.training_only = nn.Conv3d(1, 1, 1)

    def forward(self, x):
        return self.last(self.middle(self.middle(self.first(x))))


def unet():
    torch.manual_seed(0)
    return build("unet", 2, {"features": (4, 8)})


def test_layers_come_in_the_order_in_which_a_patch_passes_them():
    """Not the order of registration counts but that of use, each layer once; the network's mode is as before."""
    network = Crossed()
    assert [name for name, _ in layers_of(network, PATCH)] == ["first", "middle", "last"]
    assert network.training
    assert not any(module._forward_pre_hooks for module in network.modules())
    first, middle, last = groups_of(network, PATCH, 3)
    assert [id(one) for one in first] == [id(one) for one in network.first.parameters()]
    assert [id(one) for one in middle] == [id(one) for one in network.middle.parameters()]
    assert {id(one) for one in last} == {
        id(one) for part in (network.last, network.training_only) for one in part.parameters()
    }


@pytest.mark.parametrize("count", [2, 3, 5])
def test_groups_divide_a_network(count):
    """Every weight is in one group, the first group holds the first layer and the last one the head alone."""
    network = unet()
    groups = groups_of(network, PATCH, count)
    own = [id(one) for group in groups for one in group]
    assert len(groups) == count
    assert sorted(own) == sorted(id(one) for one in network.parameters())
    assert len(own) == len(set(own))
    assert own[0] == id(next(network.parameters()))
    assert [id(one) for one in groups[-1]] == [id(one) for one in network.head.parameters()]


def test_groups_join_from_the_last_to_the_first():
    """Every so many epochs one more group is trained, from the head on, until all are."""
    plan = Unfreezing(epochs_each=2)
    found = [list(plan.trainable_at(epoch, 3)) for epoch in range(7)]
    assert found == [[2], [2], [1, 2], [1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2]]


def test_held_weights_stay_and_freed_ones_learn():
    """Only the groups of an epoch change, under weight decay too; once freed, the first group changes."""
    network, plan = unet(), Unfreezing(epochs_each=1)
    groups = groups_of(network, PATCH, 3)
    optimiser = torch.optim.AdamW(parameter_groups(groups, 1e-2, plan), weight_decay=0.1)
    x = torch.randn(2, 2, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    for epoch, changed in enumerate(([False, False, True], [False, True, True], [True, True, True])):
        before = [[one.detach().clone() for one in group] for group in groups]
        freeze(groups, plan.trainable_at(epoch, 3))
        optimiser.zero_grad()
        (network(x) - 1).square().mean().backward()
        optimiser.step()
        moved = [
            any(not torch.equal(a, b) for a, b in zip(*pair, strict=True)) for pair in zip(before, groups, strict=True)
        ]
        assert moved == changed


def test_each_group_learns_slower_than_the_one_behind_it():
    """Rates fall by the ratio from the head to the first layers, and the share of each stays in the optimiser."""
    found = torch.optim.SGD(parameter_groups(groups_of(unet(), PATCH, 3), 0.1, Unfreezing(ratio=2.0))).param_groups
    assert [group["lr"] for group in found] == pytest.approx([0.025, 0.05, 0.1])
    assert [group["rate_share"] for group in found] == pytest.approx([0.25, 0.5, 1.0])


@pytest.mark.parametrize("given", [{"epochs_each": 0}, {"ratio": 0.5}])
def test_a_plan_that_makes_no_sense_is_refused(given):
    """Epochs below one, or a ratio by which the first layers learned fastest."""
    with pytest.raises(DatasetError, match="1 or more"):
        Unfreezing(**given)


@pytest.mark.parametrize("count", [1, 4])
def test_more_groups_than_layers_are_refused(count):
    """A network of three layers is unfrozen in two or three groups."""
    with pytest.raises(DatasetError, match=f"3 layers with weights is unfrozen in 2 to 3 groups, found {count}"):
        groups_of(Crossed(), PATCH, count)
