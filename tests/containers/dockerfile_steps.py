"""The steps of a Dockerfile, read from it and carried out in a folder that is a root of its own: no Docker is needed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

#: Certificates of the machine that a root is made on, and where its packages cannot write over them.
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
PASSED = "/etc/certificates-of-the-machine.crt"


@dataclass(frozen=True)
class Step:
    """One instruction."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Its arguments, of which those that start with -- come first."""
        return shlex.split(self.text)

    @property
    def json(self) -> list[str]:
        """Its arguments where they are written as JSON."""
        return json.loads(self.text[self.text.index("[") :])


@dataclass
class Stage:
    """What stands between two FROMs."""

    image: str
    name: str
    steps: list[Step] = field(default_factory=list)


def stages(dockerfile: str) -> list[Stage]:
    """Read a Dockerfile."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        name, _, text = line.strip().partition(" ")
        if name == "FROM":
            image, *named = text.split()
            found.append(Stage(image, named[1] if named else ""))
        else:
            found[-1].steps.append(Step(name, text.strip()))
    return found


@dataclass
class Root:
    """A folder that a stage is built in."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    shell: list[str] = field(default_factory=lambda: ["/bin/sh", "-c"])

    def run(
        self, command: list[str], *, network: bool = True, passed: dict[str, str] | None = None, binds=(), **options
    ):
        """Run a command inside, as the user and with the variables that hold there; mounts end with it.

        Parameters
        ----------
        command : list of str
        network : bool
            Else there is a loopback interface alone.
        passed : dict, optional
            Further variables.
        binds : iterable of Path
            Folders of the machine to show inside, read only.
        **options
            Of ``subprocess.run``.
        """
        root = shlex.quote(str(self.path))
        mounts = [
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            f"mount -t tmpfs tmpfs {root}/dev/shm",
            *(f"mkdir -p {root}{b} && mount --bind -o ro {shlex.quote(str(b))} {root}{b}" for b in binds),
        ]
        home = "/root" if self.user.startswith("0") else "/home/lungpipe"
        usual = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": home,
            "LANG": "C.UTF-8",
        }
        variables = {**usual, **self.environment, **(passed or {})}
        # The machine's own PATH holds outside, the image's inside.
        inner = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in variables.items())]
        inner += ["/bin/sh", "-c", f'cd {shlex.quote(self.folder)} && exec "$@"', "sh", *command]
        script = " && ".join([*([] if network else ["ip link set lo up"]), *mounts])
        script += f" && exec chroot --userspec={self.user} {root} {shlex.join(inner)}"
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"])]
        return subprocess.run(
            [*apart, "/bin/sh", "-c", script],
            stdin=subprocess.DEVNULL,
            check=False,
            **options,
        )


def base(image: str, into: Path) -> None:
    """Make the root of a slim Debian image with debootstrap."""
    name, _, tag = image.partition(":")
    suite, slim, _ = tag.partition("-slim")
    if (name, slim) != ("debian", "-slim"):
        raise ValueError(f"{image} is no slim Debian")
    mirror = next((line.split()[1] for line in _sources() if line.startswith("URIs:")), "")
    subprocess.run(["debootstrap", "--variant=minbase", suite, str(into), *([mirror] if mirror else [])], check=True)
    for source, target in (("/etc/resolv.conf", "/etc/resolv.conf"), (CERTIFICATES, PASSED)):
        if Path(source).is_file():
            shutil.copyfile(source, into / target[1:])


def _sources() -> list[str]:
    path = Path("/etc/apt/sources.list.d/debian.sources")
    return path.read_text().splitlines() if path.is_file() else []


def registry() -> tuple[dict[str, str], list[Path]]:
    """How this machine reaches PyPI: pip's own settings as variables, and the folders that they name."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    variables = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy") or k == "SSL_CERT_FILE"}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2].replace("-", "_").upper()
        if name != "CONSTRAINT":  # the Dockerfile's own
            variables[f"PIP_{name}"] = value.strip("'\"")
    variables = {name: value.replace(CERTIFICATES, PASSED) for name, value in variables.items()}
    texts = " ".join(variables.values()).replace("file://", "").split()
    named = [Path(text) for text in texts if text.startswith("/")]
    folders = {p.parent if p.name == "simple" else p for p in named if p.is_dir() and not str(p).startswith("/etc")}
    return variables, sorted(folders)


def build(stage: Stage, root: Root, context: Path, others: dict[str, Path]) -> None:
    """Carry out a stage's instructions, each as Docker would.

    Raises
    ------
    AssertionError
        If a step fails, or is of a kind that is not known here.
    """
    variables, folders = registry()
    arguments: dict[str, str] = {}
    for step in stage.steps:
        known = {**root.environment, **arguments}
        if step.name == "RUN":
            done = root.run(
                [*root.shell, step.text],
                passed={**variables, **arguments, "DEBIAN_FRONTEND": "noninteractive"},
                binds=folders,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"RUN {step.text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        elif step.name == "ARG":
            name, _, value = step.text.partition("=")
            arguments[name] = value
        elif step.name == "ENV":
            for word in step.words:
                name, _, value = word.partition("=")
                root.environment[name] = re.sub(r"\$\{?(\w+)\}?", lambda m, k=known: k.get(m[1], ""), value)
        elif step.name == "WORKDIR":
            root.folder = step.text
            (root.path / step.text[1:]).mkdir(parents=True, exist_ok=True)
        elif step.name == "SHELL":
            root.shell = step.json
        elif step.name == "USER":
            root.user = step.text
        elif step.name == "COPY":
            _copy(step.words, root.path, context, others)
        else:
            assert step.name in {"LABEL", "HEALTHCHECK", "CMD"}, step


def _copy(words: list[str], root: Path, context: Path, others: dict[str, Path]) -> None:
    options = [word for word in words if word.startswith("--")]
    *sources, target = (word for word in words if not word.startswith("--"))
    origin = others[options[0].removeprefix("--from=")] if options else context
    into = root / target[1:]
    for source in sources:
        path = origin / source.lstrip("/")
        if path.is_dir():
            shutil.copytree(path, into, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            into.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, into / path.name)
