"""The de-identified copy: nothing of the patient stays, everything that features need does."""

import hashlib
import json
import re
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicomanonymizer.simpledicomanonymizer import initialize_actions
from pydicom.datadict import DicomDictionary, RepeatersDictionary, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from lungpipe.dicom import deidentify as profile
from lungpipe.dicom.export import ACCOUNT, export_cohort, export_series
from lungpipe.dicom.leftover import identity_of, leftovers
from lungpipe.dicom.pseudonymise import Pseudonymiser
from lungpipe.dicom.series import Series
from lungpipe.dicom.source import Source, of_paths
from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.volume import CTVolume

PSEUDONYM = Pseudonymiser(b"a" * 32)
SLICES = 3
#: Text that a CT image must have (PS3.3 A.3, A.38) or that features depend on, and that table E.1-1 does not name.
KEPT = {
    "AlgorithmName", "AlgorithmVersion", "CodeMeaning", "CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion",
    "ConvolutionKernel", "FilterType", "ImageFilter", "LongCodeValue", "LUTExplanation", "LUTLabel", "Manufacturer",
    "ManufacturerModelName", "PositionReferenceIndicator", "RescaleType", "SoftwareVersions", "StackID",
}  # fmt: skip
DATE, TIME, AGE, NUMBER = "19370811", "031337.271", "987Y", "91827.3645"


@pytest.fixture
def make_series(tmp_path, dicom_writer):
    """Write a small series and describe it as the index does."""

    def make(name="one", change=None, patient_id="PAT-1", folder="in"):
        frame = Geometry((SLICES, 8, 6), (2.5, 0.7, 0.7), (-12.0, 7.0, -90.0))
        hu = np.random.default_rng(5).integers(-1000, 400, frame.shape, dtype=np.int16)
        at = tmp_path / folder / patient_id / name
        dicom_writer(at, CTVolume(hu, frame), patient_id=patient_id, series=name, change=change)
        return series_of(sorted(at.iterdir()))

    return make


def series_of(paths):
    read = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    order = sorted(range(len(read)), key=lambda k: float(read[k].ImagePositionPatient[2]))
    first = read[0]
    return Series(
        str(first.PatientID),
        str(first.StudyInstanceUID),
        str(first.SeriesInstanceUID),
        "CT",
        of_paths(paths[k] for k in order),
        tuple(str(read[k].SOPInstanceUID) for k in order),
    )


def copies(out):
    return sorted(out.rglob("*.dcm"))


def walk(level):
    for element in level:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from walk(item)


def plant(dataset, tag, vr):
    """Give one attribute a value that names it, if it can hold text, a UID, a date or bytes."""
    mark = f"ZQ{tag:08X}"
    if vr in ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT"):
        dataset.add_new(tag, vr, mark)
    elif vr == "UR":
        dataset.add_new(tag, vr, f"http://{mark}.example")
    elif vr == "UI":
        dataset.add_new(tag, vr, f"1.2.999.{tag}")
    elif {"OB", "OW", "UN"} & set(vr.split(" or ")) and "US" not in vr:
        dataset.add_new(tag, vr.split(" or ")[-1], mark.encode())
    elif vr in ("DA", "TM", "DT", "AS"):
        dataset.add_new(tag, vr, {"DA": DATE, "TM": TIME, "DT": DATE + TIME, "AS": AGE}[vr])


def nested(tag):
    """Make an item with a name, a place, a reference and a private attribute, in every tenth at two depths."""
    item = Dataset()
    item.PatientName, item.InstitutionName = f"ZS{tag:08X}", f"ZS{tag:08X}"
    item.ReferencedSOPInstanceUID = f"1.2.999.{tag}"
    item.add_new(0x00090010, "LO", "ZSCREATOR")
    item.add_new(0x00091001, "PN", f"ZS{tag:08X}")
    if tag % 10 == 0:
        item.AnatomicRegionSequence = Sequence([nested(tag + 1)])
    return item


