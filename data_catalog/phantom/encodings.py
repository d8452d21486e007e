"""Turn plain images into other transfer syntaxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gdcm
import numpy as np
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, ExplicitVRBigEndian

if TYPE_CHECKING:
    from pydicom.uid import UID


def to_syntax(images: list[FileDataset], syntax: UID) -> list[FileDataset]:
    """Mark images for another little-endian, uncompressed transfer syntax; they are encoded when saved."""
    for image in images:
        image.file_meta.TransferSyntaxUID = syntax
    return images


def to_big_endian(images: list[FileDataset]) -> list[FileDataset]:
    """Make explicit VR big endian images, a transfer syntax that DICOM has retired."""
    out = []
    for image in images:
        # A data set remembers the byte order that it was read in, so a new one is needed.
        swapped = FileDataset("", {}, image.preamble, image.file_meta)
        for element in image:
            swapped.add(element)
        swapped.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        swapped.PixelData = np.frombuffer(image.PixelData, "<u2").astype(">u2").tobytes()
        out.append(swapped)
    return out


def compress(images: list[FileDataset], syntax: UID, rate: float = 1.0) -> list[FileDataset]:
    """Compress the pixels.

    Parameters
    ----------
    images : list of FileDataset
        One sample a pixel, unsigned, uncompressed, little endian; changed.
    syntax : UID
        RLE, JPEG lossless, JPEG-LS, JPEG 2000 lossless, or JPEG 2000.
    rate : float
        Aim of JPEG 2000 with loss: stored bytes over compressed ones.
    """
    for image in images:
        code = _encode(image, syntax, rate)
        if syntax == JPEG2000:
            image.LossyImageCompression = "01"
            image.LossyImageCompressionMethod = "ISO_15444_1"
            image.LossyImageCompressionRatio = f"{len(image.PixelData) / len(code):.4g}"
        encapsulate_as(image, code, syntax)
    return images


def encapsulate_as(image: FileDataset, code: bytes, syntax: UID) -> None:
    """Make ``code`` the one compressed frame of an image: DICOM PS3.5 A.4."""
    image.file_meta.TransferSyntaxUID = syntax
    image.PixelData = encapsulate([code])
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True


def _encode(image: FileDataset, syntax: UID, rate: float) -> bytes:
    writer = gdcm.ImageWriter()  # owns the image, so it has to live as long
    plain = writer.GetImage()
    plain.SetNumberOfDimensions(2)
    plain.SetDimensions((int(image.Columns), int(image.Rows), 1))
    plain.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    plain.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    plain.SetPixelFormat(gdcm.PixelFormat(1, int(image.BitsAllocated), int(image.BitsStored), int(image.HighBit), 0))
    pixels = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    pixels.SetByteStringValue(image.PixelData)
    plain.SetDataElement(pixels)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    codec = gdcm.JPEG2000Codec()
    if syntax == JPEG2000:
        codec.SetReversible(False)
        codec.SetRate(0, rate)
        change.SetUserCodec(codec)
    change.SetInput(plain)
    if not change.Change():
        raise RuntimeError(f"GDCM cannot encode to transfer syntax {syntax}: install python-gdcm with its codecs")
    text = change.GetOutput().GetDataElement().GetSequenceOfFragments().GetFragment(0).GetByteValue().GetBuffer()
    return bytes(text.encode("utf-8", "surrogateescape"))
