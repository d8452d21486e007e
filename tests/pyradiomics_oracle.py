"""PyRadiomics run the documented way on whole images, and how far features may differ from its."""

from __future__ import annotations

import math

import numpy as np
import pytest
from radiomics import featureextractor, imageoperations
from scipy import ndimage, special

from lungpipe.dicom.read import to_sitk
from lungpipe.geometry import Geometry
from lungpipe.radiomics.image_types import IMAGE_TYPES
from lungpipe.radiomics.parameter_file import FILTER_WORDS, TEXTURE_WORDS
from lungpipe.volume import CTVolume, Mask

#: PyRadiomics' numbers where a definition divides nothing by nothing; ours is not a number there.
CONVENTIONS = {
    "firstorder_Skewness": 0.0,
    "firstorder_Kurtosis": 0.0,
    "glcm_Correlation": 1.0,
    "glcm_MCC": 1.0,
    "glcm_Imc1": 0.0,
    "glcm_Imc2": 0.0,
    "ngtdm_Busyness": 0.0,
    "ngtdm_Coarseness": 1e6,
    "ngtdm_Contrast": 0.0,
    "ngtdm_Strength": 0.0,
}
#: A padDistance with which PyRadiomics filters all of an image.
EVERYTHING = 10_000


def agree(found, expected, relative=1e-6):
    """Compare features by name and order; what is not a number has to be a convention of PyRadiomics."""
    assert list(found) == list(expected)
    for name, value in expected.items():
        if math.isnan(found[name]):
            assert math.isnan(value) or value == CONVENTIONS.get(name.partition("_")[2]), (name, value)
        else:
            assert found[name] == pytest.approx(value, rel=relative, abs=1e-12), name


def textured(shape=(33, 44, 47), spacing_mm=(1.2345, 0.7171, 0.6789), hu=730):
    """A textured ball in textured lung, on a grid without planes half way between those of 1 mm."""
    frame = Geometry(shape, spacing_mm, (-12.0, 7.0, -90.0))
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=shape), 1.2) * 900
    middle = np.asarray(shape) // 2
    distance_mm = np.linalg.norm((np.indices(shape).T - middle) * spacing_mm, axis=-1).T
    values = np.rint(noise - 700 + hu * (distance_mm < 6)).astype(np.int16)
    return CTVolume(values, frame), Mask(distance_mm < 7, frame)


def by_pyradiomics(volume, mask, settings, pad=None):
    """PyRadiomics' own resampling, filters and feature classes on the whole image, or with padding that is wide enough."""
    texture = {theirs: getattr(settings.texture, ours) for theirs, ours in TEXTURE_WORDS.items()}
    filters = {theirs: getattr(settings.parameters, ours) for theirs, ours in FILTER_WORDS.items()}
    spacing = None if settings.spacing_mm is None else list(settings.spacing_mm)
    pad = pad or (EVERYTHING if settings.filters_whole_image else 5)
    extractor = featureextractor.RadiomicsFeatureExtractor(
        **{**texture, **filters, "distances": list(settings.texture.distances), "gldm_a": int(settings.texture.gldm_a)},
        resampledPixelSpacing=spacing,
        padDistance=pad,
        additionalInfo=False,
    )
    extractor.enabledImagetypes = {IMAGE_TYPES[name]: {} for name in settings.filters}
    if settings.classes:
        extractor.enabledFeatures = {name: list(features) for name, features in settings.classes}
    hu = volume.hu if settings.spacing_mm is None else volume.hu.astype(settings.interpolation)
    whole = mask.within((0, 0, 0), mask.frame.shape).voxels.astype(np.uint8)
    values = extractor.execute(to_sitk(hu, volume.frame), to_sitk(whole, mask.frame))
    return {name: float(value) for name, value in values.items()}


def old_harmonics(monkeypatch):
    """Give SciPy back the function without which PyRadiomics makes no LBP in three dimensions (order m, n, azimuth, polar)."""
    monkeypatch.setattr(special, "sph_harm", lambda m, n, a, p: special.sph_harm_y(n, m, p, a), raising=False)
    assert imageoperations.getLBP3DImage
