"""The frame check over Dask, and the command that prints it."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from small_run import PATIENTS

from flows.frame_command import check_frame as command
from lungpipe.cohort import plan_cohort
from lungpipe.curate import curate
from lungpipe.dicom.index import index_series, one_after_another
from lungpipe.dicom.memory import remember
from lungpipe.dicom.pseudonymise import load_pseudonymiser
from lungpipe.dicom.quality import QualitySettings
from lungpipe.dicom.source import Source
from lungpipe.errors import DatasetError
from lungpipe.store.place import Place
from tasks.each import Failure
from tasks.frame import LOOKED, check_frame, look_at_sample, require_frame

SIGN = {"lps": 1.0, "ras": -1.0}


@pytest.fixture
def address(dask_workers):
    return dask_workers


@pytest.fixture
def jobs(small_archive):
    """Scans and nodules of the eight patients, whose numbers are LPS and say so."""
    root, nodules = small_archive
    quality = QualitySettings()
    with remember(None) as memory:
        curation = curate(root, memory, one_after_another, quality, pixels=False)
    return plan_cohort("generic", "measured", curation, nodules, [], load_pseudonymiser()[0], quality).jobs


def mirrored(job):
    """The job as it is when its numbers, truly RAS, were taken for LPS."""
    return replace(
        job,
        nodules=tuple(replace(n, centre_mm=(-n.centre_mm[0], -n.centre_mm[1], n.centre_mm[2])) for n in job.nodules),
    )


def test_a_cohort_in_its_own_frame_is_accepted(address, jobs):
    """Every scan is read on a worker and every nodule is in the lung and denser."""
    verdict = check_frame(address, jobs, 60.0)
    verdict.require()
    own = verdict.sets[0].tallies[0]
    assert (own.nodules, own.inside, own.looked_at, own.in_lung, own.denser) == (PATIENTS,) * 5


def test_a_cohort_with_flipped_signs_is_refused(address, jobs):
    """The verdict names RAS."""
    verdict = check_frame(address, [mirrored(job) for job in jobs], 60.0)
    assert verdict.sets[0].better == "ras"
    with pytest.raises(DatasetError, match="fit ras better"):
        verdict.require()


def test_scans_that_cannot_be_read_leave_the_evidence_of_the_others(address, jobs):
    """Two scans whose files are gone are not looked at; the verdict rests on six."""
    gone = [replace(job, files=(Source("gone.dcm"),)) for job in jobs[:2]]
    own = check_frame(address, [*gone, *jobs[2:]], 60.0).sets[0].tallies[0]
    assert (own.nodules, own.inside, own.looked_at) == (PATIENTS, PATIENTS, PATIENTS - 2)


def test_a_scan_past_its_time_leaves_the_evidence_of_its_grid(monkeypatch, jobs):
    """A worker that is stopped tells nothing, and its scan is judged by its grid."""

    def stopped(address, function, items, *args, timeout_s=None):
        return ((i, Failure("timeout", "stopped") if i == 0 else function(item)) for i, item in enumerate(items))

    monkeypatch.setattr("tasks.frame.each", stopped)
    own = check_frame("", jobs, 60.0).sets[0].tallies[0]
    assert (own.nodules, own.inside, own.looked_at) == (PATIENTS, PATIENTS, PATIENTS - 1)


def test_what_was_looked_at_is_not_looked_at_again(monkeypatch, jobs, tmp_path):
    """Of a set that grew, only new scans are read, and the verdict is that of all; changed annotations are looked at anew."""
    place, read = Place.at(tmp_path), []

    def counted(address, function, items, *args, timeout_s=None):
        read.append([job.series_uid for job in items])
        return ((i, function(item)) for i, item in enumerate(items))

    monkeypatch.setattr("tasks.frame.each", counted)
    whole = check_frame("", jobs, 60.0).as_dict()
    read.clear()
    monkeypatch.setattr("tasks.frame.look_at_sample", look_at_sample.fn)  # outside a flow
    uids = [job.series_uid for job in jobs]
    for n in (6, 8, 8):
        ref, known = require_frame("", jobs[:n], 60.0, place, refuse=True)
    assert known
    assert list(map(sorted, read)) == [sorted(uids[:6]), sorted(uids[6:])]
    assert json.loads(place.read(f"parts/{ref.split('/')[1]}/verdict.json")) == whole
    with pytest.raises(DatasetError, match="fit ras better"):
        require_frame("", [mirrored(job) for job in jobs], 60.0, place, refuse=True)
    assert sorted(read[-1]) == sorted(uids)
    (tmp_path / "parts" / ref.split("/")[1] / LOOKED).write_text("{}")  # damaged: not believed
    require_frame("", jobs[:7], 60.0, place, refuse=True)
    assert read[-1] == [uids[6]]


def test_a_cohort_of_masks_starts_nothing(jobs):
    """Without a nodule known by coordinates there is no scan to look at, and no worker is asked."""
    assert check_frame("nowhere", [replace(job, nodules=()) for job in jobs], 60.0).sets == ()


def test_an_unknown_frame_stops_the_check(address, jobs):
    """It is an error of the annotations, not of one scan."""
    odd = replace(jobs[0], nodules=tuple(replace(n, frame="las") for n in jobs[0].nodules))
    with pytest.raises(DatasetError, match="'las'"):
        check_frame(address, [odd, *jobs[1:]], 60.0)


def table(small_archive, path, written, declared):
    """A CSV of the eight nodules in one frame that declares another."""
    root, nodules = small_archive
    grids = {series.series_uid: series.geometry for series in index_series(root).series}
    rows = []
    for nodule in nodules:
        x, y, z = nodule.centre_mm
        if written == "voxel":
            z, y, x = grids[nodule.series_uid].to_index(nodule.centre_mm).tolist()
        else:
            x, y = SIGN[written] * x, SIGN[written] * y
        rows.append(
            {"patient_id": nodule.patient_id, "nodule_id": nodule.nodule_id, "series_uid": nodule.series_uid}
            | {"x": x, "y": y, "z": z, "diameter_mm": 10, "frame": declared}
        )
    pd.DataFrame(rows).to_csv(path, index=False)
    return root, path


@pytest.mark.parametrize("frame", ["lps", "ras", "voxel"])
def test_the_command_accepts_a_right_table_and_prints_every_frame(small_archive, tmp_path, address, capsys, frame):
    """One line a frame, the declared one marked."""
    command(*table(small_archive, tmp_path / "nodules.csv", frame, frame), dask=address)
    shown = capsys.readouterr().out
    assert f"8 nodules that declare {frame}: accepted" in shown
    lines = {line.split()[0]: line.split()[1:] for line in shown.splitlines()[2:]}
    assert lines[f"{frame}*"] == ["8/8", "8/8", "8/8"]
    assert set(lines) == {f + ("*" if f == frame else "") for f in ("lps", "ras", "voxel", "voxel_zyx")}


def test_the_command_refuses_a_wrong_table(small_archive, tmp_path, address, capsys):
    """It prints the table, then ends as every wrong input does."""
    with pytest.raises(DatasetError, match=r"declare the frame ras fit lps better: .* as lps 8 of 8 inside"):
        command(*table(small_archive, tmp_path / "nodules.csv", "lps", "ras"), dask=address)
    assert "refused, lps fits better" in capsys.readouterr().out


def test_the_command_prints_json_also_when_it_refuses(small_archive, tmp_path, address, capsys):
    """A script reads what was found."""
    with pytest.raises(DatasetError):
        command(*table(small_archive, tmp_path / "nodules.csv", "voxel", "lps"), dask=address, json_=True)
    found = json.loads(capsys.readouterr().out)
    assert found["refused"]
    assert found["sets"][0]["better"] == "voxel"


def test_messages_hold_nothing_that_names_a_patient(small_archive, tmp_path, address, capsys):
    """Neither table nor message has an identifier, a file or a folder of the archive."""
    with pytest.raises(DatasetError) as caught:
        command(*table(small_archive, tmp_path / "nodules.csv", "lps", "ras"), dask=address)
    text = str(caught.value) + capsys.readouterr().out
    _, nodules = small_archive
    assert not any(name in text for n in nodules for name in (n.patient_id, n.series_uid, n.nodule_id))
    assert str(tmp_path) not in text
