"""A nodule as its annotation describes it, in LPS mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from lungpipe.geometry import Triple
    from lungpipe.volume import Mask


@dataclass(frozen=True, slots=True)
class Click:
    """A point that a person says is inside or outside of a nodule.

    Parameters
    ----------
    position_mm : tuple of float
        LPS (x, y, z), mm.
    inside : bool
    """

    position_mm: Triple
    inside: bool


@dataclass(frozen=True, eq=False, slots=True)
class Nodule:
    """One annotated nodule of one series.

    Parameters
    ----------
    patient_id, series_uid, nodule_id : str
        Identifiers, as annotated until they are pseudonymised.
    centre_mm : tuple of float, optional
        LPS centre (x, y, z), mm. None when only a mask file describes the nodule.
    size_mm : tuple of float, optional
        Full sides (x, y, z) of its box, mm, along the image axes. None for a seed point.
    malignant : int, optional
        1 malignant, 0 benign, None unlabelled.
    split : str, optional
        ``"train"``, ``"validation"`` or ``"test"`` where the data set publishes a split.
    raters : tuple of Mask
        Outlines of the radiologists, one mask each, on the grid of the series.
    mask_path : Path, optional
        File with the nodule's mask, read beside the volume.
    mask_roi : str, optional
        Name or number of the ROI or segment in that file, or the value of the region in a label image; None where
        the file holds only one.
    codes : tuple of str
        What needs a look: contours that were left out or corrected when its mask was read.
    frame : {"lps", "ras", "voxel"}
        Frame that its annotation declares; ``centre_mm`` is LPS whatever it says.
    clicks : tuple of Click
        Points inside and outside of it that correct its masks.
    clinical : tuple of (str, str or float or None)
        Name and value of what is known of the patient or nodule: as the annotation file has it, until the columns that the
        recipe names are taken (:mod:`lungpipe.clinical`).
    ratings : tuple of (str, float)
        Name of a rating and its mean over the radiologists; never the label.
    """

    patient_id: str
    series_uid: str
    nodule_id: str
    centre_mm: Triple | None
    size_mm: Triple | None = None
    malignant: int | None = None
    split: str | None = None
    raters: tuple[Mask, ...] = ()
    mask_path: Path | None = None
    mask_roi: str | None = None
    codes: tuple[str, ...] = ()
    frame: str = "lps"
    clicks: tuple[Click, ...] = ()
    clinical: tuple[tuple[str, str | float | None], ...] = ()
    ratings: tuple[tuple[str, float], ...] = ()


def boxed(mask: Mask) -> Nodule:
    """A nodule without identifiers whose box is the bounds of a mask.

    Parameters
    ----------
    mask : Mask
        Not empty.
    """
    low, high = mask.bounds
    x, y, z = mask.frame.to_lps([(a + b - 1) / 2 for a, b in zip(low, high, strict=True)]).tolist()
    dz, dy, dx = ((b - a) * s for a, b, s in zip(low, high, mask.frame.spacing_mm, strict=True))
    return Nodule("", "", "", (x, y, z), (dx, dy, dz))
