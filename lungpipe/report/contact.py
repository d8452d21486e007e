"""The slices of a nodule that the page shows: grey levels at lung window, outlines as vectors over them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import find_contours

from lungpipe.errors import GeometryError
from lungpipe.report.drawing import UNITS_PER_MM, Drawing

WINDOW_CENTRE_HU, WINDOW_WIDTH_HU = -600.0, 1500.0
#: How far a drawn outline may be from that of the mask, mm.
TOLERANCE_MM = 0.15
#: Of the pictures' compression, 0 to 100: on lung it errs by about 12 HU (root mean square), less than a grey level seen.
WEBP_QUALITY = 90


def lung_window(hu: NDArray[np.floating]) -> NDArray[np.float64]:
    """Map HU to grey levels from 0 (at -1350 HU and below) to 1 (at 150 HU and above).

    Parameters
    ----------
    hu : NDArray of float
        CT numbers.

    Returns
    -------
    NDArray of float
        Of the same shape.
    """
    lowest = WINDOW_CENTRE_HU - WINDOW_WIDTH_HU / 2
    return np.clip((np.asarray(hu, dtype=np.float64) - lowest) / WINDOW_WIDTH_HU, 0, 1)


def grey_picture(hu: NDArray[np.floating], most_px: int) -> bytes:
    """Compress a slice at lung window as WebP.

    Parameters
    ----------
    hu : NDArray of float, shape (y, x)
        A slice in HU.
    most_px : int
        Longest side; a larger slice is reduced by averaging.

    Returns
    -------
    bytes
        A WebP file.
    """
    image = Image.fromarray(np.rint(255 * lung_window(hu)).astype(np.uint8))
    if max(image.size) > most_px:
        image = image.resize([max(1, round(n * most_px / max(image.size))) for n in image.size], Image.Resampling.BOX)
    target = io.BytesIO()
    image.save(target, format="WEBP", quality=WEBP_QUALITY, method=4)
    return target.getvalue()


def outline_path(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> str:
    """Outline a mask as the path of an SVG.

    Parameters
    ----------
    mask : NDArray of bool, shape (y, x)
        A slice; an outline that reaches its edge is closed along it.
    spacing_mm : (float, float)
        Along y and x.

    Returns
    -------
    str
        In tenths of a millimetre from the corner of the first voxel, within :data:`TOLERANCE_MM` of the line half way
        between voxels inside and outside; empty for an empty mask.
    """
    parts = []
    for line in find_contours(np.pad(mask, 1).astype(np.float32), 0.5):
        points_mm = _simpler((line - 0.5) * spacing_mm)
        whole = np.rint(points_mm[:, ::-1] * UNITS_PER_MM).astype(int)
        steps = np.diff(whole[:-1], axis=0)
        if len(steps) > 1:
            parts.append("M{} {}l".format(*whole[0]) + " ".join(f"{x} {y}" for x, y in steps) + "z")
    return "".join(parts).replace(" -", "-")


def _simpler(points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out corners of a line that are hardly any.

    Of neighbouring corners at most one goes in a pass, so a pass moves the line by no more than its own tolerance, and all
    of them by no more than the sum.
    """
    for share in (0, 0, 1, 1, 1, 1):
        for odd in (1, 2):
            at = np.arange(odd, len(points_mm) - 1, 2)
            before, here, after = points_mm[at - 1], points_mm[at], points_mm[at + 1]
            chord, leg = after - before, here - before
            length = np.hypot(*chord.T)
            area = np.abs(chord[:, 0] * leg[:, 1] - chord[:, 1] * leg[:, 0])
            off_mm = np.where(length > 0, area / np.maximum(length, 1e-9), np.hypot(*leg.T))
            gone = at[off_mm <= share * TOLERANCE_MM / 8 + 1e-6]
            points_mm = np.delete(points_mm, gone, axis=0)
    return points_mm


def draw(view: View, most_px: int) -> Drawing:
    """Draw a slice with its outlines.

    Parameters
    ----------
    view : View
        What is seen.
    most_px : int
        Longest side of the picture.

    Raises
    ------
    GeometryError
        If an outline's grid is not its image's, the image is not 2D, or a spacing is not positive.
    """
    _check(view)
    (dy, dx), (rows, columns) = view.spacing_mm, view.hu.shape
    return Drawing(
        grey_picture(view.hu, most_px),
        (round(columns * dx * UNITS_PER_MM), round(rows * dy * UNITS_PER_MM)),
        {name: outline_path(mask, view.spacing_mm) for name, mask in view.outlines.items()},
    )


def _check(view: View) -> None:
    if view.hu.ndim != 2:
        raise GeometryError(f"A view shows a 2D slice; this one has shape {view.hu.shape}.")
    if min(view.spacing_mm) <= 0:
        raise GeometryError(f"Spacing must be positive; this view has {view.spacing_mm} mm.")
    for name, mask in view.outlines.items():
        if mask.shape != view.hu.shape:
            raise GeometryError(f"Outline {name} has shape {mask.shape}, its image {view.hu.shape}.")


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A slice through a nodule, as it is shown: its first row is on top.

    Parameters
    ----------
    hu : NDArray of float, shape (y, x)
        CT numbers.
    spacing_mm : (float, float)
        Along y and x.
    outlines : mapping of str to NDArray of bool, shape (y, x)
        What to outline, by the name in the legend.
    """

    hu: NDArray[np.floating]
    spacing_mm: tuple[float, float]
    outlines: Mapping[str, NDArray[np.bool_]]