def plant_all(dataset):
    """Fill every attribute of pydicom's dictionary, and those of table E.1-1 of any type, with something to find."""
    table = {tag[0] << 16 | tag[1] for tag in initialize_actions("dicomfields_2026c") if len(tag) == 2}
    for tag, (vr, *_rest) in DicomDictionary.items():
        group = tag >> 16
        keyword = keyword_for_tag(tag)
        if group < 8 or group == 0x7FE0 or keyword == "SOPClassUID":
            continue
        if vr == "SQ":
            dataset.add_new(tag, "SQ", [nested(tag)])
        elif tag in table and vr == "CS":
            dataset.add_new(tag, vr, f"ZQ{tag:08X}")
        elif tag in table and vr == "DS":
            dataset.add_new(tag, vr, NUMBER)
        else:
            plant(dataset, tag, vr)
    for mask, (vr, *_rest) in RepeatersDictionary.items():
        if mask.startswith(("50xx", "60xx")):
            for number in ("00", "02"):
                plant(dataset, int(mask.replace("xx", number), 16), vr)
    dataset.add_new(0x00100015, "LO", "ZQ00100015")  # in the table, not yet in pydicom's dictionary
    dataset.add_new(0x00200099, "UN", b"ZQ00200099")  # in nobody's dictionary
    private = dataset.private_block(0x0029, "ZQCREATOR1", create=True)
    private.add_new(0x01, "PN", "ZQ00291001")
    private.add_new(0x02, "UN", b"ZQ00291002")
    private.add_new(0x03, "SQ", [nested(0x00291003)])
    dataset.add_new(0x00311001, "LO", "ZQ00311001")  # private without a creator
    dataset.file_meta.SourceApplicationEntityTitle = "ZQ00020016"
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.999.2"
    dataset.file_meta.PrivateInformation = b"ZQ00020102"


def spoil_file(path, syntax=None, kind=CTImageStorage):
    """Fill one file, its preamble and the space behind its data set."""
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
    dataset.file_meta.TransferSyntaxUID = syntax
    position = dataset.ImagePositionPatient
    plant_all(dataset)
    dataset.ImagePositionPatient = position
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.preamble = b"ZQPREAMBLE".ljust(128, b"!")
    dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True, enforce_file_format=True)
    path.write_bytes(path.read_bytes() + b"ZQTRAILING Roe^Jane " * 5)


@pytest.mark.parametrize(
    ("syntax", "kind"),
    [
        pytest.param(ExplicitVRLittleEndian, CTImageStorage, marks=pytest.mark.slow),
        (ImplicitVRLittleEndian, CTImageStorage),
        (ExplicitVRLittleEndian, EnhancedCTImageStorage),
    ],
    ids=["explicit", "implicit", "enhanced"],
)
def test_nothing_planted_stays(make_series, tmp_path, syntax, kind):
    """Of a value in every attribute, preamble, private tag, overlay, sequence and tail, only the listed text stays."""
    path = Path(make_series().files[0].path)
    spoil_file(path, syntax, kind)
    source = path.read_bytes()
    assert len(set(re.findall(rb"ZQ[0-9A-F]{8}", source))) > 800
    assert source.count(b"1.2.999.") > 100
    assert source.count(DATE.encode()) > 100

    account, exclusions = export_cohort([series_of([path])], tmp_path / "out", PSEUDONYM)
    assert exclusions == []
    (copy,) = copies(tmp_path / "out")
    content = copy.read_bytes()
    for gone in (b"ZS", b"1.2.999", DATE.encode(), TIME.encode(), AGE.encode(), NUMBER.encode(), b"Jane", b"PAT-1"):
        assert gone not in content
    assert content[:128] == bytes(128)
    left = {keyword_for_tag(int(tag, 16)) for tag in re.findall(rb"ZQ([0-9A-F]{8})", content)}
    assert left == KEPT
    assert len(re.findall(rb"ZQ", content)) == len(KEPT)
    dataset = pydicom.dcmread(copy)
    assert not any(e.tag.is_private or e.tag.group in (0x5000, 0x5002, 0x6000, 0x6002) for e in walk(dataset))
    names = {str(e.value) for e in walk(dataset) if e.VR == "PN" and e.value}
    assert names == {PSEUDONYM("patient", f"ZQ{0x00100020:08X}"), "ANONYMIZED"}
    text = json.dumps(account)
    assert "ZQ" not in text
    assert "ZS" not in text
    assert DATE not in text


