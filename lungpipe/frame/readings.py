"""What the numbers of an annotation mean in each frame that they may have been written in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from lungpipe.geometry import Geometry, Triple
    from lungpipe.nodule import Nodule

#: Frames that an annotation can declare.
DECLARED = ("lps", "ras", "voxel")
#: Frames that are tried. ``voxel_zyx`` is the index in the order of a NumPy array, the commonest slip with voxel
#: columns; it cannot be declared, because its columns would then be named wrongly.
FRAMES = (*DECLARED, "voxel_zyx")


def takes_part(nodule: Nodule) -> bool:
    """Whether a nodule is known by its coordinates alone; a mask carries its own geometry."""
    return nodule.centre_mm is not None and nodule.mask_path is None and not nodule.raters


def raw_numbers(centre_mm: Triple, frame: str, geometry: Geometry) -> Triple:
    """Numbers x, y, z that an annotation in a frame has for an LPS point; the inverse of :func:`centre_of`.

    Raises
    ------
    DatasetError
        If the frame is none of :data:`FRAMES`.
    """
    x, y, z = centre_mm
    if frame == "lps":
        return x, y, z
    if frame == "ras":
        return -x, -y, z
    k, j, i = geometry.to_index(centre_mm).tolist()
    if frame == "voxel":
        return i, j, k
    if frame == "voxel_zyx":
        return k, j, i
    raise DatasetError(f"a frame must be one of {', '.join(FRAMES)}; found {frame!r}")


def centre_of(raw: Triple, frame: str, geometry: Geometry) -> Triple:
    """LPS point (x, y, z), mm, of numbers x, y, z that were written in a frame.

    Raises
    ------
    DatasetError
        If the frame is none of :data:`FRAMES`.
    """
    x, y, z = raw
    if frame == "lps":
        return x, y, z
    if frame == "ras":
        return -x, -y, z
    if frame not in FRAMES:
        raise DatasetError(f"a frame must be one of {', '.join(FRAMES)}; found {frame!r}")
    point = geometry.to_lps((z, y, x) if frame == "voxel" else (x, y, z)).tolist()
    return point[0], point[1], point[2]


def candidates(centre_mm: Triple, declared: str, geometry: Geometry) -> dict[str, Triple]:
    """Where a nodule would lie if its numbers had been written in each frame.

    Parameters
    ----------
    centre_mm : tuple of float
        LPS centre (x, y, z), mm, as the declared frame has it.
    declared : {"lps", "ras", "voxel"}
        Frame that its annotation declares.
    geometry : Geometry
        Grid of its series.

    Returns
    -------
    dict
        LPS centre (x, y, z), mm, by frame, in the order of :data:`FRAMES`; under ``declared`` it is ``centre_mm``
        itself.

    Raises
    ------
    DatasetError
        If ``declared`` is no frame that an annotation can declare.
    """
    if declared not in DECLARED:
        raise DatasetError(f"an annotation declares one of {', '.join(DECLARED)} as its frame; found {declared!r}")
    raw = raw_numbers(centre_mm, declared, geometry)
    return {frame: centre_mm if frame == declared else centre_of(raw, frame, geometry) for frame in FRAMES}
