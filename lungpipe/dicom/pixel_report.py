"""What the pixels of a series were found to show."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PixelReport:
    """What the pixels of a series show.

    Parameters
    ----------
    codes : tuple of str
        Keys of :data:`lungpipe.dicom.codes.CODES`, sorted.
    detail : str
        The figures behind the codes, or which decoder is missing; names nobody.
    digest : str
        SHA-256 of shape, spacing (to 1e-3 mm) and HU: the same for the same image, under whatever UIDs and transfer
        syntax. Empty if the pixels could not be read.
    padding_voxels : int
        Voxels that were set to -1024 HU.
    source_sha256 : str
        :func:`lungpipe.dicom.source.digest` of the files. Empty if the pixels could not be read.
    thumbnail_png : bytes
        From :func:`lungpipe.dicom.thumbnail.thumbnail`.
    """

    codes: tuple[str, ...]
    detail: str = ""
    digest: str = ""
    padding_voxels: int = 0
    source_sha256: str = ""
    thumbnail_png: bytes = b""