def test_every_person_name_of_the_dictionary_is_treated():
    """Each attribute that pydicom's dictionary types as a person name loses its value, alone in a data set too."""
    tags = [tag for tag, entry in DicomDictionary.items() if entry[0] == "PN"]
    assert len(tags) > 25
    for tag in tags:
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.add_new(tag, "PN", "Roe^Jane")
        profile.deidentify(dataset, PSEUDONYM, "P-1")
        assert "Jane" not in str(dataset), keyword_for_tag(tag)


@pytest.mark.parametrize(
    ("keyword", "value", "classic", "enhanced"),
    [
        ("StudyDate", "20010203", "", ""),  # Z
        ("SeriesDate", "20010203", None, "00010101"),  # X/D
        ("AcquisitionDate", "20010203", None, ""),  # X/Z
        ("AcquisitionDateTime", "20010203", None, "00010101010101.000000+0000"),  # X/Z/D
        ("ContentDate", "20010203", "", "00010101"),  # Z/D: type 2C and type 1
        ("LastMenstrualDate", "20010203", None, None),  # X
        ("PatientBirthDate", "19500101", "", ""),  # Z
        ("PatientSex", "F", "", ""),  # Z
        ("PatientAge", "058Y", None, None),  # X
        ("PatientWeight", "61.5", None, None),  # X
        ("SeriesDescription", "Chest of Roe", None, None),  # X
        ("ProtocolName", "Chest", None, "ANONYMIZED"),  # X/D
        ("DeviceSerialNumber", "123456", None, "ANONYMIZED"),  # X/Z/D
        ("StationName", "CT3", None, "ANONYMIZED"),  # X/Z/D
        ("InstitutionName", "Here", None, "ANONYMIZED"),  # X/Z/D
        ("AccessionNumber", "987654", "", ""),  # Z
        ("StudyID", "12", "", ""),  # Z
        ("ContrastBolusAgent", "ULTRAVIST 370", "ANONYMIZED", "ANONYMIZED"),  # Z/D: that it was given still shows
        ("Manufacturer", "Nobody", "Nobody", "Nobody"),  # not in the table
        ("ConvolutionKernel", "B30f", "B30f", "B30f"),
        ("SoftwareVersions", "VA1", "VA1", "VA1"),
        ("BodyPartExamined", "CHEST", "CHEST", "CHEST"),
        ("ReconstructionDescription", "for Dr Roe", None, None),  # not in the table, but free text
    ],
)
def test_table_e_1_1(keyword, value, classic, enhanced):
    """PS3.15 table E.1-1's codes come out as the type in the CT Image and Enhanced CT Image IODs asks (None: removed)."""
    for kind, expected in ((CTImageStorage, classic), (EnhancedCTImageStorage, enhanced)):
        dataset = minimal(kind)
        setattr(dataset, keyword, value)
        profile.deidentify(dataset, PSEUDONYM, "P-1")
        assert (str(dataset[keyword].value or "") if keyword in dataset else None) == expected


def minimal(kind=CTImageStorage):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, "1.2.3"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def test_only_curves_and_overlays_are_repeating_groups_of_the_table():
    """The library's rules for groups of tags name nothing but the curves and overlays that are removed whole."""
    groups = {tag[0] for tag in initialize_actions("dicomfields_2026c") if len(tag) > 2}
    assert groups == {0x5000, 0x6000}


