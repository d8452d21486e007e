"""The simulated cohort."""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from data_catalog.phantom import write_phantom
from data_catalog.phantom.candidates import Candidate, read_candidates
from data_catalog.phantom.fields import scanner_noise, smooth_field
from data_catalog.phantom.matching import match_pairs
from data_catalog.phantom.plan import PlannedPatient, plan_patients
from data_catalog.phantom.scene import nodule_cover, simulate
from data_catalog.phantom.shapes import sample_distance_mm, shape_from_mask, surface_points_mm
from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry

PATIENTS, SEED, SHELL_MM = 4, 11, 5.0


def slices_of(folder: Path) -> list[Any]:
    """Read a series, sorted by position."""
    return sorted((pydicom.dcmread(p) for p in folder.iterdir()), key=lambda s: float(s.ImagePositionPatient[2]))


def volume_of(folder: Path) -> tuple[NDArray[np.float64], Geometry]:
    """HU and grid of a series, from its attributes alone."""
    slices = slices_of(folder)
    hu = np.stack([s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices])
    first, second = (s.ImagePositionPatient for s in slices[:2])
    spacing = (float(second[2]) - float(first[2]), *(float(v) for v in slices[0].PixelSpacing))
    return hu, Geometry(hu.shape, spacing, (float(first[0]), float(first[1]), float(first[2])))


