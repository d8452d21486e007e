"""The autoencoder: shapes, learning, seeds and losses."""

import numpy as np
import pytest
import torch
from monai.metrics.regression import SSIMMetric

from lungpipe.deep.vae.loaded import described, latents_and_information
from lungpipe.deep.vae.losses import WINDOW, Reconstruction, bound
from lungpipe.deep.vae.networks import LesionVae
from lungpipe.deep.vae.training import VaeTraining, train_vae
from lungpipe.errors import DatasetError

FAST = {"batch": 8, "learning_rate": 5e-3, "warm_up": 0.0, "structure": 0.0, "noise": 0.01}


def balls(count, voxels=16, dims=2, seed=0):
    """Soft balls of different radius about the centre, on a dark ground."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.arange(voxels) - (voxels - 1) / 2] * dims, indexing="ij")
    distance = np.sqrt(sum(axis**2 for axis in axes))
    radii = rng.uniform(1.5, voxels / 3, count)
    return np.stack([0.1 + 0.7 / (1 + np.exp(2 * (distance - r))) for r in radii]).astype(np.float32), radii


def network(kind="gaussian", latent=3, dims=2, voxels=16, seed=0, width=8):
    torch.manual_seed(seed)
    return LesionVae(kind, latent, dims, voxels, width)


@pytest.mark.parametrize("kind", ["gaussian", "dirichlet"])
@pytest.mark.parametrize("dims", [2, 3])
def test_images_come_back_in_their_shape_and_every_weight_learns(kind, dims):
    """Values are from 0 to 1, posteriors have the family's numbers, and each weight gets a finite gradient."""
    one = network(kind, dims=dims)
    images = torch.rand(2, 1, *(16,) * dims)
    made, encoded = one(images)
    assert made.shape == images.shape
    assert encoded.shape == (2, one.latents.outputs)
    assert 0 <= made.min() <= made.max() <= 1
    bound(Reconstruction(dims, 0.5)(made, images), one.latents.divergence(encoded), 16**dims, 0.05).backward()
    grads = {name: value.grad for name, value in one.named_parameters()}
    assert all(torch.isfinite(grad).all() and grad.abs().sum() > 0 for grad in grads.values())


@pytest.mark.parametrize("wrong", [{"voxels": 24}, {"voxels": 8}, {"dims": 4}, {"width": 12}, {"width": 0}])
def test_networks_that_cannot_be_built_are_refused(wrong):
    """Sides that halvings do not bring to four voxels, other axes, and widths without groups are refused."""
    with pytest.raises(DatasetError, match="autoencoder has"):
        LesionVae(**{"kind": "gaussian", "latent": 3, "dims": 2, "voxels": 16, "width": 8} | wrong)


def test_a_few_epochs_make_images_more_alike(tmp_path):
    """On balls it has not seen, the error falls by a third within a few steps; the best epoch is the one of the best bound."""
    learned, held = balls(16)[0], balls(8, seed=1)[0]
    told = []
    trained = train_vae(network(), learned, held, VaeTraining(epochs=8, **FAST), tmp_path, told.append)
    assert [epoch.number for epoch in told] == list(range(1, 9))
    assert trained.best.error < 0.67 * told[0].error
    assert trained.best.bound == min(epoch.bound for epoch in told)
    assert trained.epochs == tuple(told)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gaussian", "dirichlet"])
def test_an_autoencoder_learns_the_size_of_balls(kind, tmp_path):
    """On balls it has not seen the error falls to less than a third, and a latent follows their radius."""
    (learned, _), (held, radii) = balls(32), balls(16, seed=1)
    one = network(kind)
    trained = train_vae(one, learned, held, VaeTraining(epochs=40, **FAST), tmp_path)
    assert trained.best.error < trained.epochs[0].error / 3
    one.load_state_dict(trained.tensors)
    latents, _ = latents_and_information(one, held)
    assert max(abs(np.corrcoef(latents.T, radii)[-1, :-1])) > 0.9


