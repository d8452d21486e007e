"""What only an object store does, and what is the same on it as on a disk beyond single files."""

import os
import subprocess
import sys

import boto3
import pytest
import small_run

from lungpipe.errors import DatasetError
from lungpipe.scan import process_scan
from lungpipe.store import ledger
from lungpipe.store.place import Place


def _refusal(tmp_path, **changes) -> str:
    """What a process of its own says of an address; a client here keeps the credentials that it began with."""
    environment = {**os.environ, "AWS_CONFIG_FILE": str(tmp_path / "none"), **changes}
    environment["AWS_SHARED_CREDENTIALS_FILE"] = str(tmp_path / "none")
    script = """
from lungpipe.errors import DatasetError
from lungpipe.store.place import Place
try:
    Place.at("s3://bucket/workspace")
except DatasetError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_missing_credentials_are_told_at_once(s3_environment, monkeypatch, tmp_path):
    """Without credentials an address is refused before any work, and the message says what to check."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    said = _refusal(tmp_path)
    assert "s3://bucket/workspace cannot be reached (NoCredentialsError" in said
    assert "check address and credentials" in said


def test_silent_server_is_told_at_once(s3_environment, tmp_path):
    """An endpoint at which nobody answers is refused before any work, and the message names the variable to set."""
    said = _refusal(tmp_path, AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1")
    assert "cannot be reached" in said
    assert "AWS_ENDPOINT_URL" in said


def test_missing_bucket_is_named(s3_environment):
    """Writing to a bucket that is not there fails, and the error names the address."""
    place = Place.at("s3://there-is-no-such-bucket/workspace")
    with pytest.raises(FileNotFoundError, match=r"there-is-no-such-bucket/workspace/run\.json"):
        place.write("run.json", b"{}")


def test_a_bucket_may_be_a_place(s3_environment):
    """A workspace may be a whole bucket, with or without a slash at its end."""
    import s3fs

    s3fs.S3FileSystem().mkdir("whole-bucket")
    place = Place.at("s3://whole-bucket/")
    assert place == Place.at("s3://whole-bucket")
    place.write("tables/a", b"1")
    assert place.files() == ["tables/a"]
    assert place.children() == ["tables"]
    place.remove("")
    assert place.files() == []


def test_folder_objects_of_consoles_are_no_files(s3, s3_server):
    """A console's empty object named like a folder is neither a file nor a child without a name."""
    bucket, _, prefix = s3.address.removeprefix("s3://").partition("/")
    client = boto3.client("s3", endpoint_url=s3_server)
    client.put_object(Bucket=bucket, Key=f"{prefix}/tables/", Body=b"")
    s3.write("tables/a", b"1")
    assert s3.files() == ["tables/a"]
    assert s3.children("tables") == ["a"]
    assert s3.children() == ["tables"]


def test_local_paths_are_refused(s3):
    """What needs a local folder says so instead of inventing one."""
    with pytest.raises(DatasetError, match="no local folder"):
        s3.path("run.json")
    assert s3.local is None


def _made(place: Place) -> ledger.Record:
    entry = ledger.named("P-AAAAAAAAAAAA", "volume", subject={"series_uid": "S"}, inputs={"source_sha256": "0"})
    place.write("volumes/v.zarr/ct/c/0/0/0", b"voxels")
    place.write("volumes/v.zarr/zarr.json", b"{}")
    return ledger.record(place, entry, ["volumes/v.zarr/ct", "volumes/v.zarr/zarr.json"])


def test_ledger_stands_while_its_outputs_do(place):
    """An artefact stands while every output has the recorded content, and no longer when one is changed or gone."""
    entry = _made(place)
    assert ledger.stands(place, entry.ref) == entry
    assert ledger.refs(place, entry.scope) == [entry.ref]
    assert ledger.patients(place) == [entry.scope]
    place.write("volumes/v.zarr/ct/c/0/0/0", b"voxelS")
    assert ledger.stands(place, entry.ref) is None
    place.write("volumes/v.zarr/ct/c/0/0/0", b"voxels")
    assert ledger.stands(place, entry.ref) == entry
    place.remove("volumes/v.zarr/zarr.json")
    assert ledger.stands(place, entry.ref) is None
    ledger.forget(place, entry.ref)
    assert ledger.refs(place, entry.scope) == []


def test_ledger_names_outputs_alike_everywhere(local, s3):
    """The record of an artefact holds the same hashes on a disk and in a bucket."""
    assert _made(local).outputs == _made(s3).outputs


def test_a_scan_in_a_bucket_is_the_scan_on_a_disk(finished_run, s3):
    """Processed into a bucket, a scan has the same artefacts with the same contents, and a second time does no work."""
    folder, done = finished_run
    job, disk = done.plan.jobs[0], Place.at(folder / "workspace")
    process_scan(job, small_run.settings(), str(s3))
    here = {entry.ref: entry.outputs for entry in ledger.records(s3, job.patient_id)}
    assert here == {entry.ref: entry.outputs for entry in ledger.records(disk, job.patient_id)}
    assert {ref.split("/")[1].split("-")[0] for ref in here} == {
        "volume",
        "annotations",
        "masks",
        "agreement",
        "features",
    }
    before = {name: s3.digest(name) for name in s3.files()}
    process_scan(job, small_run.settings(), str(s3))
    assert {name: s3.digest(name) for name in s3.files()} == before
