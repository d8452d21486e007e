import numpy as np
import pydicom
import pytest

from lungpipe.dicom.index import index_series
from lungpipe.dicom.quality import QualitySettings, check_limits
from lungpipe.dicom.read import read_image, read_volume, to_sitk
from lungpipe.errors import DatasetError, DicomError
from lungpipe.geometry import Geometry
from lungpipe.volume import CTVolume


@pytest.fixture
def small():
    """Twelve slices of noise on an oblique grid."""
    angle = 0.2
    direction = (np.cos(angle), -np.sin(angle), 0.0, np.sin(angle), np.cos(angle), 0.0, 0.0, 0.0, 1.0)
    frame = Geometry((12, 9, 7), (2.5, 0.7, 0.8), (-30.0, 12.5, -400.0), direction)
    hu = np.random.default_rng(0).integers(-1000, 1500, frame.shape).astype(np.int16)
    return CTVolume(hu, frame)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, -1024.0), (1.0, 0.0), (0.5, -1000.0), (2.0, -24.0)])
def test_series_comes_back_as_written(small, tmp_path, dicom_writer, slope, intercept):
    """HU, order and oblique geometry survive DICOM, whatever the file names, slope and intercept."""
    even = CTVolume((small.hu // 2 * 2).astype(np.int16), small.frame)
    dicom_writer(tmp_path, even, slope=slope, intercept=intercept)
    table = index_series(tmp_path)
    assert len(table.series) == 1
    series = table.series[0]
    assert series.codes in ((), ("oblique",))
    assert series.geometry.mismatch(small.frame, 1e-3) is None
    assert np.array_equal(read_volume(series.files, series.geometry).hu, even.hu)


def test_padding_is_clipped(small, tmp_path, dicom_writer):
    """Scanner padding (-3024 and the like) becomes -1024."""
    hu = small.hu.copy()
    hu[:, :2] = -3024
    dicom_writer(tmp_path, CTVolume(hu, small.frame), intercept=0.0)
    series = index_series(tmp_path).series[0]
    read = read_volume(series.files, series.geometry).hu
    assert (read[:, :2] == -1024).all()
    assert np.array_equal(read[:, 2:], small.hu[:, 2:])


def _move(axis, by_mm, only=None):
    def change(dataset, k):
        if only is None or k in only:
            position = [float(v) for v in dataset.ImagePositionPatient]
            position[axis] += by_mm * (k if only is None else 1)
            dataset.ImagePositionPatient = [f"{v:.6f}" for v in position]

    return change


def _set(name, value, only=None):
    def change(dataset, k):
        if only is None or k in only:
            setattr(dataset, name, value)

    return change


def _drop(name):
    def change(dataset, k):
        delattr(dataset, name)

    return change


FAULTS = {
    "missing_slice": {"skip": (5,)},
    "uneven_spacing": {"change": _move(2, 0.5, {5})},
    "conflicting_slice": {"change": _move(2, 2.5, {5})},
    "sheared": {"change": _move(1, 0.3)},
    "mixed_size": {"change": _set("PixelSpacing", [0.9, 0.9], {5})},
    "localizer": {"change": _set("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"])},
    "not_ct": {"change": _set("Modality", "MR")},
    "pet_as_ct": {"change": _set("Units", "BQML")},
    "secondary_capture": {"change": _set("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7")},
    "dose_report": {"change": _set("SeriesDescription", "Dose Report")},
    "burned_in_annotation": {"change": _set("BurnedInAnnotation", "YES")},
    "contrast": {"change": _set("ContrastBolusAgent", "IOPAMIDOL")},
    "missing_rescale": {"change": _drop("RescaleSlope")},
    "varying_rescale": {"change": _set("RescaleSlope", 2, {5})},
    "missing_geometry": {"change": _drop("ImagePositionPatient")},
    "wrong_photometric": {"change": _set("PhotometricInterpretation", "MONOCHROME1")},
    "wrong_bits": {"change": _set("BitsStored", 8)},
    "conflicting_sop": {"change": _set("SOPInstanceUID", "1.2.3", {5, 6})},
}


def _codes(root, settings=None):
    """Codes by stack, limits included."""
    table = index_series(root)
    return [set(s.codes) | check_limits(s, settings or QualitySettings()) for s in table.series]


@pytest.mark.parametrize("code", FAULTS)
def test_each_fault_has_its_code(small, tmp_path, dicom_writer, code):
    """A series with one fault gets that fault's code; nothing is guessed or interpolated."""
    dicom_writer(tmp_path, small, **FAULTS[code])
    (codes,) = _codes(tmp_path)
    assert code in codes
    assert codes <= {code, "oblique", "missing_slice"}


def test_gantry_tilt_is_told_from_shear(small, tmp_path, dicom_writer):
    """Slices that shift against their normal are tilted where the header gives an angle, else sheared."""

    def tilt(dataset, k):
        _move(1, 0.3)(dataset, k)
        dataset.GantryDetectorTilt = 7

    dicom_writer(tmp_path, small, change=tilt)
    assert _codes(tmp_path) == [{"gantry_tilt"}]


def test_orientations_become_stacks_of_their_own(small, tmp_path, dicom_writer):
    """Images of another orientation are never stacked with the rest, and both stacks say so."""

    def turn(dataset, k):
        _set("ImageOrientationPatient", [0, 1, 0, 0, 0, 1], {4, 5})(dataset, k)
        _move(0, 3.0 * k, {4, 5})(dataset, k)

    dicom_writer(tmp_path, small, change=turn)
    series = index_series(tmp_path).series
    assert [len(s.files) for s in series] == [10, 2]
    assert [s.stack for s in series] == [1, 2]
    assert all("mixed_orientation" in s.codes for s in series)


def test_rounding_of_orientations_tears_no_stack_apart(small, tmp_path, dicom_writer):
    """Cosines that differ in the sixth digit are one orientation, wherever rounding would part them."""

    def jitter(dataset, k):
        angle = np.arccos(0.995 + (1e-6 if k % 2 else -1e-6))
        dataset.ImageOrientationPatient = [np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0]

    dicom_writer(tmp_path, small, change=jitter)
    (series,) = index_series(tmp_path).series
    assert len(series.files) == 12
    assert series.codes == ("oblique",)


def test_acquisitions_of_one_place_become_stacks_of_their_own(small, tmp_path, dicom_writer):
    """Two acquisitions at the same positions are two stacks; one acquisition number a slice is one stack."""
    for number in (1, 2):
        dicom_writer(
            tmp_path / str(number),
            small,
            change=lambda d, k, n=number: (
                setattr(d, "AcquisitionNumber", n),
                setattr(d, "SOPInstanceUID", f"1.2.{n}.{k + 1}"),
            ),
        )
    series = index_series(tmp_path).series
    assert [len(s.files) for s in series] == [12, 12]
    assert all("mixed_acquisition" in s.codes for s in series)
    assert {f.path for f in series[0].files}.isdisjoint({f.path for f in series[1].files})


def test_a_number_for_each_slice_is_one_acquisition(small, tmp_path, dicom_writer):
    """Acquisition numbers that differ from slice to slice do not tear a stack apart."""
    dicom_writer(tmp_path, small, change=lambda d, k: setattr(d, "AcquisitionNumber", k + 1))
    (series,) = index_series(tmp_path).series
    assert len(series.files) == 12
    assert "mixed_acquisition" not in series.codes


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("localizer", _set("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"], {0})),
        ("secondary_capture", _set("ImageType", ["DERIVED", "SECONDARY", "SCREEN SAVE"], {0})),
        ("dose_report", _set("SeriesDescription", "Dose Report", {0})),
    ],
)
def test_what_is_no_slice_is_set_apart(small, tmp_path, dicom_writer, code, change):
    """A scout view, screen shot or dose sheet in a series makes a stack of its own, and the axial stack stays good."""
    dicom_writer(tmp_path, small, change=change)
    axial, other = index_series(tmp_path).series
    assert len(axial.files) == 11
    assert set(axial.codes) <= {"oblique"}
    assert other.codes == (code,)


