"""The rule: when another frame is better, when that is open, and when none fits."""

import json
import pickle

import pytest

from lungpipe.errors import DatasetError
from lungpipe.frame import FRAMES, Evidence, Reading, judge

LEVELS = {
    0: Reading(False, False, False),
    1: Reading(True, False, True),
    2: Reading(True, True, False),
    3: Reading(True, True, True),
}


def rows(count, declared="lps", **levels):
    """Nodules with these levels by frame, looked at; a level is 0 where none is given."""
    readings = {frame: LEVELS[levels.get(frame, 0)] for frame in FRAMES}
    return [Evidence(declared, readings)] * count


def grid_rows(count, declared="lps", **inside):
    """Nodules of which only the grid was asked."""
    return [Evidence(declared, {frame: Reading(inside.get(frame, False)) for frame in FRAMES})] * count


def only(evidence):
    (part,) = judge(evidence).sets
    return part


def test_a_set_in_its_own_frame_is_accepted():
    """Forty nodules that fit what they declare."""
    verdict = judge(rows(40, lps=3, ras=2))
    assert not verdict.refused
    assert verdict.message() == ""
    verdict.require()
    assert verdict.sets[0].outcome == "accepted"


@pytest.mark.parametrize("declared", ["lps", "ras", "voxel"])
def test_a_set_that_fits_another_frame_is_refused_with_numbers_and_remedy(declared):
    """The message names the frame that fits, counts both, and says what to write."""
    better = {"lps": "ras", "ras": "voxel", "voxel": "lps"}[declared]
    verdict = judge([*rows(18, declared, **{declared: 1, better: 3}), *rows(2, declared, **{declared: 3, better: 2})])
    assert verdict.refused
    assert verdict.sets[0].better == better
    with pytest.raises(DatasetError) as caught:
        verdict.require()
    message = str(caught.value)
    assert f"declare the frame {declared} fit {better} better" in message
    seen = "20 of 20 inside their volumes and, of 20 whose pixels were looked at,"
    assert f"as {declared} {seen} 2 in or touching the lung, 2 of them denser" in message
    assert f"as {better} {seen} 20 in or touching the lung, 18 of them denser" in message
    assert f'write {better} in a column "frame"' in message


def test_transposed_indices_are_told_to_exchange_columns():
    """z, y, x order cannot be declared, so the message says what to do instead."""
    part = only(rows(20, "voxel", voxel=0, voxel_zyx=3))
    assert part.better == "voxel_zyx"
    assert "exchange the columns x and z" in part.message


@pytest.mark.parametrize(
    ("better", "worse", "outcome"),
    [
        (5, 0, "refused"),
        (4, 0, "doubtful"),
        (7, 1, "refused"),
        (6, 1, "doubtful"),
        (9, 2, "refused"),
        (8, 2, "doubtful"),
        (4, 4, "accepted"),
        (1, 8, "accepted"),
    ],
)
def test_density_alone_decides_by_a_sign_test(better, worse, outcome):
    """The level is 0.05: P(X >= k) of a fair coin is 0.031 for 5 of 5, 0.063 for 4 of 4 and 6 of 7, 0.035 for 7 of 8,
    0.033 for 9 of 11, 0.055 for 8 of 10.
    """
    evidence = [*rows(better, lps=2, ras=3), *rows(worse, lps=3, ras=2)]
    assert only([*evidence, *rows(better, lps=3, ras=3)]).outcome == outcome


def test_ties_decide_nothing():
    """Nodules on the centre line mean the same under both signs."""
    assert only(rows(30, lps=3, ras=3)).outcome == "accepted"


def test_a_tenth_of_wild_rows_is_accepted():
    """Ninety good rows outweigh ten that lie outside, some of which fit another frame by chance."""
    assert only([*rows(90, lps=3, ras=2), *rows(6), *rows(4, ras=3)]).outcome == "accepted"


def test_a_few_rows_of_another_frame_do_not_refuse_a_large_set():
    """Twelve of a thousand that only RAS explains are significant, but no share of the set."""
    assert only([*rows(988, lps=3, ras=3), *rows(12, ras=3)]).outcome == "accepted"


