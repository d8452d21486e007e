"""IBSI's Gabor filter: a plane wave under an elliptic Gaussian, plane by plane."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import fft

from lungpipe.errors import DatasetError
from lungpipe.radiomics.ibsi2.boundary import PAD_MODE, check_boundary, local_reach
from lungpipe.radiomics.ibsi2.convolve import DIMENSIONS
from lungpipe.radiomics.ibsi2.fields import one_of, positive, same_side
from lungpipe.radiomics.ibsi2.rotation import POOLINGS, pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.ibsi2.boundary import Boundary
    from lungpipe.radiomics.ibsi2.convolve import Dimensions
    from lungpipe.radiomics.ibsi2.rotation import Pooling

#: Half the kernel's side in standard deviations of its longer axis. IBSI names none; what lies further out weighs
#: less than exp(-18) = 2e-8 of the middle.
CUTOFF = 6.0
#: Voxels of padded planes that are transformed at a time, which bounds the memory.
CHUNK_VOXELS = 2_000_000


@dataclass(frozen=True, slots=True)
class Gabor:
    """Gabor filter (IBSI Q88H): the modulus of the response to a complex wave.

    In each plane, with lengths in voxels and ``u = x cos(theta) + y sin(theta)``, ``v = x sin(theta) - y cos(theta)``::

        g(x, y) = exp(-(u^2 + gamma^2 v^2) / (2 sigma^2) + 2 pi i u / lambda)

    Parameters
    ----------
    sigma_mm : float
        Standard deviation of the Gaussian along the wave (IBSI 41LN), mm.
    lambda_mm : float
        Wavelength (IBSI S4N6), mm.
    gamma : float
        Spatial aspect ratio (IBSI GDR5): sigma over the standard deviation across the wave.
    theta_deg : float
        Direction of the wave (IBSI FQER), degrees, from the first axis of the plane (x) towards the second (y).
    step_deg : float, optional
        Step of orientation over which responses are pooled (IBSI XTGK), degrees; it must divide 360. None takes
        ``theta_deg`` alone.
    pooling : {"mean", "max", "min"}
        Over the orientations.
    dimensions : {3, 2}
        3 averages the responses of the three stacks of orthogonal planes, 2 takes the slices alone.
    boundary : {"mirror", "zero", "nearest", "periodic"}

    Raises
    ------
    DatasetError
        If a parameter makes no sense.
    """

    recipe_name: ClassVar[str] = "ibsi-gabor"

    sigma_mm: float
    lambda_mm: float
    gamma: float = 1.0
    theta_deg: float = 0.0
    step_deg: float | None = None
    pooling: Pooling = "mean"
    dimensions: Dimensions = 3
    boundary: Boundary = "mirror"

    def __post_init__(self) -> None:
        name = self.recipe_name
        for field in ("sigma_mm", "lambda_mm", "gamma"):
            positive(name, field, getattr(self, field))
        if (
            isinstance(self.theta_deg, bool)
            or not isinstance(self.theta_deg, int | float)
            or not math.isfinite(self.theta_deg)
        ):
            raise DatasetError(f"{name}: theta_deg must be an angle in degrees; found {self.theta_deg!r}")
        if self.step_deg is not None:
            positive(name, "step_deg", self.step_deg)
            if not math.isclose(360 / self.step_deg, round(360 / self.step_deg), rel_tol=1e-9):
                raise DatasetError(f"{name}: step_deg must divide 360, as 22.5 and 45 do; found {self.step_deg!r}")
        one_of(name, "pooling", self.pooling, POOLINGS)
        one_of(name, "dimensions", self.dimensions, DIMENSIONS)
        check_boundary(name, self.boundary)

    def label(self) -> str:
        """Main part of the image's name in a feature table."""
        return f"gabor-{self.sigma_mm:.12g}mm-{self.lambda_mm:.12g}mm"

    def reach_voxels(self, spacing_mm: Triple) -> int | None:
        """Voxels that must surround a region for the whole image's values."""
        return local_reach(self._radius(self._side(spacing_mm)), self.boundary)

    def respond(self, values: NDArray[np.float64], spacing_mm: Triple) -> NDArray[np.float64]:
        """Modulus of the response, pooled over orientations and averaged over planes, shape (z, y, x)."""
        side = self._side(spacing_mm)
        # The plane's normal goes first, its second axis (IBSI's y in an axial slice) next.
        stacks = [(0, 1, 2)] if self.dimensions == 2 else [(0, 1, 2), (1, 0, 2), (2, 0, 1)]
        planes = (self._planes(values.transpose(order), side).transpose(np.argsort(order).tolist()) for order in stacks)
        return pool(planes, "mean")

    def _planes(self, values: NDArray[np.float64], side: float) -> NDArray[np.float64]:
        """Pooled response of planes stacked along the first axis."""
        rows, columns = values.shape[1:]
        radius = self._radius(side)
        shape = (fft.next_fast_len(rows + 2 * radius), fft.next_fast_len(columns + 2 * radius))
        gains = [self._gain(theta, side, shape) for theta in self._thetas()]
        chunk = max(1, CHUNK_VOXELS // (shape[0] * shape[1]))
        out = np.empty(values.shape)
        for start in range(0, len(values), chunk):
            padded = np.pad(
                values[start : start + chunk], ((0, 0), (radius, radius), (radius, radius)), PAD_MODE[self.boundary]
            )
            spectrum = fft.fft2(padded, s=shape)
            out[start : start + chunk] = pool(_moduli(spectrum, gains, radius, (rows, columns)), self.pooling)
        return out

    def _gain(self, theta: float, side: float, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Fourier transform of the kernel about the origin: real, since the kernel at -k is its conjugate at k."""
        sigma, wavelength, radius = self.sigma_mm / side, self.lambda_mm / side, self._radius(side)
        k = np.arange(-radius, radius + 1, dtype=np.float64)
        y, x = k[:, None], k[None, :]
        u = x * math.cos(theta) + y * math.sin(theta)
        v = x * math.sin(theta) - y * math.cos(theta)
        kernel = np.exp(-(u**2 + (self.gamma * v) ** 2) / (2 * sigma**2) + 2j * math.pi * u / wavelength)
        laid = np.zeros(shape, dtype=np.complex128)
        laid[: len(k), : len(k)] = kernel
        return np.asarray(fft.fft2(np.roll(laid, (-radius, -radius), axis=(0, 1))).real)

    def _thetas(self) -> list[float]:
        """Orientations, radians; opposite directions have the same modulus and count once."""
        if self.step_deg is None:
            return [math.radians(self.theta_deg)]
        count = round(360 / self.step_deg)
        count = count // 2 if count % 2 == 0 else count
        return [math.radians(self.theta_deg + self.step_deg * i) for i in range(count)]

    def _radius(self, side: float) -> int:
        return math.ceil(CUTOFF * self.sigma_mm / (side * min(self.gamma, 1.0)))

    def _side(self, spacing_mm: Triple) -> float:
        return same_side(self.recipe_name, spacing_mm, (1, 2) if self.dimensions == 2 else (0, 1, 2))


def _moduli(
    spectrum: NDArray[np.complex128], gains: list[NDArray[np.float64]], radius: int, shape: tuple[int, int]
) -> Iterator[NDArray[np.float64]]:
    inside = (slice(None), slice(radius, radius + shape[0]), slice(radius, radius + shape[1]))
    for gain in gains:
        yield np.abs(fft.ifft2(spectrum * gain, overwrite_x=True)[inside])
