"""The command ``evaluate-masks`` and the table behind it."""

from __future__ import annotations

import csv
import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk
import typer
from seg_files import write_seg_file

from data_catalog.lidc.nodules import read_nodules
from flows.mask_commands import evaluate_masks
from lungpipe.dicom.index import index_series
from lungpipe.dicom.read import to_sitk
from lungpipe.errors import DatasetError, GeometryError
from lungpipe.geometry import Geometry
from lungpipe.segment import evaluate_masks as comparison
from lungpipe.segment.consensus import consensus_masks
from lungpipe.store.contents import stored_mask, stored_nodules
from lungpipe.store.place import Place
from lungpipe.store.tables import read_table, write_table
from lungpipe.volume import Mask

if TYPE_CHECKING:
    from pathlib import Path

FRAME = Geometry((16, 40, 40), (2.0, 0.5, 0.5), (-12.0, 7.0, -90.0))
app = typer.Typer()
app.command()(evaluate_masks)


def run(*words) -> None:
    app([str(word) for word in words], standalone_mode=False)


def bar(first: int, length: int = 10) -> np.ndarray:
    """4 x 4 x length voxels of 0.5 mm3 that begin at a column."""
    voxels = np.zeros(FRAME.shape, dtype=np.uint8)
    voxels[6:10, 10:14, first : first + length] = 1
    return voxels


def write(path: Path, voxels: np.ndarray, frame: Geometry = FRAME) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(to_sitk(voxels, frame), str(path))
    return path


@pytest.fixture
def files(tmp_path):
    """A method and three raters: bars of ten columns that begin at 11; 10, 12 and 14. Each has 80 mm3."""
    starts = {"mine": 11, "a": 10, "b": 12, "c": 14}
    endings = {"mine": ".nii.gz", "a": ".nrrd", "b": ".mha", "c": ".nii"}
    return {name: write(tmp_path / f"{name}{endings[name]}", bar(start)) for name, start in starts.items()}


def asked(files, *more) -> list:
    return [files["mine"], *(f"--raters={files[name]}" for name in "abc"), *more]


