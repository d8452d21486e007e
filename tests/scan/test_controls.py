"""Regions that a benchmark is held against."""

import numpy as np
import pandas as pd
import small_run

from lungpipe.geometry import Geometry
from lungpipe.radiomics.nested.extract import Nested
from lungpipe.radiomics.settings import RadiomicsSettings
from lungpipe.scan.controls import box_of, shuffled, unclipped
from lungpipe.volume import CTVolume, Mask

FRAME = Geometry((30, 40, 42), (1.25, 0.7, 0.7), (0.0, 0.0, 0.0))


def scene():
    """A ball whose HU rise along x."""
    z, y, x = np.indices(FRAME.shape)
    inside = ((z - 15) * 1.25) ** 2 + ((y - 20) * 0.7) ** 2 + ((x - 21) * 0.7) ** 2 < 36
    hu = np.where(inside, 20 * x, -800 + y).astype(np.int16)
    return CTVolume(hu, FRAME), Mask(inside, FRAME)


def test_the_box_holds_the_nodule_and_no_more():
    """All voxels between the first and the last of the nodule along each axis."""
    _, mask = scene()
    box = box_of(mask).mask
    assert box.bounds == mask.bounds
    assert box.n_voxels == np.prod(np.subtract(*mask.bounds[::-1]))


def test_shuffling_moves_the_nodules_voxels_among_themselves():
    """The same HU in another order inside, the image as it was outside, and the same order for the same mask."""
    volume, mask = scene()
    settings = RadiomicsSettings()
    mixed = shuffled(volume, mask, settings)
    before = volume.crop(mixed.start, mixed.stop).hu
    inside = mask.within(mixed.start, mixed.stop).voxels
    assert np.array_equal(mixed.hu[~inside], before[~inside])
    assert np.array_equal(np.sort(mixed.hu[inside]), np.sort(before[inside]))
    assert np.count_nonzero(mixed.hu[inside] == before[inside]) < 0.2 * inside.sum()
    assert np.array_equal(mixed.hu, shuffled(volume, mask, settings).hu)
    less = Mask(mask.voxels & (np.indices(FRAME.shape)[0] != 15), FRAME)
    other = shuffled(volume, less, settings).hu
    assert not np.array_equal(mixed.hu[less.voxels], other[less.voxels])


def test_shuffling_leaves_what_texture_is_not():
    """On the scan's own grid shape and first-order features stay; what neighbours tell goes."""
    volume, mask = scene()
    settings = RadiomicsSettings(spacing_mm=None)
    (as_is,) = Nested()(volume, [mask], settings)
    (mixed,) = Nested()(shuffled(volume, mask, settings), [unclipped(mask).mask], settings)
    same = [name for name in as_is if "_shape_" in name or "_firstorder_" in name]
    assert len(same) == 32
    assert all(as_is[name] == mixed[name] for name in same)
    assert mixed["original_glcm_Correlation"] < 0.2 < 0.8 < as_is["original_glcm_Correlation"]


def test_filters_that_need_all_of_the_image_get_it():
    """A crop is enough unless a filter is scaled by the whole image."""
    frame = Geometry((120, 120, 120), (1.0, 1.0, 1.0))
    volume = CTVolume(np.zeros(frame.shape, np.int16), frame)
    small = Mask(np.ones((3, 3, 3), np.bool_), frame, (58, 58, 58))
    plain = shuffled(volume, small, RadiomicsSettings(spacing_mm=None))
    assert plain.shape != frame.shape
    assert np.all(np.less(plain.start, small.start))
    assert shuffled(volume, small, RadiomicsSettings(filters=("square",))).shape == frame.shape


def test_a_run_makes_the_controls_that_it_is_told(small_archive, tmp_path):
    """A row a nodule where it was taken out: its shape, and the HU of lung; no box, which was not asked for."""
    chosen = small_run.settings(methods=("otsu",), radii_mm=(0,), controls=("inpainted",))
    small_run.run(*small_archive, tmp_path / "workspace", chosen)
    features = pd.read_parquet(tmp_path / "workspace" / "tables" / "features.parquet")
    assert features["region"].value_counts().to_dict() == {"nodule": 8, "inpainted": 8}
    nodule, without = (features[features["region"] == name].set_index("nodule_id") for name in ("nodule", "inpainted"))
    volume, mean_hu = "original_shape_MeshVolume", "original_firstorder_Mean"
    assert np.allclose(nodule[volume], without[volume].loc[nodule.index])
    assert (without[mean_hu] < -700).all()
    assert (nodule[mean_hu] > -200).all()
