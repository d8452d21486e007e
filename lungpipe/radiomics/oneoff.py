"""PyRadiomics on one image and one mask, outside any workspace, with its own parameter files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from radiomics import featureextractor

from lungpipe.dicom.index import index_series
from lungpipe.dicom.masks import mask_kind, read_mask_file
from lungpipe.dicom.read import read_image, to_sitk
from lungpipe.errors import AnnotationError, DatasetError, FeatureError
from lungpipe.radiomics.extract import PyRadiomics
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
        If a file cannot be read, the grids differ, the region is not in the mask, or the mask is of other images.
    FeatureError
        If features are undefined for the region.
    """
    volume, region = _read_pair(image, mask, label, roi)
    result = (extractor or PyRadiomics())(volume, [region], settings)[0]
    if isinstance(result, FeatureError):
        raise result
    return result


def extract_with_parameter_file(
    image: Path, mask: Path, label: int | None, parameters: Path, *, roi: str | None = None
) -> dict[str, Any]:
    """Features as the ``pyradiomics`` command computes them with a parameter file, on the whole image.

    Parameters
    ----------
    image, mask, label, roi
        As for :func:`extract_pair`.
    parameters : Path
        PyRadiomics parameter file (YAML or JSON): image types, feature classes and settings, all of them honoured.

    Returns
    -------
    dict
        Feature name to value; PyRadiomics' ``diagnostics_*`` entries are left out.

    Raises
    ------
    DatasetError
        As :func:`extract_pair`, or if PyRadiomics refuses the file or the region.
    """
    if not parameters.is_file():
        raise DatasetError(f"no parameter file at {parameters}")
    volume, region = _read_pair(image, mask, label, roi)
    voxels = region.within((0, 0, 0), volume.shape).voxels.astype(np.uint8)
    try:
        extractor = featureextractor.RadiomicsFeatureExtractor(str(parameters), additionalInfo=False)
    except Exception as error:
        raise DatasetError(f"{parameters} is no PyRadiomics parameter file: {error}") from error
    try:
        values = extractor.execute(to_sitk(volume.hu, volume.frame), to_sitk(voxels, volume.frame), label=1)
    except ValueError as error:
        raise DatasetError(f"PyRadiomics refuses the region: {error}") from error
    return {name: float(value) for name, value in values.items() if not name.startswith("diagnostics_")}


def _read_pair(image: Path, mask: Path, label: int | None, roi: str | None) -> tuple[CTVolume, Mask]:
    hu, geometry = read_image(image)
    try:
        is_image = mask_kind(mask) == "image"
        label = 1 if label is None and is_image else label
        series_uid, sop_uids = _uids(image) if image.is_dir() and not is_image else ("", ())
        region = read_mask_file(mask, geometry, roi=roi, label=label, series_uid=series_uid, sop_uids=sop_uids)
    except AnnotationError as error:
        raise DatasetError(f"{mask}: {error.message}") from error
    if not region.n_voxels:
        raise DatasetError(f"{mask}: the region holds no voxel")
    return CTVolume(np.asarray(hu), geometry), region


def _uids(folder: Path) -> tuple[str, tuple[str, ...]]:
    """Series and SOP instance UIDs of the one series in a folder."""
    series = next(one for one in index_series(folder).series if one.geometry is not None)
    return series.series_uid, series.sop_uids
