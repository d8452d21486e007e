"""What the frame check tells a person: counts without identifiers, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lungpipe.frame.verdict import Tally


def _counts(tally: Tally) -> str:
    text = f"as {tally.frame} {tally.inside} of {tally.nodules} inside their volumes"
    if tally.looked_at:
        text += (
            f" and, of {tally.looked_at} whose pixels were looked at, {tally.in_lung} in or touching the lung, "
            f"{tally.denser} of them denser than their surroundings"
        )
    return text


def _remedy(frame: str) -> str:
    if frame == "voxel_zyx":
        return (
            "their numbers are voxel indices in the order z, y, x: exchange the columns x and z and declare the frame "
            "voxel"
        )
    return f'write {frame} in a column "frame" of the annotation table, or correct frame in the data set\'s entry'


def other_frame(own: Tally, other: Tally) -> str:
    """Say that another frame fits better."""
    return (
        f"the annotations that declare the frame {own.frame} fit {other.frame} better: {_counts(own)}; "
        f"{_counts(other)}; {_remedy(other.frame)}"
    )


def undecided(own: Tally, other: Tally) -> str:
    """Say that another frame may fit better."""
    return (
        f"the annotations that declare the frame {own.frame} may be in {other.frame}, but too few nodules tell the two "
        f"apart: {_counts(own)}; {_counts(other)}; look at one of them in a viewer, and if it lies wrong, "
        f"{_remedy(other.frame)}"
    )


def poor_fit(own: Tally) -> str:
    """Say that no frame fits well."""
    return (
        f"the annotations that declare the frame {own.frame} fit it poorly, and no other frame is clearly better: {_counts(own)}; "
        "look at some of them in a viewer: the rows may be of several frames, or of images that were flipped or "
        "resampled"
    )


def other_images(tallies: Iterable[Tally], own: Tally) -> str:
    """Say that the annotations lie outside their volumes whatever their frame."""
    inside = ", ".join(f"{tally.inside} as {tally.frame}" for tally in tallies)
    return (
        f"most of the annotations that declare the frame {own.frame} lie outside their volumes in every frame (of "
        f"{own.nodules} inside: {inside}); they seem to belong to other images: check that series and "
        "annotations are of the same data set and version, and that series_uid names the annotated series"
    )
