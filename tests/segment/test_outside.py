"""Programs outside: a scan goes out, labels come back, and each nodule is asked of them."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import sys
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lungpipe.errors import DatasetError, PluginError, SegmentationError
from lungpipe.geometry import Geometry
from lungpipe.nodule import Click, Nodule
from lungpipe.segment import Segmenter
from lungpipe.segment.outside import ScanSegmenter
from lungpipe.segment.outside.command import Command
from lungpipe.segment.outside.identity import weights_digest
from lungpipe.segment.outside.labels import LabelMap, grids_differ, nodule_of, read_labels, write_scan
from lungpipe.segment.outside.model import numbers_of
from lungpipe.segment.outside.supervise import anonymous, last_words
from lungpipe.volume import CTVolume, Mask

MODEL = str(Path(__file__).with_name("outside_model.py"))


def command(*more: str, **parameters) -> Command:
    """Our model outside as a plug-in."""
    parameters = {"labels": (2,), "time_limit_s": 60.0, "memory_limit_gb": 2.0, **parameters}
    return Command(
        command=(sys.executable, MODEL, "{input}", "{output}", *more),
        version_command=(sys.executable, MODEL, "--version"),
        **parameters,
    )


def nodule_at(centre, size_mm=(13.0, 13.0, 13.0), **more) -> Nodule:
    return Nodule("p", "s", "n", centre, size_mm, **more)


def two_balls(direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)):
    """Two balls of soft tissue in lung, on a grid of any orientation; their LPS centres."""
    frame = Geometry((30, 60, 70), (1.5, 0.8, 0.7), (-40.0, 25.0, -300.0), direction)
    index = np.indices(frame.shape).transpose(1, 2, 3, 0)
    centres = [tuple(frame.to_lps(at).tolist()) for at in ((12, 20, 20), (18, 40, 50))]
    hu = np.full(frame.shape, -850, np.int16)
    for centre in centres:
        hu[np.linalg.norm(frame.to_lps(index) - np.asarray(centre), axis=-1) <= 5.0] = 30
    return CTVolume(hu, frame), centres


def whole(mask: Mask) -> np.ndarray:
    return mask.within((0, 0, 0), mask.frame.shape).voxels


def test_command_marks_a_nodule_as_its_threshold_does(ct):
    """The mask of a real program through the whole path is that of the same threshold by hand."""
    volume, _, centre = ct
    mask = command()(volume, nodule_at(centre))
    assert mask.frame == volume.frame
    assert np.array_equal(whole(mask), volume.hu > -400)


@pytest.mark.parametrize(
    "direction",
    [
        (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),
        (np.cos(0.3), -np.sin(0.3), 0.0, np.sin(0.3), np.cos(0.3), 0.0, 0.0, 0.0, 1.0),
    ],
    ids=["sagittal", "prone", "oblique"],
)
def test_orientation_survives_the_way_out_and_back(direction):
    """On turned and oblique grids the label file counts as on the scan's grid, and each nodule gets its own ball."""
    volume, centres = two_balls(direction)
    model = command()
    masks = [model(volume, nodule_at(centre, (11.0,) * 3)) for centre in centres]
    assert np.array_equal(whole(masks[0]) | whole(masks[1]), volume.hu > -400)
    assert not np.any(whole(masks[0]) & whole(masks[1]))
    for mask, centre in zip(masks, centres, strict=True):
        assert np.linalg.norm(mask.centre_mm - centre) < 0.2


def test_nodules_of_a_scan_share_one_run(tmp_path):
    """The program runs once for two nodules of a volume, and again for another volume."""
    volume, centres = two_balls()
    log = tmp_path / "log"
    model = command("--log", str(log))
    for centre in centres:
        model(volume, nodule_at(centre, (11.0,) * 3))
    assert len(log.read_text().splitlines()) == 1
    model(CTVolume(volume.hu, volume.frame), nodule_at(centres[0], (11.0,) * 3))
    assert len(log.read_text().splitlines()) == 2


def test_a_failed_run_is_not_repeated_for_the_next_nodule(tmp_path):
    """A program that fails on a scan fails once; every nodule of the scan gets its code."""
    volume, centres = two_balls()
    log = tmp_path / "log"
    model = command("--log", str(log), "--mode", "crash")
    for centre in centres:
        with pytest.raises(SegmentationError) as error:
            model(volume, nodule_at(centre))
        assert error.value.code == "outside_failed"
    assert len(log.read_text().splitlines()) == 1


