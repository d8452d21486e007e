"""Which nodules of two runs are the same."""

from made_runs import features, held, name, nodule, record

from lungpipe.comparing.matching import match_nodules


def matched(first, second, key="A"):
    """Match runs of these nodules; ``key`` is the second's."""
    return match_nodules(held(record(), nodules=first), held(record(key), nodules=second))


def pairs(found):
    """Nodules of A with those of B, and how they were found."""
    return list(found.pairs[["nodule_id_a", "nodule_id_b", "how"]].itertuples(index=False, name=None))


def test_one_key_matches_by_pseudonym():
    """Nodule 1 is in both, 0 in A and 2 in B."""
    found = matched([nodule(0), nodule(1)], [nodule(1, mask=99), nodule(2)])
    assert pairs(found) == [(name("N", 1), name("N", 1), "pseudonym")]
    assert list(found.only_a["nodule_id"]) == [name("N", 0)]
    assert list(found.only_b["nodule_id"]) == [name("N", 2)]
    assert found.one_key


def test_other_keys_match_by_scan_and_mask():
    """The same masks of the same scans under other names."""
    found = matched([nodule(0), nodule(1)], [nodule(1, "B"), nodule(0, "B")], "B")
    assert pairs(found) == [
        (name("N", 0), name("N", 0, "B"), "mask"),
        (name("N", 1), name("N", 1, "B"), "mask"),
    ]
    assert not found.one_key


def test_the_same_mask_on_another_scan_is_another_nodule():
    """Content of the scan decides first."""
    found = matched([nodule(0, mask=5)], [nodule(1, "B", mask=5)], "B")
    assert pairs(found) == []
    assert "no scan of one has the content" in found.why_none


def test_other_masks_match_by_place_within_the_smaller_radius():
    """Radius 2 mm: 1.9 mm apart is one nodule, 2.1 mm is two."""
    size = {"sphere_diameter_mm": 4.0}
    near = [nodule(0, "B", centre_mm=(1.9, 0, 0), mask=7, **size)]
    far = [nodule(0, "B", centre_mm=(2.1, 0, 0), mask=7, **size)]
    large = {"sphere_diameter_mm": 20.0}
    assert pairs(matched([nodule(0, **large)], near, "B")) == [(name("N", 0), name("N", 0, "B"), "place")]
    found = matched([nodule(0, **large)], far, "B")
    assert pairs(found) == []
    assert "no two masks are equal or near" in found.why_none


def test_neighbours_are_paired_with_their_nearest():
    """Two nodules of one scan, 3 mm apart, each of radius 5 mm, drawn again 1 mm further on."""
    size = {"sphere_diameter_mm": 10.0, "patient": 0}
    first = [nodule(0, centre_mm=(0, 0, 0), **size), nodule(1, centre_mm=(3, 0, 0), **size)]
    second = [nodule(0, "B", centre_mm=(1, 0, 0), mask=8, **size), nodule(1, "B", centre_mm=(4, 0, 0), mask=9, **size)]
    assert [pair[:2] for pair in pairs(matched(first, second, "B"))] == [
        (name("N", 0), name("N", 0, "B")),
        (name("N", 1), name("N", 1, "B")),
    ]


def test_a_mask_that_two_nodules_share_decides_nothing():
    """Both nodules of A have the mask, so place decides: the nearer one is the partner."""
    size = {"sphere_diameter_mm": 10.0, "patient": 0, "mask": 3}
    first = [nodule(0, centre_mm=(4, 0, 0), **size), nodule(1, centre_mm=(1, 0, 0), **size)]
    found = matched(first, [nodule(5, "B", centre_mm=(0, 0, 0), **size)], "B")
    assert pairs(found) == [(name("N", 1), name("N", 5, "B"), "place")]


def test_without_images_the_mask_alone_decides():
    """No position: equal masks match, others do not."""
    blind = dict.fromkeys(("mean_hu", "median_hu", "calcified_fraction", "soft_rim_fraction"), float("nan")) | {
        "intensities": "none",
        "volume_id": "",
        "voxels_sha256": "",
        "centre_mm": (float("nan"), float("nan"), 3.0),
    }
    found = matched(
        [nodule(0, **blind), nodule(1, **blind)], [nodule(0, "B", **blind), nodule(1, "B", mask=77, **blind)], "B"
    )
    assert pairs(found) == [(name("N", 0), name("N", 0, "B"), "mask")]


def test_without_a_table_of_nodules_other_keys_cannot_be_matched():
    """The features name the nodules, under one key only."""
    rows = [features(0, {"original_firstorder_Mean": 1.0})]
    one = held(record(), features=rows)
    same = held(record(), features=rows)
    assert len(match_nodules(one, same).pairs) == 1
    other = held(record("B"), features=[features(0, {"original_firstorder_Mean": 1.0}, "B")])
    found = match_nodules(one, other)
    assert not len(found.pairs)
    assert "A and B has no table of nodules" in found.why_none
