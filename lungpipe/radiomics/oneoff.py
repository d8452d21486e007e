"""PyRadiomics on one image and one mask, outside any workspace, with its own parameter files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from radiomics import featureextractor

from lungpipe.dicom.read import read_image, to_sitk
from lungpipe.errors import DatasetError, FeatureError
from lungpipe.radiomics.extract import PyRadiomics
from lungpipe.volume import CTVolume, Mask

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lungpipe.radiomics import Extractor
    from lungpipe.radiomics.settings import RadiomicsSettings


def extract_pair(
    image: Path, mask: Path, label: int, settings: RadiomicsSettings, extractor: Extractor | None = None
) -> Mapping[str, float]:
    """Features of one labelled region under lungpipe's own settings.

    Parameters
    ----------
    image, mask : Path
        NIfTI, NRRD, MetaImage or (image) a folder with one DICOM series, on one grid.
    label : int
        Value of the region in the mask.
    settings : RadiomicsSettings
    extractor : Extractor, optional
        Default: PyRadiomics.

    Raises
    ------
    DatasetError
        If a file cannot be read or the label is not in the mask.
    GeometryError
        If the grids differ.
    FeatureError
        If features are undefined for the region.
    """
    hu, voxels, geometry = _read_pair(image, mask, label)
    volume = CTVolume(hu, geometry)
    result = (extractor or PyRadiomics())(volume, [Mask(voxels, geometry)], settings)[0]
    if isinstance(result, FeatureError):
        raise result
    return result


def extract_with_parameter_file(image: Path, mask: Path, label: int, parameters: Path) -> dict[str, Any]:
    """Features as the ``pyradiomics`` command computes them with a parameter file, on the whole image.

    Parameters
    ----------
    image, mask, label
        As for :func:`extract_pair`.
    parameters : Path
        PyRadiomics parameter file (YAML or JSON): image types, feature classes and settings, all of them honoured.

    Returns
    -------
    dict
        Feature name to value; PyRadiomics' ``diagnostics_*`` entries are left out.

    Raises
    ------
    DatasetError, GeometryError
        As :func:`extract_pair`, or if PyRadiomics refuses the file or the region.
    """
    if not parameters.is_file():
        raise DatasetError(f"no parameter file at {parameters}")
    hu, voxels, geometry = _read_pair(image, mask, label)
    try:
        extractor = featureextractor.RadiomicsFeatureExtractor(str(parameters), additionalInfo=False)
    except Exception as error:
        raise DatasetError(f"{parameters} is no PyRadiomics parameter file: {error}") from error
    try:
        values = extractor.execute(to_sitk(hu, geometry), to_sitk(voxels.astype(np.uint8), geometry), label=1)
    except ValueError as error:
        raise DatasetError(f"PyRadiomics refuses the region: {error}") from error
    return {name: float(value) for name, value in values.items() if not name.startswith("diagnostics_")}


def _read_pair(image: Path, mask: Path, label: int) -> tuple[Any, Any, Any]:
    hu, geometry = read_image(image)
    labels, mask_geometry = read_image(mask)
    mismatch = geometry.mismatch(mask_geometry)
    if mismatch:
        raise DatasetError(f"image and mask are not on one grid: {mismatch}; resample the mask to the image")
    voxels = np.asarray(labels == label)
    if not voxels.any():
        present = np.unique(labels)[:10].tolist()
        raise DatasetError(f"label {label} is not in {mask}; it holds {present}")
    return hu, voxels, geometry
