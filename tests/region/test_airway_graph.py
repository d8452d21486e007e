"""Branches of an airway tree: how many, how long, how wide, at which angle."""

import numpy as np
import pytest
from scipy import ndimage
from tree_scene import TUBES, expected_lengths, mask_of, tree

from lungpipe.errors import RegionError
from lungpipe.geometry import Geometry
from lungpipe.region.airway_graph import airway_graph, summary
from lungpipe.volume import Mask


def matched(graph):
    """Branches in the order of the tubes that they are nearest to at their ends."""
    found = []
    for _, end, _ in TUBES:
        apart = [np.linalg.norm(np.subtract(b.end_mm, end)) for b in graph.branches]
        found.append(graph.branches[int(np.argmin(apart))])
    return found


def direction(tube):
    return np.subtract(tube[1], tube[0]) / np.linalg.norm(np.subtract(tube[1], tube[0]))


@pytest.mark.parametrize(
    ("spacing", "offset"),
    [
        ((1.0, 0.7, 0.7), (0.0, 0.0, 0.0)),
        pytest.param((1.25, 0.7, 0.7), (0.31, -0.22, 0.4), marks=pytest.mark.slow),
        ((2.5, 0.75, 0.75), (-0.2, 0.35, 1.1)),
    ],
)
def test_a_known_tree_is_measured(spacing, offset):
    """Seven branches in three generations: lengths within 5 %, widths within half a voxel, angles within 6 degrees."""
    graph = airway_graph(mask_of(tree(spacing, offset)))
    assert len(graph.branches) == len(TUBES)
    branches = matched(graph)
    assert len({b.number for b in branches}) == len(TUBES)
    assert [b.generation for b in branches] == [0, 1, 1, 2, 2, 2, 2]
    assert [b.parent for b in branches] == [None, *(branches[k].number for k in (0, 0, 1, 1, 2, 2))]
    assert [b.length_mm for b in branches] == pytest.approx(expected_lengths(), rel=0.05)
    for branch, tube in zip(branches, TUBES, strict=True):
        assert branch.calibre_mm == pytest.approx(2 * tube[2], rel=0.1, abs=max(spacing) / 2)
        assert 1.0 <= branch.tortuosity < 1.03
    for child, parent in ((1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2)):
        angle = np.degrees(np.arccos(direction(TUBES[child]) @ direction(TUBES[parent])))
        assert branches[child].branching_angle_deg == pytest.approx(angle, abs=6.0)


@pytest.mark.slow
def test_how_a_scan_is_stored_does_not_matter():
    """A tree stored feet first and in another order of axes has the same branches in the patient."""
    plain = matched(airway_graph(mask_of(tree((1.0, 0.8, 0.8)))))
    # x runs to the feet, y to the right, z to the back
    turned = matched(airway_graph(mask_of(tree((0.8, 0.8, 1.0), direction=(0, -1, 0, 0, 0, 1, -1, 0, 0)))))
    assert [b.generation for b in turned] == [b.generation for b in plain]
    assert [b.length_mm for b in turned] == pytest.approx([b.length_mm for b in plain], rel=0.05)


def test_summary_of_a_known_tree():
    """Counts, lengths and means follow from the branches."""
    graph = airway_graph(mask_of(tree((1.0, 0.9, 0.9))))
    whole = summary(graph)
    lengths = expected_lengths()
    assert (whole["n_branches"], whole["n_ends"], whole["max_generation"]) == (7, 4, 2)
    assert whole["total_length_mm"] == pytest.approx(sum(lengths), rel=0.03)
    assert whole["longest_path_mm"] == pytest.approx(lengths[0] + lengths[1] + lengths[4], rel=0.03)
    assert whole["mean_tortuosity"] == pytest.approx(1.0, abs=0.02)


def test_an_empty_tree_has_no_branches():
    """Nothing is no tree, and is told."""
    frame = Geometry((8, 8, 8), (1.0, 1.0, 1.0))
    with pytest.raises(RegionError, match="airway") as caught:
        airway_graph(Mask(np.zeros(frame.shape, np.bool_), frame))
    assert caught.value.code == "no_airways_found"


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 12))])
def test_whatever_the_mask_branches_are_a_tree(seed):
    """Clumps, sheets and crumbs are no airways, but are measured without an error: lengths and widths are not negative."""
    rng = np.random.default_rng(seed)
    frame = Geometry((24, 26, 28), (1.5, 0.8, 0.8))
    field = ndimage.gaussian_filter(rng.normal(size=frame.shape), rng.uniform(0.4, 2.5))
    graph = airway_graph(Mask(field > np.quantile(field, rng.uniform(0.6, 0.98)), frame))
    for branch in graph.branches:
        assert branch.parent is None or branch.parent < branch.number
        assert branch.length_mm >= 0
        assert branch.calibre_mm >= 0
        assert branch.generation == (0 if branch.parent is None else graph.branches[branch.parent].generation + 1)
    assert summary(graph)["n_branches"] == len(graph.branches)
