"""One nodule in three views, with its shells and what surrounds them in outline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.lines import Line2D

from lungpipe.errors import GeometryError
from lungpipe.region.lung import patient_turn
from lungpipe.report.contact import lung_window
from lungpipe.report.drawing import SCALE_BAR_MM
from lungpipe.report.style import FAINT, house_style, new_figure, png
from lungpipe.volume import box_around

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from lungpipe.volume import CTVolume, Mask

#: Shown round the outermost region, mm.
MARGIN_MM = 8.0
#: Colours of structures by name; others come from the end of the list.
STRUCTURES = {"lung": "#ffffff", "large vessels": "#56B4E9", "airways": "#009E73", "neighbours": "#CC79A7"}
DPI = 120
VIEWS = ("axial", "coronal", "sagittal")


def region_views(
    volume: CTVolume,
    nodule: Mask,
    regions: Mapping[float, Mask],
    structures: Mapping[str, Mask],
    *,
    title: str = "",
    simulated: bool = False,
) -> bytes:
    """Draw axial, coronal and sagittal slices through the middle of a nodule at lung window.

    Parameters
    ----------
    volume : CTVolume
        The whole image, or a crop that holds the regions.
    nodule : Mask
        Not empty.
    regions : mapping
        Grown regions by radius, mm.
    structures : mapping
        Masks by name, such as those of :data:`STRUCTURES`.
    title : str
        A pseudonym, say.
    simulated : bool
        Says "simulated intensities" in the figure.

    Returns
    -------
    bytes
        A PNG file. Axial slices are seen from the feet and coronal ones from the front: the patient's right is on the left;
        sagittal ones have the front on the left.

    Raises
    ------
    GeometryError
        If a mask lies on another grid than the image.
    """
    for mask in (nodule, *regions.values(), *structures.values()):
        if mask.frame != volume.frame:
            raise GeometryError(
                f"a mask is not on the image's grid: {volume.frame.mismatch(mask.frame) or 'directions'}"
            )
    low, high = box_around(volume.frame, *nodule.bounds, max(regions, default=0.0) + MARGIN_MM)
    crop = volume.overlap(low, high)
    turn = patient_turn(volume.frame)
    hu, spacing_mm = turn(crop.hu), turn.lengths(volume.frame.spacing_mm)
    shades = mpl.colormaps["plasma"](np.linspace(0.55, 0.95, len(regions)))
    outlines = [
        *((name, mask, STRUCTURES.get(name, FAINT), 0.9) for name, mask in structures.items()),
        *((f"{r:g} mm", regions[r], shade, 1.0) for r, shade in zip(sorted(regions), shades, strict=True)),
        ("nodule", nodule, "#E69F00", 1.6),
    ]
    drawn = [
        (name, turn(mask.within(crop.start, crop.stop).voxels), colour, width) for name, mask, colour, width in outlines
    ]
    middle = [int(np.median(axis)) for axis in np.nonzero(drawn[-1][1])]
    with house_style():
        figure = new_figure(12.6, 4.9)
        for axis, axes in enumerate(figure.subplots(1, 3)):
            flat = [(np.take(voxels, middle[axis], axis=axis), colour, width) for _, voxels, colour, width in drawn]
            _view(
                axes,
                np.take(hu, middle[axis], axis=axis),
                flat,
                tuple(s for a, s in enumerate(spacing_mm) if a != axis),
                axis,
            )
            axes.set_title(VIEWS[axis], fontsize=9)
        handles = [Line2D([], [], color=colour, linewidth=2, label=name) for name, _, colour, _ in reversed(drawn)]
        handles.append(Line2D([], [], color=FAINT, linewidth=3, label=f"{SCALE_BAR_MM:g} mm"))
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=min(9, len(handles)), fontsize=8)
        legend.get_frame().set(facecolor="#7d8791", alpha=1.0)
        legend.set_frame_on(True)
        figure.suptitle(title + (", simulated intensities" if simulated else ""), fontsize=10, x=0.01, ha="left")
        return png(figure, DPI)


def _view(
    axes: Axes,
    hu: NDArray[np.generic],
    outlines: list[tuple[NDArray[np.bool_], object, float]],
    spacing_mm: tuple[float, ...],
    axis: int,
) -> None:
    """One slice; the first axis of a coronal or sagittal one grows to the head and is drawn upwards."""
    height, width = hu.shape
    dy, dx = spacing_mm
    across, down = width * dx, height * dy
    limits = (down, 0.0) if axis == 0 else (0.0, down)
    extent = (0.0, across, down, 0.0)
    axes.imshow(lung_window(hu.astype(np.float64)), cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest")
    x, y = (np.arange(-1, width + 1) + 0.5) * dx, (np.arange(-1, height + 1) + 0.5) * dy
    for mask, colour, line in outlines:
        if mask.any() and not mask.all():
            axes.contour(
                x, y, np.pad(mask.astype(float), 1, mode="edge"), levels=[0.5], colors=[colour], linewidths=line
            )
    axes.set(xlim=(0.0, across), ylim=limits, aspect="equal")
    base = limits[0] + 0.05 * (limits[1] - limits[0])
    axes.plot([0.04 * across, 0.04 * across + SCALE_BAR_MM], [base, base], color="white", linewidth=2.4)
    axes.set_axis_off()
