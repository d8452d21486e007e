"""A picture of the lungs found in one scan: axial, coronal and sagittal slices with outlines, as the patient lies."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from lungpipe.region.lung import LEFT, RIGHT, patient_turn
from lungpipe.report.style import INK, PALETTE, house_style, new_figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.region.lung import Lungs
    from lungpipe.volume import CTVolume

#: HU shown black and white.
WINDOW_HU = (-1150.0, 350.0)
#: Slices are taken at these shares of the way through the lungs.
SHARES = (0.15, 0.38, 0.62, 0.85)
#: Resolution, dots an inch.
DPI = 100
_COLOURS = {"right lung": PALETTE[1], "left lung": PALETTE[4], "trachea and main bronchi": PALETTE[2]}


def lung_picture(volume: CTVolume, lungs: Lungs) -> bytes:
    """Draw four axial, four coronal and four sagittal slices through the lungs.

    Parameters
    ----------
    volume : CTVolume
    lungs : Lungs
        On the volume's grid.

    Returns
    -------
    bytes
        A PNG file. Axial slices are seen from the feet and coronal ones from the front: the patient's right is on the
        left. Sagittal ones have the front on the left.
    """
    turn = patient_turn(volume.frame)
    hu, labels, airways = turn(volume.hu), turn(lungs.voxels), turn(lungs.airways.voxels)
    spacing_mm = turn.lengths(volume.frame.spacing_mm)
    outlines = {"right lung": labels == RIGHT, "left lung": labels == LEFT, "trachea and main bronchi": airways}
    with house_style():
        figure = new_figure(14.0, 10.5)
        axes = figure.subplots(3, len(SHARES))
        for axis, (row, name) in enumerate(zip(axes, ("axial", "coronal", "sagittal"), strict=True)):
            held = np.flatnonzero((labels > 0).any(axis=tuple(other for other in range(3) if other != axis)))
            order = SHARES[::-1] if axis == 0 else SHARES
            for area, share in zip(row, order, strict=True):
                k = int(held[0] + share * (held[-1] - held[0]))
                _draw_slice(area, hu, outlines, axis, k, spacing_mm)
                area.set_title(f"{name} {k + 1}", color=INK, fontsize=9)
        figure.legend(
            handles=[_line(name, colour) for name, colour in _COLOURS.items()], loc="outside lower center", ncols=3
        )
        target = io.BytesIO()
        figure.savefig(target, format="png", dpi=DPI, metadata={"Software": None})
    return target.getvalue()


def _line(name: str, colour: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, label=name)


def _draw_slice(
    area: Any,
    hu: NDArray[Any],
    outlines: dict[str, NDArray[np.bool_]],
    axis: int,
    k: int,
    spacing_mm: tuple[float, float, float],
) -> None:
    rows_mm, columns_mm = (s for other, s in enumerate(spacing_mm) if other != axis)
    area.imshow(
        np.take(hu, k, axis=axis),
        cmap="gray",
        vmin=WINDOW_HU[0],
        vmax=WINDOW_HU[1],
        aspect=rows_mm / columns_mm,
        origin="upper" if axis == 0 else "lower",
    )
    for name, inside in outlines.items():
        section = np.take(inside, k, axis=axis)
        if section.any():
            area.contour(section, levels=[0.5], colors=[_COLOURS[name]], linewidths=0.9)
    area.set_axis_off()