def test_one_seed_gives_one_set_of_weights(tmp_path):
    """Two trainings by one seed end with the same weights, one by another seed with others."""
    learned, held = balls(8)[0], balls(4, seed=1)[0]
    found = [
        train_vae(network(), learned, held, VaeTraining(epochs=2, seed=seed, **FAST), tmp_path / str(k)).tensors
        for k, seed in enumerate((3, 3, 4))
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert any(not torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_a_training_that_was_cut_off_ends_as_one_that_was_not(tmp_path):
    """Weights and history after a cut are those without it; a checkpoint of another training is refused."""
    learned, held = balls(8)[0], balls(4, seed=1)[0]
    settings = VaeTraining(epochs=3, **FAST)
    whole = train_vae(network(), learned, held, settings, tmp_path / "whole")

    def cut(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_vae(network(), learned, held, settings, tmp_path / "cut", cut)
    resumed = train_vae(network(seed=9), learned, held, settings, tmp_path / "cut")
    assert resumed.epochs == whole.epochs
    assert all(torch.equal(whole.tensors[name], resumed.tensors[name]) for name in whole.tensors)
    with pytest.raises(DatasetError, match="other settings"):
        train_vae(network(), learned, held, settings, tmp_path / "cut", of="other images")


def test_training_ends_when_nothing_gets_better(tmp_path):
    """With a learning rate that moves nothing, it ends after the epochs of its patience."""
    learned, held = balls(4)[0], balls(4, seed=1)[0]
    settings = VaeTraining(epochs=30, patience=3, **FAST | {"learning_rate": 1e-30, "weight_decay": 0.0})
    assert len(train_vae(network(), learned, held, settings, tmp_path).epochs) == 4


@pytest.mark.parametrize("sides", [(0, 4), (4, 0)])
def test_training_on_nothing_is_refused(sides, tmp_path):
    """Both images to learn from and held-back ones are needed."""
    images = balls(4)[0]
    with pytest.raises(DatasetError, match="found"):
        train_vae(network(), images[: sides[0]], images[: sides[1]], VaeTraining(epochs=1, **FAST), tmp_path)


def test_a_loss_that_is_no_number_stops_training(tmp_path):
    """Images that are no numbers stop at once, with the setting to change."""
    images = np.full((4, 16, 16), np.nan, dtype=np.float32)
    with pytest.raises(DatasetError, match=r"lower training\.learning_rate"):
        train_vae(network(), images, images, VaeTraining(epochs=1, **FAST), tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"learning_rate": 0.0}, {"noise": 0.0}, {"structure": 1.5}, {"warm_up": -0.1}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    """Each is named by its key in the recipe."""
    with pytest.raises(DatasetError, match=r"training\."):
        VaeTraining(**wrong)


def test_the_error_mixes_difference_and_structure():
    """At 0 it is the mean absolute difference, at 1 the dissimilarity, halfway their mean; equal images have none."""
    torch.manual_seed(0)
    made, true = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    absolute, structural = (made - true).abs().mean(), 1 - SSIMMetric(2, win_size=WINDOW)(made, true).mean()
    torch.testing.assert_close(Reconstruction(2, 0.0)(made, true), absolute)
    torch.testing.assert_close(Reconstruction(2, 1.0)(made, true), structural)
    torch.testing.assert_close(Reconstruction(2, 0.5)(made, true), (absolute + structural) / 2)
    assert Reconstruction(2, 0.5)(true, true).item() == pytest.approx(0, abs=1e-6)


def test_the_bound_is_the_laplace_likelihood_and_the_divergence():
    """Times voxels over noise, it is the negative log likelihood (without its constant) plus the divergence."""
    torch.manual_seed(1)
    made, true, noise = torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4), 0.1
    likelihood = torch.distributions.Laplace(made, noise).log_prob(true).sum() + 16 * np.log(2 * noise)
    found = bound((made - true).abs().mean(), torch.tensor([3.0]), 16, noise) * 16 / noise
    torch.testing.assert_close(found, 3.0 - likelihood)


def test_what_an_image_is_encoded_as_does_not_depend_on_its_batch():
    """Alone or among others, an image has the same latents."""
    one, images = network(), balls(5)[0]
    alone = latents_and_information(one, images[:1])[0]
    np.testing.assert_allclose(latents_and_information(one, images)[0][:1], alone, atol=1e-6)


def test_a_header_has_the_span_of_every_latent():
    """Mean, low and high are those of the images' latents; information is their mean divergence, summed the whole one."""
    one, images = network(), balls(30)[0]
    found = described(one, images)
    latents, _ = latents_and_information(one, images)
    np.testing.assert_allclose(found["low"], np.quantile(latents, 0.025, axis=0), atol=1e-6)
    np.testing.assert_allclose(found["mean"], latents.mean(axis=0), atol=1e-6)
    with torch.inference_mode():
        whole = one.latents.divergence(one.encode(torch.from_numpy(images)[:, None])).mean().item()
    assert sum(found["information"]) == pytest.approx(whole, abs=1e-4)
    assert (np.asarray(found["low"]) < found["high"]).all()
