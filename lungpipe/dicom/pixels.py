"""Look at the pixels of a series and say, by code, what is wrong with them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
from pydicom import uid

from lungpipe.dicom.coverage import BLOCK_MM, find_lung
from lungpipe.dicom.pixel_report import PixelReport
from lungpipe.dicom.read import read_with_padding
from lungpipe.dicom.source import digest
from lungpipe.dicom.thumbnail import may_hold_text, picture_of, thumbnail
from lungpipe.errors import DicomError
from lungpipe.volume import PADDING_HU

if TYPE_CHECKING:
    from lungpipe.dicom.series import Series
    from lungpipe.volume import CTVolume

#: Transfer syntaxes that give back the pixels as they were, and those that do not, or need not.
LOSSLESS = frozenset({
    uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless,
    uid.JPEG2000MCLossless, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.RLELossless,
})  # fmt: skip
LOSSY = frozenset({
    uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.JPEG2000MC, uid.HTJ2K,
    *uid.MPEGTransferSyntaxes,
})  # fmt: skip
#: Air and lung lie below this, HU; padding (-1024) does not count. Counts, PET and MR have no negative values.
AERATED_HU = -600
#: Least share of air and lung among the voxels: a chest has over a third, an abdomen in a wide field of view as well.
MIN_AERATED = 0.01
#: Soft tissue, fat to enhanced blood, HU.
SOFT_TISSUE_HU = (-200, 300)
#: Least volume of soft tissue, ml: a cut-out of lung may show no more than a nodule of 6 mm.
MIN_SOFT_TISSUE_ML = 0.05
#: The lung reaches the end of the stack if its area there is over this share of its largest area; a windpipe is no lung.
MAX_END_SHARE = 0.05
#: The lung reaches the edge of the field of view if it touches it over this area, mm2; a mere touch loses nothing.
MAX_CUT_MM2 = 500.0
#: Spacing counts in an image's digest to this many decimals of a mm.
SPACING_DECIMALS = 3


def check_pixels(series: Series) -> PixelReport:
    """Read a series and check its pixels; what cannot be read is a code too, never an error.

    Parameters
    ----------
    series : Series
        With headers, unless it is a volume file. Without a grid only the headers are looked at.
    """
    syntaxes = {header.transfer_syntax for header in series.headers}
    codes = set()
    if syntaxes & LOSSY or any("lossy" in header.marks for header in series.headers):
        codes.add("lossy_compression")
    if series.geometry is None:
        return PixelReport(tuple(sorted(codes)), "no grid, so no volume was read", thumbnail_png=thumbnail(series))
    try:
        volume, padding = read_with_padding(series.files, series.geometry)
    except DicomError as error:
        return PixelReport(tuple(sorted({*codes, error.code})), error.message, thumbnail_png=thumbnail(series))
    except MemoryError:
        message = f"{series.geometry.shape} voxels do not fit into memory"
        return PixelReport(tuple(sorted({*codes, "unreadable_pixels"})), message)
    if syntaxes & LOSSLESS:
        codes.add("compressed")
    details = []
    if padding.undeclared:
        codes.add("undeclared_padding")
        details.append(f"{padding.undeclared} voxels below {PADDING_HU} HU")
    found, said = check_hu(volume)
    codes |= found
    details += said
    middle = volume.hu[volume.shape[0] // 2]
    return PixelReport(
        codes=tuple(sorted(codes)),
        detail="; ".join(details),
        digest=digest_of(volume),
        padding_voxels=padding.declared + padding.undeclared,
        source_sha256=_source(series),
        thumbnail_png=b"" if may_hold_text(series) else picture_of(middle, volume.frame.spacing_mm[1:]),
    )


def _source(series: Series) -> str:
    try:
        return digest(series.files)
    except (OSError, RuntimeError, NotImplementedError, BadZipFile):
        return ""  # it went away since it was read, and will be missed when it is processed


def check_hu(volume: CTVolume) -> tuple[set[str], list[str]]:
    """Whether a volume shows HU, and all of a lung.

    Parameters
    ----------
    volume : CTVolume
        HU; padding is -1024.

    Returns
    -------
    codes : set of str
        Of ``not_hu``, ``no_lung``, ``lung_not_covered``, ``cut_field_of_view``.
    details : list of str
        The figures behind them.
    """
    aerated, soft_ml = _evidence(volume)
    if aerated < MIN_AERATED or soft_ml < MIN_SOFT_TISSUE_ML:
        return {"not_hu"}, [f"{aerated:.1%} of voxels like air or lung, {soft_ml:.2g} ml like soft tissue"]
    lung = find_lung(volume)
    if not lung.lung_ml:
        return {"no_lung"}, ["no aerated part inside the body as large as a lung"]
    codes, details = set(), []
    if lung.end_share > MAX_END_SHARE:
        codes.add("lung_not_covered")
        details.append(f"the first or last slice shows {lung.end_share:.0%} of the largest lung area")
    if lung.cut_mm2 > MAX_CUT_MM2:
        codes.add("cut_field_of_view")
        details.append(f"{lung.cut_mm2 / 100:.0f} cm2 of lung at the edge of the field of view")
    return codes, details


def digest_of(volume: CTVolume) -> str:
    """SHA-256 of an image's shape, spacing and HU, in hexadecimal."""
    spacing = tuple(round(s, SPACING_DECIMALS) for s in volume.frame.spacing_mm)
    total = hashlib.sha256(repr((volume.shape, spacing)).encode())
    total.update(np.ascontiguousarray(volume.hu, dtype="<i2").data)
    return total.hexdigest()


def _evidence(volume: CTVolume) -> tuple[float, float]:
    """Share of voxels with HU of air or lung, and volume with HU of soft tissue, ml; on every second voxel or so."""
    step = [max(1, round(BLOCK_MM / 2 / s)) for s in volume.frame.spacing_mm]
    sample = volume.hu[:: step[0], :: step[1], :: step[2]]
    aerated = np.count_nonzero((sample > PADDING_HU) & (sample < AERATED_HU)) / sample.size
    soft = np.count_nonzero((sample > SOFT_TISSUE_HU[0]) & (sample < SOFT_TISSUE_HU[1]))
    return aerated, soft * float(np.prod(step)) * volume.frame.voxel_volume_mm3 / 1000.0