def test_a_crop_of_a_scan_comes_back_in_its_place(ct):
    """A volume that is a crop is sent as it is; its mask lies where it belongs in the full grid."""
    volume, _, centre = ct
    crop = volume.crop((5, 12, 10), (46, 75, 70))
    mask = command()(crop, nodule_at(centre))
    expected = np.zeros(volume.shape, bool)
    expected[5:46, 12:75, 10:70] = crop.hu > -400
    assert np.array_equal(whole(mask), expected)


@pytest.mark.parametrize(
    ("mode", "code", "says"),
    [
        ("shifted", "outside_geometry", r"first voxel lies 8\.66 mm"),
        ("flipped", "outside_geometry", r"axes x, y, z point to RPS instead of LPS"),
        (
            "coarse",
            "outside_geometry",
            r"24 x 40 x 40 voxels .* instead of 48 x 80 x 80, its spacing is 2\.5 x 1\.4 x 1\.4",
        ),
        ("vector", "outside_geometry", "2 values a voxel in 3 dimensions"),
        ("empty", "outside_empty", "no voxel of this scan label 2"),
        ("probabilities", "outside_labels", "no whole numbers"),
        ("negative", "outside_labels", "the label -2"),
        ("damaged", "outside_unreadable", "damaged"),
        ("nothing", "outside_wrote_nothing", "without a label file"),
    ],
)
def test_what_comes_back_wrong_is_told(ct, mode, code, says):
    """A label file that does not fit its scan is refused by code, and the message says how."""
    volume, _, centre = ct
    with pytest.raises(SegmentationError, match=says) as error:
        command("--mode", mode)(volume, nodule_at(centre))
    assert error.value.code == code


def test_labels_written_as_floating_point_are_labels(ct):
    """Whole numbers in a floating-point file count as labels: many programs write them so."""
    volume, _, centre = ct
    assert np.array_equal(whole(command("--mode", "whole-floats")(volume, nodule_at(centre))), volume.hu > -400)


def test_an_unknown_label_number_names_those_in_the_file(ct):
    """A label that no voxel has is an error that lists the labels that there are."""
    volume, _, centre = ct
    with pytest.raises(SegmentationError, match=r"label 7; it used 1, 2") as error:
        command(labels=(7,))(volume, nodule_at(centre))
    assert error.value.code == "outside_empty"


