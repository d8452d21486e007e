"""Each data set's annotations in the form in which they are published, on images made here."""

import json

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from seg_files import write_rtstruct_file

from data_catalog import load_dataset, read_annotations
from data_catalog.lidc.database import read_scans
from lungpipe.dicom.index import index_series
from lungpipe.dicom.masks import read_mask_file
from lungpipe.dicom.read import to_sitk
from lungpipe.dicom.source import digest, of_paths
from lungpipe.dicom.write_seg import write_seg
from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry

FRAME = Geometry((12, 20, 24), (2.0, 1.0, 1.0), (-10.0, -20.0, -30.0))


def image(path, voxels=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full(FRAME.shape, -800, np.int16) if voxels is None else voxels
    sitk.WriteImage(to_sitk(values, FRAME), str(path))


@pytest.fixture
def luna16(tmp_path):
    """Two scans of one LIDC-IDRI patient and one of another, as MetaImage, and the published columns."""
    by_patient = {}
    for scan in read_scans():
        by_patient.setdefault(scan.patient_id, []).append(scan.series_uid)
    twice = next(uids for uids in by_patient.values() if len(uids) == 2)
    once = next(uids for uids in by_patient.values() if len(uids) == 1)
    uids = [*twice, *once]
    for k, uid in enumerate(uids):
        image(tmp_path / "images" / f"subset{k}" / f"{uid}.mhd")
    rows = [f"{uid},0.5,-11.25,-22.0,6.5" for uid in uids] + [f"{uids[0]},2.0,-12.0,-20.0,4.0"]
    (tmp_path / "annotations.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n" + "\n".join(rows) + "\n")
    return tmp_path, uids


def test_luna16(luna16):
    """Rows become numbered nodules of MetaImage scans; two scans of one patient are one patient."""
    folder, uids = luna16
    found = read_annotations(load_dataset("luna16"), folder / "annotations.csv", index_series(folder / "images"))
    assert found.exclusions == ()
    first = next(n for n in found.nodules if n.nodule_id == f"{uids[0]}-1")
    assert (first.centre_mm, first.size_mm, first.malignant) == ((0.5, -11.25, -22.0), (6.5,) * 3, None)
    assert {n.nodule_id for n in found.nodules if n.series_uid == uids[0]} == {f"{uids[0]}-1", f"{uids[0]}-2"}
    patient = {n.series_uid: n.patient_id for n in found.nodules}
    assert patient[uids[0]] == patient[uids[1]] != patient[uids[2]]
    assert all(name.startswith("LIDC-IDRI-") for name in patient.values())


def test_luna16_without_its_columns(luna16):
    """A file without the published columns is refused by their own names; an unknown scan is an exclusion."""
    folder, uids = luna16
    spec, series = load_dataset("luna16"), index_series(folder / "images")
    (folder / "b.csv").write_text("seriesuid,coordX,coordY,diameter_mm\n1.2,0,0,5\n")
    with pytest.raises(DatasetError, match="coordZ"):
        read_annotations(spec, folder / "b.csv", series)
    (folder / "c.csv").write_text(f"seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2.3,0,0,0,5\n{uids[0]},0,0,x,5\n")
    found = read_annotations(spec, folder / "c.csv", series)
    assert [e.code for e in found.exclusions] == ["series_not_found", "not_a_number"]


def test_nlst_3d_takes_patients_from_headers(tmp_path, make_ct, dicom_writer):
    """Two yearly scans of a patient are one patient by their headers; the box side is the box."""
    volume, _, (x, y, z) = make_ct((2.0, 1.0, 1.0), (12, 24, 24), 3.0)
    uids = [dicom_writer(tmp_path / "d" / year, volume, patient_id="N-100", series=year) for year in ("t0", "t1")]
    rows = "".join(f"{uid},{x},{y},{z},38.2\n" for uid in uids)
    (tmp_path / "n.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n" + rows)
    found = read_annotations(load_dataset("nlst-3d"), tmp_path / "n.csv", index_series(tmp_path / "d"))
    assert {(n.patient_id, n.size_mm) for n in found.nodules} == {("N-100", (38.2,) * 3)}
    assert {n.series_uid for n in found.nodules} == set(uids)


def test_luna25_points(tmp_path):
    """Points become seed points under their patient, with label; dates and ages are not read."""
    image(tmp_path / "images" / "1.2.840.1.mha")
    header = (
        "PatientID,SeriesInstanceUID,StudyDate,CoordX,CoordY,CoordZ,LesionID,AnnotationID,NoduleID,label,"
        "Age_at_StudyDate,Gender\n"
    )
    rows = "100012,1.2.840.1,19990102,-3.5,-14.0,-21.5,1,100012_1_19990102,100012_1,1,61,Male\n"
    rows += "100012,1.2.840.1,19990102,-1.5,-14.0,-21.5,2,100012_2_19990102,100012_2,2,61,Male\n"
    (tmp_path / "l.csv").write_text(header + rows)
    found = read_annotations(load_dataset("luna25"), tmp_path / "l.csv", index_series(tmp_path / "images"))
    (nodule,) = found.nodules
    assert (nodule.patient_id, nodule.centre_mm, nodule.size_mm) == ("100012", (-3.5, -14.0, -21.5), None)
    assert (nodule.malignant, nodule.split) == (1, None)
    assert [e.code for e in found.exclusions] == ["unknown_label"]


@pytest.fixture
def nnunet(tmp_path):
    """Two cases in nnU-Net's layout; the first has two nodules that touch nowhere and one that touches at a corner."""
    labels = np.zeros(FRAME.shape, np.uint8)
    labels[2:4, 3:6, 3:6] = 1
    labels[4, 6, 6] = 1  # touches the first at a corner
    labels[8:10, 12:15, 15:18] = 1
    labels[8, 3, 3] = 2
    for case, voxels in (("lung_001", labels), ("lung_002", np.zeros(FRAME.shape, np.uint8))):
        image(tmp_path / "imagesTr" / f"{case}_0000.nii.gz")
        image(tmp_path / "labelsTr" / f"{case}.nii.gz", voxels)
    image(tmp_path / "imagesTr" / "lung_003_0000.nii.gz")
    names = {"background": 0, "nodule": 1, "cyst": 2}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": names, "file_ending": ".nii.gz"}))
    return tmp_path, labels


@pytest.mark.parametrize("generation", [1, 2])
def test_nnunet(nnunet, generation):
    """Each connected part of each label is a nodule, voxel for voxel, under both forms of dataset.json."""
    folder, labels = nnunet
    if generation == 1:
        (folder / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "nodule", "2": "cyst"}}))
    found = read_annotations(load_dataset("nnunet"), folder, index_series(folder / "imagesTr"))
    voxels = {n.nodule_id: n.raters[0].n_voxels for n in found.nodules}
    assert voxels == {"lung_001-nodule-1": 19, "lung_001-nodule-2": 18, "lung_001-cyst-1": 1}
    together = sum(n.raters[0].within((0, 0, 0), FRAME.shape).voxels.astype(int) for n in found.nodules)
    assert np.array_equal(together, labels > 0)
    assert {n.patient_id for n in found.nodules} == {"lung_001"}
    assert [(e.code, e.patient_id) for e in found.exclusions] == [
        ("empty_annotation", "lung_002"), ("no_label_map", "lung_003"),
    ]  # fmt: skip


