"""Plug-in ``container``: a model in an image of Docker, Podman or Apptainer, without network and with read-only mounts."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from lungpipe.errors import DatasetError, PluginError
from lungpipe.segment.outside.identity import VERSION_S, executable, weights_digest
from lungpipe.segment.outside.model import HERE_ONLY, OutsideModel, Plan
from lungpipe.segment.outside.supervise import environment_of, last_words

#: An image by content: ``name@sha256:...``, or the id of one that was built here.
PINNED = re.compile(r"(?:[^\s@]+@)?sha256:[0-9a-f]{64}")
_INSIDE = {"{input}": "/input/scan.nii.gz", "{output}": "/output/labels.nii.gz", "{weights}": "/weights"}


@dataclass(frozen=True, slots=True)
class Container(OutsideModel):
    """A model in a container, run once a scan; the image must be there already.

    ``weights`` may name one file or folder, which is mounted at ``/weights``. Memory and processors of Docker and Podman
    are limited by the engine; Apptainer's processes are ours, and are watched like a command's.

    Parameters
    ----------
    image : str
        By digest (``name@sha256:...``) or id (``sha256:...``); for Apptainer a ``.sif`` file, whose hash is recorded.
    engine : {"docker", "podman", "apptainer"}
    arguments : tuple of str
        What the image is started with. ``{input}`` stands for the scan (``/input/scan.nii.gz``, HU), ``{output}`` for
        the label file to write (``/output/labels.nii.gz``), ``{weights}`` for ``/weights``, ``{device}`` for ``device``.
    processors : float
        How many it may use; for Apptainer the number of threads that libraries are told.
    program : str
        The engine's executable, if it is not on ``PATH``.

    Attributes
    ----------
    image_recorded : str
        The image by digest, or the name of the ``.sif`` file and its hash.
    """

    name: ClassVar[str] = "container"

    image: str = field(default="", metadata=HERE_ONLY)
    engine: Literal["docker", "podman", "apptainer"] = "docker"
    arguments: tuple[str, ...] = ("{input}", "{output}")
    processors: float = 2.0
    program: str = field(default="", metadata=HERE_ONLY)
    image_recorded: str = field(init=False, default="")

    def check(self) -> None:
        """Refuse images that are not pinned or not there, and engines that are not."""
        if self.engine not in ("docker", "podman", "apptainer"):
            raise DatasetError(f"container: no engine {self.engine!r}; there are docker, podman, apptainer")
        if self.processors <= 0:
            raise DatasetError("container: processors must be positive")
        if len(self.weights) > 1:
            raise DatasetError(f"container: one file or folder of weights can be mounted, found {len(self.weights)}")
        if self.engine == "apptainer":
            path = Path(self.image).expanduser()
            if path.suffix != ".sif" or not path.is_file():
                raise PluginError(
                    "container: Apptainer runs images from .sif files here, so that what ran can be recorded; "
                    "make one with: apptainer pull model.sif docker://..., and name it as image"
                )
            object.__setattr__(self, "image_recorded", f"{path.name}@sha256:{weights_digest([path])}")
        elif not PINNED.fullmatch(self.image):
            raise PluginError(
                f"container: the image {self.image!r} is not pinned, so what ran could not be recorded; name it by digest "
                f"(name@sha256:...), which `{self.engine} image inspect --format '{{{{.RepoDigests}}}}' NAME` prints"
            )
        else:
            object.__setattr__(self, "image_recorded", self.image)
        self._executable()
        if self.engine != "apptainer":
            self._refuse_absent_image()

    def _executable(self) -> str:
        return executable(self.program or self.engine, "install it, or choose another engine")

    def _refuse_absent_image(self) -> None:
        argv = [self._executable(), "image", "inspect", "--format", "{{.Id}}", self.image]
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=VERSION_S, env=environment_of({}), check=False
            )
        except subprocess.TimeoutExpired as error:
            raise PluginError(f"container: {self.engine} did not answer within {VERSION_S:g} s") from error
        if done.returncode:
            raise PluginError(
                f"container: {self.engine} has no such image, or is not running{last_words(done.stderr)}; "
                f"fetch it yourself with: {self.engine} pull {self.image}"
            )

    def program_version(self) -> str:
        """The image: a container is what is in it."""
        return self.image_recorded

    def plan(self, room: Path) -> Plan:
        """The engine's command for one scan."""
        (room / "output").mkdir()
        name = f"lungpipe-{uuid.uuid4().hex[:12]}"
        mounts = [(room / "input", "/input", "ro"), (room / "output", "/output", "rw")]
        if self.weights:
            mounts.append((Path(self.weights[0]).expanduser().absolute(), "/weights", "ro"))
        apptainer = self.engine == "apptainer"
        argv = self._apptainer(mounts) if apptainer else self._docker(name, mounts)
        afterwards = () if apptainer else (self._executable(), "rm", "--force", name)
        values = {**_INSIDE, "{device}": self.device}
        words = list(self.arguments)
        for key, value in values.items():
            words = [word.replace(key, value) for word in words]
        return Plan((*argv, *words), "output/labels.nii.gz", {}, afterwards)

    def _docker(self, name: str, mounts: list[tuple[Path, str, str]]) -> list[str]:
        memory = f"{int(self.memory_limit_gb * 1e9)}b"
        argv = [self._executable(), "run", "--rm", "--name", name, "--pull", "never", "--network", "none"]
        argv += ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        argv += ["--user", f"{os.getuid()}:{os.getgid()}", "--memory", memory, "--memory-swap", memory]
        argv += ["--cpus", f"{self.processors:g}", "--pids-limit", "4096", "--shm-size", memory, "--env", "HOME=/tmp"]
        if self.engine == "podman":
            argv += ["--userns", "keep-id", "--security-opt", "label=disable"]
        if self.device != "cpu":
            argv += ["--gpus", "all"] if self.engine == "docker" else ["--device", "nvidia.com/gpu=all"]
        for source, target, mode in mounts:
            argv += ["--volume", f"{source}:{target}:{mode}"]
        return [*argv, self.image]

    def _apptainer(self, mounts: list[tuple[Path, str, str]]) -> list[str]:
        threads = max(1, round(self.processors))
        argv = [self._executable(), "run", "--containall", "--no-home", "--net", "--network", "none"]
        argv += [
            "--env",
            f"OMP_NUM_THREADS={threads},MKL_NUM_THREADS={threads}",
            *(["--nv"] if self.device != "cpu" else []),
        ]
        for source, target, mode in mounts:
            argv += ["--bind", f"{source}:{target}:{mode}"]
        return [*argv, str(Path(self.image).expanduser().absolute())]