def test_copies_are_told_from_contradictions(small, tmp_path, dicom_writer):
    """A copied file, and a slice stored twice, are used once; each has a milder code than two different images."""
    folder = tmp_path / "copied"
    dicom_writer(folder, small)
    victim = next(folder.iterdir())
    (folder / "copy.dcm").write_bytes(victim.read_bytes())
    (series,) = index_series(folder).series
    assert len(series.files) == 12
    assert "duplicate_sop" in series.codes
    (folder / "copy.dcm").unlink()
    again = pydicom.dcmread(victim)
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    again.save_as(folder / "again.dcm")
    (series,) = index_series(folder).series
    assert len(series.files) == 12
    assert "duplicate_slice" in series.codes


def test_limits_come_from_the_recipe(small, tmp_path, dicom_writer):
    """Thickness and the number of slices are judged by the recipe's limits."""
    dicom_writer(tmp_path, small)
    assert _codes(tmp_path) == [{"oblique"} if "oblique" in _codes(tmp_path)[0] else set()]
    assert "thick_slices" in _codes(tmp_path, QualitySettings(max_slice_mm=2.4))[0]
    assert "thick_slices" not in _codes(tmp_path, QualitySettings(max_slice_mm=2.5))[0]
    assert "too_few_slices" in _codes(tmp_path, QualitySettings(min_slices=13))[0]
    assert "too_few_slices" not in _codes(tmp_path, QualitySettings(min_slices=12))[0]