def labelled(shape=(20, 40, 40), **boxes) -> tuple[LabelMap, CTVolume]:
    """A label map with boxes: ``a=(label, start, stop)``."""
    frame = Geometry(shape, (1.0, 1.0, 1.0))
    values = np.zeros(shape, np.uint8)
    for number, start, stop in boxes.values():
        values[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = number
    return LabelMap(values, frame), CTVolume(np.where(values > 0, 20, -850).astype(np.int16), frame)


def test_the_component_under_the_seed_is_taken_before_a_larger_neighbour():
    """Two components in one box: the one under the seed is the nodule, however large the other."""
    labels, volume = labelled(small=(1, (9, 19, 19), (12, 22, 22)), large=(1, (5, 10, 24), (15, 30, 34)))
    mask = nodule_of(labels, (1,), volume, nodule_at((20.0, 20.0, 10.0), (12.0,) * 3))
    assert mask.n_voxels == 27
    assert mask.bounds == ((9, 19, 19), (12, 22, 22))


def test_a_component_in_the_box_off_the_seed_is_taken_whole():
    """Nothing under the seed: the component with most voxels in the box is taken, also its part beyond the box."""
    labels, volume = labelled(less=(1, (9, 15, 14), (10, 16, 15)), more=(1, (8, 19, 24), (13, 22, 30)))
    mask = nodule_of(labels, (1,), volume, nodule_at((20.0, 20.0, 10.0), (12.0,) * 3))
    assert mask.bounds == ((8, 19, 24), (13, 22, 30))


def test_nothing_at_the_nodule_is_an_error():
    """A model that marked something elsewhere alone has missed the nodule: ``nothing_at_seed``."""
    labels, volume = labelled(far=(1, (1, 1, 1), (4, 4, 4)))
    with pytest.raises(SegmentationError, match="none of the 1 components") as error:
        nodule_of(labels, (1,), volume, nodule_at((20.0, 20.0, 10.0), (12.0,) * 3))
    assert error.value.code == "nothing_at_seed"


def test_labels_that_are_not_wanted_are_nothing():
    """A component of another label under the seed is not the nodule."""
    labels, volume = labelled(other=(2, (9, 19, 19), (12, 22, 22)), far=(1, (1, 1, 1), (4, 4, 4)))
    with pytest.raises(SegmentationError) as error:
        nodule_of(labels, (1,), volume, nodule_at((20.0, 20.0, 10.0), (6.0,) * 3))
    assert error.value.code == "nothing_at_seed"
    assert nodule_of(labels, (), volume, nodule_at((20.0, 20.0, 10.0), (6.0,) * 3)).n_voxels == 27


def test_a_click_outside_rejects_a_component():
    """What a person clicked as outside is no reason to take a component."""
    labels, volume = labelled(it=(1, (9, 19, 24), (11, 21, 26)))
    nodule = nodule_at((20.0, 20.0, 10.0), (12.0,) * 3)
    assert nodule_of(labels, (1,), volume, nodule).n_voxels == 8
    clicks = tuple(Click((x, y, z), inside=False) for x in (24.0, 25.0) for y in (19.0, 20.0) for z in (9.0, 10.0))
    with pytest.raises(SegmentationError):
        nodule_of(labels, (1,), volume, nodule_at((20.0, 20.0, 10.0), (12.0,) * 3, clicks=clicks))


def test_a_label_map_holds_whole_numbers():
    """An array of floats is no label map."""
    with pytest.raises(ValueError, match="whole numbers"):
        LabelMap(np.zeros((2, 2, 2)), Geometry((2, 2, 2), (1.0, 1.0, 1.0)))


def test_the_file_for_the_model_holds_voxels_and_grid_alone(tmp_path, ct):
    """The scan is written with its HU and grid, and no text that could name anybody."""
    volume, _, _ = ct
    write_scan(volume, tmp_path / "in" / "scan.nii.gz")
    image = sitk.ReadImage(str(tmp_path / "in" / "scan.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(image), volume.hu)
    texts = {key: image.GetMetaData(key).strip() for key in image.GetMetaDataKeys()}
    assert not any(texts.get(key) for key in ("descrip", "aux_file", "intent_name", "db_name"))


def test_grids_that_agree_do_not_differ():
    """The same grid gives no difference; a millionth of a millimetre is none either."""
    frame = Geometry((4, 5, 6), (2.0, 0.7, 0.7), (1.0, 2.0, 3.0))
    assert grids_differ(frame, Geometry((4, 5, 6), (2.0, 0.7, 0.7), (1.000001, 2.0, 3.0))) == ""
    assert "spacing" in grids_differ(frame, Geometry((4, 5, 6), (2.1, 0.7, 0.7), (1.0, 2.0, 3.0)))


def test_a_tilted_label_file_is_refused(tmp_path, ct):
    """A label file turned by two degrees is not on the scan's grid."""
    volume, _, _ = ct
    labels = sitk.GetImageFromArray(np.ones(volume.shape, np.uint8))
    labels.SetSpacing(volume.frame.spacing_mm[::-1])
    labels.SetOrigin(volume.frame.origin_mm)
    c, s = np.cos(np.radians(2)), np.sin(np.radians(2))
    labels.SetDirection((c, -s, 0, s, c, 0, 0, 0, 1))
    sitk.WriteImage(labels, str(tmp_path / "l.nii.gz"))
    with pytest.raises(SegmentationError, match=r"mm apart|axes") as error:
        read_labels(tmp_path / "l.nii.gz", volume)
    assert error.value.code == "outside_geometry"


def test_version_and_hash_of_weights_are_recorded(tmp_path):
    """``asdict`` holds the program's version and the SHA-256 of a weight file; paths are marked as not to be recorded."""
    weights = tmp_path / "jane-roe" / "model.pt"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    model = command("--model={weights}", f"--log={tmp_path}/jane-roe/log", weights=[str(weights)])
    values = asdict(model)
    assert values["version_of_model"] == "outside-model 1.2.3"
    assert values["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()
    recorded = {f.name: values[f.name] for f in fields(model) if f.metadata.get("recorded", True)}
    assert "jane-roe" not in json.dumps(recorded)
    assert recorded["command_recorded"][-2:] == ("--model={weights}", "--log=log")
    assert Path(sys.executable).name == recorded["command_recorded"][0]


def test_changed_weights_stop_the_run(tmp_path, ct):
    """Weights that change after the run was planned stop it: the record would be wrong."""
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"weights")
    model = command("--log={weights}", weights=(str(weights),))
    weights.write_bytes(b"other weights")
    with pytest.raises(PluginError, match="not what it was when the run was planned"):
        model(ct[0], nodule_at(ct[2]))


def test_hash_of_a_folder_counts_names_and_content(tmp_path):
    """A folder of weights has another hash when a file's content or name changes, and the same in another place."""
    for place in ("a", "b"):
        (tmp_path / place / "net").mkdir(parents=True)
        (tmp_path / place / "net" / "one").write_bytes(b"1")
        (tmp_path / place / "net" / "two").write_bytes(b"2")
    first = weights_digest([tmp_path / "a" / "net"])
    assert first == weights_digest([tmp_path / "b" / "net"])
    (tmp_path / "b" / "net" / "two").write_bytes(b"3")
    second = weights_digest([tmp_path / "b" / "net"])
    (tmp_path / "a" / "net" / "two").rename(tmp_path / "a" / "net" / "three")
    assert len({first, second, weights_digest([tmp_path / "a" / "net"])}) == 3
    with pytest.raises(PluginError, match="no weights"):
        weights_digest([tmp_path / "nowhere"])


def test_a_worker_gets_the_plugin_as_it_was_planned():
    """A plug-in survives pickling with its identity, and equal ones are one key."""
    model = command()
    again = pickle.loads(pickle.dumps(model))
    assert again == model
    assert hash(again) == hash(model)
    assert isinstance(again, Segmenter)
    assert isinstance(again, ScanSegmenter)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"command": ()}, "name the program"),
        ({"command": (sys.executable, "{input}")}, "{output} must stand"),
        ({"command": "python {input} {output}"}, "command is a list"),
        ({"command": (sys.executable, "{input}", "{output}", "{weights}")}, "no weights are named"),
        ({"time_limit_s": 0.0}, "must be positive"),
        ({"labels": ("nodule",)}, "no label 'nodule' is known"),
        ({"labels": (0,)}, "numbers above 0"),
    ],
)
def test_impossible_parameters_are_refused_before_any_work(parameters, says):
    """A recipe that cannot work is refused when the plug-in is made."""
    given = {"command": (sys.executable, MODEL, "{input}", "{output}"), **parameters}
    with pytest.raises(DatasetError, match=re.escape(says)):
        Command(**given)


