"""Training is seeded, stops early, and goes on where it was cut off."""

import json

import numpy as np
import pytest
import torch

from lungpipe.deep.train import Training, train
from lungpipe.errors import DatasetError

SIDE = 8


def patch(rng):
    """A bright cube somewhere in noise, with its box as the prompt."""
    target = np.zeros((1, SIDE, SIDE, SIDE), dtype=np.float32)
    at = rng.integers(1, 4, 3)
    target[0, at[0] : at[0] + 4, at[1] : at[1] + 4, at[2] : at[2] + 4] = 1
    image = target[0] * 0.6 + 0.1 * rng.standard_normal(target[0].shape)
    return np.stack([image, target[0]]).astype(np.float32), target


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv3d(2, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Conv3d(4, 1, 1)
    )


HELD = [patch(np.random.default_rng(100 + k)) for k in range(4)]
SETTINGS = Training(epochs=4, steps=5, batch=2, learning_rate=0.02, patience=10, seed=3)


def test_a_training_learns_and_keeps_its_best_epoch(tmp_path):
    """Dice on held-back patches rises, and the weights are those of the epoch that has the highest."""
    settings = Training(epochs=6, steps=15, batch=4, learning_rate=0.03, seed=3)
    told = []
    trained = train(network(), patch, HELD, settings, tmp_path, told.append)
    assert [one.number for one in told] == [1, 2, 3, 4, 5, 6]
    assert trained.best.dice > 0.95
    assert trained.best.dice == max(one.dice for one in trained.epochs)
    again = network()
    again.load_state_dict(trained.tensors)
    with torch.inference_mode():
        inside = again.eval()(torch.from_numpy(np.stack([x for x, _ in HELD])))[:, 0] > 0
    true = torch.from_numpy(np.stack([y[0] for _, y in HELD])) >= 0.5
    dice = 2 * (inside & true).sum((1, 2, 3)) / (inside.sum((1, 2, 3)) + true.sum((1, 2, 3)))
    assert float(dice.mean()) == pytest.approx(trained.best.dice, abs=1e-6)
    assert len(json.loads((tmp_path / "history.json").read_text())) == 6
    assert [*(tmp_path / "log").glob("events.out.tfevents.*")]


def test_a_training_that_was_cut_off_ends_as_one_that_was_not(tmp_path):
    """Weights and history after a cut are those without it; another seed gives others."""
    whole = train(network(), patch, HELD, SETTINGS, tmp_path / "whole")

    def cut(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(network(), patch, HELD, SETTINGS, tmp_path / "cut", cut)
    resumed = train(network(seed=9), patch, HELD, SETTINGS, tmp_path / "cut")
    assert resumed.epochs == whole.epochs
    assert all(torch.equal(whole.tensors[name], resumed.tensors[name]) for name in whole.tensors)
    other = train(network(), patch, HELD, Training(**{**FIELDS, "seed": 4}), tmp_path / "other")
    assert other.epochs != whole.epochs


FIELDS = {name: getattr(SETTINGS, name) for name in ("epochs", "steps", "batch", "learning_rate", "patience", "seed")}


def test_layers_are_freed_from_the_last_to_the_first(tmp_path):
    """The first layer is as it was until its turn comes; a training cut off before that frees it all the same."""
    settings = Training(**{**FIELDS, "unfreeze_epochs": 2, "unfreeze_groups": 2})
    one, before = network(), network()[0].weight.detach().clone()
    held = []

    def watch(epoch):
        held.append(torch.equal(one[0].weight, before))

    whole = train(one, patch, HELD, settings, tmp_path / "whole", watch)
    assert held == [True, True, False, False]

    def cut(epoch):
        if epoch.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(network(), patch, HELD, settings, tmp_path / "cut", cut)
    resumed = train(network(seed=9), patch, HELD, settings, tmp_path / "cut")
    assert all(torch.equal(whole.tensors[name], resumed.tensors[name]) for name in whole.tensors)


def test_what_a_training_depends_on_is_compared(tmp_path):
    """A checkpoint of other data or another network is refused, though the settings are the same."""
    train(network(), patch, HELD, SETTINGS, tmp_path, of="these nodules")
    with pytest.raises(DatasetError, match="other settings"):
        train(network(), patch, HELD, SETTINGS, tmp_path, of="other nodules")


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    """What was trained otherwise is not gone on with in silence."""
    train(network(), patch, HELD, Training(**{**FIELDS, "epochs": 1}), tmp_path)
    with pytest.raises(DatasetError, match="other settings"):
        train(network(), patch, HELD, SETTINGS, tmp_path)


def test_a_training_that_gains_nothing_stops(tmp_path):
    """After `patience` epochs without a better Dice it is over."""
    still = Training(**{**FIELDS, "epochs": 30, "learning_rate": 1e-9, "patience": 2})
    assert len(train(network(), patch, HELD, still, tmp_path).epochs) == 3


def test_a_loss_that_is_no_number_ends_the_training(tmp_path):
    """It says what to change."""

    def broken(rng):
        x, y = patch(rng)
        return x * np.nan, y

    with pytest.raises(DatasetError, match=r"loss became nan in epoch 1; lower training\.learning_rate"):
        train(network(), broken, HELD, SETTINGS, tmp_path)


def test_nothing_held_back_is_refused(tmp_path):
    """Without held-back nodules no epoch could be chosen."""
    with pytest.raises(DatasetError, match="held-back"):
        train(network(), patch, [], SETTINGS, tmp_path)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"weight_decay": -1.0}])
def test_numbers_without_sense_are_refused(change):
    """Each is told by its name."""
    with pytest.raises(DatasetError, match="training"):
        Training(**change)