@pytest.mark.parametrize(
    ("own", "other", "outcome"),
    [
        (0, 2, "refused"),
        (0, 3, "refused"),
        (1, 3, "refused"),
        (0, 1, "doubtful"),
        (1, 2, "doubtful"),
        (2, 3, "doubtful"),
        (3, 2, "accepted"),
        (3, 3, "accepted"),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_one_to_three_nodules_need_a_clear_sign(own, other, outcome, count):
    """From outside into the lung, or from outside the lung to something dense in it, refuses; less is doubtful."""
    part = only(rows(count, lps=own, ras=other))
    assert part.outcome == outcome
    assert part.better == (None if outcome == "accepted" else "ras")


def test_one_nodule_that_speaks_for_the_declared_frame_keeps_a_small_set():
    """A wild row among three is outvoted by none of them being worse."""
    assert only([*rows(2, lps=3, ras=1), *rows(1, lps=0, ras=3)]).outcome != "refused"


def test_grids_alone_can_refuse_a_large_set_and_not_one_nodule():
    """Where no pixels could be read, 12 nodules that only the index reading puts inside are enough."""
    assert only(grid_rows(12, voxel=True)).better == "voxel"
    assert only(grid_rows(12, voxel=True)).outcome == "refused"
    assert only(grid_rows(1, voxel=True)).outcome == "doubtful"


def test_pixels_that_contradict_the_grids_keep_the_set_from_being_refused():
    """Fifty grids speak for voxel, twenty scans that were looked at speak against it."""
    evidence = [*grid_rows(50, voxel=True), *rows(20, lps=3, voxel=1)]
    assert only(evidence).outcome != "refused"


def test_one_wild_row_does_not_keep_a_wrong_set():
    """A row that only the declared frame puts inside counts one against forty."""
    part = only([*rows(40, lps=2, ras=3), *rows(1, lps=1)])
    assert (part.outcome, part.better) == ("refused", "ras")


def test_annotations_of_other_images_are_refused():
    """If no frame puts most nodules inside, the message says so and names none as better."""
    part = only([*rows(8), *rows(4, ras=1)])
    assert part.outcome == "refused"
    assert part.better is None
    assert "belong to other images" in part.message
    assert "of 12 inside: 0 as lps, 4 as ras, 0 as voxel" in part.message


def test_another_frame_that_fits_a_third_of_the_set_is_not_named():
    """Ten of thirty rows in the lung by chance are significant, yet most of the set lies outside."""
    part = only([*rows(20), *rows(10, ras=3)])
    assert (part.outcome, part.better) == ("refused", None)


def test_a_small_set_outside_everything_is_doubtful():
    """Three rows may be three typing errors."""
    part = only(rows(3))
    assert part.outcome == "doubtful"
    assert "of 3 inside: 0 as lps" in part.message


def test_a_set_that_looks_like_no_nodules_is_doubtful():
    """All in the lung, few denser, and no frame better: flipped images look like this."""
    part = only([*rows(20, lps=2, ras=1), *rows(10, lps=3)])
    assert part.outcome == "doubtful"
    assert part.better is None
    assert "flipped" in part.message


def test_a_set_with_some_that_look_like_nodules_is_accepted():
    """Where 11 of 30 are denser, as with seed points on large masses, there is nothing to say."""
    assert only([*rows(19, lps=2, ras=1), *rows(11, lps=3)]).outcome == "accepted"


def test_frames_of_one_table_are_judged_apart():
    """Rows that rightly declare LPS do not hide those that wrongly declare voxel."""
    verdict = judge([*rows(40, lps=3), *rows(10, "voxel", lps=3)])
    assert [(part.declared, part.outcome, part.better) for part in verdict.sets] == [
        ("lps", "accepted", None),
        ("voxel", "refused", "lps"),
    ]
    with pytest.raises(DatasetError, match="declare the frame voxel fit lps better"):
        verdict.require()


def test_a_doubtful_part_is_a_warning_and_no_refusal():
    """The run goes on and says what to look at."""
    verdict = judge(rows(1, lps=2, ras=3))
    verdict.require()
    assert len(verdict.warnings) == 1
    assert "may be in ras" in verdict.warnings[0]


def test_nothing_to_judge_is_accepted():
    """A set of masks has no evidence."""
    verdict = judge([])
    verdict.require()
    assert verdict.as_dict() == {"refused": False, "sets": []}


def test_the_verdict_is_json_and_travels():
    """Its form as JSON comes back as it was, and workers can pickle it."""
    verdict = judge(rows(20, lps=1, ras=3))
    values = verdict.as_dict()
    assert json.loads(json.dumps(values)) == values
    assert values["refused"]
    assert values["sets"][0]["tallies"][1] == {
        "frame": "ras", "nodules": 20, "inside": 20, "looked_at": 20, "in_lung": 20, "denser": 20,
    }  # fmt: skip
    assert pickle.loads(pickle.dumps(verdict)) == verdict
