"""What a radiologist's reading consists of, whichever file it was read from: scan, outlines, ratings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The nine ratings and the highest value of each scale; all begin at 1 (McNitt-Gray et al. 2007,
#: doi:10.1016/j.acra.2007.07.021). The published files hold one internal structure of 5, which means nothing.
RATING_SCALES = {
    "subtlety": 5,
    "internal_structure": 4,
    "calcification": 6,
    "sphericity": 5,
    "margin": 5,
    "lobulation": 5,
    "spiculation": 5,
    "texture": 5,
    "malignancy": 5,
}


@dataclass(frozen=True, eq=False, slots=True)
class Contour:
    """One closed outline in one slice.

    Parameters
    ----------
    z_mm : float
        LPS z of the slice, mm.
    points_xy : ndarray of int, shape (n, 2)
        Pixels (column x, row y) of the outline, counted from 0. They lie one pixel outside the lesion.
    included : bool
        False where the outline bounds a hole.
    sop_uid : str
        SOP instance UID of the slice; empty where the file does not tell.
    """

    z_mm: float
    points_xy: NDArray[np.int64]
    included: bool = True
    sop_uid: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Scan:
    """One CT series that the radiologists read.

    Parameters
    ----------
    scan_id : int
        Key in the database; 0 for a series that comes from an index of images.
    series_uid, patient_id : str
        Identifiers as published.
    slice_thickness_mm : float
        DICOM slice thickness, mm. Not the slice spacing.
    pixel_spacing_mm : float
        Distance between pixel centres in a slice, mm, equal along x and y.
    z_mm : ndarray, shape (n_slices,)
        LPS z of the slices, mm, increasing.
    """

    scan_id: int
    series_uid: str
    patient_id: str
    slice_thickness_mm: float
    pixel_spacing_mm: float
    z_mm: NDArray[np.float64]

    @property
    def slice_spacing_mm(self) -> float:
        """Median distance between neighbouring slices, mm. Four scans are irregular."""
        return float(np.median(np.diff(self.z_mm)))


@dataclass(frozen=True, eq=False, slots=True)
class Annotation:
    """One radiologist's outline and ratings of one nodule.

    Parameters
    ----------
    annotation_id, scan_id : int
        Keys in the database, or the place in an XML file and 0.
    subtlety, sphericity, margin, lobulation, spiculation, texture, malignancy : int
        Ratings from 1 to 5: extremely subtle to obvious; linear to round; poorly defined to sharp; none to marked, twice;
        ground glass to solid; highly unlikely to highly suspicious.
    internal_structure : int
        1 soft tissue, 2 fluid, 3 fat, 4 air.
    calcification : int
        1 popcorn, 2 laminated, 3 solid, 4 non-central, 5 central, 6 absent.
    contours : tuple of Contour
        The outlines, slice by slice.
    codes : tuple of str
        What needs a look: see :mod:`data_catalog.lidc.slices`.
    """

    annotation_id: int
    scan_id: int
    subtlety: int
    internal_structure: int
    calcification: int
    sphericity: int
    margin: int
    lobulation: int
    spiculation: int
    texture: int
    malignancy: int
    contours: tuple[Contour, ...] = field(default=(), kw_only=True)
    codes: tuple[str, ...] = field(default=(), kw_only=True)


def on_scale(annotation: Annotation, rating: str) -> bool:
    """Whether a rating has a value that its scale knows."""
    return 1 <= int(getattr(annotation, rating)) <= RATING_SCALES[rating]