def test_text_in_number_attributes_is_removed():
    """A decimal string that is no number, which explicit VR allows to be written, does not pass."""
    dataset = minimal()
    dataset._dict[pydicom.tag.Tag("KVP")] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag("KVP"), "DS", 8, b"Roe^Jane", 0, False, True, True
    )
    dataset.SliceThickness = "1.25"
    profile.deidentify(dataset, PSEUDONYM, "P-1")
    assert "KVP" not in dataset
    assert dataset.SliceThickness == 1.25


def test_what_the_copy_says_of_itself(make_series, tmp_path):
    """The copy declares method and profile by code, keeps type 2 attributes, and its file meta information is new."""
    export_cohort([make_series()], tmp_path / "out", PSEUDONYM)
    for path in copies(tmp_path / "out"):
        dataset = pydicom.dcmread(path)
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.LongitudinalTemporalInformationModified == "REMOVED"
        (code,) = dataset.DeidentificationMethodCodeSequence
        assert (code.CodeValue, code.CodingSchemeDesignator) == ("113100", "DCM")
        assert code.CodeMeaning == "Basic Application Confidentiality Profile"
        assert "dicom-anonymizer" in " ".join(dataset.DeidentificationMethod)
        assert dataset.PatientName == dataset.PatientID == PSEUDONYM("patient", "PAT-1")
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.file_meta.MediaStorageSOPClassUID == dataset.SOPClassUID == CTImageStorage
        assert set(dataset.file_meta.dir()) == {
            "FileMetaInformationGroupLength", "FileMetaInformationVersion", "ImplementationClassUID",
            "ImplementationVersionName", "MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID",
        }  # fmt: skip


