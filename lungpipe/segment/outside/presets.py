"""Plug-ins ``totalsegmentator``, ``nnunet`` and ``monai-bundle``: how these programs are called, and what they write.

Their command lines are those of TotalSegmentator 2.18, nnU-Net 2.8 and MONAI 1.6. Programs and weights are the user's;
nothing is fetched, and programs that would are kept from it (:data:`lungpipe.segment.outside.supervise.OFFLINE`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lungpipe.errors import DatasetError, PluginError
from lungpipe.segment.outside.identity import executable, packages_of, python_of, version_said
from lungpipe.segment.outside.model import HERE_ONLY, OutsideModel, Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Label numbers by name of TotalSegmentator's tasks, as far as a lung needs them (its ``map_to_binary.py``).
_TASK_LABELS: Mapping[str, Mapping[str, int]] = {
    "lung_nodules": {"lung": 1, "lung_nodules": 2},
    "total": {
        "lung_upper_lobe_left": 10,
        "lung_lower_lobe_left": 11,
        "lung_upper_lobe_right": 12,
        "lung_middle_lobe_right": 13,
        "lung_lower_lobe_right": 14,
    },
}
#: Numbers of the data sets whose weights a task reads; the model with which ``lung_nodules`` finds the lung is 298.
_TASK_WEIGHTS: Mapping[tuple[str, bool], tuple[int, ...]] = {
    ("lung_nodules", False): (298, 913),
    ("total", False): (291, 292, 293, 294, 295),
    ("total", True): (297,),
}


@dataclass(frozen=True, slots=True)
class TotalSegmentator(OutsideModel):
    """TotalSegmentator (Wasserthal et al. 2023, doi:10.1148/ryai.230024), by default its task ``lung_nodules``.

    ``weights`` names one folder, that with the ``Dataset...`` folders. It sends no statistics of use.

    Parameters
    ----------
    labels : tuple of int or str
        By default ``("lung_nodules",)``; tasks other than that and ``total`` know their labels by number.
    task : str
    fast : bool
        The task's model of lower resolution.
    program : str
        Its executable, if it is not on ``PATH``. Not recorded; its version is.
    """

    name: ClassVar[str] = "totalsegmentator"

    labels: tuple[int | str, ...] = ("lung_nodules",)
    task: str = "lung_nodules"
    fast: bool = False
    program: str = field(default="TotalSegmentator", metadata=HERE_ONLY)

    def check(self) -> None:
        """Find the program, and the weights of the task."""
        self._executable()
        folder = _one_folder(self, "the folder that holds its Dataset... folders")
        for number in _TASK_WEIGHTS.get((self.task, self.fast), ()):
            if not any(folder.glob(f"Dataset{number}_*/*/dataset.json")):
                raise PluginError(
                    f"totalsegmentator: the weights Dataset{number} of task {self.task} are not in {folder}; fetch them "
                    f"with: totalseg_download_weights -t {self.task} (and -t total_fastest, with which it finds the lung)"
                )

    def _executable(self) -> str:
        return executable(self.program, "install it with: pip install TotalSegmentator, in an environment of its own")

    def label_names(self) -> Mapping[str, int]:
        """Numbers of the labels of the task that lie in the lung."""
        return _TASK_LABELS.get(self.task, {})

    def weight_files(self) -> tuple[Path, ...]:
        """The data sets of the task where they are known, all otherwise."""
        folder = Path(self.weights[0]).expanduser()
        numbers = _TASK_WEIGHTS.get((self.task, self.fast), ())
        return tuple(path for n in numbers for path in sorted(folder.glob(f"Dataset{n}_*"))) or (folder,)

    def program_version(self) -> str:
        """Its version and that of what it computes with."""
        return _versions(self._executable(), ("TotalSegmentator", "nnunetv2", "torch"))

    def plan(self, room: Path) -> Plan:
        """One file with all labels; a home of its own, in which it is told to send no statistics."""
        (room / "output").mkdir()
        home = room / "home"
        home.mkdir()
        settings = {"totalseg_id": "totalseg_none", "send_usage_stats": False, "prediction_counter": 0}
        (home / "config.json").write_text(json.dumps(settings), encoding="utf-8")
        argv = [self._executable(), "-i", str(self.scan_file(room)), "-o", str(room / "output" / "labels.nii.gz")]
        argv += ["--ml", "--task", self.task, "--device", self.device, "--nr_thr_resamp", "1", "--nr_thr_saving", "1"]
        weights = str(Path(self.weights[0]).expanduser().absolute())
        return Plan(
            (*argv, *(["--fast"] if self.fast else [])),
            "output/labels.nii.gz",
            {"TOTALSEG_HOME_DIR": str(home), "TOTALSEG_WEIGHTS_PATH": weights},
        )


@dataclass(frozen=True, slots=True)
class NnUNet(OutsideModel):
    """A trained nnU-Net v2 (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z) of one channel, CT.

    ``weights`` names one folder, that of the trainer (``nnUNetTrainer__nnUNetPlans__3d_fullres``), with ``dataset.json``,
    ``plans.json`` and ``fold_...``. Labels have the names of its ``dataset.json``.

    Parameters
    ----------
    folds : tuple of int
    checkpoint : str
    program : str
        Its executable, if it is not on ``PATH``. Not recorded; its version is.
    """

    name: ClassVar[str] = "nnunet"

    folds: tuple[int, ...] = (0, 1, 2, 3, 4)
    checkpoint: str = "checkpoint_final.pth"
    program: str = field(default="nnUNetv2_predict_from_modelfolder", metadata=HERE_ONLY)

    def check(self) -> None:
        """Find the program and the model's files; refuse one of several channels."""
        self._executable()
        folder = _one_folder(self, "the folder of the trainer, with dataset.json and fold_0")
        absent = [path.relative_to(folder).as_posix() for path in self.weight_files() if not path.is_file()]
        if absent:
            raise PluginError(
                f"nnunet: {', '.join(absent)} not found in {folder}; name the folder of the trainer, and folds"
            )
        channels = self._described().get("channel_names", {})
        if len(channels) != 1:
            raise DatasetError(f"nnunet: the model wants {len(channels)} channels; a CT has one")

    def _executable(self) -> str:
        return executable(self.program, "install it with: pip install nnunetv2, in an environment of its own")

    def _described(self) -> dict[str, Any]:
        return _json(Path(self.weights[0]).expanduser() / "dataset.json")

    def label_names(self) -> Mapping[str, int]:
        """Labels of ``dataset.json`` that are one number each, above 0."""
        return {n: v for n, v in self._described().get("labels", {}).items() if isinstance(v, int) and v > 0}

    def weight_files(self) -> tuple[Path, ...]:
        """Description, plans, and the checkpoints of the folds."""
        folder = Path(self.weights[0]).expanduser()
        checkpoints = (folder / f"fold_{fold}" / self.checkpoint for fold in self.folds)
        return (folder / "dataset.json", folder / "plans.json", *checkpoints)

    def program_version(self) -> str:
        """Versions of nnU-Net and PyTorch; it has no option that says them."""
        return _versions(self._executable(), ("nnunetv2", "torch"), flag="")

    def _ending(self) -> str:
        return str(self._described().get("file_ending", ".nii.gz"))

    def scan_file(self, room: Path) -> Path:
        """Its naming: case, channel, the ending that it was trained with."""
        return room / "input" / f"scan_0000{self._ending()}"

    def plan(self, room: Path) -> Plan:
        """A folder in, a folder out, with the folders that it wants to know but does not need."""
        output = room / "output"
        output.mkdir()
        argv = [self._executable(), "-i", str(room / "input"), "-o", str(output)]
        argv += ["-m", str(Path(self.weights[0]).expanduser().absolute()), "-f", *map(str, self.folds)]
        argv += ["-chk", self.checkpoint, "-device", self.device, "-npp", "1", "-nps", "1", "--disable_progress_bar"]
        unused = dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), str(room))
        return Plan(tuple(argv), f"output/scan{self._ending()}", unused)


