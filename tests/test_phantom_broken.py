"""The broken cohort: every fault is really in the files, and the clean series are really clean."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import highdicom
import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    JPEG2000,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from data_catalog.phantom import broken
from data_catalog.phantom.broken import N_SERIES, plan_scans, write_broken
from data_catalog.phantom.chest import CENTRE_MM, NOISE_HU, axial, noisy_hu
from data_catalog.phantom.faults import CLEAN, ENTRIES
from lungpipe.dicom.codes import CODES, verdict
from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Images = list[Any]
    Read = Callable[[str], Images]

BY_NAME = {entry.name: entry for entry in ENTRIES}
SCANS = plan_scans(0)
#: LPS places from the middle of the chest, mm, and the HU that the anatomy has there. The heart makes left and right,
#: the spine front and back, the lungs above and below differ.
PLACES = (
    ((100, -130, 0), -1000), ((72, -15, 60), -850), ((-72, -15, 60), -850), ((0, 70, 0), 300), ((0, -70, 0), 45),
    ((25, -25, -30), 40), ((-50, -25, -30), -850), ((50, 0, 107), 45), ((60, 0, -110), 45),
)  # fmt: skip


@pytest.fixture(scope="module")
def cohort(broken_archive: Path) -> Path:
    return broken_archive


@pytest.fixture(scope="module")
def expected(cohort: Path) -> pd.DataFrame:
    return pd.read_csv(cohort / "expected.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def headers(cohort: Path) -> list[tuple[Path, str, Any]]:
    """Path, zip entry and header of every data set of the archive that nobody should refuse."""
    refused = {cohort / path for path in pd.read_csv(cohort / "expected_files.csv")["path"]}
    return [item for item in data_sets(cohort / "dicom", stop_before_pixels=True) if item[0] not in refused]


@pytest.fixture(scope="module")
def read(cohort: Path) -> Read:
    """Read the images of an entry by its name, in order of file name; frames count as images."""
    known: dict[str, Images] = {}

    def images(name: str) -> Images:
        if name not in known:
            folder = cohort / "dicom" / (BY_NAME[name].folder or name)
            found = [d for _, _, d in data_sets(folder) if d.get("SeriesInstanceUID") == SCANS[name].uid("series")]
            known[name] = frames_of(found[0]) if "NumberOfFrames" in found[0] else found
        return known[name]

    return images


def data_sets(folder: Path, **options: Any) -> list[tuple[Path, str, Any]]:
    """Every DICOM data set below a folder, with its path and its entry in a zip archive."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix.lower() != ".zip":
            contents = {"": path.read_bytes()}
        elif path.parent.name != "archives":
            with zipfile.ZipFile(path) as archive:
                contents = {name: archive.read(name) for name in archive.namelist()}
        else:
            contents = {}
        for entry, content in contents.items():
            if content[128:132] == b"DICM" and path.parent.name != "damaged":
                found.append((path, entry, pydicom.dcmread(BytesIO(content), **options)))
    return found


def frames_of(image: Any) -> Images:
    """Frames of an enhanced image in stored order, each with the attributes of a slice: DICOM PS3.3 C.7.6.16."""
    shared = image.SharedFunctionalGroupsSequence[0]
    frames = []
    for frame, pixels in zip(image.PerFrameFunctionalGroupsSequence, image.pixel_array, strict=True):
        names = {"pixel_array": pixels, "Rows": image.Rows, "Columns": image.Columns}
        for group in ("PixelMeasures", "PlanePosition", "PlaneOrientation", "PixelValueTransformation"):
            holder = frame if f"{group}Sequence" in frame else shared
            names |= {element.keyword: element.value for element in holder[f"{group}Sequence"].value[0]}
        frames.append(SimpleNamespace(**names))
    return frames


def normal_of(image: Any) -> NDArray[np.float64]:
    cosines = np.asarray(image.ImageOrientationPatient, dtype=float)
    return np.asarray(np.cross(cosines[:3], cosines[3:]))