def rows_of(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with path.open(newline="") as stream:
        return {(row["name"], row["reference"]): row for row in csv.DictReader(stream)}


def test_a_mask_against_three_raters(files, tmp_path, capsys) -> None:
    """Overlap, volumes and the figures of CURVAS are those of bars that are shifted by one, one and three columns."""
    run(*asked(files, "--out", tmp_path / "table.csv"))
    rows = rows_of(tmp_path / "table.csv")
    references = ["a", "b", "c", "majority", "union", "intersection", "staple", "all raters"]
    assert list(rows) == [("mine", one) for one in references] + [("a", "b"), ("a", "c"), ("b", "c")]
    # Two of three draw columns 12 to 21, one of them 10 to 23, all 14 to 19; the method has 11 to 20.
    expected = {"a": 0.9, "b": 0.9, "c": 0.7, "majority": 0.9, "union": 2 * 10 / 24, "intersection": 2 * 6 / 16}
    for reference, value in expected.items():
        assert float(rows["mine", reference]["dice"]) == pytest.approx(value)
    assert [float(rows[pair]["dice"]) for pair in (("a", "b"), ("a", "c"), ("b", "c"))] == pytest.approx(
        [0.8, 0.6, 0.8]
    )
    # The end face, 8 x 2 mm of 16 + 16 + 2 * 5 * (8 + 2) mm2, lies one column away, and three from rater c.
    assert float(rows["mine", "a"]["hd95_mm"]) == pytest.approx(0.5, abs=1e-5)
    assert float(rows["mine", "c"]["hd95_mm"]) == pytest.approx(1.5, abs=1e-5)
    assert float(rows["mine", "a"]["nsd"]) == 1.0
    every = rows["mine", "all raters"]
    assert float(every["dice"]) == pytest.approx((0.9 + 0.9 + 0.7) / 3)
    # The method holds all that the raters agree is inside, and nothing that they agree is outside.
    assert float(every["consensus_dice"]) == 1.0
    # In columns 10 to 13 and 20 to 23 it has 11, 12, 13, 20; a 10 to 13; b 12, 13, 20, 21; c 20 to 23.
    assert float(every["dissensus_dice"]) == pytest.approx((2 * 3 / 8 + 2 * 3 / 8 + 2 * 1 / 8) / 3)
    assert (float(every["volume_mm3"]), float(every["reference_mm3"]), float(every["crps_mm3"])) == (80.0, 80.0, 0.0)
    assert rows["a", "b"]["crps_mm3"] == ""
    told = capsys.readouterr()
    assert told.out.splitlines()[0].split()[:4] == ["name", "kind", "reference", "dice"]
    assert len(told.out.splitlines()) == 1 + len(rows)
    assert "Dice 0.733 (lowest 0.600, 3 pairs)" in told.err


def test_the_tolerance_is_passed_on(files, tmp_path) -> None:
    """With a tolerance of one column all of a bar three columns off is within it but ends and strips."""
    run(*asked(files, "--tolerance-mm", 0.5, "--out", tmp_path / "small.csv"))
    run(*asked(files, "--tolerance-mm", 1.5, "--out", tmp_path / "large.csv"))
    small, large = (float(rows_of(tmp_path / f"{n}.csv")["mine", "c"]["nsd"]) for n in ("small", "large"))
    assert small < 0.9
    assert large == 1.0


def test_json_is_for_scripts(files, capsys) -> None:
    """JSON holds the same rows, the raters' agreement and the settings."""
    run(*asked(files, "--json"))
    found = json.loads(capsys.readouterr().out)
    assert found["raters"] == {"mean_dice": pytest.approx(2.2 / 3), "lowest_dice": pytest.approx(0.6)}
    assert (found["tolerance_mm"], found["calibration_bins"], found["background_mm"]) == (1.0, 50, 20.0)
    assert len(found["rows"]) == 11


def test_a_probability_map(files, tmp_path) -> None:
    """Its overlap is that of what exceeds one half, its volume the sum of its values, and its calibration counts."""
    p = 0.3 * bar(12).astype(np.float32) + 0.6 * bar(10).astype(np.float32)  # 0.9 on 12 to 19, 0.6 on 10 and 11
    path = write(tmp_path / "map.nii.gz", p)
    rater = f"--raters={files['a']}"
    run(path, rater, "--probability", "--out", tmp_path / "t.csv")
    rows = rows_of(tmp_path / "t.csv")
    assert list(rows) == [("map", "a"), ("map", "all raters")]  # of one rater there is no consensus
    assert float(rows["map", "a"]["dice"]) == 1.0
    volume = 0.5 * 16 * (2 * 0.6 + 8 * 0.9 + 2 * 0.3)
    assert float(rows["map", "all raters"]["volume_mm3"]) == pytest.approx(volume, rel=1e-6)
    assert float(rows["map", "all raters"]["crps_mm3"]) == pytest.approx(abs(volume - 80), rel=1e-5)
    # All right, of the 16 * 40 * 40 voxels of the image: off by 0.1, 0.4 and 0.3.
    off = 16 * (8 * 0.1 + 2 * 0.4 + 2 * 0.3) / (16 * 40 * 40)
    assert float(rows["map", "a"]["calibration_error"]) == pytest.approx(off, rel=1e-5)
    with pytest.raises(DatasetError, match="--probability"):
        run(path, rater)


@pytest.mark.parametrize("value", [-0.5, 1.5, math.nan])
def test_what_is_no_probability_is_refused(files, tmp_path, value) -> None:
    """A map with values outside 0 to 1 is refused, and so is one on another grid."""
    p = bar(10).astype(np.float32)
    p[0, 0, 0] = value
    with pytest.raises(DatasetError, match="from 0 to 1"):
        # Not as NIfTI, of which ITK reads what is not a number as 0.
        run(write(tmp_path / "map.nrrd", p), f"--raters={files['a']}", "--probability")
    other = write(tmp_path / "other.nii.gz", bar(10).astype(np.float32), Geometry(FRAME.shape, (2.5, 0.5, 0.5)))
    with pytest.raises(DatasetError, match="corner voxels lie"):
        run(other, f"--raters={files['a']}", "--probability")


def test_an_empty_mask_is_a_row(files, tmp_path, capsys) -> None:
    """Nothing drawn has no surface: figures are nan, the row says why, and JSON has nulls."""
    blank = write(tmp_path / "blank.nii.gz", np.zeros(FRAME.shape, dtype=np.uint8))
    run(files["mine"], blank, *asked(files)[1:3], "--label", 1, "--out", tmp_path / "t.csv")
    rows = rows_of(tmp_path / "t.csv")
    assert float(rows["blank", "a"]["dice"]) == 0.0
    assert [rows["blank", "a"][key] for key in ("hd95_mm", "assd_mm", "nsd")] == ["nan"] * 3
    assert rows["blank", "a"]["note"] == rows["blank", "all raters"]["note"] == "blank is empty"
    assert rows["mine", "a"]["note"] == ""
    capsys.readouterr()
    run(blank, f"--raters={files['a']}", "--json")
    (first, _) = json.loads(capsys.readouterr().out)["rows"]
    assert (first["hd95_mm"], first["consensus_dice"], first["note"]) == (None, None, "blank is empty")


def test_raters_without_a_common_voxel_have_no_staple(files, tmp_path) -> None:
    """STAPLE cannot tell who is right of raters who share nothing; its row says so instead of scoring an empty mask."""
    far = write(tmp_path / "far.nii.gz", bar(26))
    run(files["mine"], f"--raters={files['a']}", f"--raters={far}", "--out", tmp_path / "t.csv")
    rows = rows_of(tmp_path / "t.csv")
    assert rows["mine", "staple"]["dice"] == "nan"
    assert rows["mine", "staple"]["note"] == "STAPLE has no answer: no two raters share a voxel"
    assert rows["mine", "intersection"]["note"] == "intersection is empty"


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path) -> None:
    """Raters keep their masks under one name in folders of their own."""
    paths = [write(tmp_path / who / "case.nii.gz", bar(start)) for who, start in (("net", 11), ("r1", 10), ("r2", 12))]
    run(paths[0], *(f"--raters={path}" for path in paths[1:]), "--out", tmp_path / "t.csv")
    assert ("net/case", "r1/case") in rows_of(tmp_path / "t.csv")
    assert ("r1/case", "r2/case") in rows_of(tmp_path / "t.csv")