def test_coronal_and_oblique_stacks(small, tmp_path, dicom_writer):
    """A coronal stack is not axial; a rotated one is oblique; a straight one is neither."""
    coronal = Geometry(small.shape, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 0, 1, 0, -1, 0))
    straight = Geometry(small.shape, (2.0, 1.0, 1.0))
    for name, frame, code in (("c", coronal, ("not_axial",)), ("s", straight, ()), ("o", small.frame, ("oblique",))):
        dicom_writer(tmp_path / name, CTVolume(small.hu, frame))
        assert index_series(tmp_path / name).series[0].codes == code


def test_a_recipe_cannot_accept_what_makes_no_volume():
    """A verdict without which positions or HU would be wrong is refused, as is an unknown code; others count."""
    with pytest.raises(DatasetError, match="no volume could be read"):
        QualitySettings(verdicts={"missing_slice": "warn"})
    with pytest.raises(DatasetError, match="no code"):
        QualitySettings(verdicts={"mising_slice": "warn"})
    settings = QualitySettings(verdicts={"oblique": "quarantine", "not_axial": "accept"})
    assert settings.verdict(["oblique"]) == "quarantine"
    assert settings.verdict(["not_axial", "varying_rescale"]) == "warn"
    assert settings.verdict([]) == "accept"


def test_folder_without_images_is_an_error(tmp_path):
    """A folder of other files, or none, is told at once."""
    (tmp_path / "notes.txt").write_text("no images here, only more than one hundred and thirty-two bytes " * 5)
    with pytest.raises(DatasetError, match="no DICOM, NIfTI or NRRD"):
        index_series(tmp_path)
    with pytest.raises(DatasetError, match="does not exist"):
        index_series(tmp_path / "missing")


def test_truncated_pixels_are_an_error(small, tmp_path, dicom_writer):
    """A file cut short in its pixels indexes, and fails by code when it is read."""
    dicom_writer(tmp_path, small)
    series = index_series(tmp_path).series[0]
    victim = tmp_path / sorted(p.name for p in tmp_path.iterdir())[4]
    victim.write_bytes(victim.read_bytes()[:-60])
    with pytest.raises(DicomError) as error:
        read_volume(series.files, series.geometry)
    assert error.value.code == "unreadable_pixels"
    assert "slice" in error.value.message


def test_damaged_header_is_an_exclusion(small, tmp_path, dicom_writer):
    """A file that begins as DICOM and cannot be parsed is an exclusion, and the others still come in."""
    dicom_writer(tmp_path, small)
    (tmp_path / "damaged.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\x00\x16\x00UI\xff\xff" + b"\x01" * 90)
    table = index_series(tmp_path)
    assert len(table.series) == 1
    assert [e.code for e in table.exclusions] == ["unreadable_header"]


