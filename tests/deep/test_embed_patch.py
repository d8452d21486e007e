"""What embedders see: the right voxels at the right places, of any grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.deep.embed.patch import SIDE, SLICES, check_kind, chest_region, export, lesion, sight
from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.volume import PADDING_HU, CTVolume, Mask

#: HU that grow along LPS: what a patch holds says where it was taken.
SLOPE_HU_MM = np.array([1.5, -2.0, 3.0])
#: Identity, axes reversed, and a turn of 30 degrees about z.
TURNS = (
    (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),
    (np.sqrt(0.75), -0.5, 0.0, 0.5, np.sqrt(0.75), 0.0, 0.0, 0.0, 1.0),
)


def ramp(frame):
    """An image whose HU are linear in LPS."""
    index = np.indices(frame.shape).transpose(1, 2, 3, 0)
    return CTVolume((frame.to_lps(index) @ SLOPE_HU_MM).astype(np.float32), frame)


def blob(frame, low, high):
    voxels = np.zeros(frame.shape, dtype=np.bool_)
    voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return Mask(voxels, frame)


def expected(seen):
    """HU that the voxels of a patch have by their own geometry."""
    index = np.indices(seen.geometry.shape).transpose(1, 2, 3, 0)
    return seen.geometry.to_lps(index) @ SLOPE_HU_MM


@settings(max_examples=25, deadline=None)
@given(
    spacing=st.tuples(*[st.floats(0.6, 2.5)] * 3),
    turn=st.sampled_from(TURNS),
    low=st.tuples(*[st.integers(8, 14)] * 3),
    size=st.tuples(*[st.integers(1, 5)] * 3),
)
def test_a_lesions_patch_lies_where_its_geometry_says(spacing, turn, low, size):
    """On any grid the patch's middle is the nodule's centroid, and each voxel holds the HU of its own LPS point."""
    frame = Geometry((26, 28, 30), spacing, (-30.0, 12.0, 99.0), turn)
    mask = blob(frame, low, np.add(low, size))
    seen = lesion(ramp(frame), mask, (5, 7, 9), (0.5, 0.4, 0.3))
    middle = (np.asarray(seen.geometry.shape) - 1) / 2
    assert np.allclose(seen.geometry.to_lps(middle), mask.centre_mm, atol=1e-6)
    assert np.allclose(seen.hu, expected(seen), atol=1e-2)


def test_a_lesions_patch_is_the_published_one():
    """64 voxels of 1 mm along each side; beyond the scan it is padded, and padding is black in every window."""
    frame = Geometry((20, 30, 30), (1.0, 1.0, 1.0))
    volume = CTVolume(np.full(frame.shape, 40, np.int16), frame)
    seen = lesion(volume, blob(frame, (8, 10, 10), (12, 20, 20)))
    assert seen.hu.shape == (64, 64, 64)
    assert seen.geometry.spacing_mm == (1.0, 1.0, 1.0)
    inside = seen.hu == 40
    assert inside.sum() == 20 * 30 * 30
    assert np.all(seen.hu[~inside] == PADDING_HU)
    assert np.all(seen.scaled((-1000.0, 500.0))[~inside] == 0)
    assert np.allclose(seen.scaled((-1000.0, 500.0))[inside], 1040 / 1500)


def test_the_chest_region_of_a_usual_scan_is_its_own_slices():
    """Of 512 x 512 pixels nothing is resampled: the eight slices nearest to the nodule come as they are."""
    frame = Geometry((20, SIDE, SIDE), (2.5, 0.7, 0.7), (-170.0, -170.0, 5.0))
    hu = np.random.default_rng(3).integers(-1000, 400, frame.shape).astype(np.int16)
    seen = chest_region(CTVolume(hu, frame), blob(frame, (9, 100, 100), (12, 110, 110)))  # centroid in slice 10
    assert seen.hu.shape == (SLICES, SIDE, SIDE)
    first = round((seen.geometry.origin_mm[2] - 5.0) / 2.5)
    assert first in (6, 7)  # slice 10 is the fourth or the fifth of eight
    assert np.array_equal(seen.hu, hu[first : first + SLICES])


@pytest.mark.parametrize("shape", [(12, 40, 40), (12, 40, 25), (12, 25, 40)])
def test_the_chest_region_holds_the_whole_field_of_view(shape):
    """Images of other sizes are spread over 512 pixels, centred, each voxel with the HU of its own place."""
    frame = Geometry(shape, (2.0, 1.5, 1.5), (10.0, -20.0, 30.0))
    seen = chest_region(ramp(frame), blob(frame, (5, 10, 10), (7, 12, 12)))
    assert np.allclose(np.multiply(seen.geometry.spacing_mm[1:], SIDE), max(shape[1:]) * 1.5)
    index = np.indices((SLICES, 32, 32)).transpose(1, 2, 3, 0) * (1, 16, 16) + (0, 5, 7)
    points = seen.geometry.to_lps(index)
    there = frame.to_index(points)
    inside = ((there >= 0) & (there <= np.asarray(shape) - 1)).all(axis=-1)
    assert 0.9 * shape[1] * shape[2] / max(shape[1:]) ** 2 < inside.mean() <= 1
    assert np.allclose(seen.hu[tuple(index[inside].T)], points[inside] @ SLOPE_HU_MM, atol=1e-2)


def test_slices_beyond_the_scan_are_empty():
    """A nodule in the last slice stays in the middle of the chest region."""
    frame = Geometry((10, 16, 16), (1.0, 1.0, 1.0))
    seen = chest_region(CTVolume(np.zeros(frame.shape, np.int16), frame), blob(frame, (9, 4, 4), (10, 8, 8)))
    empty = (seen.hu == PADDING_HU).all(axis=(1, 2))
    assert empty.tolist() in ([False] * 4 + [True] * 4, [False] * 5 + [True] * 3)


def test_patches_are_exported_with_their_geometry(tmp_path):
    """What is written comes back: both patches, and where each of their voxels lies."""
    frame = Geometry((30, 40, 40), (1.25, 0.8, 0.8), (3.0, 4.0, 5.0), TURNS[1])
    volume, mask = ramp(frame), blob(frame, (12, 18, 20), (16, 22, 25))
    export(tmp_path / "patches.npz", volume, mask)
    with np.load(tmp_path / "patches.npz", allow_pickle=False) as file:
        for kind in ("lesion", "chest_region"):
            seen = sight(kind, volume, mask)
            grid = [file[f"{kind}_{what}"] for what in ("spacing_mm", "origin_mm", "direction")]
            assert Geometry(file[kind].shape, *(tuple(values.tolist()) for values in grid)) == seen.geometry
            assert np.abs(file[kind] - seen.hu).max() <= 0.5
    assert sight("lesion", volume, mask).hu.shape != sight("chest_region", volume, mask).hu.shape


def test_an_unknown_kind_of_patch_is_refused():
    """The message says which there are."""
    check_kind("resnet10", "lesion")
    with pytest.raises(DatasetError, match="lesion or chest_region, found 'lung'"):
        check_kind("resnet10", "lung")