def test_a_label_chooses_the_region(files, tmp_path) -> None:
    """Of an image with several values one is compared; a value that an image with voxels lacks is refused."""
    both = write(tmp_path / "labels.nii.gz", 2 * bar(10) + 5 * bar(25))
    rater = write(tmp_path / "rater.nii.gz", 2 * bar(10))
    run(both, f"--raters={rater}", "--label", 2, "--out", tmp_path / "t.csv")
    assert float(rows_of(tmp_path / "t.csv")["labels", "rater"]["dice"]) == 1.0
    with pytest.raises(DatasetError, match="has no value 5"):
        run(both, f"--raters={rater}", "--label", 5)


def test_other_grids_are_refused(files, tmp_path) -> None:
    """Grids of other sizes, spacings or places are not compared, and the message says how they differ."""
    moved = Geometry(FRAME.shape, FRAME.spacing_mm, (-12.0, 7.5, -90.0))
    with pytest.raises(DatasetError, match=r"corner voxels lie up to 0\.5 mm apart"):
        run(write(tmp_path / "moved.nii.gz", bar(10), moved), f"--raters={files['a']}")
    with pytest.raises(DatasetError, match=r"shapes \(z, y, x\) differ"):
        run(
            write(tmp_path / "cut.nii.gz", bar(10)[1:], Geometry((15, 40, 40), FRAME.spacing_mm)),
            f"--raters={files['a']}",
        )


def test_what_is_missing_is_said(files, tmp_path) -> None:
    """Neither raters nor masks nor half of a place in a workspace are guessed."""
    with pytest.raises(DatasetError, match="no rater"):
        run(files["mine"])
    with pytest.raises(DatasetError, match="nothing to evaluate"):
        run(f"--raters={files['a']}")
    with pytest.raises(DatasetError, match="go together"):
        run("--workspace", tmp_path, f"--raters={files['a']}")
    with pytest.raises(DatasetError, match="missing or damaged"):
        run(files["mine"], f"--raters={tmp_path / 'absent.nii.gz'}")
    with pytest.raises(DatasetError, match="at least one rater"):
        comparison.evaluate_masks({}, {}, 1.0)


def test_dicom_masks_need_an_image(files, tmp_path) -> None:
    """A DICOM SEG is read onto the grid of an image: that of another mask, or the one named."""
    planes = [(1, (k, 10, 10), np.ones((4, 10))) for k in range(6, 10)]
    seg = tmp_path / "seg.dcm"
    write_seg_file(seg, FRAME, [(n, (k, 0, 0), _full(at, pixels)) for n, (k, *at), pixels in planes])
    run(seg, f"--raters={files['a']}", "--out", tmp_path / "t.csv")
    assert float(rows_of(tmp_path / "t.csv")["seg", "a"]["dice"]) == 1.0
    ct = write(tmp_path / "ct.nii.gz", np.zeros(FRAME.shape, dtype=np.int16))
    run(seg, f"--raters={seg}", "--image", ct, "--roi", "one", "--out", tmp_path / "u.csv")
    assert all(float(row["dice"]) == 1.0 for row in rows_of(tmp_path / "u.csv").values())
    with pytest.raises(DatasetError, match="--image"):
        run(seg, f"--raters={seg}")


