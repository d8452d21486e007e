"""Settle what two images in one place are: the same image stored twice, or two that contradict each other."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from lungpipe.dicom.source import read_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lungpipe.dicom.source import Source
    from lungpipe.dicom.stack import Twin

#: What must be equal, besides the pixels, for two images to be the same.
_SAME = (
    "Rows", "Columns", "RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
)  # fmt: skip
_CODES = {
    ("sop", True): "duplicate_sop", ("sop", False): "conflicting_sop",
    ("position", True): "duplicate_slice", ("position", False): "conflicting_slice",
}  # fmt: skip


def settle(twins: Sequence[Twin]) -> tuple[str, ...]:
    """Codes of the pairs of a stack, sorted.

    Two images are the same if their stored pixels, rescale and place are equal, bit for bit; what cannot be read, or is
    stored under another transfer syntax, counts as different. Frames of one file in one place always contradict each other.

    Parameters
    ----------
    twins : sequence of (Source, Source, str)
        As in :class:`lungpipe.dicom.series.Series`.
    """
    codes: set[str] = set()
    for one, other, kind in twins:
        different = _CODES[kind, False]
        if different in codes:
            continue
        codes.add(_CODES[kind, _same(one, other)])
        if different in codes:
            codes.discard(_CODES[kind, True])
    return tuple(sorted(codes))


def _same(one: Source, other: Source) -> bool:
    try:
        contents = list(read_each([one.file, other.file]))
        if contents[0] == contents[1]:
            return one.file != other.file
        return one.frame < 0 and other.frame < 0 and _image(contents[0]) == _image(contents[1])
    except Exception:  # noqa: BLE001  a damaged file may raise anything, and then nothing shows that they are equal
        return False


def _image(content: bytes) -> list[Any]:
    import pydicom
    from pydicom.config import disable_value_validation

    with disable_value_validation():
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        return [dataset.file_meta.get("TransferSyntaxUID"), dataset.PixelData, *(dataset.get(name) for name in _SAME)]