def test_structured_report_is_passed_over(small, tmp_path, dicom_writer):
    """DICOM objects without pixels are not series of images."""
    dicom_writer(tmp_path, small)
    report = pydicom.dcmread(next(tmp_path.iterdir()))
    for name in ("Rows", "Columns", "PixelData"):
        delattr(report, name)
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.SeriesInstanceUID = "1.2.3.4"
    report.save_as(tmp_path / "report.dcm")
    assert len(index_series(tmp_path).series) == 1


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_volume_files_keep_their_geometry(small, tmp_path, suffix):
    """NIfTI, NRRD and MetaImage come in with the same HU at the same LPS places."""
    import SimpleITK as sitk

    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(to_sitk(small.hu, small.frame), str(path))
    series = index_series(tmp_path).series[0]
    assert series.series_uid == "scan"
    assert series.geometry.mismatch(small.frame, 1e-3) is None
    assert np.array_equal(read_volume(series.files, series.geometry).hu, np.maximum(small.hu, -1024))
    voxels, geometry = read_image(path)
    assert geometry.mismatch(small.frame, 1e-3) is None
    assert np.array_equal(voxels, small.hu)


def test_two_volumes_of_one_name_are_refused(small, tmp_path):
    """File names identify volume files, so two of one name are an error and not a coin toss."""
    import SimpleITK as sitk

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        sitk.WriteImage(to_sitk(small.hu, small.frame), str(tmp_path / folder / "scan.nrrd"))
    with pytest.raises(DatasetError, match="share a name"):
        index_series(tmp_path)


def test_image_that_is_none_is_an_error(tmp_path, small, dicom_writer):
    """A missing file, a text file and a folder with two series are told apart."""
    (tmp_path / "text.nii").write_text("no image")
    with pytest.raises(DatasetError, match="not an image"):
        read_image(tmp_path / "text.nii")
    with pytest.raises(DatasetError, match="no image at"):
        read_image(tmp_path / "missing.nii")
    for name in ("one", "two"):
        dicom_writer(tmp_path / "both" / name, small, series=name)
    with pytest.raises(DatasetError, match="2 series"):
        read_image(tmp_path / "both")


@pytest.mark.real_data
def test_lidc_0314_geometry(lidc_0314):
    """LIDC-IDRI-0314 comes in as 275 slices of 512 x 512 at 0.78 mm and 1 mm, and is accepted."""
    series = index_series(lidc_0314).series[0]
    assert series.geometry.shape == (275, 512, 512)
    assert series.geometry.spacing_mm == pytest.approx((1.0, 0.78125, 0.78125))
    assert series.codes in ((), ("oblique",))


@pytest.mark.real_data
def test_lung_dx_geometry(lung_dx):
    """Lung-PET-CT-Dx A0001 comes in as two kernels of 64 slices of 5 mm, both accepted."""
    table = index_series(lung_dx)
    assert sorted(s.scanner["kernel"] for s in table.series) == ["B", "L"]
    for series in table.series:
        assert series.geometry.shape == (64, 512, 512)
        assert series.geometry.spacing_mm[0] == pytest.approx(5.0)
        assert series.codes in ((), ("oblique",))


def test_reading_takes_little_more_memory_than_the_scan(tmp_path):
    """A volume file is converted slice by slice: the arrays at its peak hold less than twice its int16 HU."""
    import tracemalloc

    import SimpleITK as sitk

    frame = Geometry((100, 200, 200), (1.0, 1.0, 1.0))
    hu = np.random.default_rng(0).integers(-1000, 500, frame.shape).astype(np.float32)
    sitk.WriteImage(to_sitk(hu, frame), str(tmp_path / "scan.mha"))
    tracemalloc.start()
    volume = read_volume((str(tmp_path / "scan.mha"),), frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(volume.hu, hu)
    assert peak < 2 * volume.hu.nbytes
