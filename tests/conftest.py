"""Fixtures: an analytic CT, honest DICOM series, and the real data where it is there."""

from __future__ import annotations

import os
import shutil
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
import small_run
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lungpipe.geometry import Geometry
from lungpipe.volume import CTVolume, Mask

DATA = Path(os.environ.get("LUNGPIPE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


#: What takes long to make and is made once a process, by words in the files of tests that use it: the Dask workers and the
#: workflow server of a process, real nodules' shapes, a finished run. The first that a file has counts.
SHARED = {
    "workers": ("dask_workers", "prefect_server"),
    "shapes": ("read_candidates", "lessons("),
    "run": ("finished", "small_archive"),
}


@cache
def shared_by(path: Path) -> str:
    """Which of what is shared the tests of a file use; empty for none."""
    text = path.read_text()
    return next((name for name, words in SHARED.items() if any(word in text for word in words)), "")


def pytest_collection_modifyitems(items):
    """Begin with the files that share something: together they take longest."""
    order = [*SHARED, ""]
    items.sort(key=lambda item: order.index(shared_by(item.path)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file of tests stays in one process, and those that share something stay in one together.

    Marks of groups would say the same, but xdist 3.8 puts them where pytest 9.2 no longer looks.
    """
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split("::")[0]
            return shared_by(config.rootpath / file) or file

    return Together(config, log)


@pytest.fixture(autouse=True)
def pseudonym_key(tmp_path_factory, monkeypatch):
    """Every test has a key of its own and never touches the user's."""
    path = tmp_path_factory.mktemp("key") / "key"
    path.write_text("0123456789abcdef0123456789abcdef")
    monkeypatch.setenv("LUNGPIPE_KEY_FILE", str(path))
    return path


@pytest.fixture(scope="session")
def dask_workers():
    """Address of two Dask workers for all tests of a process: starting them takes longer than most uses."""
    from tasks.cluster import dask_cluster

    with dask_cluster(None, 2, "3GiB") as address:
        yield address


@pytest.fixture(scope="session")
def server_and_workers(dask_workers):
    """One temporary Prefect server for all flow tests, and the address of the workers."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield dask_workers


@pytest.fixture(scope="module")
def prefect_server(server_and_workers):
    """Flows of this module run on the shared server and workers; without the variable they start workers of their own."""
    from tasks.cluster import ADDRESS_VARIABLE

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ADDRESS_VARIABLE, server_and_workers)
        yield


@pytest.fixture(scope="session")
def real_data():
    """The folder of real CT and reference values."""
    if not DATA.is_dir():
        pytest.skip(f"real CT is not on this machine (looked in {DATA.name}; set LUNGPIPE_TEST_DATA)")
    return DATA


def _unzip(archive: Path, into: Path) -> Path:
    with zipfile.ZipFile(archive) as file:
        file.extractall(into)
    return into


@pytest.fixture(scope="session")
def lidc_0314(real_data, tmp_path_factory):
    """Folder with the DICOM slices of LIDC-IDRI-0314."""
    return _unzip(real_data / "lidc-idri-0314.zip", tmp_path_factory.mktemp("lidc")) / "LIDC-IDRI-0314"


@pytest.fixture(scope="session")
def lung_dx(real_data, tmp_path_factory):
    """Folder of Lung-PET-CT-Dx A0001: two series and their ``Annotation``."""
    return _unzip(real_data / "lung-pet-ct-dx-a0001.zip", tmp_path_factory.mktemp("lung-dx"))


def ball(frame: Geometry, centre_mm, radius_mm: float) -> np.ndarray:
    """Voxels (z, y, x) of an unrotated grid whose centres lie within ``radius_mm`` of an LPS point."""
    index = np.indices(frame.shape).transpose(1, 2, 3, 0)
    return np.linalg.norm(frame.to_lps(index) - np.asarray(centre_mm), axis=-1) <= radius_mm


@pytest.fixture(scope="session")
def make_ball():
    return ball


def analytic_ct(spacing_mm=(1.25, 0.7, 0.7), shape=(48, 80, 80), radius_mm=6.0, seed=3):
    """A ball of 30 HU in lung of -850 HU with noise: volume, true mask and LPS centre."""
    frame = Geometry(shape, spacing_mm, (-12.0, 7.0, -90.0))
    centre = frame.to_lps((np.asarray(shape) - 1) / 2.0 + 0.3)
    inside = ball(frame, centre, radius_mm)
    noise = np.random.default_rng(seed).normal(0, 15, shape)
    hu = np.where(inside, 30.0, -850.0) + noise
    return CTVolume(np.rint(hu).astype(np.int16), frame), Mask(inside, frame), tuple(centre.tolist())


@pytest.fixture(scope="session")
def ct():
    return analytic_ct()


@pytest.fixture(scope="session")
def make_ct():
    return analytic_ct


def write_series(
    folder: Path,
    volume: CTVolume,
    *,
    patient_id: str = "PAT-1",
    series: str = "series-1",
    slope: float = 1.0,
    intercept: float = -1024.0,
    skip=(),
    change=None,
) -> str:
    """Write a CT series, file names not in slice order; returns its UID. ``change(dataset, k)`` spoils headers."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = volume.frame
    series_uid = generate_uid(entropy_srcs=[patient_id, series])
    stored = np.rint((volume.hu.astype(np.float64) - intercept) / slope).astype(np.int16)
    for k in range(volume.shape[0]):
        if k in skip:
            continue
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[patient_id, series, str(k)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        dataset.PatientID, dataset.PatientName = patient_id, "Roe^Jane"
        dataset.StudyInstanceUID = generate_uid(entropy_srcs=[patient_id])
        dataset.SeriesInstanceUID, dataset.Modality = series_uid, "CT"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.InstanceNumber = k + 1
        dataset.ImagePositionPatient = [f"{v:.6f}" for v in frame.to_lps((k, 0, 0))]
        dataset.ImageOrientationPatient = [f"{v:.8f}" for v in frame.matrix.T[:2].ravel()]
        dataset.PixelSpacing = [frame.spacing_mm[1], frame.spacing_mm[2]]
        dataset.SliceThickness = frame.spacing_mm[0]
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        dataset.Manufacturer, dataset.ConvolutionKernel, dataset.KVP = "Nobody", "B", 120
        dataset.Rows, dataset.Columns = volume.shape[1:]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 1
        dataset.PixelData = stored[k].tobytes()
        if change is not None:
            change(dataset, k)
        pydicom.dcmwrite(folder / f"{(k * 7919) % 1000:04d}-{k}.dcm", dataset, enforce_file_format=True)
    return series_uid


@pytest.fixture(scope="session")
def broken_archive(tmp_path_factory):
    """The archive with every fault, ``expected.csv`` and ``expected_files.csv``; read only."""
    from data_catalog.phantom.broken import write_broken

    return write_broken(tmp_path_factory.mktemp("broken")).parent


@pytest.fixture(scope="session")
def dicom_writer():
    return write_series


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory):
    """DICOM of eight patients and their nodules; see tests/small_run.py."""
    root = tmp_path_factory.mktemp("small") / "dicom"
    return root, small_run.write_archive(root, analytic_ct, write_series)


@pytest.fixture(scope="session")
def finished_run(small_archive, tmp_path_factory):
    """A finished workspace with its key beside it, to copy and not to change."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        (folder / "pseudonym.key").write_text("a key of the tests alone")
        patch.setenv("LUNGPIPE_KEY_FILE", str(folder / "pseudonym.key"))
        done = small_run.run(*small_archive, folder / "workspace")
    return folder, done


@pytest.fixture
def finished(finished_run, tmp_path, monkeypatch):
    """A copy of the finished workspace, under its key; returns its path and what the run returned."""
    shutil.copytree(finished_run[0], tmp_path / "finished")
    monkeypatch.setenv("LUNGPIPE_KEY_FILE", str(tmp_path / "finished" / "pseudonym.key"))
    return tmp_path / "finished" / "workspace", finished_run[1]