def test_names_of_folders_and_files_are_pseudonyms(make_series, tmp_path):
    """OUT holds patient / study / series pseudonyms, files count up in slice order, and nothing else but the account."""
    series = make_series()
    export_cohort([series], tmp_path / "out", PSEUDONYM)
    folder = "/".join(
        PSEUDONYM(kind, text)
        for kind, text in (("patient", "PAT-1"), ("study", series.study_uid), ("series", series.series_uid))
    )
    found = [path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(found) == sorted([ACCOUNT, *(f"{folder}/{k:04d}.dcm" for k in (1, 2, 3))])
    z = [float(pydicom.dcmread(path).ImagePositionPatient[2]) for path in copies(tmp_path / "out")]
    assert z == [-90.0, -87.5, -85.0]


def test_pixels_and_geometry_stay(make_series, tmp_path):
    """SimpleITK reads the same voxels, spacing, origin and direction; pixel bytes and geometry attributes are equal."""
    series = make_series()
    export_cohort([series], tmp_path / "out", PSEUDONYM)
    kept = (
        "PixelData", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
        "RescaleIntercept", "ConvolutionKernel", "KVP", "Manufacturer", "Rows", "Columns", "InstanceNumber", "ImageType",
    )  # fmt: skip
    for source, copy in zip(series.files, copies(tmp_path / "out"), strict=True):
        old, new = pydicom.dcmread(source.path), pydicom.dcmread(copy)
        assert all(old[name].value == new[name].value for name in kept)
        assert old.file_meta.TransferSyntaxUID == new.file_meta.TransferSyntaxUID
    old, new = (
        sitk.ReadImage([str(path) for path in paths])
        for paths in ([source.path for source in series.files], copies(tmp_path / "out"))
    )
    assert np.array_equal(sitk.GetArrayFromImage(old), sitk.GetArrayFromImage(new))
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(old, name)() == getattr(new, name)()


@pytest.mark.parametrize("syntax", [RLELossless, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_transfer_syntax_stays(make_series, tmp_path, syntax):
    """Compressed, deflated and implicit files keep their transfer syntax and the bytes of their pixels."""
    series = make_series()
    for source in series.files:
        dataset = pydicom.dcmread(source.path)
        if syntax.is_compressed:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(source.path, implicit_vr=syntax.is_implicit_VR, little_endian=True, enforce_file_format=True)
    _account, exclusions = export_cohort([series], tmp_path / "out", PSEUDONYM)
    assert exclusions == []
    for source, copy in zip(series.files, copies(tmp_path / "out"), strict=True):
        old, new = pydicom.dcmread(source.path), pydicom.dcmread(copy)
        assert new.file_meta.TransferSyntaxUID == syntax
        assert new.PixelData == old.PixelData
        assert np.array_equal(new.pixel_array, old.pixel_array)


def test_uids_meet_again_between_series_and_runs(make_series, tmp_path):
    """References between series of a study still point to each other, in another run too; another key gives others."""
    first = make_series("one")

    def refer(dataset, k):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, first.sop_uids[k]
        dataset.ReferencedImageSequence = Sequence([item])
        dataset.FrameOfReferenceUID = "1.2.840.10008.1.4.1.1"  # Talairach: registered, identifies nobody
        dataset.IrradiationEventUID = ["1.2.3.4.5", "1.2.3.4.6"]

    second = make_series("two", refer)
    export_cohort([first, second], tmp_path / "out", PSEUDONYM)
    export_series(second, tmp_path / "alone", Pseudonymiser(b"a" * 32))
    export_series(second, tmp_path / "other", Pseudonymiser(b"b" * 32))

    def read(out, series):
        name = f"S-{Pseudonymiser((b'b' if out == 'other' else b'a') * 32)('series', series.series_uid)[2:]}"
        return [pydicom.dcmread(path) for path in copies(tmp_path / out) if path.parent.name == name]

    one, two, alone, other = read("out", first), read("out", second), read("alone", second), read("other", second)
    assert [d.SOPInstanceUID for d in one] == [d.ReferencedImageSequence[0].ReferencedSOPInstanceUID for d in two]
    assert {d.ReferencedImageSequence[0].ReferencedSOPClassUID for d in two} == {CTImageStorage}
    assert {d.StudyInstanceUID for d in one} == {d.StudyInstanceUID for d in two}
    assert len({d.StudyInstanceUID for d in one}) == 1
    assert one[0].SeriesInstanceUID != two[0].SeriesInstanceUID
    assert {d.FrameOfReferenceUID for d in two} == {"1.2.840.10008.1.4.1.1"}
    assert [PSEUDONYM.uid(uid) for uid in ("1.2.3.4.5", "1.2.3.4.6")] == list(two[0].IrradiationEventUID)
    for a, b, c in zip(two, alone, other, strict=True):
        assert a.SOPInstanceUID == b.SOPInstanceUID != c.SOPInstanceUID
        assert a.StudyInstanceUID == b.StudyInstanceUID != c.StudyInstanceUID
        assert a.SOPInstanceUID.startswith("2.25.")
        assert pydicom.uid.UID(a.SOPInstanceUID).is_valid


def test_account_counts_what_was_done(make_series, tmp_path):
    """The account names library, profile, key, and each attribute's action with its path and count, and no value."""

    def change(dataset, _k):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, "1.2.3.4.5"
        dataset.SourceImageSequence = Sequence([item, Dataset()])
        dataset.InstitutionName = "St Elsewhere"

    series = make_series(change=change)
    account, _exclusions = export_cohort([series], tmp_path / "out", PSEUDONYM)
    assert json.loads((tmp_path / "out" / ACCOUNT).read_text()) == account
    assert "2026c" in account["profile"]
    assert account["library"].startswith("dicom-anonymizer 2.")
    assert account["key_fingerprint"] == PSEUDONYM.fingerprint
    (entry,) = account["series"]
    assert entry["files"] == SLICES
    assert entry["series_uid"] == pydicom.dcmread(copies(tmp_path / "out")[0]).SeriesInstanceUID
    done = {(a["path"], a["keyword"]): (a["tag"], a["action"], a["count"]) for a in entry["attributes"]}
    assert done["", "PatientID"] == ("(0010,0020)", "replaced", SLICES)
    assert done["", "InstitutionName"] == ("(0008,0080)", "removed", SLICES)
    assert done["", "SourceImageSequence"][1:] == ("kept", SLICES)
    assert done["SourceImageSequence", "ReferencedSOPInstanceUID"] == ("(0008,1155)", "uid_remapped", SLICES)
    assert done["SourceImageSequence", "ReferencedSOPClassUID"][1:] == ("kept", SLICES)
    assert done["", "ConvolutionKernel"][1:] == ("kept", SLICES)
    assert done["", "PatientIdentityRemoved"][1:] == ("added", SLICES)
    assert done["file meta", "MediaStorageSOPInstanceUID"][1:] == ("uid_remapped", SLICES)
    text = json.dumps(account)
    for value in ("Roe", "Jane", "PAT-1", "Elsewhere", series.series_uid, series.study_uid, *series.sop_uids, "/in/"):
        assert value not in text


LEAKS = {
    "name": {"Manufacturer": "made for JANE"},
    "id": {"SoftwareVersions": "v1 pat-1"},
    "number": {"ConvolutionKernel": "k-482"},
    "uid": {"SoftwareVersions": "1.2.3.4.5.6.7"},
    "date": {"FilterType": "F20010203"},
    "accent": {"ManufacturerModelName": "for MÜLLER"},
}


@pytest.mark.parametrize("kind", LEAKS)
def test_identity_in_kept_text_is_found(make_series, tmp_path, kind):
    """A name, id, UID or date of the source in text that the profile keeps excludes the series and deletes its copy."""

    def change(dataset, _k):
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.StudyDate, dataset.FrameOfReferenceUID = "20010203", "1.2.3.4.5.6.7"
        dataset.AccessionNumber, dataset.ReferringPhysicianName = "4821", "Müller^A"
        for keyword, value in LEAKS[kind].items():
            setattr(dataset, keyword, value.replace("482", "4821"))

    good = make_series("good")
    account, exclusions = export_cohort([make_series("bad", change), good], tmp_path / "out", PSEUDONYM)
    (excluded,) = exclusions
    assert (excluded.stage, excluded.code) == ("export", "identity_left")
    expected = {"number": "id", "accent": "name"}.get(kind, kind)
    assert f"held its source's {expected}, where" in excluded.message
    assert excluded.patient_id == PSEUDONYM("patient", "PAT-1")
    assert [entry["series"] for entry in account["series"]] == [PSEUDONYM("series", good.series_uid)]
    assert len(copies(tmp_path / "out")) == SLICES
    assert not list((tmp_path / "out").rglob("*.part"))


def test_name_hidden_in_pixels_is_found(make_series, tmp_path):
    """A name written into the pixel bytes excludes the series."""

    def change(dataset, k):
        if k == 1:
            dataset.PixelData = dataset.PixelData[:20] + b"Roe^Jane" + dataset.PixelData[28:]

    _account, (excluded,) = export_cohort([make_series(change=change)], tmp_path / "out", PSEUDONYM)
    assert excluded.code == "identity_left"
    assert copies(tmp_path / "out") == []


def test_check_does_not_trust_the_profile(make_series, tmp_path, monkeypatch):
    """With de-identification left out, the check of what was written finds every kind, and no file stays."""

    def change(dataset, _k):
        dataset.StudyDate = "20010203"

    monkeypatch.setattr(profile, "deidentify", lambda *_args: Counter())
    _account, (excluded,) = export_cohort([make_series(change=change)], tmp_path / "out", PSEUDONYM)
    assert excluded.code == "identity_left"
    assert "name and id and uid and date" in excluded.message
    assert copies(tmp_path / "out") == []


def test_words_of_every_header_are_no_leak(make_series, tmp_path):
    """A placeholder for a name, or a short number for an id, does not exclude a series by accident."""

    def change(dataset, _k):
        dataset.PatientName, dataset.ContentCreatorName = "ANON^LUNG", "Removed by CTP"
        dataset.AccessionNumber, dataset.RescaleIntercept = "1024", "-1024"
        dataset.StudyDate = "00010101"

    account, exclusions = export_cohort([make_series(change=change, patient_id="0120")], tmp_path / "out", PSEUDONYM)
    assert exclusions == []  # kVp is 120
    assert account["series"][0]["files"] == SLICES


def test_search_covers_the_deflated(make_series):
    """A deflated copy is searched inflated."""
    (path, *_rest) = [source.path for source in make_series().files]
    dataset = pydicom.dcmread(path)
    identity = identity_of(dataset)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.add_new(0x00291001, "OB", b"..Jane..")
    del dataset.PatientName
    dataset.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=True)
    content = Path(path).read_bytes()
    assert b"Jane" not in content
    assert "name" in leftovers(identity, content)


def _burn(dataset, _k):
    dataset.BurnedInAnnotation = "YES"


def _overlay(dataset, _k):
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 12)


def _screenshot(dataset, _k):
    dataset.SOPClassUID = SecondaryCaptureImageStorage


def _truncate(dataset, _k):
    dataset.PixelData = dataset.PixelData[:40]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_burn, "burned_in_annotation"),
        (_overlay, "overlay_in_pixels"),
        (_screenshot, "not_ct_image"),
        (_truncate, "truncated_pixels"),
    ],
)
def test_series_that_cannot_be_freed_are_refused(make_series, tmp_path, change, code):
    """Burned-in text, overlays inside pixels, other objects and truncated pixels exclude a series by code."""
    account, (excluded,) = export_cohort([make_series(change=change)], tmp_path / "out", PSEUDONYM)
    assert excluded.code == code
    assert account["series"] == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == [ACCOUNT]


