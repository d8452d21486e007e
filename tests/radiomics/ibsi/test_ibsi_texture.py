"""Texture matrices and their features: against PyRadiomics, against plain loops, and under turns of the region."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lungpipe.geometry import Geometry
from lungpipe.radiomics.extract import PyRadiomics
from lungpipe.radiomics.ibsi.aggregate import directions
from lungpipe.radiomics.ibsi.catalogue import DIRECTED, UNDIRECTED, wanted
from lungpipe.radiomics.ibsi.cooccurrence import cooccurrence_features, count_pairs
from lungpipe.radiomics.ibsi.neighbourhoods import look_around, neighbourhood_features, tone_differences
from lungpipe.radiomics.ibsi.profile import digital_phantom_rows
from lungpipe.radiomics.ibsi.runs import count_runs, run_features
from lungpipe.radiomics.ibsi.zones import edge_distance, find_zones, zone_features
from lungpipe.radiomics.ibsi_codes import original_features
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.volume import CTVolume, Mask

TEXTURE = {"LFYI", "TP0I", "9SAK", "IPET", "REK0"}


def random_levels(seed, shape=(5, 6, 7), highest=6, share=0.7):
    """Levels with patches, so that there are runs and zones, and 0 outside a ragged region."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.uniform_filter(rng.random(shape), 2)
    rank = smooth.ravel().argsort().argsort().reshape(shape)
    levels = 1 + rank * highest // rank.size
    return np.ascontiguousarray(np.where(rng.random(shape) < share, levels, 0).astype(np.int64))


def all_3d(levels):
    """Every texture feature of three dimensions, by tag."""
    directed, undirected = wanted(DIRECTED, ("3D",)), wanted(UNDIRECTED, ("3D",))
    return {
        **cooccurrence_features(levels, directed),
        **run_features(levels, directed),
        **zone_features(levels, levels > 0, undirected),
        **neighbourhood_features(levels, undirected),
    }


@pytest.mark.parametrize("seed", range(6))
def test_features_are_pyradiomics_where_definitions_are_the_same(seed):
    """79 texture, entropy and uniformity features, averaged over 13 directions or of one matrix, on ragged regions."""
    levels = random_levels(seed, highest=5 + seed)
    inside = levels > 0
    levels[np.nonzero(inside)[0][0], np.nonzero(inside)[1][0], np.nonzero(inside)[2][0]] = 1
    frame = Geometry(levels.shape, (2.0, 1.5, 1.0))
    volume = CTVolume(np.where(inside, levels, 1).astype(np.int16), frame)
    theirs = PyRadiomics()(volume, [Mask(inside, frame)], RadiomicsSettings(bin_width_hu=1.0, spacing_mm=None))[0]
    rows = digital_phantom_rows(levels, inside, frame.spacing_mm)
    ours = {(row.family_code, row.ibsi_code, row.aggregation): row.value for row in rows}
    compared = 0
    for name, feature in original_features().items():
        texture = feature.family_code in TEXTURE or feature.ibsi_code in {"TLU2", "BJ5W"}
        if texture and feature.definition == "same":
            aggregation = feature.aggregation if feature.family_code in TEXTURE else ""
            key = (feature.family_code, feature.ibsi_code, aggregation)
            assert ours[key] == pytest.approx(theirs[name], rel=1e-6, abs=1e-9), name
            compared += 1
    assert compared == 76


def test_directions_are_one_of_each_opposite_pair():
    """13 in space and 4 in a slice, as the manual lists them up to sign."""
    for by_slice, n in ((False, 13), (True, 4)):
        steps = {tuple(step) for step in directions(by_slice=by_slice).tolist()}
        opposite = {tuple(-s for s in step) for step in steps}
        assert len(steps) == n
        assert not steps & opposite
        assert len(steps | opposite) == (8 if by_slice else 26)
    assert not directions(by_slice=True)[:, 0].any()


