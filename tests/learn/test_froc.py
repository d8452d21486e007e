"""FROC curves counted by hand, against a loop over candidates, and their invariances."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from lungpipe.errors import DatasetError
from lungpipe.learn.froc import RATES, froc


def marks(*rows):
    """Return candidates of (scan, x, score), all at y = z = 0."""
    return pd.DataFrame([(scan, x, 0.0, 0.0, s) for scan, x, s in rows], columns=["scan", "x", "y", "z", "score"])


def truth(*rows):
    """Return nodules of (scan, x, diameter), all at y = z = 0."""
    return pd.DataFrame([(scan, x, 0.0, 0.0, d) for scan, x, d in rows], columns=["scan", "x", "y", "z", "diameter_mm"])


def test_scene_counted_by_hand():
    """Eight scans, four nodules: found at 0.9, 0.7, 0.3; false at 0.8, 0.6, 0.5, 0.4, 0.2; one nodule missed.

    Sensitivity is 1/4 before the first false positive; 2/4 at one (1/8 a scan), at two (1/4) and at four (1/2), where the
    third nodule follows before the fifth; none is beyond 5/8. So 1/8: 2/4 (0.7 comes after the first); 1/4: 2/4; 1/2: 3/4
    and from there on.
    """
    found = froc(
        marks(("a", 0, 0.9), ("a", 99, 0.8), ("b", 1, 0.7), ("b", 50, 0.6), ("c", 0, 0.5), ("d", 9, 0.4), ("e", 2, 0.3),
              ("f", 0, 0.2)),
        truth(("a", 0, 6), ("b", 0, 6), ("e", 0, 6), ("g", 0, 6)),
        list("abcdefgh"),
        draws=0,
    )  # fmt: skip
    assert list(found.points["false_positives_per_scan"]) == list(RATES)
    assert list(found.points["sensitivity"]) == [0.5, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75]
    assert found.cpm == pytest.approx((2 * 0.5 + 5 * 0.75) / 7)
    assert (found.n_scans, found.n_nodules, found.n_found, found.n_false, found.n_ignored) == (8, 4, 3, 5, 0)
    assert list(found.curve["sensitivity"]) == [0, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 0.75]
    assert list(found.curve["false_positives_per_scan"] * 8) == [0, 0, 1, 1, 2, 3, 4, 4, 5]
    assert list(found.curve["threshold"]) == [np.inf, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
    assert np.isnan([found.cpm_low, found.points["low"][0]]).all()


def test_rates_between_operating_points_are_interpolated():
    """Two scans: one nodule at (0, 1/2) and all at (1/2, 1) by a tie with a false positive: at 1/8, 1/2 + 1/8; 1/4, 3/4."""
    found = froc(
        marks(("a", 0, 0.9), ("b", 0, 0.5), ("b", 50, 0.5)), truth(("a", 0, 5), ("b", 0, 5)), ["a", "b"], draws=0
    )
    assert list(found.points["sensitivity"][:3]) == pytest.approx([0.625, 0.75, 1.0])


def test_a_nodule_is_hit_once_by_its_best_candidate():
    """Three candidates on one nodule are one hit at the highest score and no false positive."""
    found = froc(marks(("a", 0, 0.2), ("a", 1, 0.9), ("a", -1, 0.5), ("a", 9, 0.7)), truth(("a", 0, 4)), ["a"], draws=0)
    assert (found.n_found, found.n_false) == (1, 1)
    assert list(found.curve["threshold"]) == [np.inf, 0.9, 0.7]
    assert found.cpm == 1


def test_distance_is_three_dimensional_and_below_the_radius():
    """A candidate at the radius misses, one just inside hits, and so it is along every axis; other scans do not count."""
    nodule = pd.DataFrame({"scan": ["a"], "x": [1.0], "y": [2.0], "z": [3.0], "diameter_mm": [10.0]})
    for move, hits in (((3, 4, 0), 0), ((3, 3.99, 0), 1), ((0, 0, 4.99), 1), ((3, 3, 3), 0)):
        x, y, z = np.add(move, (1, 2, 3))
        mark = pd.DataFrame({"scan": ["a"], "x": [x], "y": [y], "z": [z], "score": [1.0]})
        assert froc(mark, nodule, ["a"], draws=0).n_found == hits
    elsewhere = pd.DataFrame({"scan": ["b"], "x": [1.0], "y": [2.0], "z": [3.0], "score": [1.0]})
    assert froc(elsewhere, nodule, ["a", "b"], draws=0).n_false == 1


def test_ignored_findings_are_neither():
    """A candidate on an ignored finding is left out, unless it hits a nodule as well; one within two nodules hits both."""
    found = froc(
        marks(("a", 20, 0.9), ("a", 1, 0.8), ("a", 40, 0.7), ("b", 2, 0.6)),
        truth(("a", 0, 6), ("b", 0, 6), ("b", 4, 6)),
        ["a", "b"],
        ignored=truth(("a", 20, 6), ("a", 2, 6)),
        draws=0,
    )
    assert (found.n_found, found.n_false, found.n_ignored) == (3, 1, 1)


def by_loop(candidates, nodules, scans, rate):
    """Return the sensitivity at a rate, by trying every threshold and interpolating between neighbours."""
    points = [(0.0, 0.0)]
    for threshold in sorted(set(candidates["score"]), reverse=True):
        kept = candidates[candidates["score"] >= threshold].to_dict("records")
        hit, used = 0, set()
        for nodule in nodules.to_dict("records"):
            near = [
                number for number, one in enumerate(kept)
                if one["scan"] == nodule["scan"]
                and sum((one[axis] - nodule[axis]) ** 2 for axis in "xyz") < (nodule["diameter_mm"] / 2) ** 2
            ]  # fmt: skip
            hit, used = hit + bool(near), used | set(near)
        points.append(((len(kept) - len(used)) / len(scans), hit / len(nodules)))
    before = [point for point in points if point[0] <= rate]
    after = [point for point in points if point[0] > rate]
    if not after:
        return before[-1][1]
    (x0, y0), (x1, y1) = before[-1], after[0]
    return y0 + (y1 - y0) * (rate - x0) / (x1 - x0)


def random_scene(rng, n_scans=12):
    """Return candidates, nodules and scans; scores have ties."""
    scans = list(range(n_scans))
    nodules = truth(
        *[(int(rng.integers(n_scans)), float(rng.normal(0, 30)), float(rng.uniform(4, 20))) for _ in range(15)]
    )
    on = [
        (row["scan"], row["x"] + rng.normal(0, 4), round(rng.random() + 0.3, 1)) for row in nodules.to_dict("records")
    ]
    off = [(int(rng.integers(n_scans)), float(rng.normal(0, 60)), round(rng.random(), 1)) for _ in range(40)]
    return marks(*on, *off), nodules, scans


@pytest.mark.parametrize("seed", range(5))
def test_loop_over_thresholds_gives_the_same(seed):
    """Sensitivity at every rate equals that of a loop over thresholds, candidates and nodules."""
    candidates, nodules, scans = random_scene(np.random.default_rng(seed))
    found = froc(candidates, nodules, scans, draws=0)
    expected = [by_loop(candidates, nodules, scans, rate) for rate in RATES]
    assert found.points["sensitivity"].to_numpy() == pytest.approx(np.array(expected), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_curve_is_scikit_learns_roc_rescaled(seed):
    """As LUNA16's script has it: a ROC curve of nodules found and false positives, its axes scaled to scans and nodules."""
    candidates, nodules, scans = random_scene(np.random.default_rng(seed))
    gap = np.abs(candidates["x"].to_numpy()[:, None] - nodules["x"].to_numpy())
    same = candidates["scan"].to_numpy()[:, None] == nodules["scan"].to_numpy()
    hits = same & (gap < nodules["diameter_mm"].to_numpy() / 2)
    best = np.where(hits, candidates["score"].to_numpy()[:, None], -np.inf).max(axis=0)
    best, alarms = best[np.isfinite(best)], candidates["score"].to_numpy()[~hits.any(axis=1)]
    labels = np.repeat([1, 0], [len(best), len(alarms)])
    false, true, _ = roc_curve(labels, np.concatenate([best, alarms]))
    expected = np.interp(RATES, false * len(alarms) / len(scans), true * len(best) / len(nodules))
    found = froc(candidates, nodules, scans, draws=0)
    assert found.points["sensitivity"].to_numpy() == pytest.approx(expected, abs=1e-12)
    assert (found.n_found, found.n_false) == (len(best), len(alarms))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_rising_function_of_scores_and_the_order_of_rows_change_nothing(seed):
    """Scores cubed and shifted, and rows shuffled, give the same figures, limits included."""
    candidates, nodules, scans = random_scene(np.random.default_rng(seed))
    plain = froc(candidates, nodules, scans, draws=20)
    moved = candidates.assign(score=candidates["score"] ** 3 * 5 - 2).sample(frac=1, random_state=seed)
    other = froc(moved, nodules[::-1], scans, draws=20)
    pd.testing.assert_frame_equal(plain.points, other.points)
    assert (plain.cpm, plain.cpm_low) == pytest.approx((other.cpm, other.cpm_low))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_far_candidates_never_help(seed, extra):
    """Adding candidates far away, with the lowest score or any other, raises no sensitivity."""
    rng = np.random.default_rng(seed)
    candidates, nodules, scans = random_scene(rng)
    before = froc(candidates, nodules, scans, draws=0).points["sensitivity"]
    for score in (-1.0, float(rng.random())):
        far = marks(*[(int(rng.integers(12)), 1e4, score) for _ in range(extra)])
        after = froc(pd.concat([candidates, far]), nodules, scans, draws=0).points["sensitivity"]
        assert (after <= before + 1e-12).all()


