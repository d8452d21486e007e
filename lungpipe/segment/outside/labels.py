"""The label file that an outside model wrote: does it fit the scan, and which of its voxels are a nodule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lungpipe.dicom.read import geometry_of, to_sitk
from lungpipe.dicom.volume_file import is_whole
from lungpipe.errors import GeometryError, SegmentationError
from lungpipe.geometry import POSITION_TOLERANCE_MM
from lungpipe.segment.prompt import prompt_for, with_extent
from lungpipe.volume import Block, Mask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lungpipe.geometry import Geometry
    from lungpipe.nodule import Nodule
    from lungpipe.volume import CTVolume


@dataclass(frozen=True, eq=False)
class LabelMap(Block):
    """Labels of a scan's voxels, shape (z, y, x), whole numbers, 0 where there is none."""

    def __post_init__(self) -> None:
        Block.__post_init__(self)
        if not np.issubdtype(self.voxels.dtype, np.integer):
            raise GeometryError(f"a label map holds whole numbers, found {self.voxels.dtype}")

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """Labels that occur, without 0."""
        return tuple(int(n) for n in np.unique(self.voxels) if n)

    @cached_property
    def _components(self) -> dict[tuple[int, ...], tuple[NDArray[Any], list[tuple[slice, ...]]]]:
        return {}

    def components(self, wanted: tuple[int, ...]) -> tuple[NDArray[Any], list[tuple[slice, ...]]]:
        """Face-connected components of labels, of all where none is named: numbers from 1, and the box of each.

        Raises
        ------
        SegmentationError
            ``outside_empty`` if no voxel has such a label.
        """
        if wanted not in self._components:
            inside = np.isin(self.voxels, wanted) if wanted else self.voxels != 0
            if not inside.any():
                asked = f"label {', '.join(map(str, wanted))}" if wanted else "any label"
                found = f"; it used {', '.join(map(str, self.numbers[:20]))}" if self.numbers else ""
                raise SegmentationError("outside_empty", f"the outside model gave no voxel of this scan {asked}{found}")
            numbered, _ = ndimage.label(inside)
            self._components[wanted] = (numbered, ndimage.find_objects(numbered))
        return self._components[wanted]


def write_scan(volume: CTVolume, path: Path) -> None:
    """Write a volume for an outside model: HU and grid, nothing else; NIfTI's RAS is ITK's affair."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hu = volume.hu if volume.hu.dtype in (np.int16, np.float32) else volume.hu.astype(np.float32)
    sitk.WriteImage(to_sitk(np.ascontiguousarray(hu), volume.geometry), str(path), True)


def read_labels(path: Path, volume: CTVolume) -> LabelMap:
    """Read a label file and make sure that it fits its scan.

    Parameters
    ----------
    path : Path
        NIfTI, NRRD or MetaImage.
    volume : CTVolume
        The scan that the model was given.

    Returns
    -------
    LabelMap
        On the volume's grid.

    Raises
    ------
    SegmentationError
        ``outside_unreadable`` if the file is no whole image; ``outside_geometry`` if its grid is not the scan's;
        ``outside_labels`` if its values are no labels.
    """
    try:
        whole = is_whole(str(path))
        image = sitk.ReadImage(str(path)) if whole else None
    except RuntimeError:
        image = None
    if image is None:
        raise SegmentationError(
            "outside_unreadable",
            "the outside model's label file is damaged or no image; run the model by hand and look",
        )
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise SegmentationError(
            "outside_geometry",
            f"expected one label a voxel in three dimensions, the outside model wrote {image.GetNumberOfComponentsPerPixel()} "
            f"values a voxel in {image.GetDimension()} dimensions; let it write one file with all labels",
        )
    try:
        difference = grids_differ(volume.geometry, geometry_of(image))
    except GeometryError as error:
        difference = str(error)
    if difference:
        raise SegmentationError(
            "outside_geometry",
            f"the outside model's labels are not on the scan's grid: {difference}; let it resample back to its input",
        )
    return LabelMap(_whole_numbers(sitk.GetArrayFromImage(image)), volume.frame, volume.start)


def grids_differ(expected: Geometry, found: Geometry) -> str:
    """Say how a grid differs from what was expected: voxels, spacing, axes, place; empty if it does not."""
    if expected.mismatch(found) is None:
        return ""
    said = []
    if expected.shape != found.shape:
        said.append(f"it has {_times(found.shape)} voxels (z, y, x) instead of {_times(expected.shape)}")
    if not np.allclose(expected.spacing_mm, found.spacing_mm, rtol=1e-3):
        said.append(f"its spacing is {_times(found.spacing_mm)} mm instead of {_times(expected.spacing_mm)} mm")
    if not np.allclose(expected.matrix, found.matrix, atol=1e-3):
        said.append(f"its axes x, y, z point to {_axes(found)} instead of {_axes(expected)}")
    shift_mm = float(np.linalg.norm(np.subtract(expected.origin_mm, found.origin_mm)))
    if shift_mm > POSITION_TOLERANCE_MM:
        said.append(f"its first voxel lies {shift_mm:.3g} mm from the scan's")
    return ", ".join(said) or str(expected.mismatch(found))


def _times(values: tuple[float, ...]) -> str:
    return " x ".join(f"{v:.4g}" for v in values)


def _axes(grid: Geometry) -> str:
    """The patient's direction (L, R, P, A, S, I) that each axis x, y, z comes nearest to."""
    names = []
    for column in grid.matrix.T:
        nearest = int(np.argmax(np.abs(column)))
        names.append(("LPS" if column[nearest] > 0 else "RAI")[nearest])
    return "".join(names)


