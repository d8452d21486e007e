"""Join the slices of a series into one enhanced (multi-frame) CT image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage

from data_catalog.phantom.scans import name_instance, set_kind

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

    from data_catalog.phantom.scans import Scan

#: Image type and frame type of a simulated enhanced CT: DICOM PS3.3 C.8.16.1.
ENHANCED_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "SIMULATED"]
#: Attributes of a slice that functional groups hold in an enhanced image.
MOVED = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleIntercept",
    "RescaleSlope", "RescaleType", "KVP", "XRayTubeCurrent", "ConvolutionKernel", "WindowCenter", "WindowWidth",
)  # fmt: skip


def to_enhanced(scan: Scan, images: list[FileDataset], *, shuffled: bool) -> list[FileDataset]:
    """Join slices into one image: DICOM PS3.3 A.38.1, C.7.6.16, C.8.15.3.

    Parameters
    ----------
    scan : Scan
        Whose.
    images : list of FileDataset
        Slices from the lowest to the highest, uncompressed.
    shuffled : bool
        Store the frames in no order, orientation and rescale for each frame instead of once for all.

    Returns
    -------
    list of FileDataset
        The one image.
    """
    order = scan.rng("frames").permutation(len(images)).tolist() if shuffled else list(range(len(images)))
    first = images[0]
    shared = Dataset()
    shared.PixelMeasuresSequence = _item(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)
    frames = [_frame(images[index], index) for index in order]
    for holder in frames if shuffled else [shared]:
        _add_common(holder, first)
    pixels = b"".join(images[index].PixelData for index in order)
    for name in MOVED:
        delattr(first, name)
    _describe(first, scan)
    first.NumberOfFrames = len(frames)
    first.SharedFunctionalGroupsSequence = Sequence([shared])
    first.PerFrameFunctionalGroupsSequence = Sequence(frames)
    first.PixelData = pixels
    return [first]


def _frame(image: FileDataset, index: int) -> Dataset:
    """What only one frame has: its place in the stack and in space."""
    frame = Dataset()
    when = f"{image.AcquisitionDate}{image.AcquisitionTime}"
    frame.FrameContentSequence = _item(
        StackID="1",
        InStackPositionNumber=index + 1,
        DimensionIndexValues=[1, index + 1],
        FrameAcquisitionNumber=1,
        FrameAcquisitionDateTime=when,
        FrameReferenceDateTime=when,
        FrameAcquisitionDuration=500.0,
    )
    frame.PlanePositionSequence = _item(ImagePositionPatient=image.ImagePositionPatient)
    return frame


def _add_common(holder: Dataset, image: FileDataset) -> None:
    """Add the functional groups that are the same in all frames."""
    holder.PlaneOrientationSequence = _item(ImageOrientationPatient=image.ImageOrientationPatient)
    holder.PixelValueTransformationSequence = _item(
        RescaleIntercept=image.RescaleIntercept, RescaleSlope=image.RescaleSlope, RescaleType="HU"
    )
    holder.CTImageFrameTypeSequence = _item(
        FrameType=ENHANCED_TYPE,
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
    )
    region = _item(CodeValue="43799004", CodingSchemeDesignator="SCT", CodeMeaning="Thorax")
    holder.FrameAnatomySequence = _item(FrameLaterality="U", AnatomicRegionSequence=region)


def _describe(image: FileDataset, scan: Scan) -> None:
    """Attributes of the whole image, DICOM PS3.3 C.8.15.2, and of its dimensions, C.7.6.17."""
    set_kind(image, EnhancedCTImageStorage, "CT", ENHANCED_TYPE)
    name_instance(image, scan.uid("enhanced"))
    image.InstanceNumber = 1
    image.AcquisitionDateTime, image.AcquisitionDuration = f"{image.AcquisitionDate}{image.AcquisitionTime}", 8.0
    image.SoftwareVersions, image.ContentQualification = "1.0", "RESEARCH"
    image.PixelPresentation, image.VolumetricProperties = "MONOCHROME", "VOLUME"
    image.VolumeBasedCalculationTechnique = "NONE"
    image.PresentationLUTShape, image.LossyImageCompression, image.BurnedInAnnotation = "IDENTITY", "00", "NO"
    organization = scan.uid("dimensions")
    image.DimensionOrganizationSequence = _item(DimensionOrganizationUID=organization)
    dimensions = []
    for keyword in ("StackID", "InStackPositionNumber"):
        dimension = Dataset()
        dimension.DimensionOrganizationUID = organization
        dimension.DimensionIndexPointer = tag_for_keyword(keyword)
        dimension.FunctionalGroupPointer = tag_for_keyword("FrameContentSequence")
        dimensions.append(dimension)
    image.DimensionIndexSequence = Sequence(dimensions)


def _item(**attributes: object) -> Sequence:
    """Sequence of one item."""
    item = Dataset()
    for name, value in attributes.items():
        setattr(item, name, value)
    return Sequence([item])