@pytest.mark.slow
def test_interval_over_scans_covers():
    """Over cohorts with one nodule a scan, found with 0.7 and no false positive, 92 to 98 % of the intervals hold 0.7."""
    rng, covered = np.random.default_rng(1), 0
    scans = list(range(100))
    nodules = truth(*[(scan, 0, 6) for scan in scans])
    for seed in range(400):
        candidates = marks(*[(scan, 0, rng.random()) for scan in scans if rng.random() < 0.7])
        found = froc(candidates, nodules, scans, draws=200, seed=seed)
        covered += found.cpm_low <= 0.7 <= found.cpm_high
    assert 0.92 <= covered / 400 <= 0.98


def test_interval_is_seeded_and_widens_with_crowded_scans():
    """Equal seeds give equal limits; ten nodules in each of few scans, found or missed together, give wide ones."""
    scans = list(range(10))
    nodules = truth(*[(scan, 20.0 * k, 6) for scan in scans for k in range(10)])
    candidates = marks(*[(scan, 20.0 * k, 0.5) for scan in scans[:5] for k in range(10)])
    one, again = (froc(candidates, nodules, scans, draws=500, seed=3) for _ in range(2))
    assert (one.cpm_low, one.cpm_high) == (again.cpm_low, again.cpm_high)
    assert one.cpm == 0.5
    assert one.cpm_high - one.cpm_low > 0.5  # a hundred nodules apart would give 0.2