def test_bad_files_exclude_their_series_alone(make_series, tmp_path):
    """Missing, foreign and damaged files and volume files are exclusions without any value; the rest is copied."""
    good, gone, foreign, damaged = (make_series(name) for name in ("good", "gone", "foreign", "damaged"))
    Path(gone.files[1].path).unlink()
    Path(foreign.files[1].path).write_bytes(Path(good.files[1].path).read_bytes())
    dataset = pydicom.dcmread(damaged.files[1].path)
    del dataset.Rows
    dataset.save_as(damaged.files[1].path)
    nifti = Series("jane", "", "jane", "CT", of_paths([tmp_path / "jane.nii.gz"]))
    seen = []
    account, exclusions = export_cohort(
        [gone, foreign, damaged, nifti, good], tmp_path / "out", PSEUDONYM, lambda: seen.append(1)
    )
    assert [e.code for e in exclusions] == ["unreadable_file", "file_changed", "not_deidentified", "not_dicom"]
    assert [entry["series"] for entry in account["series"]] == [PSEUDONYM("series", good.series_uid)]
    assert len(seen) == 5
    assert not re.search(r"jane|PAT-1|\d\.\d|/in/", str(exclusions), re.IGNORECASE)


def test_zip_and_multi_frame_sources(make_series, tmp_path):
    """A series inside a zip archive is copied as from files, and a file that holds many frames is copied once."""
    series = make_series()
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for k, source in enumerate(series.files):
            archive.write(source.path, f"Roe^Jane/{k}.dcm")
    zipped = replace(series, files=tuple(Source(str(tmp_path / "in.zip"), f"Roe^Jane/{k}.dcm") for k in range(SLICES)))
    framed = replace(series, files=tuple(replace(series.files[0], frame=k) for k in range(SLICES)))
    export_series(series, tmp_path / "a", PSEUDONYM)
    export_series(zipped, tmp_path / "b", PSEUDONYM)
    assert [p.read_bytes() for p in copies(tmp_path / "a")] == [p.read_bytes() for p in copies(tmp_path / "b")]
    assert export_series(framed, tmp_path / "c", PSEUDONYM)["files"] == 1