def ball(radius_mm: float, spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Voxels whose centre lies in a ball."""
    axes = [np.arange(-np.ceil(radius_mm / s), np.ceil(radius_mm / s) + 1) * s for s in spacing_mm]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return np.asarray(z**2 + y**2 + x**2 <= radius_mm**2)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("planted"), PATIENTS, SEED, SHELL_MM, effect=1.0).parent


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("plain"), PATIENTS, SEED, SHELL_MM, effect=0.0).parent


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Candidate, Candidate]]:
    return match_pairs(read_candidates())


@pytest.fixture(scope="module")
def sixty(pairs: list[tuple[Candidate, Candidate]]) -> list[PlannedPatient]:
    return plan_patients(pairs, 60, seed=3)


@pytest.mark.parametrize(("spacing_mm", "tolerance"), [((0.5, 0.5, 0.5), 0.01), ((1.25, 0.7, 0.7), 0.04)])
def test_a_ball_keeps_its_volume_area_and_size(spacing_mm: tuple[float, float, float], tolerance: float) -> None:
    """A ball of radius 6 mm becomes a surface of 4/3 pi r^3 and about 4 pi r^2, also on uneven voxels."""
    shape = shape_from_mask(ball(6.0, spacing_mm), spacing_mm)
    assert shape is not None
    assert shape.volume_mm3 == pytest.approx(4 / 3 * np.pi * 6**3, rel=tolerance)
    assert shape.area_mm2 == pytest.approx(4 * np.pi * 6**2, rel=0.04)
    assert shape.size_mm == pytest.approx((12, 12, 12), abs=0.7)
    assert 0.96 < shape.sphericity <= 1.01


def test_distance_to_a_ball_is_negative_inside_and_zero_on_its_surface() -> None:
    """On points along x from a ball's centre the signed distance is |x| - r."""
    shape = shape_from_mask(ball(6.0, (0.7, 0.7, 0.7)), (0.7, 0.7, 0.7))
    assert shape is not None
    x = np.array([3.0, 5.0, 6.0, 8.0])
    along = np.column_stack([x, 0 * x, 0 * x])
    assert sample_distance_mm(shape, along) == pytest.approx(x - 6.0, abs=0.5)
    assert np.linalg.norm(surface_points_mm(shape), axis=1) == pytest.approx(6.0, abs=0.4)


def test_a_nodule_in_two_pieces_is_no_shape() -> None:
    """Two balls apart give no surface, because their volume would not be one nodule's."""
    one = np.pad(ball(3.0, (1.0, 1.0, 1.0)), 8)
    assert shape_from_mask(np.concatenate([one, one]), (1.0, 1.0, 1.0)) is None


def test_cover_adds_up_to_the_true_volume(sixty: list[PlannedPatient]) -> None:
    """Shares of voxels sum to the fine surface's volume within 2 %, at any sub-voxel place."""
    rng = np.random.default_rng(0)
    for patient in sixty[:8]:
        grid = Geometry((40, 80, 80), patient.grid.spacing_mm, (-20.0, -30.0, -100.0))
        centre = grid.to_lps(np.array([20.0, 40.0, 40.0]) + rng.uniform(-0.5, 0.5, 3)).tolist()
        shape = patient.nodules[0].candidate.shape
        _, share = nodule_cover(grid, (centre[0], centre[1], centre[2]), shape)
        assert share.sum() * grid.voxel_volume_mm3 == pytest.approx(shape.volume_mm3, rel=0.02)


def test_fields_have_unit_variance_and_the_length_asked_for() -> None:
    """A field of correlation length L correlates by about exp(-1/4) at L along each axis, whatever the voxels."""
    field = smooth_field(np.random.default_rng(1), (60, 120, 120), (1.6, 0.8, 0.8), 3.2)
    assert field.std() == pytest.approx(1.0, abs=0.2)
    along_z = np.corrcoef(field[:-2].ravel(), field[2:].ravel())[0, 1]
    along_x = np.corrcoef(field[..., :-4].ravel(), field[..., 4:].ravel())[0, 1]
    assert along_z == pytest.approx(np.exp(-0.25), abs=0.06)
    assert along_x == pytest.approx(np.exp(-0.25), abs=0.06)
    noise = scanner_noise(np.random.default_rng(1), (20, 64, 64), 0.7, 0.6)
    assert noise.std() == pytest.approx(1.0, abs=1e-3)
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.05


def test_nodules_alone_hardly_tell_the_labels_apart(sixty: list[PlannedPatient]) -> None:
    """Over sixty patients volume, sphericity and length separate malignant from benign with an AUC near a half."""
    chosen = [nodule.candidate for patient in sixty for nodule in patient.nodules]
    label = [c.malignant for c in chosen]
    for trait in ("volume_mm3", "sphericity", "radius_mm"):
        assert 0.38 < roc_auc_score(label, [getattr(c.shape, trait) for c in chosen]) < 0.62, trait


def test_labels_are_balanced_and_lidc_patients_used_once(sixty: list[PlannedPatient]) -> None:
    """Half of the nodules are malignant, a sixth of the patients has two, and no real patient appears twice."""
    chosen = [nodule.candidate for patient in sixty for nodule in patient.nodules]
    assert sum(c.malignant for c in chosen) * 2 == len(chosen) == 70
    assert len({c.lidc_patient for c in chosen}) == len(chosen)
    assert all(6 <= c.shape.diameter_mm <= 20 and c.n_raters >= 3 and c.mean_malignancy != 3 for c in chosen)


def test_both_nodules_of_a_patient_share_its_label(sixty: list[PlannedPatient]) -> None:
    """A patient is malignant or benign as a whole, so that folds must keep patients together."""
    assert all(len({n.candidate.malignant for n in patient.nodules}) == 1 for patient in sixty)


def test_simulated_intensity_does_not_follow_the_label(sixty: list[PlannedPatient]) -> None:
    """Ratings that set a nodule's HU are as common among malignant as among benign nodules."""
    nodules = [nodule for patient in sixty for nodule in patient.nodules]
    values = {label: sorted(n.texture for n in nodules if n.candidate.malignant == label) for label in (0, 1)}
    assert values[0] == values[1]


def test_more_patients_than_matches_says_the_largest_number(
    pairs: list[tuple[Candidate, Candidate]], tmp_path: Path
) -> None:
    """The error for too large a cohort names a number of patients that works."""
    with pytest.raises(DatasetError, match=r"ask for at most (\d+) patients") as caught:
        write_phantom(tmp_path, 1000, SEED)
    most = int(str(caught.value).split("at most ")[1].split()[0])
    assert len(plan_patients(pairs, most, SEED)) == most
    with pytest.raises(DatasetError):
        plan_patients(pairs, most + 1, SEED)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patients": 1}, "at least 2 patients"),
        ({"seed": -1}, "seed"),
        ({"effect": -0.5}, "effect"),
        ({"effect": float("nan")}, "effect"),
        ({"shell_mm": 0.0}, "wider than 0 mm"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    """Nothing is written for arguments that make no cohort."""
    with pytest.raises(DatasetError, match=message):
        write_phantom(tmp_path / "out", **({"patients": 2, "seed": 1} | arguments))
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    """A cohort is never mixed with what a folder holds."""
    (tmp_path / "old.dcm").touch()
    with pytest.raises(DatasetError, match="not an empty folder"):
        write_phantom(tmp_path, 2, SEED)


def test_same_seed_same_bytes(planted: Path, tmp_path: Path) -> None:
    """Two runs of a seed write the same files, bit for bit."""
    again = write_phantom(tmp_path, PATIENTS, SEED, SHELL_MM, effect=1.0).parent
    names = sorted(p.relative_to(planted) for p in planted.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    assert [n for n in names if (planted / n).read_bytes() != (again / n).read_bytes()] == []


def test_another_seed_is_another_cohort(pairs: list[tuple[Candidate, Candidate]]) -> None:
    """Seeds draw different nodules and grids."""
    first, second = (plan_patients(pairs, 6, seed) for seed in (1, 2))
    assert [p.grid.origin_mm for p in first] != [p.grid.origin_mm for p in second]


@pytest.mark.slow
def test_workers_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten patients written by two processes equal those written by one, and progress counts up to ten."""
    counts: list[int] = []
    pooled = write_phantom(tmp_path / "pooled", 10, SEED, on_patient=counts.append).parent
    monkeypatch.setattr("data_catalog.phantom.cohort.PATIENTS_FOR_WORKERS", 100)
    alone = write_phantom(tmp_path / "alone", 10, SEED).parent
    names = sorted(p.relative_to(pooled) for p in pooled.rglob("*") if p.is_file())
    assert [n for n in names if (pooled / n).read_bytes() != (alone / n).read_bytes()] == []
    assert counts == list(range(1, 11))


@pytest.mark.slow
def test_effect_changes_malignant_shells_only(planted: Path, plain: Path) -> None:
    """Without the effect the cohort is the same voxel by voxel, but for tissue up to the shell round malignant nodules."""
    truth = pd.read_parquet(planted / "truth.parquet")
    for patient, nodules in truth.groupby("patient_id"):
        hu, grid = volume_of(planted / "dicom" / str(patient))
        before, same_grid = volume_of(plain / "dicom" / str(patient))
        assert grid == same_grid
        changed = hu != before
        if not nodules["malignant"].any():
            assert not changed.any()
            continue
        annotations = pd.read_csv(planted / "annotations.csv").set_index("nodule_id").loc[nodules["nodule_id"]]
        reach = np.zeros(grid.shape, dtype=np.bool_)
        for _, row in annotations.iterrows():
            half = row[["width_mm", "height_mm", "depth_mm"]].to_numpy(dtype=float) / 2 + SHELL_MM
            centre = row[["x", "y", "z"]].to_numpy(dtype=float)
            low, high = np.ceil(grid.to_index(centre - half)), np.floor(grid.to_index(centre + half)) + 1
            reach[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))] = True
        assert changed.sum() > 500
        assert not (changed & ~reach).any()
        nodule = ndimage.label(before > -430)[0]
        seeds = [nodule[tuple(np.rint(grid.to_index(c)).astype(int))] for c in annotations[["x", "y", "z"]].to_numpy()]
        away_mm = ndimage.distance_transform_edt(~np.isin(nodule, seeds), sampling=grid.spacing_mm)
        assert away_mm[changed].max() < SHELL_MM + max(grid.spacing_mm)
        rise = [(hu - before)[(away_mm > a) & (away_mm <= b)].mean() for a, b in ((0, 2), (2, 3.5), (3.5, 5))]
        assert rise[0] < rise[1] < rise[2]


def test_cohorts_with_other_pixels_have_other_uids(planted: Path, plain: Path) -> None:
    """Effect and no effect give the same patients under different series, study and image UIDs."""
    for name in ("SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        uids = [getattr(slices_of(root / "dicom" / "PHANTOM-0001")[0], name) for root in (planted, plain)]
        assert uids[0] != uids[1]


def test_series_are_valid_ct(planted: Path) -> None:
    """Every file names itself simulated, carries what a reader needs, and its UIDs fit its file header."""
    for folder in (planted / "dicom").iterdir():
        slices = slices_of(folder)
        assert len({s.SOPInstanceUID for s in slices}) == len({s.InstanceNumber for s in slices}) == len(slices)
        for s in slices:
            assert s.file_meta.MediaStorageSOPInstanceUID == s.SOPInstanceUID
            assert s.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
            assert s.SOPInstanceUID.is_valid
            assert list(s.ImageType) == ["DERIVED", "PRIMARY", "AXIAL", "SIMULATED"]
            assert s.SeriesDescription == "lungpipe phantom, simulated intensities"
            assert (s.Modality, s.PatientID, s.PatientName) == ("CT", folder.name, f"Phantom^{folder.name[-4:]}")
            assert (s.PixelRepresentation, s.RescaleIntercept) in {(0, -1024), (1, 0)}
            assert s.ConvolutionKernel
            assert s.KVP in {100, 120, 140}
        assert len({s.SeriesInstanceUID for s in slices}) == 1


def test_slices_are_evenly_spaced_and_files_out_of_order(planted: Path) -> None:
    """Positions step by the slice spacing, and file names follow them in some series only."""
    in_order = []
    for folder in (planted / "dicom").iterdir():
        z = [float(s.ImagePositionPatient[2]) for s in slices_of(folder)]
        spacing = float(slices_of(folder)[0].SpacingBetweenSlices)
        assert np.diff(z) == pytest.approx(spacing, abs=1e-3)
        assert 80 <= spacing * len(z) <= 97
        by_name = [float(pydicom.dcmread(p).ImagePositionPatient[2]) for p in sorted(folder.iterdir())]
        in_order.append(all(a < b for a, b in pairwise(by_name)))
    assert set(in_order) == {True, False}


def test_hu_are_those_of_a_chest(planted: Path) -> None:
    """After rescaling there is lung near -860 HU, chest wall, outside air, and nothing outside 12 bits."""
    for folder in (planted / "dicom").iterdir():
        hu, _ = volume_of(folder)
        inner = hu[:, 40:-40, 40:-40]
        assert np.median(inner) == pytest.approx(-860, abs=40)
        assert (hu > 0).mean() > 0.05
        assert 0.005 < (hu < -970).mean() < 0.3
        assert hu.min() >= -1024
        assert hu.max() <= 3071


def test_annotated_boxes_hold_the_true_volume(plain: Path) -> None:
    """What a solid nodule adds to its box, over its height above the lung, is its true volume within 25 %."""
    truth = pd.read_parquet(plain / "truth.parquet").set_index("nodule_id")
    annotations = pd.read_csv(plain / "annotations.csv").set_index("nodule_id")
    assert list(truth.index) == list(annotations.index)
    checked = 0
    for name, row in annotations.iterrows():
        if truth.loc[name, "texture"] < 4:
            continue
        hu, grid = volume_of(plain / "dicom" / str(row["patient_id"]))
        half = row[["width_mm", "height_mm", "depth_mm"]].to_numpy(dtype=float) / 2 + 2.5
        centre = row[["x", "y", "z"]].to_numpy(dtype=float)
        low, high = np.ceil(grid.to_index(centre - half)), np.floor(grid.to_index(centre + half)) + 1
        box = hu[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))]
        lung, inside = np.median(hu[:, 40:-40, 40:-40]), np.percentile(box, 99) - 30
        volume_mm3 = ((box - lung) / (inside - lung)).sum() * grid.voxel_volume_mm3
        assert volume_mm3 == pytest.approx(truth.loc[name, "volume_mm3"], rel=0.25)
        checked += 1
    assert checked


def test_tables_agree_and_say_that_intensities_are_simulated(planted: Path) -> None:
    """Annotations and truth list the same nodules with the agreed columns, and series that exist."""
    annotations = pd.read_csv(planted / "annotations.csv", dtype={"split": str})
    truth = pd.read_parquet(planted / "truth.parquet")
    columns = "patient_id,nodule_id,series_uid,x,y,z,width_mm,height_mm,depth_mm,malignant,split"
    assert (planted / "annotations.csv").read_text().splitlines()[0] == columns
    keys = ["patient_id", "nodule_id", "series_uid", "malignant"]
    pd.testing.assert_frame_equal(annotations[keys], truth[keys], check_dtype=False)
    assert annotations["split"].isna().all()
    assert (truth["intensities"] == "simulated").all()
    assert (truth["planted_effect"] > 0).tolist() == (truth["malignant"] == 1).tolist()
    folders = {f.name: slices_of(f)[0].SeriesInstanceUID for f in (planted / "dicom").iterdir()}
    assert dict(zip(truth["patient_id"], truth["series_uid"], strict=True)) == folders


def test_nodules_keep_clear_of_the_edges(sixty: list[PlannedPatient]) -> None:
    """Every surface lies at least 13 mm inside the volume, and two nodules of a patient do not touch."""
    for patient in [p for p in sixty if len(p.nodules) == 2][:2] + sixty[:2]:
        scene = simulate(patient, 0.0, SHELL_MM)
        far = patient.grid.to_lps(np.subtract(patient.grid.shape, 1))
        for nodule, centre in zip(patient.nodules, scene.centres_mm, strict=True):
            half = np.asarray(nodule.candidate.shape.size_mm) / 2
            assert np.all(np.asarray(centre) - half - patient.grid.origin_mm >= 13)
            assert np.all(far - np.asarray(centre) - half >= 13)
        if len(patient.nodules) == 2:
            gap_mm = np.linalg.norm(np.subtract(*scene.centres_mm))
            assert gap_mm > sum(n.candidate.shape.radius_mm for n in patient.nodules) + 6


def test_recipe_is_complete(planted: Path) -> None:
    """The recipe parses, points at the cohort's own files by relative paths, and says what it is."""
    text = (planted / "recipe.toml").read_text(encoding="utf-8")
    recipe = tomllib.loads(text)
    assert "simulated intensities" in text.splitlines()[0]
    assert recipe["cohort"] == {"dataset": "phantom", "dicom": "dicom", "annotations": "annotations.csv"}
    assert all((planted / recipe["cohort"][key]).exists() for key in ("dicom", "annotations"))
    assert recipe["regions"]["radii_mm"] == [0, 2, 4, 6, 8, 10, 12]
    assert set(recipe) == {"cohort", "segment", "regions", "features", "benchmark", "run", "report"}
    assert recipe["benchmark"]["seed"] == SEED


@pytest.mark.slow
def test_planted_shell_tells_the_labels_apart_where_it_ends(pairs: list[tuple[Candidate, Candidate]]) -> None:
    """Over 24 patients mean HU of the shell out to 8 mm separates the labels, and out to 2 mm it does not."""
    means: dict[int, list[float]] = {2: [], 8: []}
    labels = []
    for patient in plan_patients(pairs, 24, seed=5):
        scene = simulate(patient, 1.0, 8.0)
        for nodule, centre in zip(patient.nodules, scene.centres_mm, strict=True):
            shape = nodule.candidate.shape
            window, share = nodule_cover(patient.grid, centre, shape)
            mask = np.zeros(patient.grid.shape, dtype=np.bool_)
            mask[window] = share > 0.5
            index = patient.grid.to_index(centre)
            reach = (shape.radius_mm + 9) / np.asarray(patient.grid.spacing_mm)
            box = tuple(slice(int(a), int(b) + 1) for a, b in zip(index - reach, index + reach, strict=True))
            away_mm = ndimage.distance_transform_edt(~mask[box], sampling=patient.grid.spacing_mm)
            for r in means:
                near = (away_mm > 0) & (away_mm <= r) & (scene.hu[box] < -400)
                means[r].append(float(scene.hu[box][near].mean()))
            labels.append(nodule.candidate.malignant)
    assert roc_auc_score(labels, means[8]) > 0.8
    assert roc_auc_score(labels, means[2]) < 0.75