def test_nnunet_that_is_none(nnunet):
    """A folder without a readable dataset.json, or images without channel, stop before any work."""
    folder, _ = nnunet
    spec, series = load_dataset("nnunet"), index_series(folder / "imagesTr")
    with pytest.raises(DatasetError, match="CASE_0000"):
        read_annotations(spec, folder, index_series(folder / "labelsTr"))
    (folder / "dataset.json").write_text('{"labels": {"background": 0}}')
    with pytest.raises(DatasetError, match="no label but the background"):
        read_annotations(spec, folder, series)
    (folder / "dataset.json").write_text("{")
    with pytest.raises(DatasetError, match=r"dataset\.json cannot be read"):
        read_annotations(spec, folder, series)


@pytest.mark.real_data
def test_structures_of_a_real_lung_cancer(real_data, tmp_path):
    """The IBSI phantom's structure set, found beside its CT, gives the published GTV-1 and no other region."""
    import zipfile

    with zipfile.ZipFile(real_data / "ibsi1-ct-phantom" / "dicom.zip") as archive:
        archive.extractall(tmp_path)
    series = index_series(tmp_path)
    found = read_annotations(load_dataset("nsclc-radiomics"), tmp_path, series)
    (nodule,) = found.nodules
    assert nodule.nodule_id.endswith("-GTV-1")
    assert nodule.malignant == 1
    scan = series.by_uid()[nodule.series_uid]
    mask = read_mask_file(
        nodule.mask_path, scan.geometry, roi=nodule.mask_roi, series_uid=scan.series_uid, sop_uids=scan.sop_uids
    )
    assert mask.n_voxels == 125_256


