"""Presets and containers: how known programs and engines are called, and what they may not do."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from lungpipe.errors import DatasetError, PluginError, SegmentationError
from lungpipe.nodule import Nodule
from lungpipe.segment.outside.container import Container
from lungpipe.segment.outside.presets import MonaiBundle, NnUNet, TotalSegmentator
from lungpipe.volume import Mask

MODEL = str(Path(__file__).with_name("outside_model.py"))


def nodule_at(centre) -> Nodule:
    return Nodule("p", "s", "n", centre, (13.0, 13.0, 13.0))


def whole(mask: Mask) -> np.ndarray:
    return mask.within((0, 0, 0), mask.frame.shape).voxels


FAKE_PROGRAM = """#!{python}
import json, os, subprocess, sys
open({log!r}, "a").write(json.dumps([sys.argv, dict(os.environ)]) + "\\n")
{body}
"""


def fake_program(folder: Path, name: str, body: str) -> tuple[Path, Path]:
    """An executable that logs how it is called; and the log."""
    folder.mkdir(exist_ok=True)
    path, log = folder / name, folder / f"{name}.log"
    path.write_text(FAKE_PROGRAM.format(python=sys.executable, log=str(log), body=body))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path, log


def call_of(log: Path) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of the last call."""
    argv, environment = json.loads(log.read_text().splitlines()[-1])
    return argv[1:], environment


def test_totalsegmentator_is_called_as_its_command_line_wants(tmp_path, ct):
    """The preset asks for one file with all labels, names weights and home, keeps statistics and network off."""
    body = (
        "a = sys.argv\nhome = os.environ['TOTALSEG_HOME_DIR']\n"
        "assert json.load(open(home + '/config.json'))['send_usage_stats'] is False\n"
        f"subprocess.run([{sys.executable!r}, {MODEL!r}, a[a.index('-i') + 1], a[a.index('-o') + 1]], check=True)"
    )
    program, log = fake_program(tmp_path / "bin", "TotalSegmentator", body)
    for number in (298, 913):
        trainer = tmp_path / "weights" / f"Dataset{number}_x" / "nnUNetTrainer"
        trainer.mkdir(parents=True)
        (trainer / "dataset.json").write_bytes(b"w")
    before = TotalSegmentatorAt(program, tmp_path / "weights")
    (tmp_path / "weights" / "Dataset291_x").mkdir()
    (tmp_path / "weights" / "Dataset291_x" / "checkpoint_final.pth").write_bytes(b"of another task")
    model = TotalSegmentatorAt(program, tmp_path / "weights")
    assert model.weights_sha256 == before.weights_sha256 != ""
    assert model.wanted == (2,)
    mask = model(ct[0], nodule_at(ct[2]))
    assert np.array_equal(whole(mask), ct[0].hu > -400)
    argv, environment = call_of(log)
    assert [argv[0], argv[2], *argv[4:]] == [
        "-i", "-o", "--ml", "--task", "lung_nodules", "--device", "cpu", "--nr_thr_resamp", "1", "--nr_thr_saving", "1",
    ]  # fmt: skip
    assert environment["TOTALSEG_WEIGHTS_PATH"] == str(tmp_path / "weights")
    assert environment["https_proxy"] == "http://127.0.0.1:9"
    assert "LUNGPIPE_KEY_FILE" not in environment


def TotalSegmentatorAt(program, weights):  # noqa: N802  stands for the class
    return TotalSegmentator(program=str(program), weights=(str(weights),), memory_limit_gb=2.0)


def test_totalsegmentator_without_weights_or_program_says_what_to_do(tmp_path):
    """Missing program, folder and data set are told at construction, with the command that fetches them."""
    program, _ = fake_program(tmp_path / "bin", "TotalSegmentator", "print('2.18.0')")
    with pytest.raises(PluginError, match=r"outside_missing.*pip install TotalSegmentator"):
        TotalSegmentator(program=str(tmp_path / "nothing"), weights=(str(tmp_path),))
    with pytest.raises(PluginError, match="weights must name one folder"):
        TotalSegmentator(program=str(program))
    with pytest.raises(PluginError, match=r"Dataset298.*totalseg_download_weights -t lung_nodules"):
        TotalSegmentatorAt(program, tmp_path)
    with pytest.raises(DatasetError, match="no label 'spleen' is known"):
        TotalSegmentator(
            program=str(program), weights=(str(tmp_path / "bin"),), task="liver_vessels", labels=("spleen",)
        )


