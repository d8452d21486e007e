"""Evidence for each reading of an annotation: inside the volume, touching the lung, denser than its surroundings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import DicomError, RegionError
from lungpipe.frame.readings import DECLARED, candidates, takes_part
from lungpipe.segment.steps import WINDOW_HU

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from lungpipe.geometry import Geometry, Triple
    from lungpipe.nodule import Nodule
    from lungpipe.scan import ScanJob
    from lungpipe.volume import CTVolume, Mask

#: Scans of each declared frame whose pixels are looked at.
SCANS_LOOKED_AT = 24
#: A nodule touches the lung if its centre lies no further from it than this and half the shortest side of its box, mm.
LUNG_REACH_MM = 4.0
#: Sides of the box, mm, that stands for a nodule annotated by a point alone.
POINT_SIZE_MM = (10.0, 10.0, 10.0)
#: Half sides beyond this are cut off, mm: no nodule has them, and a wrong size must not cost the memory of a scan.
MAX_HALF_SIDE_MM = 50.0
#: The core is the annotated ellipsoid at this scale.
CORE_SCALE = 0.5
#: The surroundings lie between these distances, mm, along each axis from the annotated ellipsoid.
SHELL_MM = (2.0, 8.0)
#: The core's mean must exceed the surroundings' median by this. Ground glass does so by 100 HU and more (lung -850,
#: ground glass -750 to -300); means of a core in lung tissue differ by less.
DENSER_HU = 50.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What speaks for one reading of an annotation.

    Parameters
    ----------
    inside : bool
        Its centre lies inside a voxel of the volume.
    in_lung : bool, optional
        It lies in the lung or touches it; None where no pixels were looked at.
    denser : bool, optional
        Its core is denser than its surroundings; None where no pixels were looked at.
    """

    inside: bool
    in_lung: bool | None = None
    denser: bool | None = None

    @property
    def level(self) -> int:
        """0 outside the volume, 1 inside, 2 also in the lung, 3 also denser than its surroundings."""
        if not (self.inside and self.in_lung):
            return int(self.inside)
        return 3 if self.denser else 2


@dataclass(frozen=True, slots=True)
class Evidence:
    """One nodule: the frame that its annotation declares, and what speaks for each reading of it."""

    declared: str
    readings: Mapping[str, Reading]

    @property
    def looked_at(self) -> bool:
        """Whether the pixels were looked at."""
        return self.readings[self.declared].in_lung is not None


def sample(jobs: Sequence[ScanJob]) -> list[ScanJob]:
    """Scans whose pixels decide: up to :data:`SCANS_LOOKED_AT` for each frame that is declared.

    The choice follows the content of grids and annotations, so it is the same under every pseudonym key, and in no order
    that a site or an archive has.
    """
    order = sorted(jobs, key=_content_order)
    chosen = {}
    for frame in DECLARED:
        holding = [job for job in order if any(takes_part(n) and n.frame == frame for n in job.nodules)]
        chosen.update({id(job): job for job in holding[:SCANS_LOOKED_AT]})
    return list(chosen.values())


def _content_order(job: ScanJob) -> str:
    numbers = sorted((n.centre_mm, n.frame) for n in job.nodules if takes_part(n))
    return hashlib.sha256(repr((job.geometry, numbers)).encode()).hexdigest()


def look_at_grid(geometry: Geometry, nodules: Iterable[Nodule]) -> tuple[Evidence, ...]:
    """Evidence without pixels: which readings lie inside the volume.

    Parameters
    ----------
    geometry : Geometry
        Grid of the scan.
    nodules : iterable of Nodule
        Of that scan; those with masks take no part.

    Raises
    ------
    DatasetError
        If a nodule declares an unknown frame.
    """
    return tuple(
        Evidence(nodule.frame, {frame: Reading(geometry.contains(point)) for frame, point in points.items()})
        for nodule, points in _readings(geometry, nodules)
    )


def _readings(geometry: Geometry, nodules: Iterable[Nodule]) -> list[tuple[Nodule, dict[str, Triple]]]:
    return [
        (nodule, candidates(nodule.centre_mm, nodule.frame, geometry))
        for nodule in nodules
        if nodule.centre_mm is not None and takes_part(nodule)
    ]


