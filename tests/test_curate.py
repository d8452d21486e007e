"""Judging an archive: what is looked at, what is remembered, and what would leak."""

from __future__ import annotations

import numpy as np
import pytest

from lungpipe import curate as curation
from lungpipe.curate import curate, curate_folder
from lungpipe.dicom import pixels
from lungpipe.dicom.index import one_after_another
from lungpipe.dicom.memory import remember
from lungpipe.dicom.pixel_report import PixelReport
from lungpipe.dicom.quality import QualitySettings
from lungpipe.errors import Exclusion
from lungpipe.volume import CTVolume


@pytest.fixture
def archive(tmp_path, make_ct, dicom_writer):
    """One patient whose series nothing in the headers speaks against."""
    volume, _, _ = make_ct((1.25, 0.8, 0.8), (32, 50, 50), 5.0)
    dicom_writer(tmp_path / "archive" / "one", volume, patient_id="P1")
    return tmp_path / "archive"


@pytest.fixture
def looks(monkeypatch):
    """Every stack whose pixels were looked at, and what they are said to come to."""
    seen: list[str] = []
    reports = {"next": PixelReport(())}

    def check(series):
        seen.append(series.patient_id)
        return reports["next"]

    monkeypatch.setattr(pixels, "check_pixels", check)
    return seen, reports


def again(archive, tmp_path, mapper=one_after_another, **limits):
    with remember(tmp_path / "memory.sqlite") as memory:
        return curate(archive, memory, mapper, QualitySettings(**limits))


def test_pixels_are_looked_at_once(archive, tmp_path, looks):
    """What pixels came to is remembered with the series, and a new series alone is looked at."""
    seen, reports = looks
    reports["next"] = PixelReport(("undeclared_padding",), "7 voxels", padding_voxels=7)
    first, second = again(archive, tmp_path), again(archive, tmp_path)
    assert seen == ["P1"]
    assert first == second
    assert (first.stacks[0].verdict, first.stacks[0].padding_voxels) == ("warn", 7)


@pytest.mark.parametrize("code", ["missing_decoder", "unreadable_pixels"])
def test_what_may_change_is_looked_at_again(archive, tmp_path, looks, code):
    """A decoder that was installed since, or a file that came back, is noticed at the next look."""
    seen, reports = looks
    reports["next"] = PixelReport((code,))
    assert again(archive, tmp_path).stacks[0].codes == (code,)
    reports["next"] = PixelReport(())
    assert again(archive, tmp_path).stacks[0].codes == ()
    assert len(seen) == 2


def test_a_worker_that_dies_is_not_held_against_the_series(archive, tmp_path, looks):
    """The death of a worker quarantines a series now, with its reason, and is forgotten when the next look succeeds."""

    def dying(function, items):
        for position, item in enumerate(items):
            dies = function is curation.look
            yield position, Exclusion("index", "worker_died", "the worker died") if dies else function(item)

    (judged,) = again(archive, tmp_path, dying).stacks
    assert (judged.codes, judged.verdict) == (("unreadable_pixels",), "quarantine")
    assert "worker_died" in judged.detail
    assert again(archive, tmp_path).stacks[0].verdict == "accept"


def test_a_series_that_a_new_limit_lets_in_is_looked_at(archive, tmp_path, looks):
    """Pixels of a series that its thickness quarantined are looked at once the limit is raised."""
    seen, _ = looks
    assert again(archive, tmp_path, max_slice_mm=1.0).stacks[0].verdict == "quarantine"
    assert seen == []
    assert again(archive, tmp_path, max_slice_mm=2.0).stacks[0].verdict == "accept"
    assert seen == ["P1"]


def test_scans_that_would_leak_are_told(archive, make_ct, dicom_writer):
    """The same pixels under another patient, and one study under two patients, are found; other scans are not."""
    same, _, _ = make_ct((1.25, 0.8, 0.8), (32, 50, 50), 5.0)
    noisy = CTVolume((same.hu + np.random.default_rng(1).integers(-9, 9, same.shape)).astype(np.int16), same.frame)
    dicom_writer(archive / "two", same, patient_id="P2")
    dicom_writer(archive / "three", noisy, patient_id="P3")

    def study_of_three(dataset, _):
        dataset.StudyInstanceUID = uid

    uid = next(s.series.study_uid for s in curate_folder(archive).stacks if s.series.patient_id == "P3")
    other = CTVolume((same.hu + 3).astype(np.int16), same.frame)
    dicom_writer(archive / "four", other, patient_id="P4", change=study_of_three)
    found = {
        s.series.patient_id: set(s.codes) & {"duplicate_pixels", "two_patient_ids"}
        for s in curate_folder(archive).stacks
    }
    assert found == {"P1": set(), "P2": {"duplicate_pixels"}, "P3": set(), "P4": {"two_patient_ids"}}
