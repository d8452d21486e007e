"""Archives of any shape: walking, zip archives, hostile entries, and what a second look does."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from lungpipe.dicom import archive, index
from lungpipe.dicom.archive import walk
from lungpipe.dicom.header import parse_header
from lungpipe.dicom.index import headers_of, index_archive, index_series, one_after_another
from lungpipe.dicom.memory import remember
from lungpipe.dicom.read import read_image
from lungpipe.dicom.source import Source
from lungpipe.errors import DatasetError, Exclusion
from lungpipe.geometry import Geometry
from lungpipe.volume import CTVolume


@pytest.fixture
def scan():
    frame = Geometry((8, 6, 5), (2.0, 0.7, 0.8), (-30.0, 12.5, -400.0))
    return CTVolume(np.random.default_rng(0).integers(-1000, 500, frame.shape).astype(np.int16), frame)


@pytest.fixture
def tree(tmp_path, scan, dicom_writer):
    """Two patients in folders of different depth."""
    for patient, folder in (("P1", "a/b/c"), ("P2", "d")):
        dicom_writer(tmp_path / "tree" / folder, scan, patient_id=patient)
    return tmp_path / "tree"


def zip_folder(folder: Path, to: Path) -> None:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(folder))


def test_zip_archives_are_read_in_place(tree, tmp_path):
    """A series inside a zip archive is indexed as one in a folder is, and nothing is extracted."""
    zip_folder(tree / "d", tree / "e.zip")
    for path in (tree / "d").iterdir():
        path.unlink()
    table = index_series(tree)
    assert [len(s.files) for s in table.series] == [8, 8]
    assert {f.entry != "" for f in table.series[1].files} == {True}
    assert sorted(p.name for p in tree.iterdir()) == ["a", "d", "e.zip"]
    zip_folder(tree, tmp_path / "whole.zip")
    assert len(index_series(tmp_path / "whole.zip").series) == 1


def test_one_series_in_a_zip_is_an_image(tree, tmp_path, scan):
    """A zip archive with one series can be named where an image is asked for."""
    zip_folder(tree / "d", tmp_path / "one.zip")
    hu, geometry = read_image(tmp_path / "one.zip")
    assert np.array_equal(hu, scan.hu)
    assert geometry.mismatch(scan.frame, 1e-3) is None


def test_other_files_are_passed_over(tree):
    """DICOMDIR, text, empty files, pipes and objects without pixels are no series; the objects are counted by kind."""
    (tree / "readme").write_text("no image " * 40)
    (tree / "empty").write_bytes(b"")
    os.mkfifo(tree / "pipe")
    sample = pydicom.dcmread(next((tree / "d").iterdir()))
    directory = pydicom.dcmread(next((tree / "d").iterdir()))
    directory.SOPClassUID = directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.save_as(tree / "DICOMDIR")
    for name in ("Rows", "Columns", "PixelData"):
        delattr(sample, name)
    sample.SOPClassUID, sample.Modality = "1.2.840.10008.5.1.4.1.1.88.67", "SR"
    sample.save_as(tree / "dose.dcm")
    table = index_series(tree)
    assert len(table.series) == 2
    assert dict(table.others) == {"SR": 1, "not DICOM": 3}
    assert table.exclusions == ()


@pytest.mark.parametrize("name", ["../evil.dcm", "/etc/evil.dcm", "..\\evil.dcm", "C:\\evil.dcm", "a/../../evil.dcm"])
def test_zip_entries_that_leave_the_folder_are_refused(tree, name):
    """A zip archive whose entries point outside is not read at all, and is an exclusion."""
    with zipfile.ZipFile(tree / "evil.zip", "w") as file:
        file.writestr(name, b"x")
        file.writestr("good.dcm", next((tree / "d").iterdir()).read_bytes())
    table = index_series(tree)
    assert [e.code for e in table.exclusions] == ["zip_unsafe_name"]
    assert sum(len(s.files) for s in table.series) == 16


def test_zip_that_expands_too_far_is_refused(tree, monkeypatch):
    """An archive that announces far more than it holds is refused; one within the limit is read."""
    with zipfile.ZipFile(tree / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros.dcm", bytes(3_000_000))
    monkeypatch.setattr(archive, "ZIP_FREE_BYTES", 2_000_000)
    assert [e.code for e in index_series(tree).exclusions] == ["zip_bomb"]
    monkeypatch.setattr(archive, "ZIP_FREE_BYTES", 4_000_000)
    assert index_series(tree).exclusions == ()


def test_damaged_and_encrypted_zips_are_exclusions(tree):
    """A file that only looks like a zip archive, and one with a password, are named with a code each."""
    (tree / "broken.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    zip_folder(tree / "d", tree / "locked.zip")
    content = bytearray((tree / "locked.zip").read_bytes())
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        content[at + 8] |= 1  # general purpose bit 0 of the central directory: encrypted
        at = content.find(b"PK\x01\x02", at + 1)
    (tree / "locked.zip").write_bytes(content)
    assert sorted(e.code for e in index_series(tree).exclusions) == ["unreadable_zip", "zip_encrypted"]


def test_zip_in_a_zip_is_told(tree):
    """An archive inside an archive is not read, and not passed over in silence."""
    zip_folder(tree / "d", tree / "a" / "inner.zip")
    zip_folder(tree / "a", tree / "outer.zip")
    table = index_series(tree)
    assert [e.code for e in table.exclusions] == ["zip_nested"]
    assert table.exclusions[0].file == str(tree / "outer.zip")


def test_symlink_loop_is_an_exclusion(tree):
    """A link back up the tree is followed once and told; every file is still read once."""
    (tree / "d" / "up").symlink_to(tree, target_is_directory=True)
    (tree / "nowhere").symlink_to(tree / "missing")
    table = index_series(tree)
    assert sorted(e.code for e in table.exclusions) == ["file_gone", "symlink_loop"]
    assert [len(s.files) for s in table.series] == [8, 8]


def test_unreadable_folder_is_an_exclusion(tree, monkeypatch):
    """A folder without permission does not stop the others."""
    real = os.scandir

    def guarded(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(archive.os, "scandir", guarded)
    table = index_series(tree)
    assert [e.code for e in table.exclusions] == ["unreadable_folder"]
    assert "Permission" in table.exclusions[0].message
    assert [s.patient_id for s in table.series] == ["P2"]


def test_file_that_goes_away_is_an_exclusion_and_comes_back(tree, tmp_path, monkeypatch):
    """A file that is listed and then gone is told; when it is back, the next look has it."""
    victim = next((tree / "d").iterdir())
    content = victim.read_bytes()
    real = index.walk

    def listed_then_gone(root):
        yield from list(real(root))
        victim.unlink(missing_ok=True)

    def look():
        with remember(tmp_path / "memory.sqlite") as memory:
            return index_archive(tree, memory, one_after_another)

    monkeypatch.setattr(index, "walk", listed_then_gone)
    table = look()
    assert [e.code for e in table.exclusions] == ["file_gone"]
    assert sorted(len(s.files) for s in table.series) == [7, 8]
    monkeypatch.setattr(index, "walk", real)
    victim.write_bytes(content)
    table = look()
    assert table.exclusions == ()
    assert [len(s.files) for s in table.series] == [8, 8]


def test_second_look_reads_only_what_changed(tree, tmp_path, monkeypatch, scan, dicom_writer):
    """An unchanged archive is not read again; a new, a changed and a removed file are each taken account of."""
    read: list[Source] = []
    real = index.read_headers

    def counting(batch):
        read.extend(source for _, source in batch)
        return real(batch)

    monkeypatch.setattr(index, "read_headers", counting)

    def look():
        read.clear()
        with remember(tmp_path / "memory.sqlite") as memory:
            return index_archive(tree, memory, one_after_another), len(read)

    first, n = look()
    assert n == 16
    second, n = look()
    assert n == 0
    assert second == first
    dicom_writer(tree / "new", scan, patient_id="P3")
    table, n = look()
    assert n == 8
    assert [s.patient_id for s in table.series] == ["P1", "P2", "P3"]
    removed = sorted((tree / "d").iterdir())[3]
    removed.unlink()
    table, n = look()
    assert n == 0
    assert len(table.by_uid()[first.series[1].series_uid].files) == 7
    changed = sorted((tree / "new").iterdir())[0]
    dataset = pydicom.dcmread(changed)
    dataset.PatientID = "P4"
    dataset.save_as(changed)
    table, n = look()
    assert n == 1
    assert {s.patient_id: len(s.files) for s in table.series} == {"P1": 8, "P2": 7, "P3": 7, "P4": 1}
    for path in (tree / "new").iterdir():
        path.unlink()
    (tree / "new").rmdir()
    table, n = look()
    assert n == 0
    assert [s.patient_id for s in table.series] == ["P1", "P2"]


def test_a_run_that_is_cut_off_loses_nothing(tree, tmp_path, monkeypatch, scan, dicom_writer):
    """Wherever an index is interrupted, the next one ends as if nothing had happened."""

    def look():
        with remember(tmp_path / "memory.sqlite") as memory:
            return index_archive(tree, memory, one_after_another)

    def interrupted(*_):
        raise KeyboardInterrupt

    look()
    for number, step in enumerate(("read_headers", "assemble", "settle")):
        sorted((tree / "a/b/c").iterdir())[0].unlink()
        dicom_writer(tree / "new", scan, patient_id=f"N{number}", series=f"new-{number}")
        (tree / "d" / "copy.dcm").write_bytes(sorted((tree / "d").iterdir())[number].read_bytes())
        with monkeypatch.context() as patch:
            patch.setattr(index, step, interrupted)
            with pytest.raises(KeyboardInterrupt):
                look()
        assert look() == index_series(tree)
    assert {s.patient_id: len(s.files) for s in look().series} == {"P1": 5, "P2": 8, "N2": 8}


def test_a_passing_failure_is_tried_again(tree, tmp_path, monkeypatch):
    """A file without permission, and one whose worker died, are excluded now and read at the next look."""
    refused = sorted((tree / "d").iterdir())[1]
    real = Path.open

    def guarded(path, *args, **kwargs):
        if path == refused:
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    def dying(function, items):
        for position, item in enumerate(items):
            dies = function is index.read_headers and str(tree / "a") in item[0][0]
            yield position, Exclusion("index", "worker_died", "the worker died") if dies else function(item)

    def look(mapper):
        with remember(tmp_path / "memory.sqlite") as memory:
            return index_archive(tree, memory, mapper)

    monkeypatch.setattr(index, "FILES_A_BATCH", 1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", guarded)
        codes = sorted(e.code for e in look(dying).exclusions)
    assert codes == ["unreadable_file"] + ["worker_died"] * 8
    table = look(one_after_another)
    assert table.exclusions == ()
    assert [len(s.files) for s in table.series] == [8, 8]


def test_memory_keeps_headers_and_lives_beside_the_key(tree, tmp_path, pseudonym_key):
    """Headers come back as they were read, and the memory is readable by its owner alone."""
    from lungpipe.dicom.memory import all_terms, memory_path

    path = memory_path(tree)
    assert path.parent.parent == pseudonym_key.parent
    with remember(path) as memory:
        table = index_archive(tree, memory, one_after_another)
        full = headers_of(memory, table.series[0])
    assert path.stat().st_mode & 0o077 == 0
    for header in full.headers:
        (fresh,) = parse_header(header.source, lambda n, h=header: Path(h.source.path).read_bytes()[:n])
        assert header == fresh
    assert ("name", "Roe^Jane") in all_terms()
    assert ("id", "P1") in all_terms()


def test_damaged_memory_is_told(tmp_path):
    """A memory that is no database is an error that says which file to delete, not a stack trace."""
    (tmp_path / "memory.sqlite").write_bytes(b"no database " * 100)
    with pytest.raises(DatasetError, match=r"delete .*memory\.sqlite"), remember(tmp_path / "memory.sqlite"):
        pass


def test_a_batch_that_fails_is_cut_down_to_the_file(tree):
    """When a worker dies over a batch, only the file that does it is excluded."""
    victim = str(sorted((tree / "d").iterdir())[2])

    def fragile(function, items):
        for position, item in enumerate(items):
            if function is index.read_headers and any(source.path == victim for _, source in item):
                yield position, Exclusion("index", "worker_died", "the worker died")
            else:
                yield position, function(item)

    with remember(None) as memory:
        table = index_archive(tree, memory, fragile)
    assert [(e.code, e.file) for e in table.exclusions] == [("worker_died", victim)]
    assert sorted(len(s.files) for s in table.series) == [7, 8]


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian], ids=str
)
def test_every_encoding_gives_the_same_header(tree, tmp_path, syntax):
    """Implicit, big endian and deflated files, and one without preamble, are indexed as the plain one."""
    path = next((tree / "d").iterdir())
    dataset = pydicom.dcmread(path)
    (plain,) = parse_header(Source("x"), lambda n: path.read_bytes()[:n])
    dataset.file_meta.TransferSyntaxUID = syntax
    other = tmp_path / "other.dcm"
    pydicom.dcmwrite(other, dataset, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    (header,) = parse_header(Source("x"), lambda n: other.read_bytes()[:n])
    assert header.transfer_syntax == syntax
    for name in ("sop_uid", "position_mm", "orientation", "size", "slope", "bits", "marks", "scanner", "identity"):
        assert getattr(header, name) == getattr(plain, name), name


def test_fast_header_equals_pydicom(tree, tmp_path, real_data):
    """Every attribute of the fast reader has pydicom's own value, on real scanners' files."""
    for name in ("lidc-idri-0314.zip", "lung-pet-ct-dx-a0001.zip", "ibsi1-ct-phantom/dicom.zip"):
        table = index_series(real_data / name)
        for series in table.series:
            for source in series.files[::16]:
                content = source.read()
                (header,) = parse_header(source, lambda n, c=content: c[:n])
                dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content), stop_before_pixels=True)
                assert header.sop_uid == dataset.SOPInstanceUID
                assert header.patient_id == dataset.PatientID
                assert header.position_mm == tuple(map(float, dataset.ImagePositionPatient))
                assert header.orientation == tuple(map(float, dataset.ImageOrientationPatient))
                assert header.pixel_spacing_mm == tuple(map(float, dataset.PixelSpacing))
                assert header.size == (dataset.Rows, dataset.Columns)
                assert (header.slope, header.intercept) == (dataset.RescaleSlope, dataset.RescaleIntercept)
                assert header.bits[1:] == (
                    dataset.BitsAllocated,
                    dataset.BitsStored,
                    dataset.HighBit,
                    dataset.PixelRepresentation,
                )
                assert header.padding == dataset.get("PixelPaddingValue")
                scanner = dict(header.scanner)
                assert scanner["manufacturer"] == dataset.get("Manufacturer", "")
                assert scanner["kvp"] == (float(dataset.KVP) if dataset.get("KVP") else None)


def test_names_in_other_alphabets(tree):
    """Text is read by the file's character set."""
    path = next((tree / "d").iterdir())
    dataset = pydicom.dcmread(path)
    for charset, name in (("ISO_IR 192", "山田^太郎"), ("ISO_IR 100", "Müller^Jörg")):
        dataset.SpecificCharacterSet, dataset.PatientName = charset, name
        dataset.save_as(path)
        (header,) = parse_header(Source("x"), lambda n: path.read_bytes()[:n])
        assert ("name", name) in header.identity


def test_long_headers_are_read_whole(tree):
    """A header longer than the first piece that is read is found all the same."""
    path = next((tree / "d").iterdir())
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00090010, "LO", "MAKER")
    dataset.add_new(0x00091010, "OB", bytes(200_000))
    dataset.save_as(path)
    (header,) = parse_header(Source("x"), lambda n: path.read_bytes()[:n])
    assert header.size == (6, 5)


def test_walk_needs_a_folder(tmp_path):
    """A missing root is a mistake to be told, not an empty archive."""
    with pytest.raises(DatasetError, match="does not exist"):
        list(walk(tmp_path / "missing"))