def look_at_job(job: ScanJob) -> tuple[Evidence, ...]:
    """Evidence of one scan from the archive's files, which are read once; without pixels if they cannot be read.

    Raises
    ------
    DatasetError
        If a nodule declares an unknown frame.
    """
    from lungpipe.dicom.read import read_volume  # where pixels are looked at, not where scans are chosen

    try:
        volume = read_volume(job.files, job.geometry)
    except DicomError:
        return look_at_grid(job.geometry, job.nodules)
    return look_at_scan(volume, job.nodules)


def look_at_scan(volume: CTVolume, nodules: Iterable[Nodule]) -> tuple[Evidence, ...]:
    """Evidence with pixels.

    Parameters
    ----------
    volume : CTVolume
        HU; the whole scan.
    nodules : iterable of Nodule
        Of that scan; those with masks take no part.

    Returns
    -------
    tuple of Evidence
        One a nodule that takes part. A scan without lung tells only which readings lie inside the volume.

    Raises
    ------
    DatasetError
        If a nodule declares an unknown frame.
    """
    from lungpipe.region.lung import lung_mask

    readings = _readings(volume.frame, nodules)
    try:
        lung = lung_mask(volume)
    except RegionError:
        return look_at_grid(volume.frame, [nodule for nodule, _ in readings])
    return tuple(
        Evidence(
            nodule.frame,
            {frame: _read_at(volume, lung, point, nodule.size_mm or POINT_SIZE_MM) for frame, point in points.items()},
        )
        for nodule, points in readings
    )


def _read_at(volume: CTVolume, lung: Mask, point_mm: Triple, size_mm: Triple) -> Reading:
    if not volume.frame.contains(point_mm):
        return Reading(inside=False, in_lung=False, denser=False)
    half_mm = np.minimum(size_mm[::-1], 2 * MAX_HALF_SIDE_MM) / 2.0
    index = volume.frame.to_index(point_mm)
    in_lung = _touches(lung, index, LUNG_REACH_MM + float(half_mm.min()))
    denser = _contrast_hu(volume, index, half_mm) > DENSER_HU
    return Reading(inside=True, in_lung=in_lung, denser=denser)


def _touches(lung: Mask, index: NDArray[np.float64], reach_mm: float) -> bool:
    """Whether a voxel of the lung lies within a distance of a point (index z, y, x)."""
    window, offsets_mm = _window(lung.frame, index, np.full(3, reach_mm))
    near = _radius(offsets_mm, np.full(3, reach_mm)) <= 1.0
    return bool(np.any(lung.voxels[window] & near))


def _contrast_hu(volume: CTVolume, index: NDArray[np.float64], half_mm: NDArray[np.float64]) -> float:
    """Mean HU of the core less the median of the surroundings; sides along (z, y, x), as ellipsoids on the true spacing.

    The median, because a nodule on the pleura has chest wall in its surroundings, and a point in the chest wall has lung.
    """
    window, offsets_mm = _window(volume.frame, index, half_mm + SHELL_MM[1])
    hu = np.clip(volume.hu[window], *WINDOW_HU)
    core = _radius(offsets_mm, half_mm) <= CORE_SCALE
    nearest = tuple(int(np.abs(axis).argmin()) for axis in offsets_mm)
    core[nearest] = True
    around = (_radius(offsets_mm, half_mm + SHELL_MM[0]) > 1.0) & (_radius(offsets_mm, half_mm + SHELL_MM[1]) <= 1.0)
    if not around.any():
        return 0.0
    return float(hu[core].mean(dtype=np.float64) - np.median(hu[around]))


def _window(
    frame: Geometry, index: NDArray[np.float64], reach_mm: NDArray[np.float64]
) -> tuple[tuple[slice, ...], list[NDArray[np.float64]]]:
    """Voxels within a reach along (z, y, x) of an index, and how far they are from it along each axis, mm."""
    reach = reach_mm / np.asarray(frame.spacing_mm)
    centre = np.clip(np.rint(index), 0, np.asarray(frame.shape) - 1)
    low = np.clip(np.minimum(np.ceil(index - reach), centre), 0, None).astype(int)
    high = np.minimum(np.maximum(np.floor(index + reach), centre) + 1, frame.shape).astype(int)
    axes = [
        (np.arange(a, b) - c) * s
        for a, b, c, s in zip(low.tolist(), high.tolist(), index, frame.spacing_mm, strict=True)
    ]
    return tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)), axes


def _radius(offsets_mm: Sequence[NDArray[np.float64]], half_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the centre in units of an ellipsoid with these half axes, shape (z, y, x)."""
    z, y, x = (axis / half for axis, half in zip(offsets_mm, half_mm, strict=True))
    return np.asarray(np.sqrt(z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2))
