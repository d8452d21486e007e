import os

import numpy as np
import pandas as pd
import pytest

from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.store import ledger
from lungpipe.store.tables import make_table, read_table, write_table
from lungpipe.store.volumes import read_mask, read_volume, write_mask, write_volume
from lungpipe.volume import CTVolume, Mask

FRAME = Geometry((40, 50, 60), (2.5, 0.7, 0.8), (1.5, -2.0, 3.0), (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))


@pytest.fixture
def stored(tmp_path):
    hu = np.random.default_rng(0).integers(-1024, 2000, FRAME.shape).astype(np.int16)
    volume = CTVolume(hu, FRAME)
    path = tmp_path / "volumes" / "abc.zarr"
    path.parent.mkdir()
    write_volume(path, volume, {"patient_id": "P-X", "intensities": "measured"})
    return path, volume


def test_volume_comes_back_with_its_geometry(stored):
    """HU and oblique grid survive the store, whole and as a crop."""
    path, volume = stored
    back = read_volume(path)
    assert back.frame == FRAME
    assert np.array_equal(back.hu, volume.hu)
    crop = read_volume(path, ((3, 4, 5), (10, 30, 25)))
    assert np.array_equal(crop.hu, volume.hu[3:10, 4:30, 5:25])
    assert crop.start == (3, 4, 5)


def test_stored_affine_is_that_of_the_grid(stored):
    """The 4x4 affine in the attributes takes an index (x, y, z) to the LPS point of the geometry; format is zarr v3."""
    import zarr

    path, _ = stored
    group = zarr.open_group(path, mode="r")
    affine = np.asarray(group.attrs["affine_index_xyz_to_lps_mm"])
    assert np.allclose((affine @ [3, 4, 5, 1])[:3], FRAME.to_lps((5, 4, 3)))
    assert group.metadata.zarr_format == 3
    assert group["ct"].dtype == np.int16
    assert group.attrs["units"] == "HU"


def test_mask_comes_back_in_its_place(stored):
    """A mask is stored as a crop and returns to the same voxels."""
    path, _ = stored
    voxels = np.zeros(FRAME.shape, np.bool_)
    voxels[7:12, 9:13, 20:22] = True
    mask = Mask(voxels, FRAME)
    write_mask(path, "N-1/otsu", mask)
    write_mask(path, "N-1/otsu", mask)
    assert read_mask(path, "N-1/otsu").content_id == mask.content_id


def test_ledger_knows_only_whole_artefacts(tmp_path):
    """An artefact stands while every output has the recorded content, and no longer when a byte differs."""
    output = tmp_path / "parts" / "a.txt"
    ledger.write_atomically(output, b"content")
    name = ledger.artefact_id("scan", source="s")
    assert not ledger.stands(tmp_path, name, "scan")
    ledger.record(tmp_path, name, "scan", [output], {"source": "s"})
    assert ledger.stands(tmp_path, name, "scan")
    output.write_bytes(b"contenT")
    assert not ledger.stands(tmp_path, name, "scan")
    output.unlink()
    assert not ledger.stands(tmp_path, name, "scan")


def test_damaged_ledger_entry_is_no_entry(tmp_path):
    """A truncated entry means that the work is done again, not that it crashes."""
    output = tmp_path / "a"
    ledger.write_atomically(output, b"x")
    ledger.record(tmp_path, "n", "scan", [output], {})
    entry = tmp_path / "ledger" / "scan-n.json"
    entry.write_bytes(entry.read_bytes()[:20])
    assert not ledger.stands(tmp_path, "n", "scan")


def test_name_follows_everything_that_made_it():
    """Same inputs, same name; another input, setting or kind, another name; unknown types are refused."""
    base = ledger.artefact_id("scan", source="s", geometry=FRAME)
    assert base == ledger.artefact_id("scan", geometry=FRAME, source="s")
    others = {
        ledger.artefact_id("scan", source="t", geometry=FRAME),
        ledger.artefact_id("volume", source="s", geometry=FRAME),
        ledger.artefact_id("scan", source="s", geometry=Geometry(FRAME.shape, (2.5, 0.7, 0.81))),
    }
    assert base not in others
    assert len(others) == 3
    with pytest.raises(TypeError):
        ledger.artefact_id("scan", source=object())


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    """A write that fails before its rename leaves what was there."""
    path = tmp_path / "table"
    ledger.write_atomically(path, b"old")

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        ledger.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


ROW = {
    "stage": "read",
    "intensities": "measured",
    "patient_id": "P",
    "series_uid": "S",
    "nodule_id": "",
    "file": "",
    "code": "c",
    "message": "m",
}


def test_tables_keep_their_types_when_empty(tmp_path):
    """An empty table has the same columns and types as a full one, before and after Parquet."""
    for name in ("series", "nodules", "features", "exclusions"):
        path = tmp_path / f"{name}.parquet"
        write_table(make_table(name, []), path)
        assert list(read_table(path).columns) == list(make_table(name, []).columns)
    full = make_table("exclusions", [ROW])
    pd.testing.assert_series_equal(full.dtypes, make_table("exclusions", []).dtypes)


def test_wrong_rows_are_refused(tmp_path):
    """Missing or unknown columns and repeated keys do not become a table; a missing table is told."""
    with pytest.raises(DatasetError, match="missing columns"):
        make_table("exclusions", [{k: v for k, v in ROW.items() if k != "code"}])
    with pytest.raises(DatasetError, match="unexpected columns"):
        make_table("exclusions", [{**ROW, "patient_name": "x"}])
    feature = {c: 0.0 for c in make_table("features", []).columns if c.endswith(("mm", "mm3", "fraction"))}
    feature |= {"dataset": "d", "intensities": "m", "patient_id": "p", "series_uid": "s", "nodule_id": "n"}
    feature |= {"segmenter": "otsu", "region": "nodule", "n_voxels": 3, "mask_id": "i", "original_x": 1.5}
    assert make_table("features", [feature])["original_x"].tolist() == [1.5]
    with pytest.raises(DatasetError, match="repeat a key"):
        make_table("features", [feature, feature])
    with pytest.raises(DatasetError, match="no table"):
        read_table(tmp_path / "none.parquet")
