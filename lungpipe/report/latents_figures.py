"""Pictures of an autoencoder's latents: nodules in a plane, and what changes along each latent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lungpipe.learn.folds import CLASSES
from lungpipe.report.style import FAINT, GRID, INK, MARKERS, PALETTE, house_style, new_figure, svg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

#: Colour of nodules without a label.
UNLABELLED = "#9aa4ad"


def plane_picture(
    plane: NDArray[np.float64],
    group: NDArray[np.int64],
    labels: NDArray[np.float64],
    explained: tuple[float, float],
    *,
    simulated: bool,
) -> str:
    """Draw nodules in the plane of two principal components: colour for the label, shape for the group.

    Parameters
    ----------
    plane : ndarray of float, shape (n, 2)
    group : ndarray of int, shape (n,)
        From 0.
    labels : ndarray of float, shape (n,)
        1 malignant, 0 benign, NaN unknown.
    explained : tuple of float
        Share of the variance along each axis.
    simulated : bool
        Says "simulated intensities" in the figure.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    kinds = [
        (labels == value, PALETTE[value], f"{name} ({int((labels == value).sum())})") for value, name in CLASSES.items()
    ]
    kinds.append((np.isnan(labels), UNLABELLED, f"no label ({int(np.isnan(labels).sum())})"))
    several = group.max(initial=0) > 0
    with house_style():
        figure = new_figure(6.8, 5.0)
        axes = figure.subplots()
        for here, colour, name in kinds:
            for number in np.unique(group[here]):
                part = plane[here & (group == number)]
                label = f"{name}, group {number + 1}: {len(part)}" if several else name
                axes.plot(
                    part[:, 0], part[:, 1], linestyle="none", marker=MARKERS[number % len(MARKERS)], markersize=6,
                    color=colour, alpha=0.7, markeredgewidth=0, label=label,
                )  # fmt: skip
        axes.set_xlabel(f"First principal component ({100 * explained[0]:.0f} % of the variance)")
        axes.set_ylabel(f"Second ({100 * explained[1]:.0f} %)")
        axes.grid(color=GRID, linewidth=0.7)
        figure.legend(loc="outside lower center", fontsize=8.5, ncols=2)
        _say_simulated(axes, simulated)
        return svg(figure)


def traversal_picture(
    images: Sequence[NDArray[np.float32]], names: Sequence[str], window_hu: tuple[float, float], *, simulated: bool
) -> str:
    """Draw what the decoder makes along each latent, one row a latent, low values on the left.

    Parameters
    ----------
    images : sequence of ndarray of float32, shape (steps, y, x)
        HU, one stack a latent.
    names : sequence of str
        What stands beside each row.
    window_hu : tuple of float
        Shown from black to white.
    simulated : bool
        Says "simulated intensities" in the figure.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    rows, columns = len(images), len(images[0])
    with house_style():
        figure = new_figure(1.05 * columns + 1.7, 1.05 * rows + 0.45)
        grid = figure.subplots(rows, columns, squeeze=False)
        for line, stack, name in zip(grid, images, names, strict=True):
            for axes, image in zip(line, stack, strict=True):
                axes.imshow(image, cmap="gray", vmin=window_hu[0], vmax=window_hu[1], interpolation="bilinear")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8.5, color=INK)
        grid[0, 0].set_title("low", fontsize=9, color=FAINT)
        grid[0, -1].set_title("high", fontsize=9, color=FAINT, loc="right")
        if simulated:
            figure.supxlabel("Simulated intensities", x=0.995, ha="right", fontsize=8, color=FAINT, style="italic")
        return svg(figure)


def _say_simulated(axes: Axes, simulated: bool) -> None:
    if simulated:
        axes.set_title("Simulated intensities", loc="right", fontsize=8, color=FAINT, style="italic")