def test_second_run_copies_only_what_is_missing(make_series, tmp_path):
    """A whole series is skipped; one with a missing copy, with other images, or under other rules is copied again."""
    out = tmp_path / "out"
    series = [make_series("one"), make_series("two")]

    def run(cohort):
        before = {path: path.stat().st_mtime_ns for path in copies(out)}
        account, exclusions = export_cohort(cohort, out, PSEUDONYM)
        assert exclusions == []
        assert len(account["series"]) == 2
        return [path.parent.name for path in copies(out) if path.stat().st_mtime_ns != before.get(path)]

    names = [PSEUDONYM("series", s.series_uid) for s in series]
    assert Counter(run(series)) == dict.fromkeys(names, SLICES)
    assert run(series) == []
    copies(out)[0].unlink()
    (again,) = set(run(series))
    assert again in names
    shorter = replace(series[0], files=series[0].files[:2], sop_uids=series[0].sop_uids[:2])
    assert run([shorter]) == [names[0]] * 2
    account = json.loads((out / ACCOUNT).read_text())
    (out / ACCOUNT).write_text(json.dumps({**account, "library": "another 1.0"}))
    assert len(run(series)) == 2 * SLICES


def test_two_keys_do_not_share_a_folder(make_series, tmp_path):
    """A folder that holds a copy under another key, or a foreign account, is refused before anything is written."""
    series = make_series()
    export_cohort([series], tmp_path / "out", PSEUDONYM)
    with pytest.raises(DatasetError, match="another key"):
        export_cohort([series], tmp_path / "out", Pseudonymiser(b"b" * 32))
    assert len(copies(tmp_path / "out")) == SLICES
    (tmp_path / "out" / ACCOUNT).write_text("[]")
    with pytest.raises(DatasetError, match="no account"):
        export_cohort([series], tmp_path / "out", PSEUDONYM)