def _whole_numbers(values: NDArray[Any]) -> NDArray[Any]:
    if not np.issubdtype(values.dtype, np.integer):
        if not np.all(np.isfinite(values)) or np.any(values != np.rint(values)):
            raise SegmentationError(
                "outside_labels",
                "the outside model wrote values that are no whole numbers, such as probabilities; let it write labels",
            )
        values = values.astype(np.int64)
    if values.min() < 0:
        raise SegmentationError(
            "outside_labels", f"the outside model wrote the label {int(values.min())}; labels are 0 and above"
        )
    return values.astype(np.min_scalar_type(int(values.max())))


def nodule_of(labels: LabelMap, wanted: tuple[int, ...], volume: CTVolume, nodule: Nodule) -> Mask:
    """The component of the wanted labels that is a nodule, whole, as the model drew it.

    It is the one that touches the nodule's seed (a ball at its centre, and clicks inside); where none does, the one that
    touches its box. Of several, the one with most voxels in the box. A nodule without a box has that which its point
    finds in the image, or none.

    Parameters
    ----------
    labels : LabelMap
        On the volume's grid.
    wanted : tuple of int
        Labels that count; all but 0 where there are none.
    volume : CTVolume
    nodule : Nodule

    Raises
    ------
    SegmentationError
        ``nothing_at_seed``, or ``outside_empty`` where no voxel of the whole scan has such a label.
    AnnotationError
        If the nodule's centre or a click lies outside the image.
    """
    nodule = with_extent(volume, nodule)
    prompt = prompt_for(volume, nodule, 0.0)
    components, boxes = labels.components(wanted)
    offset = np.subtract(prompt.crop.start, labels.start)
    window = tuple(slice(int(a), int(a) + n) for a, n in zip(offset, prompt.crop.shape, strict=True))
    here = components[window]
    touching = np.unique(here[prompt.seed])
    if not touching.any() and "no_extent" not in nodule.codes:
        touching = np.unique(here[prompt.box & ~prompt.outside])
    touching = touching[touching > 0]
    if not len(touching):
        raise SegmentationError(
            "nothing_at_seed",
            f"none of the {len(boxes)} components that the outside model marked touches the nodule's seed or box; "
            "it may have missed the nodule",
        )
    sizes = np.bincount(here[prompt.box], minlength=len(boxes) + 1)
    chosen = int(touching[int(np.argmax(sizes[touching]))])
    box = boxes[chosen - 1]
    z, y, x = (labels.start[axis] + box[axis].start for axis in range(3))
    return Mask(components[box] == chosen, labels.frame, (z, y, x))