def in_order(images: Images) -> Images:
    """Slices by their place along the normal of the first."""
    normal = normal_of(images[0])
    return sorted(images, key=lambda d: float(normal @ np.asarray(d.ImagePositionPatient, dtype=float)))


def positions_mm(images: Images) -> NDArray[np.float64]:
    return np.asarray([d.ImagePositionPatient for d in in_order(images)], dtype=float)


def steps_mm(images: Images) -> NDArray[np.float64]:
    """Distances from slice to slice along the normal."""
    return np.asarray(np.diff(positions_mm(images) @ normal_of(images[0])))


def drift_mm(images: Images) -> float:
    """How far the last slice lies beside the normal through the first."""
    way = positions_mm(images)[-1] - positions_mm(images)[0]
    normal = normal_of(images[0])
    return float(np.linalg.norm(way - (way @ normal) * normal))


def tilt_degrees(images: Images) -> float:
    """Angle between the normal and the nearest axis of the patient."""
    return float(np.degrees(np.arccos(min(1.0, np.abs(normal_of(images[0])).max()))))


def hu_of(image: Any) -> NDArray[np.float64]:
    return np.asarray(image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept))


def volume_of(images: Images) -> NDArray[np.float64]:
    return np.stack([hu_of(d) for d in in_order(images)])


def hu_at(images: Images, from_centre_mm: tuple[float, float, float]) -> float:
    """Median HU of 5 x 5 pixels at an LPS place of the chest, in the nearest slice (DICOM PS3.3 C.7.6.2.1.1)."""
    point = np.add(CENTRE_MM, from_centre_mm)
    normal = normal_of(images[0])
    near = min(images, key=lambda d: abs(float(normal @ (point - np.asarray(d.ImagePositionPatient, dtype=float)))))
    offset = point - np.asarray(near.ImagePositionPatient, dtype=float)
    cosines = np.asarray(near.ImageOrientationPatient, dtype=float)
    spacing = float(near.PixelSpacing[0])
    column, row = round(float(offset @ cosines[:3]) / spacing), round(float(offset @ cosines[3:]) / spacing)
    return float(np.median(hu_of(near)[row - 2 : row + 3, column - 2 : column + 3]))


def is_regular(images: Images) -> bool:
    """Whether slices of one size and orientation follow each other evenly along their normal, at most 5 mm apart."""
    steps = steps_mm(images)
    same = {(d.Rows, d.Columns, *d.PixelSpacing, *d.ImageOrientationPatient) for d in images}
    return bool(len(same) == 1 and np.ptp(steps) < 1e-3 and 0 < steps[0] <= 5.0001 and drift_mm(images) < 1e-2)


