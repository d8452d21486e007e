"""Pace and time left where some scans are worked on and others only looked over."""

import pytest

from lungpipe.scan import ScanResult
from lungpipe.watching import pace as module
from lungpipe.watching.pace import Pace, duration


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def scan(k, took_s, *, made):
    return ScanResult(f"S-{k}", f"P-{k}", made={"volume": 1} if made else {}, took_s=took_s)


def paced(clock, known, total):
    return Pace(total - known, known, frozenset(f"S-{k}" for k in range(known)), clock[0], clock[0])


def test_two_workers_with_nothing_done_before(clock):
    """Ten scans of 30 s on two workers: after four the pace is 4 a minute and the other six take 90 s."""
    pace = paced(clock, 0, 10)
    assert (pace.per_min, pace.left_s) == (None, None)
    for k in range(4):
        clock[0] += 30 if k % 2 else 0
        pace.add(scan(k, 30.0, made=True))
    assert pace.per_min == pytest.approx(4.0)
    assert pace.left_s == pytest.approx(6 * 30 / 2)


def test_scans_that_stand_do_not_shorten_the_rest(clock):
    """After 90 of 100 were reused in a second and one worked on for 60 s, nine are left at 60 s each, not at the mean of all."""
    pace = paced(clock, 90, 100)
    for k in range(90):
        clock[0] += 0.01
        pace.add(scan(k, 0.01, made=False))
    assert pace.left_s is None  # fresh ones are left, and nobody has seen one
    clock[0] += 60
    pace.add(scan(95, 60.0, made=True))
    assert pace.left_s == pytest.approx(9 * 60, rel=0.02)
    assert pace.per_min == pytest.approx(1.0, rel=0.02)
    mean_of_all_s = (60 + 0.9) / 91
    assert pace.left_s > 50 * 9 * mean_of_all_s


def test_reused_scans_that_come_last_do_not_lengthen_it(clock):
    """With one scan worked on and 99 that will stand, the rest takes as long as looking over takes."""
    pace = paced(clock, 100, 101)
    clock[0] += 60
    pace.add(scan(100, 60.0, made=True))
    clock[0] += 0.1
    pace.add(scan(0, 0.1, made=False))
    assert pace.left_s == pytest.approx(99 * 0.1, rel=0.01)


def test_changed_settings_make_known_patients_work(clock):
    """Where patients have records but none stands, every scan that is left counts as work."""
    pace = paced(clock, 10, 10)
    for k in range(2):
        clock[0] += 20
        pace.add(scan(k, 20.0, made=True))
    assert pace.left_s == pytest.approx(8 * 20)


def test_scans_of_which_no_worker_tells_slow_the_rest(clock):
    """A scan that killed its workers for 60 s says no time: it makes the rest slower and its own time nobody's mean."""
    pace = paced(clock, 0, 4)
    clock[0] += 60
    pace.add(scan(0, 0.0, made=False))
    assert pace.per_min is None
    clock[0] += 60
    pace.add(scan(1, 60.0, made=True))
    assert pace.left_s == pytest.approx(2 * 60 / 0.5)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7100, "118 min"), (7200, "2.0 h")]
)
def test_durations_in_words(seconds, words):
    """Durations are told in the unit that a person would take."""
    assert duration(seconds) == words
