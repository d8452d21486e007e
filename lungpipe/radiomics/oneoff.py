"""Features of one image and one mask, outside any workspace, with lungpipe's settings or PyRadiomics' parameter files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from radiomics import imageoperations

from lungpipe.dicom.index import index_series
from lungpipe.dicom.masks import mask_kind, read_mask_file
from lungpipe.dicom.read import read_image, to_sitk
from lungpipe.errors import AnnotationError, DatasetError, FeatureError
from lungpipe.geometry import Geometry
from lungpipe.radiomics.extract import PyRadiomics
from lungpipe.radiomics.parameter_file import ParameterFile, read_parameter_file
from lungpipe.radiomics.settings import check_extractor
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lungpipe.radiomics import Extractor
    from lungpipe.radiomics.settings import RadiomicsSettings


def extract_pair(
    image: Path,
    mask: Path,
    label: int | None,
    settings: RadiomicsSettings,
    extractor: Extractor | None = None,
    *,
    roi: str | None = None,
) -> Mapping[str, float]:
    """Features of one labelled region under lungpipe's own settings.

    Parameters
    ----------
    image : Path
        NIfTI, NRRD, MetaImage, or a folder with one DICOM series.
    mask : Path
        NIfTI, NRRD, MetaImage, DICOM SEG or RT structure set, on the grid of the image.
    label : int or None
        Value of the region in a mask image, where None is 1; number of a segment or ROI, where None is the only one.
    settings : RadiomicsSettings
    extractor : Extractor, optional
        Default: PyRadiomics.
    roi : str, optional
        Name or number of the segment or ROI; goes before ``label``.

    Raises
    ------
    DatasetError
        If a file cannot be read, the grids differ, the region is not in the mask, or the mask is of other images; or if
        the extractor cannot honour a setting.
    FeatureError
        If features are undefined for the region.
    """
    check_extractor(extractor, settings)
    return _features(*read_pair(image, mask, label, roi), settings, extractor)


def extract_with_parameter_file(
    image: Path,
    mask: Path,
    label: int | None,
    parameters: Path,
    extractor: Extractor | None = None,
    *,
    roi: str | None = None,
) -> Mapping[str, float]:
    """Features as the ``pyradiomics`` command computes them with a parameter file, read from crops of the image.

    Parameters
    ----------
    image, mask, label, extractor, roi
        As for :func:`extract_pair`; the label goes before that of the file.
    parameters : Path
        PyRadiomics parameter file (YAML or JSON): image types, feature classes and settings, all of them honoured.

    Returns
    -------
    dict
        Feature name to value; PyRadiomics' ``diagnostics_*`` entries are left out.

    Raises
    ------
    DatasetError
        As :func:`extract_pair`, or if the file is no parameter file or asks for what cannot be done.
    FeatureError
        If features are undefined for the region.
    """
    asked = read_parameter_file(parameters)
    check_extractor(extractor, asked.settings)
    return _features(*read_pair(image, mask, label, roi, asked), asked.settings, extractor)


def read_pair(
    image: Path, mask: Path, label: int | None, roi: str | None = None, asked: ParameterFile | None = None
) -> tuple[CTVolume, Mask]:
    """Read an image, and the region of a mask on its grid.

    Parameters
    ----------
    image, mask, label, roi
        As for :func:`extract_pair`.
    asked : ParameterFile, optional
        Whose label stands for None, and who may allow a mask image on another grid.

    Raises
    ------
    DatasetError
        If a file cannot be read, the grids differ, the region is not in the mask, or the mask is of other images.
    """
    if label == 0:
        raise DatasetError(f"{mask}: label 0 is what lies outside every region; give the region's own value")
    hu, geometry = read_image(image)
    try:
        is_image = mask_kind(mask) == "image"
        if label is None and is_image:
            label = 1 if asked is None else asked.label
        series_uid, sop_uids = _uids(image) if _is_series(image) and not is_image else ("", ())
        region = read_mask_file(mask, geometry, roi=roi, label=label, series_uid=series_uid, sop_uids=sop_uids)
    except AnnotationError as error:
        if error.code != "mask_grid_differs" or asked is None or label is None:
            raise DatasetError(f"{mask}: {error.message}") from error
        region = _from_another_grid(mask, label, to_sitk(hu, geometry), geometry, asked, error)
    if not region.n_voxels:
        raise DatasetError(f"{mask}: the region holds no voxel")
    return CTVolume(np.asarray(hu), geometry), region


def _features(
    volume: CTVolume, region: Mask, settings: RadiomicsSettings, extractor: Extractor | None
) -> Mapping[str, float]:
    result = (extractor or PyRadiomics())(volume, [region], settings)[0]
    if isinstance(result, FeatureError):
        raise result
    return result


def _from_another_grid(
    path: Path, label: int, image: sitk.Image, geometry: Geometry, asked: ParameterFile, error: AnnotationError
) -> Mask:
    """The region of a mask image whose grid is not the image's, as far as PyRadiomics' settings allow that."""
    voxels, own = read_image(path)
    tolerance = asked.geometry_tolerance or 0.0
    close = own.shape == geometry.shape and _within(tolerance, own, geometry)
    if not close and not asked.correct_mask:
        raise DatasetError(f"{path}: {error.message}; correctMask or geometryTolerance would allow it") from error
    if asked.settings.spacing_mm is not None:
        # PyRadiomics then lays the resampled grid by the mask's grid, and not by the image's.
        raise DatasetError(
            f"{path}: {error.message}; correctMask and geometryTolerance are not honoured together with "
            "resampledPixelSpacing: put the mask on the image's grid"
        ) from error
    inside = np.asarray(voxels == label)
    if close:
        return Mask(inside, geometry)
    try:
        # PyRadiomics' own, so that the same voxels come out.
        corrected = imageoperations._correctMask(image, to_sitk(inside.astype(np.uint8), own), label=1)
    except ValueError as refusal:
        raise DatasetError(f"{path}: PyRadiomics cannot correct the mask: {refusal}") from refusal
    return Mask(np.asarray(sitk.GetArrayFromImage(corrected) == 1), geometry)


def _within(tolerance: float, one: Geometry, other: Geometry) -> bool:
    """Whether ITK takes two grids for the same: origin and spacing to a part of the voxel's side along x."""
    length_mm = tolerance * other.spacing_mm[2]
    lengths = np.abs(np.subtract((*one.origin_mm, *one.spacing_mm), (*other.origin_mm, *other.spacing_mm)))
    turned = np.abs(np.subtract(one.direction, other.direction))
    return bool(np.all(lengths <= length_mm) and np.all(turned <= tolerance))


def _is_series(image: Path) -> bool:
    """Whether an image is a DICOM series, in a folder or an archive."""
    return image.is_dir() or image.suffix.lower() == ".zip"


def _uids(folder: Path) -> tuple[str, tuple[str, ...]]:
    """Series and SOP instance UIDs of the one series in a folder or an archive."""
    series = next(one for one in index_series(folder).series if one.geometry is not None)
    return series.series_uid, series.sop_uids