def nnunet_folder(root: Path, channels=("CT",), ending=".nii.gz") -> Path:
    folder = root / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for fold in (0, 1):
        (folder / f"fold_{fold}").mkdir(parents=True)
        (folder / f"fold_{fold}" / "checkpoint_final.pth").write_bytes(b"w%d" % fold)
    described = {
        "channel_names": dict(enumerate(channels)),
        "labels": {"background": 0, "nodule": 2, "both": [1, 2]},
        "file_ending": ending,
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    (folder / "plans.json").write_text("{}")
    return folder


@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_nnunet_gets_a_folder_with_its_naming(tmp_path, ct, ending):
    """The preset writes ``<case>_0000`` with the ending of the data set, and finds ``<case>`` in the folder that comes back."""
    body = (
        "a = sys.argv\nsource, target = a[a.index('-i') + 1], a[a.index('-o') + 1]\n"
        f"assert os.listdir(source) == ['scan_0000{ending}']\n"
        f"subprocess.run([{sys.executable!r}, {MODEL!r}, source + '/scan_0000{ending}', target + '/scan{ending}'], check=True)"
    )
    program, log = fake_program(tmp_path / "bin", "nnUNetv2_predict_from_modelfolder", body)
    folder = nnunet_folder(tmp_path, ending=ending)
    model = NnUNet(program=str(program), weights=(str(folder),), folds=(0, 1), labels=("nodule",), memory_limit_gb=2.0)
    assert model.wanted == (2,)
    assert np.array_equal(whole(model(ct[0], nodule_at(ct[2]))), ct[0].hu > -400)
    argv, _ = call_of(log)
    assert argv[4:] == [
        "-m", str(folder), "-f", "0", "1", "-chk", "checkpoint_final.pth", "-device", "cpu", "-npp", "1", "-nps", "1",
        "--disable_progress_bar",
    ]  # fmt: skip


def test_nnunet_models_that_cannot_run_are_refused(tmp_path):
    """A fold without a checkpoint, and a model of two channels, are told at construction."""
    program, _ = fake_program(tmp_path / "bin", "nnUNetv2_predict_from_modelfolder", "")
    folder = nnunet_folder(tmp_path, channels=("CT", "PET"))
    with pytest.raises(PluginError, match=r"fold_2/checkpoint_final\.pth, .* not found"):
        NnUNet(program=str(program), weights=(str(folder),))
    with pytest.raises(DatasetError, match="wants 2 channels"):
        NnUNet(program=str(program), weights=(str(folder),), folds=(0,))


def monai_bundle(root: Path) -> Path:
    folder = root / "bundle"
    (folder / "configs").mkdir(parents=True)
    channels = {"0": "background", "1": "lung", "2": "nodule"}
    metadata = {"version": "0.5.1", "network_data_format": {"outputs": {"pred": {"channel_def": channels}}}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text("{}")
    return folder


def test_monai_bundle_is_run_on_our_scan_alone(tmp_path, ct, monkeypatch):
    """The preset replaces data list, folders and device, and takes the one NIfTI below the output folder."""
    body = (
        "a = sys.argv\n"
        "if a[1] == '-c':\n    print(json.dumps({'monai': '1.6.1'})); raise SystemExit\n"
        "(scan,) = json.loads(a[a.index('--datalist') + 1])\n"
        "folder = a[a.index('--output_dir') + 1] + '/scan'\nos.mkdir(folder)\n"
        f"subprocess.run([{sys.executable!r}, {MODEL!r}, scan, folder + '/scan_trans.nii.gz'], check=True)"
    )
    program, log = fake_program(tmp_path / "bin", "python", body)
    folder = monai_bundle(tmp_path)
    model = MonaiBundle(program=str(program), weights=(str(folder),), labels=("nodule",), memory_limit_gb=2.0)
    assert model.version_of_model == "bundle 0.5.1, monai 1.6.1"
    assert np.array_equal(whole(model(ct[0], nodule_at(ct[2]))), ct[0].hu > -400)
    argv, _ = call_of(log)
    assert argv[:3] == ["-m", "monai.bundle", "run"]
    assert argv[-2:] == ["--device", "$torch.device('cpu')"]
    (folder / "configs" / "inference.json").write_text('{"changed": 1}')
    with pytest.raises(PluginError, match="not what it was"):
        model.prepare(ct[0])


def test_monai_bundle_without_monai_is_told(tmp_path):
    """A Python without MONAI, and a folder without configurations, are told at construction."""
    program, _ = fake_program(tmp_path / "bin", "python", "print('{}')")
    with pytest.raises(PluginError, match="has no MONAI"):
        MonaiBundle(program=str(program), weights=(str(monai_bundle(tmp_path)),))
    with pytest.raises(PluginError, match=r"no configs/inference\.json"):
        MonaiBundle(program=str(program), weights=(str(tmp_path / "bin"),))


PIN = "registry.example/lung/model@sha256:" + "0123456789abcdef" * 4
#: An engine that does what the image would: runs our model on the mounted folders, found by their place in the container.
ENGINE = (
    "a = sys.argv\n"
    "if a[1] != 'run':\n    raise SystemExit\n"
    "flag = '--volume' if '--volume' in a else '--bind'\n"
    "mounts = [a[i + 1].rsplit(':', 2) for i, word in enumerate(a) if word == flag]\n"
    "inside = {target: source for source, target, mode in mounts}\n"
    "there = [w.replace('/input', inside['/input']).replace('/output', inside['/output']) for w in a[-2:]]\n"
    f"raise SystemExit(subprocess.run([{sys.executable!r}, {MODEL!r}, *there]).returncode)"
)


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_container_has_no_network_and_read_only_mounts(tmp_path, ct, engine):
    """The engine is asked for no network, a read-only scan and weights, limits, no privileges, and a pinned image."""
    program, log = fake_program(tmp_path / "bin", engine, ENGINE)
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "model.pt").write_bytes(b"w")
    model = Container(
        image=PIN, engine=engine, program=str(program), weights=(str(tmp_path / "w"),), labels=(2,),
        memory_limit_gb=3.0, processors=1.5,
    )  # fmt: skip
    assert asdict(model)["image_recorded"] == asdict(model)["version_of_model"] == PIN
    assert np.array_equal(whole(model(ct[0], nodule_at(ct[2]))), ct[0].hu > -400)
    calls = [json.loads(line)[0][1:] for line in log.read_text().splitlines()]
    run, removed = calls[-2:]
    assert calls[0] == ["image", "inspect", "--format", "{{.Id}}", PIN]
    text = " ".join(run)
    for part in (
        "run --rm", "--pull never", "--network none", "--read-only", "--cap-drop ALL", "no-new-privileges",
        "--memory 3000000000b --memory-swap 3000000000b", "--cpus 1.5", f"--user {os.getuid()}:{os.getgid()}",
        f"{tmp_path / 'w'}:/weights:ro", "/input:/input:ro", "/output:/output:rw",
    ):  # fmt: skip
        assert part in text, part
    assert ("--userns keep-id" in text) == (engine == "podman")
    assert "--gpus" not in text
    assert run[-3:] == [PIN, "/input/scan.nii.gz", "/output/labels.nii.gz"]
    assert removed == ["rm", "--force", run[run.index("--name") + 1]]


def test_a_container_of_apptainer_is_contained_and_hashed(tmp_path, ct):
    """Apptainer runs a local file whose hash is recorded, contained, without network or home."""
    program, log = fake_program(tmp_path / "bin", "apptainer", ENGINE)
    image = tmp_path / "model.sif"
    image.write_bytes(b"image")
    model = Container(image=str(image), engine="apptainer", program=str(program), labels=(2,), device="cuda")
    assert model.image_recorded == f"model.sif@sha256:{hashlib.sha256(b'image').hexdigest()}"
    assert np.array_equal(whole(model(ct[0], nodule_at(ct[2]))), ct[0].hu > -400)
    argv, _ = call_of(log)
    text = " ".join(argv)
    assert "run --containall --no-home --net --network none" in text
    assert "OMP_NUM_THREADS=2" in text
    assert "--nv" in argv
    assert "/input:/input:ro" in text
    assert argv[-3] == str(image)


@pytest.mark.parametrize("image", ["model:latest", "model", "model@sha256:abc", "", "a b@sha256:" + "0" * 64])
def test_an_image_that_is_not_pinned_is_refused(tmp_path, image):
    """A tag can come to mean another image, so it is refused."""
    program, _ = fake_program(tmp_path / "bin", "docker", "")
    with pytest.raises(PluginError, match="is not pinned"):
        Container(image=image, program=str(program))


def test_containers_that_cannot_run_are_refused(tmp_path):
    """Engine missing, image absent, engine unknown, Apptainer without a file: told at construction."""
    with pytest.raises(PluginError, match="outside_missing: no program 'podman'"):
        Container(image=PIN, engine="podman", program=str(tmp_path / "podman"))
    program, _ = fake_program(tmp_path / "bin", "docker", "raise SystemExit('Error: No such image')")
    with pytest.raises(
        PluginError, match=r"has no such image, or is not running; it said: Error: No such image; fetch"
    ):
        Container(image=PIN, program=str(program))
    with pytest.raises(DatasetError, match="no engine 'lxc'"):
        Container(image=PIN, engine="lxc")
    with pytest.raises(PluginError, match=r"from \.sif files"):
        Container(image="docker://model", engine="apptainer")


@pytest.fixture
def named(request):
    """An executable of another environment that a variable names; skips without."""
    variable = request.param
    if variable not in os.environ:
        pytest.skip(f"needs a program that is installed elsewhere: name its executable in {variable}")
    return os.environ[variable]


@pytest.mark.slow
@pytest.mark.parametrize("named", ["LUNGPIPE_TEST_TOTALSEGMENTATOR"], indirect=True)
def test_the_real_totalsegmentator_without_weights_fails_clearly(tmp_path, ct, named):
    """Its real command line: version read, run under limits; without weights it fails by our codes, and fetches nothing."""
    with pytest.raises(PluginError, match="totalseg_download_weights -t lung_nodules"):
        TotalSegmentatorAt(named, tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "readme").write_text("no weights")
    model = TotalSegmentator(program=named, weights=(str(tmp_path / "weights"),), task="body", labels=(1,))
    assert model.version_of_model.startswith("TotalSegmentator 2.")
    with pytest.raises(SegmentationError) as error:
        model(ct[0], nodule_at(ct[2]))
    assert error.value.code == "outside_wanted_network"
    assert [path.name for path in (tmp_path / "weights").rglob("*")] == ["readme"]
    for number in (298, 913):
        trainer = tmp_path / "weights" / f"Dataset{number}_x" / "nnUNetTrainer"
        trainer.mkdir(parents=True)
        (trainer / "dataset.json").write_text("{}")
    with pytest.raises(SegmentationError) as error:
        TotalSegmentatorAt(named, tmp_path / "weights")(ct[0], nodule_at(ct[2]))
    assert error.value.code in ("outside_wanted_network", "outside_failed")
    assert str(tmp_path) not in error.value.message


THRESHOLD_BUNDLE = {
    "imports": ["$import glob", "$import torch"],
    "bundle_root": ".",
    "dataset_dir": "/nowhere",
    "output_dir": "$@bundle_root + '/eval'",
    "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))",
    "device": "$torch.device('cuda:7')",
    "before": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "CopyItemsd", "keys": "image", "names": "pred"},
            {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: (x.to(@device) > -400) * 2"},
        ],
    },
    "after": {
        "_target_": "Compose",
        "transforms": [
            {
                "_target_": "Invertd",
                "keys": "pred",
                "transform": "@before",
                "orig_keys": "image",
                "nearest_interp": True,
            },
            {
                "_target_": "SaveImaged",
                "keys": "pred",
                "output_dir": "@output_dir",
                "resample": False,
                "dtype": "$torch.uint8",
            },
        ],
    },
    "run": ["$[@after(@before({'image': path})) for path in @datalist]"],
}


@pytest.mark.slow
@pytest.mark.parametrize("named", ["LUNGPIPE_TEST_MONAI_PYTHON"], indirect=True)
def test_a_real_monai_bundle_marks_as_its_threshold_does(tmp_path, ct, named):
    """MONAI itself runs a bundle of ours on the scan alone, on the device asked for, and its file comes back on our grid."""
    folder = monai_bundle(tmp_path)
    (folder / "configs" / "inference.json").write_text(json.dumps(THRESHOLD_BUNDLE))
    model = MonaiBundle(program=named, weights=(str(folder),), labels=("nodule",))
    assert "monai 1." in model.version_of_model
    assert np.array_equal(whole(model(ct[0], nodule_at(ct[2]))), ct[0].hu > -400)
