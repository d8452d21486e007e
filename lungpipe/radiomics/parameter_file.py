"""PyRadiomics' own parameter files (YAML or JSON), read unchanged.

A file is checked against PyRadiomics' schema and then means what it means to PyRadiomics: defaults are PyRadiomics' defaults,
resampled images keep the image's own type, and each region's own crop is filtered where there is resampling. What has no
effect on the features of a region in PyRadiomics has none here (``additionalInfo``, ``voxelSetting``, ``LoG`` without
``sigma``, ``shape2D`` without ``force2D``); what cannot be done is refused by name.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pykwalify.core  # type: ignore[import-untyped]  # PyRadiomics' own, without types
import SimpleITK as sitk
from pykwalify.errors import PyKwalifyException  # type: ignore[import-untyped]
from radiomics import getParameterValidationFiles

from lungpipe.errors import DatasetError
from lungpipe.radiomics.classes import known_features
from lungpipe.radiomics.image_types import PARAMETERS_OF, FilterParameters, image_type
from lungpipe.radiomics.preparation import Normalisation, Resegmentation
from lungpipe.radiomics.settings import INTERPOLATORS, RadiomicsSettings
from lungpipe.radiomics.texture import TextureSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# The schema's checker prints what the error says again.
logging.getLogger("pykwalify").setLevel(logging.CRITICAL)
_LOG = logging.getLogger(__name__)

#: PyRadiomics' words for texture settings.
TEXTURE_WORDS: Mapping[str, str] = {
    "binWidth": "bin_width",
    "binCount": "bin_count",
    "distances": "distances",
    "symmetricalGLCM": "symmetrical_glcm",
    "gldm_a": "gldm_a",
    "force2D": "force_2d",
    "force2Ddimension": "force_2d_axis",
    "weightingNorm": "weighting",
    "voxelArrayShift": "voxel_array_shift",
}
#: PyRadiomics' words for parameters of filters.
FILTER_WORDS: Mapping[str, str] = {
    "sigma": "sigma_mm",
    "wavelet": "wavelet",
    "level": "level",
    "start_level": "start_level",
    "gradientUseSpacing": "gradient_use_spacing",
    "lbp2DRadius": "lbp_2d_radius",
    "lbp2DSamples": "lbp_2d_samples",
    "lbp2DMethod": "lbp_2d_method",
    "lbp3DLevels": "lbp_3d_levels",
    "lbp3DIcosphereRadius": "lbp_3d_radius",
    "lbp3DIcosphereSubdivision": "lbp_3d_subdivision",
}
#: PyRadiomics' default of ``padDistance``.
_PAD_DISTANCE = 5


@dataclass(frozen=True, slots=True)
class ParameterFile:
    """What a parameter file asks for.

    Parameters
    ----------
    settings : RadiomicsSettings
    label : int
        Value of the region in a mask.
    correct_mask : bool
        Whether a mask on another grid is put on the image's. ``correctMask``.
    geometry_tolerance : float, optional
        Greatest difference between the grids of image and mask, in parts of the voxel's side along x; of direction
        cosines without unit. ``geometryTolerance``.
    """

    settings: RadiomicsSettings
    label: int = 1
    correct_mask: bool = False
    geometry_tolerance: float | None = None


def read_parameter_file(path: Path) -> ParameterFile:
    """Read a parameter file.

    Raises
    ------
    DatasetError
        If it is missing, does not fit PyRadiomics' schema, or asks for what cannot be done.
    """
    if not path.is_file():
        raise DatasetError(f"no parameter file at {path}")
    schema, extension = getParameterValidationFiles()
    try:
        read = pykwalify.core.Core(source_file=str(path), schema_files=[schema], extensions=[extension]).validate()
    except (PyKwalifyException, ValueError, TypeError) as error:
        raise DatasetError(f"{path} is no PyRadiomics parameter file: {_first_lines(error)}") from error
    except Exception as error:
        # Its checker lets the errors of the YAML and JSON readers through, which share no base class.
        if type(error).__module__.partition(".")[0] not in {"ruamel", "json", "yaml"}:
            raise
        raise DatasetError(f"{path} is no PyRadiomics parameter file: {_first_lines(error)}") from error
    if not isinstance(read, dict):
        raise DatasetError(f"{path} is no PyRadiomics parameter file: it holds no settings")
    try:
        return _meant(read)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error


def _meant(read: Mapping[str, Any]) -> ParameterFile:
    words: dict[str, Any] = {"label": 1, **dict(read.get("setting") or {})}
    if words.get("label_channel", 0) != 0:
        raise DatasetError(
            "label_channel: a mask with several channels is not read; save the channel as a mask of its own"
        )
    types = {image_type(name): dict(own or {}) for name, own in (read.get("imageType") or {"Original": {}}).items()}
    for kind, own in types.items():
        _refuse_ineffective(kind, own, words)
    if "log" in types and not {**words, **types["log"]}.get("sigma"):
        _LOG.warning("LoG without sigma: PyRadiomics computes no image of it")
        del types["log"]
    if not types:
        raise DatasetError("imageType: LoG without sigma gives no image; name sigma, in mm")
    texture = _texture(TextureSettings(), words)
    overrides = {kind: _texture(texture, own) for kind, own in types.items()}
    pad = words.get("padDistance")
    resampled = words.get("resampledPixelSpacing") is not None and words.get("interpolator", "sitkBSpline") is not None
    pre_crop = not resampled and bool(words.get("preCrop", False))
    settings = RadiomicsSettings(
        bin_width_hu=texture.bin_width,
        spacing_mm=_spacing(words["resampledPixelSpacing"]) if resampled else None,
        interpolation="own",
        filters=tuple(types),
        texture=texture,
        classes=_classes(read.get("featureClass") or {}, texture),
        parameters=_parameters(types, words),
        overrides=tuple((kind, own) for kind, own in overrides.items() if own != texture),
        interpolator=_interpolator(words.get("interpolator")),
        pad_distance=(_PAD_DISTANCE if pad is None else pad) if resampled or pre_crop else None,
        pre_crop=pre_crop,
        resegment=_resegmentation(words),
        normalise=_normalisation(words),
        min_dimensions=words.get("minimumROIDimensions", 2),
        min_voxels=words.get("minimumROISize"),
    )
    return ParameterFile(settings, words["label"], bool(words.get("correctMask")), words.get("geometryTolerance"))


def _refuse_ineffective(kind: str, own: Mapping[str, Any], words: Mapping[str, Any]) -> None:
    """Refuse settings that PyRadiomics does not read from an image type, unless they say what holds anyway."""
    for word, value in own.items():
        if word not in TEXTURE_WORDS and word not in FILTER_WORDS and words.get(word) != value:
            raise DatasetError(
                f"imageType.{kind}.{word} cannot differ from image type to image type; move it to the section setting"
            )


def _texture(base: TextureSettings, words: Mapping[str, Any]) -> TextureSettings:
    given = {ours: words[theirs] for theirs, ours in TEXTURE_WORDS.items() if theirs in words}
    if "distances" in given:
        given["distances"] = tuple(given["distances"])
    return replace(base, **given)


def _parameters(types: Mapping[str, Mapping[str, Any]], words: Mapping[str, Any]) -> FilterParameters:
    own = {field: kind for kind, names in PARAMETERS_OF.items() for field in names.values()}
    given: dict[str, Any] = {}
    for theirs, ours in FILTER_WORDS.items():
        merged = {**words, **types.get(own[ours], {})}
        if theirs in merged and own[ours] in types:
            given[ours] = tuple(dict.fromkeys(merged[theirs])) if theirs == "sigma" else merged[theirs]
    return FilterParameters(**given)


def _classes(read: Mapping[str, Any], texture: TextureSettings) -> tuple[tuple[str, tuple[str, ...]], ...]:
    asked = {name: tuple(dict.fromkeys(features or ())) for name, features in read.items()}
    asked = asked or dict.fromkeys(known_features(), ())
    if "shape2D" in asked and not texture.force_2d:
        if len(asked) == 1:
            raise DatasetError("featureClass: shape2D alone computes nothing without force2D: true")
        if read:
            _LOG.warning("shape2D without force2D: PyRadiomics computes nothing of it")
        del asked["shape2D"]
    return tuple(asked.items())


def _spacing(found: list[float]) -> tuple[float, float, float]:
    if len(found) != 3:
        raise DatasetError(f"resampledPixelSpacing: expected three lengths (x, y, z), found {found}")
    x, y, z = (float(side) for side in found)
    return x, y, z


def _interpolator(found: str | int | None) -> str:
    """The name of an interpolator; numbers are SimpleITK's."""
    if isinstance(found, int):
        names = [name for name in INTERPOLATORS if getattr(sitk, name) == found]
        if not names:
            raise DatasetError(f"interpolator: SimpleITK has none of number {found} here; give its name")
        return names[0]
    return found or "sitkBSpline"


def _resegmentation(words: Mapping[str, Any]) -> Resegmentation | None:
    limits = words.get("resegmentRange")
    if limits is None:
        return None
    return Resegmentation(
        tuple(limits), words.get("resegmentMode", "absolute"), bool(words.get("resegmentShape", False))
    )


def _normalisation(words: Mapping[str, Any]) -> Normalisation | None:
    if not words.get("normalize", False):
        return None
    return Normalisation(words.get("normalizeScale", 1), words.get("removeOutliers"))


def _first_lines(error: Exception) -> str:
    text = getattr(error, "msg", None) or str(error)
    return " ".join(str(text).split())[:400]