def in_lung(hu: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Voxels of aerated lung: five times the noise around -850 HU."""
    return np.abs(hu + 850) < 5 * NOISE_HU


def lung_at_ends(images: Images) -> bool:
    lung = in_lung(volume_of(images))
    return bool(max(lung[0].sum(), lung[-1].sum()) > 0.05 * lung.sum(axis=(1, 2)).max())


def lung_at_edge(images: Images) -> bool:
    lung = in_lung(volume_of(images))
    return any(bool(side.any()) for side in (lung[:, 0], lung[:, -1], lung[:, :, 0], lung[:, :, -1]))


def count(images: Images, name: str) -> int:
    """Different values of an attribute; missing is one of them."""
    return len({str(d.get(name)) for d in images})


def every(images: Images, name: str, value: object) -> bool:
    return all(d.get(name) == value for d in images)


def pairs(images: Images, name: str) -> Images:
    """The first two images with the same value of an attribute."""
    seen: dict[str, Any] = {}
    for image in images:
        value = str(image.get(name))
        if value in seen:
            return [seen[value], image]
        seen[value] = image
    return []


def same_pixels(images: Images) -> bool:
    return len({bytes(d.PixelData) for d in images}) == 1


def fails_to_decode(image: Any) -> bool:
    try:
        image.pixel_array  # noqa: B018
    except Exception:  # noqa: BLE001  whatever pydicom raises
        return True
    return False


def repeats(images: Images, name: str, *, equal: bool) -> bool:
    """Whether just two images share an attribute, with equal or other pixels."""
    found = pairs(images, name)
    return len(found) == 2 and count(images, name) == len(images) - 1 and same_pixels(found) is equal


#: What shows each fault in the headers and pixels of its series, and does not show in a clean one.
SHOWN: dict[str, Callable[[Images], bool]] = {
    "not_ct": lambda s: every(s, "Modality", "MR") and s[0].SOPClassUID != CTImageStorage,
    "localizer": lambda s: len(s) == 1 and s[0].ImageType[2] == "LOCALIZER",
    "with_localizer": lambda s: sum("LOCALIZER" in d.ImageType for d in s) == 1 and len(s) == 51,
    "secondary_capture": lambda s: (
        every(s, "SOPClassUID", SecondaryCaptureImageStorage)
        and every(s, "Modality", "CT")
        and every(s, "PhotometricInterpretation", "RGB")
    ),
    "dose_report": lambda s: len(s) == 1 and "DOSE_INFO" in s[0].ImageType and s[0].SeriesDescription == "Dose Report",
    "pet_as_ct": lambda s: (
        every(s, "Modality", "CT") and every(s, "Units", "BQML") and "RadiopharmaceuticalInformationSequence" in s[0]
    ),
    "not_hu": lambda s: bool(volume_of(s).min() >= 0) and every(s, "RescaleType", "HU"),
    "burned_in_annotation": lambda s: every(s, "BurnedInAnnotation", "YES") and bool((volume_of(s) == 3071).any()),
    "contrast": lambda s: bool(s[0].get("ContrastBolusAgent")) and hu_at(s, (25, -25, -30)) > 200,
    "missing_geometry": lambda s: every(s, "ImagePositionPatient", None),
    "too_few_slices": lambda s: len(s) == 3 and is_regular(s),
    "mixed_size": lambda s: (
        count(s, "Columns") == 2 and count(s, "PixelSpacing") == 1 and len(set(steps_mm(s).round(3))) == 1
    ),
    "mixed_orientation": lambda s: count(s, "ImageOrientationPatient") == 2,
    "mixed_acquisition": lambda s: (
        count(s, "AcquisitionNumber") == 2
        and count(s, "ImagePositionPatient") == len(s) // 2
        and not same_pixels(pairs(s, "ImagePositionPatient"))
    ),
    "missing_slice": lambda s: sorted(steps_mm(s).round(3))[-2:] == [5, 10],
    "uneven_spacing": lambda s: set(steps_mm(s).round(3)) == {4, 5},
    "duplicate_slice": lambda s: (
        repeats(s, "ImagePositionPatient", equal=True) and count(s, "SOPInstanceUID") == len(s)
    ),
    "conflicting_slice": lambda s: (
        repeats(s, "ImagePositionPatient", equal=False) and count(s, "SOPInstanceUID") == len(s)
    ),
    "duplicate_sop": lambda s: repeats(s, "SOPInstanceUID", equal=True),
    "conflicting_sop": lambda s: repeats(s, "SOPInstanceUID", equal=False) and is_regular(s),
    "gantry_tilt": lambda s: (
        every(s, "GantryDetectorTilt", 15) and drift_mm(s) == pytest.approx(49 * 5 * np.tan(np.radians(15)), abs=0.01)
    ),
    "gantry_tilt_rotated": lambda s: (
        every(s, "GantryDetectorTilt", 15)
        and tilt_degrees(s) == pytest.approx(15, abs=0.01)
        and drift_mm(s) == pytest.approx(49 * 5 * np.sin(np.radians(15)), abs=0.01)
    ),
    "sheared": lambda s: every(s, "GantryDetectorTilt", 0) and drift_mm(s) == pytest.approx(49, abs=0.01),
    "oblique": lambda s: tilt_degrees(s) == pytest.approx(10, abs=0.01) and is_regular(s),
    "not_axial": lambda s: bool(abs(normal_of(s[0])[1]) > 0.999) and is_regular(s),
    "thick_slices": lambda s: set(steps_mm(s).round(3)) == {8} and every(s, "SliceThickness", 8),
    "missing_rescale": lambda s: every(s, "RescaleSlope", None) and every(s, "RescaleIntercept", None),
    "varying_rescale": lambda s: count(s, "RescaleSlope") == len(s) and count(s, "RescaleIntercept") == 1,
    "wrong_photometric": lambda s: every(s, "PhotometricInterpretation", "MONOCHROME1"),
    "wrong_bits": lambda s: every(s, "BitsAllocated", 8) and s[0].pixel_array.dtype == np.uint8,
    "rle": lambda s: s[0].file_meta.TransferSyntaxUID == RLELossless,
    "jpeg_lossless": lambda s: s[0].file_meta.TransferSyntaxUID == JPEGLosslessSV1,
    "jpeg_ls": lambda s: s[0].file_meta.TransferSyntaxUID == JPEGLSLossless,
    "jpeg_2000": lambda s: s[0].file_meta.TransferSyntaxUID == JPEG2000Lossless,
    "jpeg_2000_lossy": lambda s: (
        s[0].file_meta.TransferSyntaxUID == JPEG2000 and every(s, "LossyImageCompression", "01")
    ),
    "compressed_once": lambda s: (
        every(s, "LossyImageCompression", "01") and s[0].file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    ),
    "missing_decoder": lambda s: (
        s[0].file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.110" and all(map(fails_to_decode, s))
    ),
    "unreadable_pixels": lambda s: sum(map(fails_to_decode, s)) == 1,
    "undeclared_padding": lambda s: bool(volume_of(s).min() == -3024) and every(s, "PixelPaddingValue", None),
    "lung_not_covered": lambda s: lung_at_ends(s) and not lung_at_edge(s),
    "no_lung": lambda s: (
        hu_at(s, (100, -130, 0)) < -950 and min(hu_at(s, place) for place, hu in PLACES if hu == -850) > 0
    ),
    "cut_field_of_view": lambda s: lung_at_edge(s) and not lung_at_ends(s),
}
#: Faults between series, which have tests of their own.
LEAKS = {"twin", "duplicate_pixels", "one_patient_id", "two_patient_ids"}


def test_every_quality_code_has_a_series(expected: pd.DataFrame) -> None:
    """The codes that the table expects are all codes that there are, each with its own default verdict."""
    found = [codes.split(";") if codes else [] for codes in expected["code"]]
    assert {code for codes in found for code in codes} == set(CODES)
    assert list(expected["verdict"]) == [verdict(codes) for codes in found]
    assert expected.series_uid.nunique() == N_SERIES == len(ENTRIES)


def test_every_fault_is_looked_for_here() -> None:
    """No entry of the table is left without a test of its files."""
    clean = {entry.name for entry in CLEAN}
    assert set(SHOWN) | LEAKS | clean == set(BY_NAME)
    assert not set(SHOWN) & clean


def test_the_table_names_exactly_the_series_on_disk(
    expected: pd.DataFrame, headers: list[tuple[Path, str, Any]]
) -> None:
    """Each image in the archive belongs to a series of the table and its patient, and each series has images."""
    on_disk = {(d.SeriesInstanceUID, d.PatientID) for _, _, d in headers if "Rows" in d}
    assert on_disk == set(zip(expected.series_uid, expected.patient_id, strict=True))
    assert {d.Modality for _, _, d in headers if "Rows" not in d and "Modality" in d} == {"RTSTRUCT", "SR"}


@pytest.mark.parametrize("name", SHOWN)
def test_a_fault_shows_in_its_series_and_in_no_clean_one(read: Read, name: str) -> None:
    """What defines a fault is true of its series, and false of a clean one."""
    assert SHOWN[name](read(name))
    assert not SHOWN[name](read("explicit"))


@pytest.mark.parametrize("name", [entry.name for entry in CLEAN] + ["twin", "one_patient_id", "two_patient_ids"])
def test_a_clean_series_is_clean(read: Read, name: str) -> None:
    """Slices are regular and axial, HU are right where they lie, no value is below -1024, and all of the lung is there."""
    images = read(name)
    assert len(images) == 50
    assert is_regular(images)
    assert tilt_degrees(images) == 0
    for place, hu in PLACES:
        assert hu_at(images, place) == pytest.approx(hu, abs=15)
    if name != "declared_padding":
        assert volume_of(images).min() >= -1024
    assert in_lung(volume_of(images)).sum() * 2.7**2 * 5 > 1.5e6
    assert not lung_at_ends(images)
    assert not lung_at_edge(images)


@pytest.mark.parametrize(
    "name",
    ["missing_slice", "uneven_spacing", "gantry_tilt", "gantry_tilt_rotated", "sheared", "oblique", "not_axial",
     "thick_slices", "varying_rescale", "wrong_bits", "jpeg_2000_lossy", "undeclared_padding"],
)  # fmt: skip
def test_a_faulty_geometry_or_scale_tells_the_truth(read: Read, name: str) -> None:
    """Where slices lie otherwise or pixels are stored otherwise, the header's places still have the anatomy's HU."""
    for place, hu in PLACES:
        assert hu_at(read(name), place) == pytest.approx(hu, abs=15)


@pytest.mark.parametrize(
    ("name", "syntax"),
    [("explicit", ExplicitVRLittleEndian), ("implicit", ImplicitVRLittleEndian), ("big_endian", ExplicitVRBigEndian),
     ("deflated", DeflatedExplicitVRLittleEndian), ("signed", ExplicitVRLittleEndian), ("jpeg_lossless", JPEGLosslessSV1),
     ("jpeg_ls", JPEGLSLossless), ("jpeg_2000", JPEG2000Lossless), ("rle", RLELossless)],
)  # fmt: skip
def test_itk_reads_the_values_that_were_simulated(cohort: Path, name: str, syntax: str) -> None:
    """In each transfer syntax ITK finds the simulated HU, and the grid that they were simulated on."""
    files = [(path, d) for path, _, d in data_sets(cohort / "dicom" / name, stop_before_pixels=True) if "Rows" in d]
    assert {d.file_meta.TransferSyntaxUID for _, d in files} == {syntax}
    files.sort(key=lambda item: float(item[1].ImagePositionPatient[2]))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path, _ in files])
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image), noisy_hu(axial(), SCANS[name].rng("image")))
    assert image.GetSpacing() == pytest.approx((2.7, 2.7, 5))
    assert image.GetOrigin() == pytest.approx(np.subtract(CENTRE_MM, (63.5 * 2.7, 63.5 * 2.7, 24.5 * 5)))


def test_lossy_pixels_differ_a_little(read: Read) -> None:
    """JPEG 2000 with loss changes values, by less than the noise."""
    error = volume_of(read("jpeg_2000_lossy")) - noisy_hu(axial(), SCANS["jpeg_2000_lossy"].rng("image"))
    assert 0 < np.sqrt((error**2).mean()) < NOISE_HU
    assert float(read("jpeg_2000_lossy")[0].LossyImageCompressionRatio) == pytest.approx(8, rel=0.15)


@pytest.mark.parametrize(("name", "in_space"), [("enhanced", True), ("enhanced_shuffled", False)])
def test_an_enhanced_image_is_a_volume(cohort: Path, name: str, in_space: bool) -> None:
    """Whatever the order of its frames, highdicom makes the simulated volume of an enhanced image."""
    ((_, _, image),) = data_sets(cohort / "dicom" / name)
    z_mm = [float(f.PlanePositionSequence[0].ImagePositionPatient[2]) for f in image.PerFrameFunctionalGroupsSequence]
    assert (np.diff(z_mm) > 0).all() == in_space
    volume = highdicom.Image.from_dataset(image).get_volume(
        apply_real_world_transform=False, apply_modality_transform=True
    )
    upright = volume.to_patient_orientation("HPL")
    np.testing.assert_array_equal(upright.array, noisy_hu(axial(), SCANS[name].rng("image")))
    assert upright.spacing == pytest.approx((5, 2.7, 2.7))
    assert upright.position == pytest.approx(np.subtract(CENTRE_MM, (63.5 * 2.7, 63.5 * 2.7, 24.5 * 5)))


def test_stacks_of_a_mixed_series_are_each_whole(read: Read) -> None:
    """Apart, the axial and the coronal slices are regular and show the same chest; so are the two acquisitions."""
    oriented: dict[str, Images] = {}
    for image in read("mixed_orientation"):
        oriented.setdefault(str(image.ImageOrientationPatient), []).append(image)
    acquired: dict[str, Images] = {}
    for image in read("mixed_acquisition"):
        acquired.setdefault(str(image.AcquisitionNumber), []).append(image)
    assert sorted(len(stack) for stack in oriented.values()) == [44, 50]
    assert [len(stack) for stack in acquired.values()] == [50, 50]
    for stack in (*oriented.values(), *acquired.values()):
        assert is_regular(stack)
        assert all(hu_at(stack, place) == pytest.approx(hu, abs=15) for place, hu in PLACES)


def test_padding_is_declared_with_the_value_that_is_stored(read: Read) -> None:
    """The declared padding value is the stored minimum, far below the scanner's -1024 HU."""
    images = read("declared_padding")
    assert every(images, "PixelPaddingValue", -2000)
    assert min(d.pixel_array.min() for d in images) == -2000
    assert volume_of(images).min() == -3024


def test_twins_share_pixels_and_no_identifier(read: Read) -> None:
    """Two series hold the same pixels under different identifiers; the one that must be flagged is the later."""
    first, second = in_order(read("twin")), in_order(read("duplicate_pixels"))
    assert all(same_pixels([a, b]) for a, b in zip(first, second, strict=True))
    for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"):
        assert not {d[name].value for d in first} & {d[name].value for d in second}
    assert first[0].PatientID < second[0].PatientID
    assert not same_pixels([first[0], in_order(read("explicit"))[0]])


def test_two_ids_share_study_and_frame_and_no_pixels(read: Read, headers: list[tuple[Path, str, Any]]) -> None:
    """One study and frame of reference belongs to two patient ids, and no other study does."""
    first, second = in_order(read("one_patient_id")), in_order(read("two_patient_ids"))
    for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
        assert first[0][name].value == second[0][name].value
        owners: dict[str, set[str]] = {}
        for _, _, d in headers:
            if name in d:
                owners.setdefault(d[name].value, set()).add(d.PatientID)
        assert [len(ids) for ids in owners.values() if len(ids) > 1] == [2]
    assert first[0].PatientID < second[0].PatientID
    assert first[0].SeriesInstanceUID != second[0].SeriesInstanceUID
    assert not any(same_pixels([a, b]) for a, b in zip(first, second, strict=True))


def test_pixels_are_shared_by_no_other_series(read: Read) -> None:
    """Except for the twins, no two series have a middle slice in common."""
    middle = {}
    for name in BY_NAME.keys() - {"enhanced", "enhanced_shuffled"}:
        images = read(name)
        middle[name] = bytes(images[len(images) // 2].PixelData)
    shared = [name for name, data in middle.items() if list(middle.values()).count(data) > 1]
    assert not set(shared) - {"twin", "duplicate_pixels"}
    assert bytes(in_order(read("twin"))[3].PixelData) == bytes(in_order(read("duplicate_pixels"))[3].PixelData)


def test_headers_identify_made_up_people_and_say_that_pixels_are_simulated(
    headers: list[tuple[Path, str, Any]],
) -> None:
    """Every image names its patient in the usual, nested and private attributes, and no image claims to be a scan."""
    people = {scan.person.patient_id: scan.person for scan in SCANS.values()}
    assert len({person.name for person in people.values()}) == len(people)
    for _, _, d in headers:
        if "Rows" not in d:
            continue
        person = people[d.PatientID]
        assert (str(d.PatientName), d.PatientBirthDate, d.StudyDate) == (
            person.name,
            person.birth_date,
            person.study_date,
        )
        assert (d.AccessionNumber, d.InstitutionName) == (person.accession_number, person.hospital)
        assert str(d.ReferringPhysicianName) == person.doctor
        assert person.name.split("^")[0] in d.RequestAttributesSequence[0].ReasonForTheRequestedProcedure
        private = d.private_block(0x0029, "MUSTERWERK CT HEADER")[0x10].value  # bytes where the VR is not written
        text = private.decode("latin-1") if isinstance(private, bytes) else private
        assert text.strip() == person.name.replace("^", " ")
        assert "PatientIdentityRemoved" not in d
        assert d.ImageType[3] == "SIMULATED"
        assert d.ImageType[0] == "DERIVED"


def test_file_names_do_not_give_the_order_of_slices(cohort: Path) -> None:
    """Sorted by name, the slices of some series lie from above, and those of others in no order."""
    trends = {}
    for name in ("explicit", "implicit", "deflated", "disc"):
        found = data_sets(cohort / "dicom" / name, stop_before_pixels=True)
        z_mm = [float(d.ImagePositionPatient[2]) for _, _, d in found if "ImagePositionPatient" in d]
        trends[name] = set(np.sign(np.diff(z_mm)))
    assert trends == {"explicit": {-1}, "implicit": {-1, 1}, "deflated": {-1, 1}, "disc": {1}}


def test_two_kernels_lie_mixed_in_one_folder(cohort: Path) -> None:
    """Two series of one study share a folder and a patient."""
    folder = cohort / "dicom" / "two_kernels"
    found = [d for _, _, d in data_sets(folder, stop_before_pixels=True)]
    assert len({path.parent for path in folder.rglob("*") if path.is_file()}) == 1
    assert (count(found, "SeriesInstanceUID"), count(found, "StudyInstanceUID"), count(found, "PatientID")) == (2, 1, 1)
    assert {d.ConvolutionKernel for d in found} == {"B40f", "B70f"}


def test_a_zip_archive_holds_a_series(cohort: Path) -> None:
    """The zipped series lies in one archive, deflated, and nowhere else."""
    (path,) = (p for p in (cohort / "dicom" / "zipped").rglob("*") if p.is_file())
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        assert len(archive.namelist()) == 50


def test_the_dicomdir_leads_to_every_image(cohort: Path) -> None:
    """Followed by its offsets, the directory names patient, study, series and all 50 images (DICOM PS3.3 F.3.2.2)."""
    folder = cohort / "dicom" / "disc"
    directory = pydicom.dcmread(folder / "DICOMDIR")
    at = {record.seq_item_tell: record for record in directory.DirectoryRecordSequence}
    kinds, offset = [], directory.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity
    while offset:
        record = at[offset]
        kinds.append(record.DirectoryRecordType)
        if kinds[-1] == "IMAGE":
            image = pydicom.dcmread(folder.joinpath(*record.ReferencedFileID), stop_before_pixels=True)
            assert image.SOPInstanceUID == record.ReferencedSOPInstanceUIDInFile
        offset = record.OffsetOfReferencedLowerLevelDirectoryEntity or record.OffsetOfTheNextDirectoryRecord
    assert kinds == ["PATIENT", "STUDY", "SERIES"] + ["IMAGE"] * 50


def test_the_structure_set_outlines_a_ball_on_the_slices(cohort: Path, read: Read) -> None:
    """Contours lie on slices of the series that they refer to, and enclose a ball of radius 20 mm within 5 %."""
    found = pydicom.dcmread(cohort / "dicom" / "explicit" / "other" / "RS.dcm")
    height = {d.SOPInstanceUID: float(d.ImagePositionPatient[2]) for d in read("explicit")}
    volume = 0.0
    for contour in found.ROIContourSequence[0].ContourSequence:
        x, y, z = np.reshape(np.asarray(contour.ContourData, dtype=float), (-1, 3)).T
        assert set(z) == {height[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]}
        volume += 5 * abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
    assert volume == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.05)
    assert found.StudyInstanceUID == read("explicit")[0].StudyInstanceUID


def test_files_that_are_no_dicom_lie_between(cohort: Path) -> None:
    """Text, a picture, a database and an empty file, two of them named as DICOM, do not begin as DICOM."""
    files = {path.name: path.read_bytes() for path in (cohort / "dicom" / "viewer").iterdir()}
    assert set(files) == {"README.TXT", "preview.jpg", "empty.dcm", "notes.dcm", "Thumbs.db"}
    assert not any(content[128:132] == b"DICM" for content in files.values())
    assert files["empty.dcm"] == b""
    assert files["preview.jpg"][:3] == b"\xff\xd8\xff"


@pytest.mark.parametrize("name", ["cut.dcm", "absurd_length.dcm"])
def test_a_damaged_header_never_says_its_series(cohort: Path, name: str) -> None:
    """A damaged file begins as DICOM, and pydicom fails on it or finds no series."""
    path = cohort / "dicom" / "damaged" / name
    assert path.read_bytes()[128:132] == b"DICM"
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except Exception:  # noqa: BLE001  whatever pydicom raises
        return
    assert "SeriesInstanceUID" not in header


def test_refused_files_are_what_the_table_says(cohort: Path) -> None:
    """Each refused file is there; one zip entry leaves its folder, one expands more than 100 times and past 64 MiB."""
    refused = pd.read_csv(cohort / "expected_files.csv", keep_default_na=False)
    assert list(refused.columns) == ["path", "entry", "code", "note"]
    assert set(refused["code"]) == {"unreadable_header", "zip_unsafe_name", "zip_bomb"}
    assert all((cohort / path).is_file() for path in refused["path"])
    entries = {}
    for row in refused[refused["entry"] != ""].itertuples():
        with zipfile.ZipFile(cohort / str(row.path)) as archive:
            (entries[row.code],) = archive.infolist()
        assert entries[row.code].filename == row.entry
    assert entries["zip_unsafe_name"].filename.startswith("../")
    bomb = entries["zip_bomb"]
    assert bomb.file_size > max(100 * bomb.compress_size, 64 * 1024**2)
    assert bomb.compress_size < 1024**2


def test_the_cohort_stays_small(cohort: Path) -> None:
    """All of it takes less than 150 MB."""
    assert sum(path.stat().st_size for path in cohort.rglob("*") if path.is_file()) < 150e6


@pytest.mark.slow
def test_the_same_seed_gives_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cohorts of one seed are equal bit for bit; another seed gives other people, identifiers and pixels."""
    few = ("explicit", "zipped", "enhanced_shuffled", "too_few_slices")
    monkeypatch.setattr(broken, "ENTRIES", tuple(BY_NAME[name] for name in few))
    calls: list[int] = []
    one, other, third = (write_broken(tmp_path / str(k), seed, calls.append).parent for k, seed in enumerate((3, 3, 4)))
    assert calls == [*range(1, len(few) + 1)] * 3

    def content(out: Path) -> dict[Path, bytes]:
        return {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}

    assert content(one) == content(other)
    tables = [pd.read_csv(out / "expected.csv") for out in (one, third)]
    for column in ("series_uid", "patient_id"):
        assert not set(tables[0][column]) & set(tables[1][column])
    first = pydicom.dcmread(one / "dicom" / "explicit" / "IM0001.dcm")
    assert first.PixelData != pydicom.dcmread(third / "dicom" / "explicit" / "IM0001.dcm").PixelData


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    """A folder that holds something is left as it is, and so is one for a negative seed."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not an empty folder"):
        write_broken(tmp_path)
    with pytest.raises(DatasetError, match="seed"):
        write_broken(tmp_path / "new", seed=-1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
