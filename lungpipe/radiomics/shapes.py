"""Shape of the regions of a group, in three dimensions and in one plane, by the features that settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from radiomics import shape2D
from scipy import ndimage

from lungpipe.dicom.read import to_sitk
from lungpipe.errors import FeatureError
from lungpipe.geometry import Geometry
from lungpipe.radiomics.classes import enabled
from lungpipe.radiomics.shape import shape_features

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.groups import RegionGroup
    from lungpipe.radiomics.settings import RadiomicsSettings


def shapes_of(group: RegionGroup, settings: RadiomicsSettings) -> list[Mapping[str, float] | FeatureError]:
    """Compute the shape features of every region of a group, by PyRadiomics' names; empty where none is asked for."""
    asked = enabled(settings)
    axis = settings.texture.force_2d_axis
    found: list[Mapping[str, float] | FeatureError] = []
    for mask in group.shape_masks:
        inside = mask[ndimage.find_objects(mask.astype(np.int8))[0]]
        try:
            values = _solid(inside, group.spacing_mm, asked["shape"]) if "shape" in asked else {}
            if "shape2D" in asked:
                values |= _plane(inside, group.spacing_mm, asked["shape2D"], axis)
            found.append(values)
        except FeatureError as error:
            found.append(error)
    return found


def _solid(inside: NDArray[np.bool_], spacing_mm: Triple, names: tuple[str, ...]) -> dict[str, float]:
    # PyRadiomics' own shape class compares all pairs of mesh vertices: minutes for a large tumour's surroundings.
    values = shape_features(inside, spacing_mm)
    if any(f"original_shape_{name}" not in values for name in names):
        values |= _compactness(values["original_shape_MeshVolume"], values["original_shape_SurfaceArea"])
    return {key: float(values[key]) for key in (f"original_shape_{name}" for name in names)}


def _compactness(volume_mm3: float, area_mm2: float) -> dict[str, float]:
    """PyRadiomics' three deprecated features, all of them functions of sphericity (Aerts et al. 2014)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        v, a = np.float64(volume_mm3), np.float64(area_mm2)
        return {
            "original_shape_Compactness1": float(v / np.sqrt(np.pi * a**3)),
            "original_shape_Compactness2": float(36 * np.pi * v**2 / a**3),
            "original_shape_SphericalDisproportion": float(a / np.cbrt(36 * np.pi * v**2)),
        }


def _plane(inside: NDArray[np.bool_], spacing_mm: Triple, names: tuple[str, ...], axis: int) -> dict[str, float]:
    """PyRadiomics' shape of a region in one plane.

    PyRadiomics asks that the region be longer than one voxel along the axis of ``force2Ddimension``, counted from x, and
    computes nothing otherwise; this is kept.
    """
    z, y, x = inside.shape
    if inside.shape[axis] > 1:
        raise FeatureError(
            "not_in_one_plane",
            f"shape2D is of one plane, but the region is {inside.shape[axis]} voxels thick along axis {axis} (z, y, x)",
        )
    if (x, y, z)[axis] <= 1:
        return {}
    image = to_sitk(inside.astype(np.uint8), Geometry((z, y, x), spacing_mm))
    computed = shape2D.RadiomicsShape2D(image, image, label=1, force2D=True, force2Ddimension=axis)
    for name in names:
        computed.enableFeatureByName(name)
    return {f"original_shape2D_{name}": float(value) for name, value in computed.execute().items()}