@dataclass(frozen=True, slots=True)
class MonaiBundle(OutsideModel):
    """A MONAI bundle (Cardoso et al. 2022, arXiv:2211.02701) that segments.

    ``weights`` names one folder, that of the bundle, with ``configs`` and ``models``. It is run with ``bundle_root``,
    ``dataset_dir``, ``datalist``, ``output_dir`` and ``device`` replaced, and must write one NIfTI below ``output_dir``.
    Labels have the names of its ``metadata.json``. A bundle is code: run only one that you trust.

    Parameters
    ----------
    config : str
        Its configuration for inference, relative to ``configs``.
    arguments : tuple of str
        Further arguments, for bundles that name things in another way.
    program : str
        The Python that has MONAI. Not recorded; its version is.
    """

    name: ClassVar[str] = "monai-bundle"

    config: str = "inference.json"
    arguments: tuple[str, ...] = ()
    program: str = field(default="python", metadata=HERE_ONLY)

    def check(self) -> None:
        """Find Python, MONAI in it, and the bundle."""
        folder = _one_folder(self, "the folder of the bundle, with configs and models")
        for path in (folder / "configs" / self.config, folder / "configs" / "metadata.json"):
            if not path.is_file():
                raise PluginError(
                    f"monai-bundle: no configs/{path.name} in {folder}; name the folder of the bundle, and config"
                )
        if "monai" not in packages_of(self._executable(), ("monai",)):
            raise PluginError(
                'outside_missing: the Python named by program has no MONAI; install it there with: pip install "monai[fire]"'
            )

    def _executable(self) -> str:
        return executable(self.program, "name the Python of the environment that has MONAI as program")

    def _described(self) -> dict[str, Any]:
        return _json(Path(self.weights[0]).expanduser() / "configs" / "metadata.json")

    def label_names(self) -> Mapping[str, int]:
        """Channels of the bundle's output by name, without the background."""
        outputs = self._described().get("network_data_format", {}).get("outputs", {})
        channels = outputs.get("pred", {}).get("channel_def", {})
        return {str(name): int(number) for number, name in channels.items() if int(number) > 0}

    def weight_files(self) -> tuple[Path, ...]:
        """Configurations, models and code of the bundle."""
        folder = Path(self.weights[0]).expanduser()
        return tuple(path for path in (folder / part for part in ("configs", "models", "scripts")) if path.is_dir())

    def program_version(self) -> str:
        """Versions of the bundle, MONAI and PyTorch."""
        return f"bundle {self._described().get('version', '?')}, {packages_of(self._executable(), ('monai', 'torch'))}"

    def plan(self, room: Path) -> Plan:
        """Run its ``run`` with our scan as its only case."""
        (room / "output").mkdir()
        bundle = Path(self.weights[0]).expanduser().absolute()
        argv = [self._executable(), "-m", "monai.bundle", "run"]
        argv += ["--meta_file", str(bundle / "configs" / "metadata.json")]
        argv += ["--config_file", str(bundle / "configs" / self.config), "--bundle_root", str(bundle)]
        argv += ["--dataset_dir", str(room / "input"), "--datalist", json.dumps([str(self.scan_file(room))])]
        argv += ["--output_dir", str(room / "output"), "--device", f"$torch.device('{self.device}')", *self.arguments]
        return Plan(tuple(argv), "output/**/*.nii*")


def _one_folder(model: OutsideModel, what: str) -> Path:
    if len(model.weights) != 1 or not Path(model.weights[0]).expanduser().is_dir():
        raise PluginError(
            f"{model.name}: weights must name one folder, {what}; put it under [segment.parameters.{model.name}]"
        )
    return Path(model.weights[0]).expanduser()


def _versions(program: str, packages: tuple[str, ...], flag: str = "--version") -> str:
    """Versions of packages where the program is a Python script, else what it says of itself."""
    python = python_of(program)
    found = packages_of(python, packages) if python else ""
    return found or (version_said((program, flag)) if flag else "not stated")


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PluginError(f"{path} cannot be read as JSON ({type(error).__name__})") from error
    if not isinstance(values, dict):
        raise PluginError(f"{path} holds no JSON object")
    return values