@pytest.fixture
def outlined(tmp_path, make_ct, dicom_writer):
    """A scan, and a function that writes a SEG or an RT structure set over it with regions of given names."""
    volume, truth, _ = make_ct((2.0, 1.0, 1.0), (12, 24, 24), 4.0)

    def frame_of_reference(dataset, _k):
        dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.1"

    dicom_writer(tmp_path / "d" / "ct", volume, patient_id="LUNG1-001", change=frame_of_reference)
    headers = [pydicom.dcmread(p, stop_before_pixels=True) for p in sorted((tmp_path / "d" / "ct").iterdir())]

    def seg(name, label):
        made = {"label": label, "tracking_id": "x", "tracking_uid": "2.25.7"}
        write_seg(tmp_path / "d" / name, truth, headers, **made, algorithm_name="m", algorithm_version="1")

    return tmp_path / "d", truth, seg


def test_segmentations_beside_the_scan(outlined):
    """A region whose name fits is a lesion with the patient of the scan; its mask is the one that was written."""
    folder, truth, seg = outlined
    seg("one.dcm", "GTV-1")
    series = index_series(folder)
    found = read_annotations(load_dataset("nsclc-radiomics"), folder, series)
    (nodule,) = found.nodules
    assert (nodule.patient_id, nodule.nodule_id, nodule.malignant) == ("LUNG1-001", "LUNG1-001-GTV-1", 1)
    scan = series.by_uid()[nodule.series_uid]
    mask = read_mask_file(nodule.mask_path, scan.geometry, roi=nodule.mask_roi, series_uid=scan.series_uid)
    assert np.array_equal(mask.within((0, 0, 0), truth.frame.shape).voxels, truth.within((0, 0, 0), truth.shape).voxels)


def test_regions_that_are_no_lesions(outlined, tmp_path):
    """Lungs and hearts are no lesions: a file with none is an exclusion; a folder with no file is refused."""
    folder, _, seg = outlined
    spec, series = load_dataset("nsclc-radiomics"), index_series(folder)
    with pytest.raises(DatasetError, match="no RT structure set or DICOM SEG"):
        read_annotations(spec, folder, series)
    seg("lung.dcm", "Lung-Left")
    found = read_annotations(spec, folder, series)
    assert found.nodules == ()
    assert [(e.code, e.patient_id) for e in found.exclusions] == [("unknown_roi", "LUNG1-001")]
    image(tmp_path / "other" / "scan.nii.gz")
    found = read_annotations(spec, folder, index_series(tmp_path / "other"))
    assert [e.code for e in found.exclusions] == ["series_not_found"]
    with pytest.raises(DatasetError, match="the folder of its RTSTRUCT"):
        read_annotations(spec, folder / "lung.dcm", series)


def test_a_changed_raw_file_changes_the_series(tmp_path):
    """The data of a MetaImage count in the digest of its series, though the header names the file alone."""
    image(tmp_path / "a.mhd")
    before = digest(of_paths([tmp_path / "a.mhd"]))
    raw = next(p for p in tmp_path.iterdir() if p.suffix != ".mhd")
    content = bytearray(raw.read_bytes())
    content[-1] ^= 1
    raw.write_bytes(content)
    assert digest(of_paths([tmp_path / "a.mhd"])) != before


def test_a_structure_set_goes_before_its_copy(outlined):
    """Where a scan has an RT structure set and a SEG, the structure set is read; each GTV of it is a lesion of its own."""
    folder, truth, seg = outlined
    seg("seg.dcm", "GTV-1")
    scan = next(one for one in index_series(folder).series if one.modality == "CT")
    rois = [("GTV-1", (4, 8, 8, 12, 12)), ("Heart", (5, 2, 2, 4, 4)), ("gtv-2", (6, 14, 14, 15, 16))]
    write_rtstruct_file(folder / "rt.dcm", truth.frame, rois, scan.series_uid, scan.sop_uids)
    found = read_annotations(load_dataset("nsclc-radiomics"), folder, index_series(folder))
    assert {n.nodule_id for n in found.nodules} == {"LUNG1-001-GTV-1", "LUNG1-001-gtv-2"}
    assert {n.mask_path.name for n in found.nodules} == {"rt.dcm"}
    voxels = {
        n.mask_roi: read_mask_file(n.mask_path, scan.geometry, roi=n.mask_roi, series_uid=scan.series_uid).n_voxels
        for n in found.nodules
    }
    assert voxels == {"11": 25, "13": 6}
