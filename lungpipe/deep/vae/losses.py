"""What an autoencoder minimises: the error of its images, and what their latents tell beyond the prior.

The error is the mean absolute difference, mixed with the structural dissimilarity that Zhao, Gallo, Frosio and Kautz add to it
(Loss functions for image restoration with neural networks, 2017, arXiv:1511.08861).
"""

from __future__ import annotations

from typing import Any

from monai.losses.ssim_loss import SSIMLoss
from torch import nn

#: Voxels a side of the window in which structure is compared.
WINDOW = 7


class Reconstruction(nn.Module):
    """Error of images, one number.

    Parameters
    ----------
    dims : {2, 3}
        Axes of an image.
    structure : float
        Share of the structural dissimilarity, 0 to 1; the rest is the mean absolute difference.
    """

    def __init__(self, dims: int, structure: float) -> None:
        super().__init__()
        self.structure = structure
        self.dissimilarity = SSIMLoss(dims, win_size=WINDOW)

    def forward(self, made: Any, true: Any) -> Any:
        """Images (n, 1, ...) of values from 0 to 1, made and true -> a number from 0 on."""
        absolute = (made - true).abs().mean()
        if not self.structure:
            return absolute
        return (1 - self.structure) * absolute + self.structure * self.dissimilarity(made, true)


def bound(error: Any, divergence: Any, voxels: int, noise: float) -> Any:
    """What is minimised: the negative evidence lower bound over voxels and noise, up to a constant.

    With the mean absolute difference alone as error, images whose voxels differ from the decoder's by Laplace noise of this
    scale have the negative log likelihood voxels * error / noise; what is returned is that, plus the divergence, times
    noise / voxels. Keel et al. and the beta-VAE (Higgins et al. 2017) weigh the divergence by a number of their own, which
    is the same.

    Parameters
    ----------
    error : Tensor
        Of :class:`Reconstruction`.
    divergence : Tensor, shape (n,)
        Of posteriors from the prior, nats.
    voxels : int
        Of an image.
    noise : float
        Scale of the noise, in units of the image (0 to 1).
    """
    return error + noise * divergence.mean() / voxels
