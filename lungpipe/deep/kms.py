"""Gaussian fields on a grid whose neighbours correlate, in closed form.

Along an axis the correlation of voxels i and j is ``rho**|i - j|`` (the matrix of Kac, Murdock and Szegö); over the grid it is
the Kronecker product of the axes' matrices R. The inverse along an axis is tridiagonal and the determinant
``(1 - rho**2)**(n - 1)``, so nothing larger than an axis is ever stored, inverted or factorised.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


def correlations(size: int, rho: Any) -> Any:
    """Matrix R of an axis, shape (size, size).

    Parameters
    ----------
    size : int
        Voxels along the axis.
    rho : Tensor
        Correlation between neighbours, a number from 0 to below 1.
    """
    place = torch.arange(size, device=rho.device)
    return rho ** (place[:, None] - place).abs()


def inverse(size: int, rho: Any) -> Any:
    """Inverse of :func:`correlations`: tridiagonal, as a full matrix of shape (size, size)."""
    if size == 1:
        return torch.ones_like(rho).reshape(1, 1)
    inner = torch.ones(size, dtype=rho.dtype, device=rho.device)
    inner[1:-1] = 1 + rho**2
    beside = (-rho).expand(size - 1)
    return (torch.diag(inner) + torch.diag(beside, 1) + torch.diag(beside, -1)) / (1 - rho**2)


def factor(size: int, rho: Any) -> Any:
    """Lower triangular L with ``L @ L.T`` the matrix R, shape (size, size): the steps of an autoregression of order one."""
    lower = torch.tril(correlations(size, rho))
    scale = torch.sqrt(1 - rho**2).expand(size).clone()
    scale[0] = 1
    return lower * scale


def log_determinant(shape: Sequence[int], rhos: Any) -> Any:
    """Logarithm of the determinant of the grid's whole matrix.

    Parameters
    ----------
    shape : sequence of int
        Voxels along (z, y, x).
    rhos : Tensor, shape (3,)
        Correlation between neighbours along (z, y, x).
    """
    voxels = math.prod(shape)
    return sum(voxels // size * (size - 1) * torch.log1p(-(rho**2)) for size, rho in zip(shape, rhos, strict=True))


def along_axes(field: Any, matrices: Sequence[Any]) -> Any:
    """The Kronecker product of three matrices times fields.

    Parameters
    ----------
    field : Tensor, shape (..., z, y, x)
    matrices : sequence of Tensor
        One for each of (z, y, x).
    """
    first, second, third = matrices
    field = torch.einsum("ij,...jyx->...iyx", first, field)
    field = torch.einsum("ij,...zjx->...zix", second, field)
    return torch.einsum("ij,...zyj->...zyi", third, field)


def divergence(shift: Any, spread: Any, rhos: Any, prior_spread: Any, prior_rhos: Any) -> Any:
    """Kullback-Leibler divergence of one correlated Gaussian field from another.

    Their covariances are ``diag(spread) R diag(spread)``. Because both R are Kronecker products and the prior's inverse is
    tridiagonal along each axis, so is the elementwise product K of one R and the other's inverse, and the trace term is
    ``spread K spread / prior_spread**2`` (Tadokoro, Takagi and Maeda 2025, arXiv:2504.14795, there for two axes).

    Parameters
    ----------
    shift : Tensor, shape (n, z, y, x)
        Mean of the field less that of the prior.
    spread : Tensor, shape (n, z, y, x)
        Standard deviations of the field.
    rhos : Tensor, shape (3,)
        Correlation between the field's neighbours along (z, y, x).
    prior_spread : Tensor
        Standard deviation of the prior, a number.
    prior_rhos : Tensor, shape (3,)

    Returns
    -------
    Tensor, shape (n,)
    """
    sizes = shift.shape[-3:]
    inverses = [inverse(size, rho) for size, rho in zip(sizes, prior_rhos, strict=True)]
    mixed = [one * correlations(size, rho) for one, size, rho in zip(inverses, sizes, rhos, strict=True)]
    axes = (-3, -2, -1)
    ratio = spread / prior_spread
    distance = (shift * along_axes(shift, inverses)).sum(axes) / prior_spread**2
    trace = (ratio * along_axes(ratio, mixed)).sum(axes)
    determinants = log_determinant(sizes, prior_rhos) - log_determinant(sizes, rhos) - 2 * torch.log(ratio).sum(axes)
    return (distance + trace - math.prod(sizes) + determinants) / 2
