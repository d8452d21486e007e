"""Volumes and masks in the store, on a disk and in a bucket."""

import json

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from lungpipe.errors import GeometryError, StoreError
from lungpipe.geometry import Geometry
from lungpipe.store import volumes
from lungpipe.store.place import Place
from lungpipe.store.volumes import read_mask, read_volume, write_mask, write_volume
from lungpipe.volume import CTVolume, Mask

FRAME = Geometry((40, 50, 60), (2.5, 0.7, 0.8), (1.5, -2.0, 3.0), (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
NAME = "volumes/abc.zarr"
ABOUT = {"patient_id": "P-X", "intensities": "measured", "codes": ["irregular_spacing"]}


def noise(frame: Geometry, seed: int = 0) -> CTVolume:
    return CTVolume(np.random.default_rng(seed).integers(-1024, 2000, frame.shape).astype(np.int16), frame)


def block(frame: Geometry, start, stop) -> Mask:
    voxels = np.zeros(frame.shape, np.bool_)
    voxels[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return Mask(voxels, frame)


@pytest.fixture
def stored(place):
    volume = noise(FRAME)
    write_volume(place, NAME, volume, ABOUT)
    return place, volume


def test_volume_comes_back_with_its_geometry(stored):
    """HU and oblique grid survive the store, whole and as a crop."""
    place, volume = stored
    back = read_volume(place, NAME)
    assert back.frame == FRAME
    assert back.hu.dtype == np.int16
    assert np.array_equal(back.hu, volume.hu)
    crop = read_volume(place, NAME, ((3, 4, 5), (10, 30, 25)))
    assert np.array_equal(crop.hu, volume.hu[3:10, 4:30, 5:25])
    assert crop.start == (3, 4, 5)
    assert crop.frame == FRAME


def test_attributes_say_what_the_numbers_are(stored):
    """Affine, units, axes, quality codes and format stand in the group's own metadata."""
    place, _ = stored
    about = json.loads(place.read(f"{NAME}/zarr.json"))
    affine = np.asarray(about["attributes"]["affine_index_xyz_to_lps_mm"])
    assert np.allclose((affine @ [3, 4, 5, 1])[:3], FRAME.to_lps((5, 4, 3)))
    assert about["zarr_format"] == 3
    assert about["attributes"].items() >= {"units": "HU", "axes": "z, y, x", **ABOUT}.items()


def test_many_chunks_share_a_file(local):
    """A scan of 40 chunks is one shard, each chunk zstd in Blosc with a CRC-32C behind it."""
    write_volume(local, NAME, noise(Geometry((60, 500, 560), (1.0, 1.0, 1.0))), {})
    array = zarr.open_group(local.zarr(NAME), mode="r")["ct"]
    assert array.chunks == (32, 128, 128)
    (sharding,) = json.loads(local.read(f"{NAME}/ct/zarr.json"))["codecs"]
    inner = sharding["configuration"]["codecs"]
    assert sharding["name"] == "sharding_indexed"
    assert [codec["name"] for codec in inner] == ["bytes", "blosc", "crc32c"]
    assert inner[1]["configuration"]["cname"] == "zstd"
    assert sharding["configuration"]["index_codecs"][-1]["name"] == "crc32c"
    assert len(local.files(f"{NAME}/ct/c")) == 2  # x passes 512


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_box_of_any_volume_is_its_part(tmp_path_factory, data):
    """A box read from the store equals the same box of the array, whatever the sizes of either."""
    shape = data.draw(st.tuples(st.integers(1, 70), st.integers(1, 200), st.integers(1, 200)))
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True))
    place = Place.at(tmp_path_factory.mktemp("any"))
    volume = noise(Geometry(shape, (1.0, 1.0, 1.0)))
    write_volume(place, NAME, volume, {})
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    assert np.array_equal(read_volume(place, NAME, (start, stop)).hu, volume.hu[window])


@pytest.mark.parametrize(
    "box",
    [((-1, 0, 0), (4, 4, 4)), ((0, 0, 0), (41, 4, 4)), ((5, 5, 5), (5, 9, 9)), ((9, 9, 9), (5, 12, 12))],
    ids=["before", "beyond", "empty", "reversed"],
)
def test_boxes_outside_are_refused(local, box):
    """A box that leaves the volume or is empty is an error, not a smaller box."""
    write_volume(local, NAME, noise(FRAME), {})
    with pytest.raises(GeometryError, match="box"):
        read_volume(local, NAME, box)


def test_only_whole_volumes_of_int16_are_stored(local):
    """A crop, floating-point HU, and the value that stands for absent voxels are refused."""
    volume = noise(FRAME)
    spoilt = volume.hu.copy()
    spoilt[1, 2, 3] = -32768
    for wrong, said in (
        (volume.crop((0, 0, 0), (9, 9, 9)), "whole volumes"),
        (CTVolume(volume.hu.astype(np.float32), FRAME), "int16"),
        (CTVolume(spoilt, FRAME), "-32768"),
    ):
        with pytest.raises(GeometryError, match=said):
            write_volume(local, NAME, wrong, {})
    assert local.files() == []


def test_a_second_volume_replaces_the_first(stored):
    """Writing removes what was there under the name, masks included, and leaves nothing of it behind."""
    place, _ = stored
    write_mask(place, NAME, "masks/a/N-1", block(FRAME, (1, 1, 1), (3, 3, 3)))
    other = noise(Geometry((5, 6, 7), (1.0, 1.0, 1.0)), seed=1)
    write_volume(place, NAME, other, {})
    assert np.array_equal(read_volume(place, NAME).hu, other.hu)
    assert not place.exists(f"{NAME}/masks")


def test_the_same_volume_is_the_same_bytes(local, s3):
    """Every write of a volume and its masks gives the same files, on a disk and in a bucket."""
    frame = Geometry((140, 180, 200), (1.0, 0.7, 0.7))
    volume, lung = noise(frame), block(frame, (1, 2, 3), (139, 170, 190))
    found = []
    for place, name in ((local, NAME), (local, NAME), (local, "volumes/again.zarr"), (s3, NAME)):
        write_volume(place, name, volume, ABOUT)
        write_mask(place, name, "lung/l", lung)
        write_mask(place, name, "masks/m/N-1", block(frame, (5, 5, 5), (15, 16, 17)), {"segmenter": "otsu"})
        found.append(place.digest(name))
    assert len(set(found)) == 1


def test_every_flipped_byte_is_noticed(local):
    """Whichever byte of a volume's files is flipped, reading raises: damage never becomes HU."""
    frame = Geometry((40, 130, 130), (1.0, 0.7, 0.7))
    write_volume(local, NAME, noise(frame), {})
    (name,) = local.files(f"{NAME}/ct/c")
    content = local.read(name)
    places = np.random.default_rng(0).integers(0, len(content), 25).tolist()
    for at in (0, 1, *places, len(content) - 40, len(content) - 1):  # the index of the shard is at its end
        local.write(name, content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        with pytest.raises(StoreError, match="run the recipe again") as caught:
            read_volume(local, NAME)
        assert caught.value.code == "damaged_volume"
    local.write(name, content)
    read_volume(local, NAME)


def test_damage_elsewhere_does_not_stop_a_crop(local):
    """A crop checks the chunks that it reads: one beside a damaged chunk is still right, one over it raises."""
    frame = Geometry((40, 300, 300), (1.0, 0.7, 0.7))
    volume = noise(frame)
    write_volume(local, NAME, volume, {})
    (name,) = local.files(f"{NAME}/ct/c")
    content = local.read(name)
    local.write(name, content[:50] + bytes([content[50] ^ 1]) + content[51:])  # in the first chunk
    with pytest.raises(StoreError):
        read_volume(local, NAME, ((0, 0, 0), (10, 10, 10)))
    far = read_volume(local, NAME, ((33, 260, 260), (40, 300, 300)))
    assert np.array_equal(far.hu, volume.hu[33:, 260:, 260:])


def _remove_shard(place):
    place.remove(place.files(f"{NAME}/ct/c")[0])


def _truncate(place):
    name = place.files(f"{NAME}/ct/c")[0]
    place.write(name, place.read(name)[:-7])


def _empty(place):
    place.write(place.files(f"{NAME}/ct/c")[0], b"")


def _no_array(place):
    place.remove(f"{NAME}/ct")


def _no_group(place):
    place.remove(NAME)


def _bad_json(place):
    place.write(f"{NAME}/zarr.json", b'{"zarr')


def _no_geometry(place):
    about = json.loads(place.read(f"{NAME}/zarr.json"))
    del about["attributes"]["spacing_zyx_mm"]
    place.write(f"{NAME}/zarr.json", json.dumps(about).encode())


def _other_shape(place):
    about = json.loads(place.read(f"{NAME}/zarr.json"))
    about["attributes"]["shape_zyx"] = [40, 50, 61]
    place.write(f"{NAME}/zarr.json", json.dumps(about).encode())


@pytest.mark.parametrize(
    "spoil",
    [_remove_shard, _truncate, _empty, _no_array, _no_group, _bad_json, _no_geometry, _other_shape],
    ids=lambda spoil: spoil.__name__.strip("_"),
)
def test_what_is_missing_or_damaged_raises(stored, spoil):
    """A volume with a part missing, cut off or contradicting is one kind of error, and never empty space."""
    place, _ = stored
    spoil(place)
    with pytest.raises(StoreError) as caught:
        read_volume(place, NAME)
    assert caught.value.code == "damaged_volume"
    assert caught.value.stage == "store"


def test_mask_comes_back_in_its_place(stored):
    """A mask is stored as a crop, once or twice, and returns to the same voxels with its description beside it."""
    place, _ = stored
    mask = block(FRAME, (7, 9, 20), (12, 13, 22))
    for path in ("masks/artefact/N-1", "masks/artefact/N-1", "lung/artefact"):
        write_mask(place, NAME, path, mask, {"segmenter": "otsu"})
        back = read_mask(place, NAME, path)
        assert back.content_id == mask.content_id
        assert back.frame == FRAME
        assert (back.start, back.shape) == ((7, 9, 20), (5, 4, 2))
    about = json.loads(place.read(f"{NAME}/masks/artefact/N-1/zarr.json"))
    assert about["attributes"] == {"segmenter": "otsu", "start": [7, 9, 20], "content_id": mask.content_id}
    assert about["shape"] == [5, 4, 2]


def test_masks_are_part_of_the_group(stored):
    """Whoever opens the group finds the masks and the lung by walking through it."""
    place, _ = stored
    mask = block(FRAME, (7, 9, 20), (12, 13, 22))
    for path in ("masks/a/N-1", "masks/a/N-2", "masks/b/N-1", "lung/c"):
        write_mask(place, NAME, path, mask)
    group = zarr.open_group(place.zarr(NAME), mode="r")
    arrays = {name for name, node in group.members(max_depth=None) if isinstance(node, zarr.Array)}
    assert arrays == {"ct", "masks/a/N-1", "masks/a/N-2", "masks/b/N-1", "lung/c"}


def test_writing_a_mask_leaves_the_volume_alone(stored):
    """The files of a volume have the same bytes after a mask was written beside it."""
    place, _ = stored
    before = [place.digest(f"{NAME}/{part}") for part in ("ct", "zarr.json")]
    write_mask(place, NAME, "masks/a/N-1", block(FRAME, (7, 9, 20), (12, 13, 22)))
    assert [place.digest(f"{NAME}/{part}") for part in ("ct", "zarr.json")] == before


def test_large_masks_are_chunked(local):
    """A lung is stored in chunks that share a file, and takes a small part of its voxels' bytes."""
    frame = Geometry((100, 300, 300), (1.0, 0.7, 0.7))
    index = np.indices(frame.shape).transpose(1, 2, 3, 0)
    lung = Mask(np.linalg.norm((index - [50, 150, 150]) / [48, 140, 140], axis=-1) <= 1, frame)
    write_volume(local, NAME, CTVolume(np.zeros(frame.shape, np.int16), frame), {})
    write_mask(local, NAME, "lung/a", lung)
    assert np.array_equal(read_mask(local, NAME, "lung/a").voxels, lung.trimmed().voxels)
    assert len(local.files(f"{NAME}/lung/a/c")) == 2  # of 64 slices each
    assert sum(local.size(name) for name in local.files(f"{NAME}/lung/a")) < lung.voxels.size / 50


@pytest.mark.parametrize("path", ["masks/a/N-1", "lung/a"])
def test_damaged_masks_raise(local, path):
    """A mask with a flipped byte, without its file or with nothing at all raises."""
    write_volume(local, NAME, noise(FRAME), {})
    write_mask(local, NAME, path, block(FRAME, (7, 9, 20), (12, 13, 22)))
    (name,) = local.files(f"{NAME}/{path}/c")
    content = local.read(name)
    for spoil in (
        lambda: local.write(name, content[:20] + bytes([content[20] ^ 1]) + content[21:]),
        lambda: local.remove(name),
        lambda: local.remove(f"{NAME}/{path}"),
    ):
        spoil()
        with pytest.raises(StoreError) as caught:
            read_mask(local, NAME, path)
        assert caught.value.code == "damaged_mask"


def test_masks_belong_to_their_volume(local):
    """A mask on another grid, an empty one, and one without a volume are refused."""
    mask = block(FRAME, (7, 9, 20), (12, 13, 22))
    with pytest.raises(StoreError):
        write_mask(local, NAME, "masks/a/N-1", mask)
    assert not local.exists(NAME)
    write_volume(local, NAME, noise(FRAME), {})
    shifted = Geometry(FRAME.shape, FRAME.spacing_mm, (1.5, -2.0, 3.5), FRAME.direction)
    with pytest.raises(GeometryError, match="grid"):
        write_mask(local, NAME, "masks/a/N-1", Mask(mask.voxels, shifted))
    with pytest.raises(GeometryError, match="empty"):
        write_mask(local, NAME, "masks/a/N-1", Mask(np.zeros(FRAME.shape, np.bool_), FRAME))


def test_trouble_of_the_disk_is_not_damage(local, monkeypatch):
    """An I/O error passes through as itself, so that what retries I/O errors can."""
    write_volume(local, NAME, noise(FRAME), {})

    def broken(*_, **__):
        raise PermissionError("no")

    monkeypatch.setattr(volumes, "_read", broken)
    with pytest.raises(PermissionError):
        read_volume(local, NAME)


@pytest.mark.real_data
def test_real_scan_survives(lidc_0314, local):
    """A real chest CT comes back voxel for voxel, in less than half its bytes and a handful of files."""
    from lungpipe.dicom.index import index_series
    from lungpipe.dicom.read import read_volume as read_dicom

    (series,) = index_series(lidc_0314).series
    volume = read_dicom(series.files, series.geometry)
    write_volume(local, NAME, volume, {})
    assert np.array_equal(read_volume(local, NAME).hu, volume.hu)
    box = ((100, 200, 300), (164, 282, 382))
    assert np.array_equal(read_volume(local, NAME, box).hu, volume.hu[100:164, 200:282, 300:382])
    names = local.files(NAME)
    assert len(names) == 7  # five shards and the two zarr.json
    assert sum(local.size(name) for name in names) < volume.hu.nbytes / 2