def test_parcels_of_draws_change_nothing(monkeypatch):
    """Limits do not depend on how many draws are held at once; a draw without a nodule is drawn anew."""
    candidates, nodules, scans = random_scene(np.random.default_rng(0))
    whole = froc(candidates, nodules[:1], scans, draws=50)
    monkeypatch.setattr("lungpipe.learn.froc._AT_ONCE", 100)
    pd.testing.assert_frame_equal(froc(candidates, nodules[:1], scans, draws=50).points, whole.points)


def test_no_candidates_find_nothing():
    """A detector that marks nothing has sensitivity 0 everywhere."""
    found = froc(marks(), truth(("a", 0, 5)), ["a", "b"], draws=20)
    assert (found.cpm, found.cpm_high, found.n_false) == (0, 0, 0)


@pytest.mark.parametrize(
    ("candidates", "nodules", "scans", "words"),
    [
        (marks(("a", 0, 0.5)).drop(columns="score"), truth(("a", 0, 5)), ["a"], "no column score"),
        (marks(("a", 0, np.nan)), truth(("a", 0, 5)), ["a"], "no finite number"),
        (marks(("b", 0, 0.5)), truth(("a", 0, 5)), ["a"], "not in the list"),
        (marks(("a", 0, 0.5)), truth(("b", 0, 5)), ["a"], "not in the list"),
        (marks(("a", 0, 0.5)), truth(), ["a"], "No reference nodule"),
        (marks(("a", 0, 0.5)), truth(("a", 0, 0)), ["a"], "diameter of 0"),
        (marks(), truth(), [], "a scan at least"),
    ],
)
def test_unusable_input_is_refused(candidates, nodules, scans, words):
    """Missing columns, NaN, unknown scans, no nodules and no size are refused with a reason."""
    with pytest.raises(DatasetError, match=words):
        froc(candidates, nodules, scans)