def test_interrupted_run_keeps_its_account(make_series, tmp_path):
    """What was copied before an interruption is accounted for, and nothing half copied has a final name."""
    series = [make_series("one"), make_series("two")]

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_cohort(series, tmp_path / "out", PSEUDONYM, interrupt)
    account = json.loads((tmp_path / "out" / ACCOUNT).read_text())
    assert [entry["series"] for entry in account["series"]] == [PSEUDONYM("series", series[0].series_uid)]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("archive", "known"),
    [
        ("lidc-idri-0314.zip", [b"LIDC-IDRI-0314", b"2819497684894126", b"20000101", b"14519.5.2.1.6279"]),
        ("lung-pet-ct-dx-a0001.zip", [b"Lung_Dx-A0001", b"20070404", b"185824", b"058Y", b"14519.5.2.1.6655"]),
        ("ibsi1-ct-phantom/dicom.zip", [b"PAT1", b"20160804", b"9590.100.1.2"]),
    ],
)
def test_real_series(real_data, tmp_path, archive, known):
    """Slices of real CT lose what is known to be in their headers and keep their voxels and places."""
    with zipfile.ZipFile(real_data / archive) as file:
        names = [name for name in sorted(file.namelist()) if name.endswith(".dcm")]
        for k, name in enumerate(names):
            (tmp_path / f"{k}.dcm").write_bytes(file.read(name))
            if k == 40:
                break
    headers = {path: pydicom.dcmread(path, stop_before_pixels=True) for path in tmp_path.glob("*.dcm")}
    uid = next(h.SeriesInstanceUID for h in headers.values() if h.Modality == "CT")
    series = series_of([path for path, h in headers.items() if h.SeriesInstanceUID == uid][:4])
    sources = [Source(s.path).read() for s in series.files]
    assert all(any(value in content for content in sources) for value in known)
    _account, exclusions = export_cohort([series], tmp_path / "out", PSEUDONYM)
    assert exclusions == []
    for source, copy in zip(series.files, copies(tmp_path / "out"), strict=True):
        content = copy.read_bytes()
        assert not any(value in content for value in known)
        old, new = pydicom.dcmread(source.path), pydicom.dcmread(copy)
        assert hashlib.sha256(old.PixelData).digest() == hashlib.sha256(new.PixelData).digest()
        assert old.ImagePositionPatient == new.ImagePositionPatient
        assert (old.get("ConvolutionKernel"), old.KVP) == (new.get("ConvolutionKernel"), new.KVP)
