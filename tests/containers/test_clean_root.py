"""The image's steps carried out in a root that debootstrap made, and lungpipe at work in it as the image's user."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import dockerfile_steps
import pandas as pd
import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.network]

ROOT = Path(__file__).parents[2]
STAGES = dockerfile_steps.stages((ROOT / "Dockerfile").read_text())
HEALTH = next(step for step in STAGES[-1].steps if step.name == "HEALTHCHECK").json
KEY = "0123456789abcdef0123456789abcdef"


def why_not() -> str | None:
    """Why a root cannot be made here, if it cannot."""
    if os.geteuid() != 0:
        return "a root of its own is made by root alone"
    for program in ("debootstrap", "chroot", "unshare", "ip"):
        if shutil.which(program) is None:
            return f"the program {program} is not installed (apt-get install debootstrap iproute2)"
    tried = subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True, check=False)
    return f"namespaces cannot be made: {tried.stderr.decode().strip()}" if tried.returncode else None


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The root that the Dockerfile comes to, with a key where the image expects one."""
    if why := why_not():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("image")
    try:
        bases = {stage.image for stage in STAGES}
        assert len(bases) == 1
        dockerfile_steps.base(bases.pop(), folder / "base")
        built: dict[str, Path] = {}
        for n, stage in enumerate(STAGES):
            path = folder / (stage.name or str(n))
            subprocess.run(["cp", "--archive", str(folder / "base"), str(path)], check=True)
            root = dockerfile_steps.Root(path)
            dockerfile_steps.build(stage, root, ROOT, built)
            built[stage.name] = path
        (root.path / "etc" / "hosts").write_text("127.0.0.1 localhost scheduler server database\n")
        yield root
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def key(image):
    """The user's key, mounted."""
    path = image.path / "keys" / "pseudonym.key"
    path.write_text(KEY)
    yield path
    path.unlink()


def asked(image, *command: str) -> subprocess.CompletedProcess:
    return image.run(list(command), network=False, capture_output=True, text=True)


def test_image_is_small_pinned_and_without_rights(image):
    """The user is no root and cannot write to the installation, no compiler and no torch are there, versions are the pins."""
    assert asked(image, "id", "-u").stdout == "10001\n"
    assert asked(image, "touch", "/opt/lungpipe/bin/x").returncode != 0
    for program in ("gcc", "cc", "make"):
        assert asked(image, "which", program).returncode != 0, program
    listed = json.loads(asked(image, "python3", "-m", "pip", "list", "--format", "json").stdout)
    versions = {re.sub("[-_.]+", "-", one["name"]).lower(): one["version"] for one in listed}
    assert "torch" not in versions
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {re.sub("[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    unpinned = {name for name, version in versions.items() if pins.get(name) != version}
    assert unpinned <= {"lungpipe", "pip", "setuptools", "wheel"}


def test_health_check_needs_the_key(image):
    """The image's own check fails, and says why, where no key is mounted."""
    done = asked(image, *HEALTH)
    assert done.returncode == 2, done.stderr
    assert "LUNGPIPE_KEY_FILE names /keys/pseudonym.key, which does not exist" in done.stdout


def test_health_check_passes_with_a_key(image, key):
    """With a key every plug-in loads and nothing is missing."""
    done = asked(image, *HEALTH)
    assert done.returncode == 0, done.stdout
    assert "no problems found" in done.stdout


def test_services_of_the_compose_file_carry_a_run(image, key):
    """Scheduler and worker, started by the compose file's commands, pass its checks and carry a run without a network."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    command = {name: shlex.join(services[name]["command"]) for name in ("scheduler", "worker")}
    check = {name: shlex.join(services[name]["healthcheck"]["test"][1:]) for name in command}
    settings = {
        "benchmark.outer_folds": "2",
        "benchmark.inner_folds": "2",
        "benchmark.classifiers": '["logistic"]',
        "segment.methods": '["otsu"]',
        "regions.radii_mm": "[0,8]",
    }
    changes = shlex.join(word for name, value in settings.items() for word in ("--set", f"{name}={value}"))
    script = f"""
        set -e
        passes() {{ for i in $(seq 150); do "$@" 2>/dev/null && return 0; sleep 2; done; echo "$1 is not healthy"; return 1; }}
        ! {check["scheduler"]} 2>/dev/null
        {command["scheduler"]} &
        passes {check["scheduler"]}
        {command["worker"]} &
        passes {check["worker"]}
        lungpipe phantom /work/demo --patients 8 --seed 7
        lungpipe run /work/demo/recipe.toml --workspace /work/results --strict {changes}
    """
    passed = {"LUNGPIPE_DASK_ADDRESS": services["flows"]["environment"]["LUNGPIPE_DASK_ADDRESS"]}
    done = image.run(["/bin/bash", "-c", script], network=False, passed=passed, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.splitlines()[-1] == "/work/results/report/index.html"
    features = pd.read_parquet(image.path / "work" / "results" / "tables" / "features.parquet")
    assert features["patient_id"].nunique() == 8
    assert (image.path / "work" / "results" / "run.json").stat().st_uid == 10001