def test_a_missing_program_is_told_before_any_work():
    """A program that is not installed stops at construction, by name and without its folder."""
    with pytest.raises(PluginError, match=r"outside_missing: no program 'no-such-model' was found"):
        Command(command=("/home/jane/no-such-model", "{input}", "{output}"))


def test_a_version_command_that_fails_is_told():
    """A version command that exits with an error stops at construction."""
    with pytest.raises(PluginError, match="asked for its version and exited with status 1"):
        Command(
            command=(sys.executable, MODEL, "{input}", "{output}"),
            version_command=(sys.executable, "-c", "raise SystemExit('bad library')"),
        )


def test_names_of_labels_become_numbers():
    """Labels are taken by name or number, once each."""
    assert numbers_of("x", ("tumour", 3, 2, "tumour"), {"tumour": 2}) == (2, 3)


def test_last_words_are_the_error_and_name_nobody():
    """Of a program's output the error line is kept, without progress bars, colours, paths, UIDs and dates."""
    text = (
        "loading\nFileNotFoundError: /data/ROE^JANE/1.2.840.1234.5/scan_20010203.nii.gz of 2001-02-03 \x1b[0m\n"
        " 100%|####| 3/3 [00:01, 2.0it/s]\n"
    )
    words = last_words(text)
    assert words.startswith("; it said: FileNotFoundError: ")
    assert not any(secret in words for secret in ("data", "ROE", "JANE", "1.2.840", "2001", "it/s"))
    assert (
        last_words("KeyError: 'plans'\nRuntimeError: workers died. Look further up!") == "; it said: KeyError: 'plans'"
    )
    assert len(last_words("error " + "x" * 30_000)) < 300
    assert last_words("\n") == "; it said nothing"
    assert anonymous("no '/home/roe/net/dataset.json'") == "no '<path>/dataset.json'"
    assert anonymous("no '/home/roe/JaneRoe.json'") == "no '<path>'"
    assert anonymous("see https://host.example/x?y=Roe or roe@host.example") == "see <address> or <address>"
