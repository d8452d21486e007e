"""OME-Zarr and NIfTI made from a workspace, read back by what is not ours."""

import gzip
import importlib.metadata
import itertools
import json
import struct

import numpy as np
import pytest
import SimpleITK as sitk
import zarr
from hypothesis import given
from hypothesis import strategies as st

from lungpipe.dicom.read import geometry_of
from lungpipe.errors import DatasetError
from lungpipe.geometry import Geometry
from lungpipe.store.contents import stored_mask, stored_nodules, stored_series, volume_name
from lungpipe.store.export_nifti import export_nifti, write_nifti_volume
from lungpipe.store.export_ome import export_ome, upright, write_ome
from lungpipe.store.place import Place
from lungpipe.store.volumes import read_volume
from lungpipe.volume import CTVolume, Mask

ABOUT = {"dataset": "d", "intensities": "simulated", "patient_id": "P-A", "series_uid": "S-A"}
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
#: The 48 ways in which a scan may lie along the patient's axes.
TURNS = [
    tuple((np.diag(signs)[list(order)]).astype(float).ravel().tolist())
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def tilted(degrees: float) -> tuple[float, ...]:
    """Direction of a scan whose gantry leans."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (1.0, 0.0, 0.0, 0.0, c, -s, 0.0, s, c)


def scan(direction=STRAIGHT, shape=(70, 40, 90), spacing_mm=(1.25, 0.7, 0.8)) -> CTVolume:
    frame = Geometry(shape, spacing_mm, (-12.0, 7.5, -90.0), direction)
    return CTVolume(np.random.default_rng(0).integers(-1024, 1000, shape).astype(np.int16), frame)


def box(frame: Geometry, start, stop) -> Mask:
    return Mask(np.ones(np.subtract(stop, start), np.bool_), frame, start)


def level(group: zarr.Group, k: int = 0):
    """Array of a level with scale and translation, and the names of its axes, as any reader finds them."""
    (image,) = group.attrs["ome"]["multiscales"]
    dataset = image["datasets"][k]
    scale, translation = dataset["coordinateTransformations"]
    assert (scale["type"], translation["type"]) == ("scale", "translation")
    array = group[dataset["path"]]
    axes = [axis["name"] for axis in image["axes"]]
    return array, np.array(scale["scale"]), np.array(translation["translation"]), axes


@given(st.sampled_from(TURNS), st.data())
def test_a_voxel_keeps_its_place(direction, data):
    """However a scan lies along the patient's axes, every voxel has its HU at its LPS point after turning."""
    volume = scan(direction, (5, 6, 7))
    turn = upright(volume.frame)
    assert not turn.oblique
    index = tuple(data.draw(st.integers(0, n - 1)) for n in volume.shape)
    there = turn.frame.to_index(volume.frame.to_lps(index))
    assert np.allclose(there, np.rint(there), atol=1e-6)
    assert turn(volume.hu)[tuple(np.rint(there).astype(int))] == volume.hu[index]
    assert np.array_equal(turn.frame.matrix, np.eye(3))


def test_positions_follow_from_scale_and_translation(tmp_path):
    """At every level, scale x index + translation in mm along S, P, L is where the block's centre lies."""
    volume = scan(TURNS[-1], (70, 80, 140))
    frame = volume.frame
    assert not write_ome(tmp_path / "a.ome.zarr", volume, {}, ABOUT)
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    array, scale, translation, axes = level(group)
    assert axes == ["z", "y", "x"]
    for index in ((0, 0, 0), (3, 20, 60), (69, 79, 139)):
        x, y, z = frame.to_lps(index)
        there = np.rint((np.array([z, y, x]) - translation) / scale).astype(int)
        assert np.allclose(there * scale + translation, [z, y, x])
        assert array[tuple(there)] == volume.hu[index]
    half, half_scale, half_translation, _ = level(group, 1)
    corners = np.array([(a, b, c) for a in (4, 5) for b in (6, 7) for c in (8, 9)])
    assert np.allclose(half_scale * (2, 3, 4) + half_translation, (corners * scale + translation).mean(axis=0))
    assert half[2, 3, 4] == np.rint(np.mean([array[tuple(c)] for c in corners]))


def test_oblique_scans_are_told(tmp_path):
    """A leaning scan is written as it is, its direction in an attribute, and whoever asked is told."""
    volume = scan(tilted(12))
    assert write_ome(tmp_path / "a.ome.zarr", volume, {}, ABOUT)
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    array, scale, translation, _ = level(group)
    assert np.array_equal(array[...], volume.hu)
    assert scale.tolist() == list(volume.frame.spacing_mm)
    assert translation.tolist() == list(volume.frame.origin_mm[::-1])
    assert group.attrs["lungpipe"]["direction"] == list(tilted(12))
    assert not write_ome(tmp_path / "b.ome.zarr", scan(tilted(0.001)), {}, ABOUT)


def test_labels_are_the_masks(tmp_path):
    """Each nodule is one value in the labels of its segmenter, in the place of its mask; of two the smaller is on top."""
    volume = scan(TURNS[5])
    large, small = box(volume.frame, (5, 5, 5), (15, 15, 15)), box(volume.frame, (10, 10, 10), (17, 14, 12))
    other = box(volume.frame, (30, 30, 30), (31, 31, 31))
    write_ome(tmp_path / "a.ome.zarr", volume, {"otsu": {"N-2": large, "N-1": small}, "kmeans": {"N-2": other}}, ABOUT)
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    assert group["labels"].attrs["ome"] == {"version": "0.5", "labels": ["kmeans", "otsu"]}
    labels = group["labels/otsu"]
    turn = upright(volume.frame)
    found, scale, translation, _ = level(labels)
    assert found[...].tolist() == turn(whole_labels(volume, [large, small], [2, 1])).tolist()
    assert np.array_equal(scale, level(group)[1])
    assert np.array_equal(translation, level(group)[2])
    about = {item["label-value"]: item for item in labels.attrs["ome"]["image-label"]["properties"]}
    shared = 5 * 4 * 2
    assert about[1] == {"label-value": 1, "nodule_id": "N-1", "n_voxels": 7 * 4 * 2, "hidden_voxels": 0}
    assert about[2] == {"label-value": 2, "nodule_id": "N-2", "n_voxels": 1000, "hidden_voxels": shared}
    assert np.count_nonzero(level(group["labels/kmeans"])[0][...]) == 1


def whole_labels(volume, masks, values):
    labels = np.zeros(volume.shape, np.uint8)
    for mask, value in zip(masks, values, strict=True):
        labels[mask.within((0, 0, 0), volume.shape).voxels] = value
    return labels


def test_simulated_intensities_are_said(tmp_path):
    """An image of simulated intensities says so where a viewer shows its name; a measured one does not."""
    for intensities in ("simulated", "measured"):
        write_ome(tmp_path / "a.ome.zarr", scan(), {}, {**ABOUT, "intensities": intensities})
        attributes = zarr.open_group(tmp_path / "a.ome.zarr", mode="r").attrs
        assert ("simulated" in attributes["ome"]["multiscales"][0]["name"]) == (intensities == "simulated")
        assert attributes["lungpipe"]["intensities"] == intensities


def _rules(group: zarr.Group, root=None) -> None:
    """What OME-NGFF 0.5 demands of a multiscale image beyond what a JSON schema can say (sections 3.1 to 3.4)."""
    about = group.attrs["ome"]
    assert about["version"] == "0.5"
    assert group.metadata.zarr_format == 3
    for image in about["multiscales"]:
        names = [axis["name"] for axis in image["axes"]]
        assert len(set(names)) == len(names)
        assert [axis["type"] for axis in image["axes"]] == ["space"] * 3
        assert {axis["unit"] for axis in image["axes"]} == {"millimeter"}
        sizes = []
        for dataset in image["datasets"]:
            array = group[dataset["path"]]
            assert list(array.metadata.dimension_names) == names
            kinds = [one["type"] for one in dataset["coordinateTransformations"]]
            assert kinds == ["scale", "translation"]
            assert all(len(one[one["type"]]) == array.ndim for one in dataset["coordinateTransformations"])
            sizes.append(dataset["coordinateTransformations"][0]["scale"])
        assert all(np.all(np.less_equal(a, b)) for a, b in itertools.pairwise(sizes))  # finest first
        shapes = [group[dataset["path"]].shape for dataset in image["datasets"]]
        if root is not None:  # labels have as many levels as their image
            (source,) = root.attrs["ome"]["multiscales"]
            assert shapes == [root[dataset["path"]].shape for dataset in source["datasets"]]


@pytest.fixture
def exported(finished, tmp_path):
    """A finished run, and its series as OME-Zarr."""
    place = Place.at(finished[0])
    done = []
    written, oblique, exclusions = export_ome(place, tmp_path / "ome", progress=lambda *n: done.append(n))
    assert (oblique, exclusions) == ([], [])
    assert done == [(k, 8) for k in range(1, 9)]
    return place, written


def test_workspace_becomes_ome_zarr(exported):
    """Every series is there, voxel for voxel with its masks, after the rules of OME-NGFF 0.5."""
    place, written = exported
    series, nodules = stored_series(place), stored_nodules(place)
    assert [path.name for path in written] == [f"{row['series_uid']}.ome.zarr" for row in series]
    for path, row in zip(written, series, strict=True):
        root = zarr.open_group(path, mode="r")
        _rules(root)
        volume = read_volume(place, volume_name(row["volume_id"]))
        assert np.array_equal(level(root)[0][...], volume.hu)
        assert root["labels"].attrs["ome"]["labels"] == ["kmeans", "otsu"]
        for one in nodules[row["series_uid"]]:
            group = root[f"labels/{one['segmenter']}"]
            _rules(group, root)
            assert group.attrs["ome"]["image-label"]["source"] == {"image": "../../"}
            whole = stored_mask(place, one).within((0, 0, 0), volume.shape).voxels
            assert np.array_equal(level(group)[0][...] == 1, whole)


def test_metadata_fit_the_published_schemas(exported):
    """Images and labels pass the strict JSON schemas of OME-NGFF 0.5; what is wrong does not."""
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    try:
        package = importlib.metadata.distribution("ome-zarr-io")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("pip install ome-zarr-io, which holds the published schemas")
    schemas = {}
    for file in package.files or ():
        if file.match("spec/0.5/schemas/*.schema"):
            schema = json.loads(file.read_text())
            schemas[schema["$id"].rpartition("/")[2].removesuffix(".schema")] = schema
    resource = referencing.jsonschema.DRAFT202012.create_resource
    registry = referencing.Registry().with_resources((s["$id"], resource(s)) for s in schemas.values())

    def errors(kind, path):
        attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
        return list(jsonschema.Draft202012Validator(schemas[kind], registry=registry).iter_errors(attributes))

    for path in exported[1]:
        assert errors("strict_image", path) == []
        for name in ("otsu", "kmeans"):
            assert errors("strict_label", path / "labels" / name) == []
            assert errors("strict_image", path / "labels" / name) == []
    assert errors("strict_image", path / "labels")
    assert errors("strict_label", path)


def test_one_series_may_be_chosen(finished, tmp_path):
    """Only the series that is named is written; one that is not there is an error that says where the names are."""
    place = Place.at(finished[0])
    uid = str(stored_series(place)[3]["series_uid"])
    written, _, _ = export_ome(place, tmp_path / "ome", [uid])
    assert [path.name for path in written] == [f"{uid}.ome.zarr"]
    assert sorted(p.name for p in (tmp_path / "ome").iterdir()) == [f"{uid}.ome.zarr"]
    written, _ = export_nifti(place, tmp_path / "nifti", [uid])
    assert {path.parent.name for path in written} == {uid}
    assert len(written) == 3  # the CT and a mask of each segmenter
    for export in (export_ome, export_nifti):
        with pytest.raises(DatasetError, match=r"no volume of S-NOWHERE.*series\.parquet"):
            export(place, tmp_path / "none", ["S-NOWHERE"])


@pytest.mark.parametrize("export", [export_ome, export_nifti])
def test_damage_leaves_out_what_it_touches(finished, tmp_path, export):
    """A damaged volume or mask is an exclusion with its reason; everything else is written."""
    place = Place.at(finished[0])
    first, second, *_ = stored_series(place)
    (mask, *_) = stored_nodules(place)[str(second["series_uid"])]
    for name in (
        f"{volume_name(first['volume_id'])}/ct/c/0/0/0",
        f"{volume_name(second['volume_id'])}/masks/{mask['artefact']}/{mask['nodule_id']}/c/0/0/0",
    ):
        content = bytearray(place.read(name))
        content[len(content) // 2] ^= 1
        place.write(name, bytes(content))
    written, *_, exclusions = export(place, tmp_path / "out")
    assert {(e.series_uid, e.nodule_id, e.code) for e in exclusions} == {
        (first["series_uid"], "", "damaged_volume"),
        (second["series_uid"], mask["nodule_id"], "damaged_mask"),
    }
    assert len(written) == (7 if export is export_ome else 7 + 15)
    assert all(path.exists() for path in written)


def test_masks_of_a_later_run_are_left_out(finished, tmp_path):
    """A mask that is no longer the one in the tables is an exclusion, not a quiet change."""
    from lungpipe.store.volumes import write_mask

    place = Place.at(finished[0])
    row = stored_nodules(place)[str(stored_series(place)[0]["series_uid"])][0]
    mask = stored_mask(place, row)
    path = f"masks/{row['artefact']}/{row['nodule_id']}"
    write_mask(place, volume_name(row["volume_id"]), path, box(mask.frame, (1, 1, 1), (3, 3, 3)))
    _, exclusions = export_nifti(place, tmp_path / "out")
    assert [(e.nodule_id, e.code) for e in exclusions] == [(row["nodule_id"], "stale_mask")]


def _nifti_header(path) -> tuple[dict, bytes]:
    """Fields of a NIfTI-1 header, by their published offsets, and the voxels' bytes."""
    content = gzip.decompress(path.read_bytes())
    assert struct.unpack_from("<i", content, 0) == (348,)
    assert content[344:348] == b"n+1\0"
    fields = {
        "dim": struct.unpack_from("<8h", content, 40),
        "datatype": struct.unpack_from("<h", content, 70)[0],
        "slope": struct.unpack_from("<ff", content, 112),
        "units": content[123],
        "descrip": content[148:228].rstrip(b"\0"),
        "codes": struct.unpack_from("<hh", content, 252),
        "sform": np.array(struct.unpack_from("<12f", content, 280)).reshape(3, 4),
        "quaternion": struct.unpack_from("<6f", content, 256),
        "pixdim": struct.unpack_from("<8f", content, 76),
    }
    return fields, content[int(struct.unpack_from("<f", content, 108)[0]) :]


@pytest.mark.parametrize("direction", [STRAIGHT, tilted(15), TURNS[7], TURNS[-1]], ids=str)
def test_nifti_affine_leads_to_ras(tmp_path, direction):
    """Read by the standard's offsets alone: int16 HU, x fastest, and an affine to RAS, which is LPS with x and y negated."""
    volume = scan(direction, (9, 8, 7))
    write_nifti_volume(tmp_path / "a" / "ct.nii.gz", volume, "simulated intensities")
    header, voxels = _nifti_header(tmp_path / "a" / "ct.nii.gz")
    assert header["dim"][:4] == (3, 7, 8, 9)
    assert header["datatype"] == 4
    assert header["slope"] in ((1.0, 0.0), (0.0, 0.0))
    assert header["units"] & 7 == 2  # millimetre
    assert header["descrip"] == b"simulated intensities"
    assert header["codes"][1] > 0
    assert np.array_equal(np.frombuffer(voxels, "<i2").reshape(volume.shape), volume.hu)
    for index in ((0, 0, 0), (8, 0, 0), (0, 7, 0), (0, 0, 6), (8, 7, 6)):
        x, y, z = volume.frame.to_lps(index)
        assert np.allclose(header["sform"] @ [*index[::-1], 1], [-x, -y, z], atol=1e-4)


def test_nifti_is_read_by_others(tmp_path):
    """SimpleITK reads the volume back with the same HU on the same grid, oblique or not."""
    volume = scan(tilted(15), (9, 8, 7))
    write_nifti_volume(tmp_path / "ct.nii.gz", volume, "measured intensities")
    image = sitk.ReadImage(str(tmp_path / "ct.nii.gz"))
    assert volume.frame.mismatch(geometry_of(image), 1e-3) is None
    assert np.array_equal(sitk.GetArrayFromImage(image), volume.hu)


def test_workspace_becomes_nifti(finished, tmp_path):
    """Every series is a folder with the CT and each nodule's masks on the same grid, and nothing unfinished."""
    place = Place.at(finished[0])
    written, exclusions = export_nifti(place, tmp_path / "nifti")
    assert exclusions == []
    assert {p for p in (tmp_path / "nifti").rglob("*") if p.is_file()} == set(written)
    for row in stored_series(place):
        folder = tmp_path / "nifti" / row["series_uid"]
        image = sitk.ReadImage(str(folder / "ct.nii.gz"))
        volume = read_volume(place, volume_name(row["volume_id"]))
        assert np.array_equal(sitk.GetArrayFromImage(image), volume.hu)
        assert volume.frame.mismatch(geometry_of(image), 1e-3) is None
        for one in stored_nodules(place)[row["series_uid"]]:
            mask = sitk.ReadImage(str(folder / f"{one['nodule_id']}_{one['segmenter']}.nii.gz"))
            assert mask.GetSize() == image.GetSize()
            whole = stored_mask(place, one).within((0, 0, 0), volume.shape).voxels
            assert np.array_equal(sitk.GetArrayFromImage(mask), whole.astype(np.uint8))


def test_commands_say_what_they_wrote(finished, tmp_path, capsys):
    """Both commands end with a count; with --strict an exclusion is exit status 1, and its reason stands on stderr."""
    from flows.store_commands import export_nifti as nifti_command
    from flows.store_commands import export_ome as ome_command

    ome_command(str(finished[0]), tmp_path / "ome", strict=True)
    assert "8 series in" in capsys.readouterr().out
    nifti_command(str(finished[0]), tmp_path / "nifti", strict=True)
    assert "8 series and 16 masks in" in capsys.readouterr().out
    place = Place.at(finished[0])
    place.remove(volume_name(stored_series(place)[0]["volume_id"]) + "/ct")
    with pytest.raises(SystemExit) as caught:
        ome_command(str(finished[0]), tmp_path / "ome", strict=True)
    assert caught.value.code == 1
    assert "damaged_volume" in capsys.readouterr().err