def _full(at, pixels) -> np.ndarray:
    plane = np.zeros(FRAME.shape[1:])
    plane[at[0] : at[0] + pixels.shape[0], at[1] : at[1] + pixels.shape[1]] = pixels
    return plane


def test_masks_of_a_workspace(finished, tmp_path, capsys) -> None:
    """All segmenters of a nodule are compared with files of raters; one of them gave such a file, and equals it."""
    workspace, _ = finished
    place = Place.at(workspace)
    found = [row for rows in stored_nodules(place).values() for row in rows]
    nodule = found[0]["nodule_id"]
    mine = {row["segmenter"]: stored_mask(place, row) for row in found if row["nodule_id"] == nodule}
    assert set(mine) == {"otsu", "kmeans"}
    frame = mine["otsu"].frame
    path = write(tmp_path / "rater.nii.gz", mine["otsu"].within((0, 0, 0), frame.shape).voxels.astype(np.uint8), frame)
    run("--workspace", workspace, "--nodule", nodule, f"--raters={path}", "--out", tmp_path / "t.csv")
    rows = rows_of(tmp_path / "t.csv")
    assert float(rows["otsu", "rater"]["dice"]) == 1.0
    assert float(rows["kmeans", "rater"]["volume_mm3"]) == pytest.approx(mine["kmeans"].volume_mm3)
    with pytest.raises(DatasetError, match="no rater"):
        run("--workspace", workspace, "--nodule", nodule)
    with pytest.raises(DatasetError, match="no mask of the nodule N-0"):
        run("--workspace", workspace, "--nodule", "N-0", f"--raters={path}")


def test_the_annotation_of_a_workspace_is_the_reference(finished, tmp_path) -> None:
    """Where the segmenter `annotated` ran and no rater is named, the others are compared with it."""
    workspace, _ = finished
    place = Place.at(workspace)
    table = read_table(place, "tables/nodules.parquet")
    table["segmenter"] = table["segmenter"].replace("kmeans", "annotated")
    write_table(table, place, "tables/nodules.parquet")
    nodule = str(table["nodule_id"].iloc[0])
    run("--workspace", workspace, "--nodule", nodule, "--out", tmp_path / "t.csv")
    assert list(rows_of(tmp_path / "t.csv")) == [("otsu", "annotated"), ("otsu", "all raters")]


def test_masks_of_two_grids_are_refused_by_the_table() -> None:
    """The comparison itself takes masks of one grid only."""
    first = Mask(bar(10).astype(np.bool_), FRAME)
    other = Mask(first.voxels, Geometry(FRAME.shape, (2.5, 0.5, 0.5)))
    with pytest.raises(GeometryError, match="one grid"):
        comparison.evaluate_masks({"mine": first}, {"a": other}, 1.0)


@pytest.mark.real_data
def test_four_raters_of_a_real_nodule(lidc_0314, tmp_path) -> None:
    """Files of the four raters of scan 0314 give the overlaps of their masks, and their majority is right where they agree."""
    (series,) = index_series(lidc_0314).series
    (nodule,) = read_nodules(series.series_uid, "LIDC-IDRI-0314", series.geometry)
    frame = nodule.raters[0].frame
    bounds = np.asarray([rater.bounds for rater in nodule.raters])
    low, high = bounds[:, 0].min(axis=0) - 10, bounds[:, 1].max(axis=0) + 10
    crop = frame.crop(tuple(low.tolist()), tuple((high - low).tolist()))
    masks = {f"r{k}": rater for k, rater in enumerate(nodule.raters)}
    masks["majority-of-them"] = consensus_masks(nodule.raters).majority
    paths = {
        name: write(tmp_path / f"{name}.nii.gz", mask.within(tuple(low), tuple(high)).voxels.astype(np.uint8), crop)
        for name, mask in masks.items()
    }
    raters = [f"--raters={paths[name]}" for name in masks if name.startswith("r")]
    run(paths["majority-of-them"], *raters, "--out", tmp_path / "t.csv")
    rows = rows_of(tmp_path / "t.csv")
    assert float(rows["majority-of-them", "majority"]["dice"]) == 1.0
    assert float(rows["majority-of-them", "all raters"]["consensus_dice"]) == 1.0
    pairs = [row for row in rows.values() if row["kind"] == "rater"]
    assert len(pairs) == 6
    for row in pairs:
        one, two = (masks[row[key]].within(tuple(low), tuple(high)).voxels for key in ("name", "reference"))
        assert float(row["dice"]) == pytest.approx(2 * (one & two).sum() / (one.sum() + two.sum()))
        assert float(row["dice"]) <= float(rows["majority-of-them", "majority"]["dice"])