@pytest.mark.parametrize("by_slice", [False, True])
def test_matrices_are_those_of_plain_loops(by_slice):
    """Pairs, runs, zones, distances and neighbours by the words of their definitions."""
    levels = random_levels(11, (3, 5, 4), highest=3)
    inside = levels > 0
    steps = directions(by_slice=by_slice)
    pairs = count_pairs(levels, steps, 3, by_slice)
    runs = count_runs(levels, steps, 3, 5, by_slice)
    for k, step in enumerate(steps):
        lines = {}
        for place in zip(*np.nonzero(np.ones(levels.shape)), strict=True):
            # Voxels on one line along the step have the same anchor: as far back as the array goes.
            back = 0
            while all(0 <= p - (back + 1) * s < n for p, s, n in zip(place, step, levels.shape, strict=True)):
                back += 1
            lines.setdefault(tuple(np.subtract(place, back * step).tolist()), []).append((back, levels[place]))
        for anchor, voxels in lines.items():
            line = [level for _, level in sorted(voxels)]
            group = anchor[0] if by_slice else 0
            for a, b in itertools.pairwise(line):
                pairs[k, group, a - 1, b - 1] -= bool(a and b)
            for level, run in itertools.groupby(line):
                if level:
                    runs[k, group, level - 1, len(list(run)) - 1] -= 1
    assert not pairs.any()
    assert not runs.any()

    structure = np.ones((1 if by_slice else 3, 3, 3))
    cross = np.zeros((3, 3, 3)) + ndimage.generate_binary_structure(3, 1)
    if by_slice:
        cross[[0, 2]] = 0
        structure = np.pad(structure, ((1, 1), (0, 0), (0, 0)))
    distance, left = np.zeros(levels.shape, int), inside
    while left.any():
        distance += left
        left = ndimage.binary_erosion(left, cross)
    assert np.array_equal(edge_distance(inside, by_slice=by_slice), distance)
    expected = []
    for level in (1, 2, 3):
        zones, n = ndimage.label(levels == level, structure)
        expected += [(level, (zones == k).sum(), distance[zones == k].min()) for k in range(1, n + 1)]
    assert sorted(map(tuple, find_zones(levels, distance, by_slice)[:, :3].tolist())) == sorted(expected)

    around = []
    for z, y, x in np.argwhere(inside):
        near = np.abs(np.argwhere(inside) - [z, y, x]).max(axis=1) == 1
        near &= (np.argwhere(inside)[:, 0] == z) | (not by_slice)
        near_levels = levels[inside][near]
        own = levels[z, y, x]
        around.append([z, own, len(near_levels), near_levels.sum(), (near_levels == own).sum()])
    assert look_around(levels, by_slice).tolist() == around


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([1, -1])] * 3),
    st.floats(0.15, 1.0),
)
def test_texture_in_space_does_not_know_which_way_is_up(seed, order, flips, share):
    """Axes exchanged or mirrored leave every 3D feature as it was: all 13 directions and whole neighbourhoods count."""
    levels = random_levels(seed, (4, 5, 6), share=share)
    levels[0, 0, 0] = 1
    turned = np.ascontiguousarray(levels.transpose(order)[tuple(slice(None, None, flip) for flip in flips)])
    assert all_3d(turned) == pytest.approx(all_3d(levels), rel=1e-9, abs=1e-9, nan_ok=True)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(4)), st.booleans())
def test_texture_by_slice_does_not_know_the_order_of_slices(seed, order, exchange):
    """Slices in any order, each transposed or not, leave every 2D and 2.5D feature as it was."""
    levels = random_levels(seed, (4, 5, 6))
    levels[0, 0, 0] = 1

    def by_slice(one):
        directed, undirected = wanted(DIRECTED, ("2D",)), wanted(UNDIRECTED, ("2D",))
        return {
            **cooccurrence_features(one, directed),
            **run_features(one, directed),
            **zone_features(one, one > 0, undirected),
            **neighbourhood_features(one, undirected),
        }

    other = levels[list(order)]
    turned = np.ascontiguousarray(other.swapaxes(1, 2) if exchange else other)
    assert by_slice(turned) == pytest.approx(by_slice(levels), rel=1e-9, abs=1e-9)


def test_merged_percentages_divide_by_every_matrixs_voxels():
    """The voxels of all merged matrices are added, so a percentage stays a fraction (manual, section 3.7)."""
    levels = random_levels(3)
    found = run_features(levels, wanted(DIRECTED, ("2D",)))
    assert 0 < found["rlm_r_perc_2_5D_comb"] <= 1
    assert found["rlm_r_perc_2_5D_comb"] == pytest.approx(found["rlm_r_perc_2_5D_avg"])


def test_distances_are_counted_in_the_morphological_mask():
    """A voxel that re-segmentation left in a hole is as far from the edge as it was before."""
    morphological = np.ones((1, 5, 5), bool)
    levels = np.zeros((1, 5, 5), np.int64)
    levels[0, 2, 2] = 2
    found = zone_features(levels, morphological, wanted(UNDIRECTED, ("2D",)))
    assert found["dzm_lde_2D"] == 9.0  # distance 3
    assert found["szm_lze_2D"] == 1.0


def test_slices_without_pairs_have_no_part_in_an_average():
    """One voxel in a slice makes no pair; the other slice alone is averaged."""
    levels = np.zeros((2, 2, 2), np.int64)
    levels[0] = [[1, 2], [2, 1]]
    levels[1, 0, 0] = 2
    two = cooccurrence_features(levels, wanted(DIRECTED, ("2D",)))
    one = cooccurrence_features(levels[:1], wanted(DIRECTED, ("2D",)))
    assert two == pytest.approx(one)


def test_one_grey_level_by_the_manuals_conventions():
    """Coarseness is a million, contrast, busyness and strength are 0."""
    found = tone_differences(look_around(np.ones((2, 3, 3), np.int64), False))
    assert found == {
        "ngt_coarseness": 1e6,
        "ngt_contrast": 0.0,
        "ngt_busyness": 0.0,
        "ngt_complexity": 0.0,
        "ngt_strength": 0.0,
    }


def test_busyness_of_equal_products_is_undefined():
    """Level 1 four times and level 2 twice have the same product of level and frequency."""
    levels = np.array([[[1, 1, 1], [1, 2, 2]]])
    found = tone_differences(look_around(levels, False))
    assert np.isnan(found["ngt_busyness"])
    assert found["ngt_strength"] > 0
