"""Clusters that a recipe names: what their workers are told, and what is refused."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import dask
import pytest
from dask.utils import parse_timedelta

from lungpipe.errors import DatasetError
from tasks.cluster import SETTINGS, dask_cluster
from tasks.cluster_settings import as_environment
from tasks.named_cluster import NamedCluster, class_of

RECIPES = Path(__file__).parents[2] / "recipes" / "clusters"
#: What a process of Dask makes of the variables that it is started with.
ASK = """
import json, os, sys, dask.config
names = json.load(sys.stdin)
threads = {name: os.environ.get(name) for name in names["threads"]}
print(json.dumps({"dask": {name: dask.config.get(name, None) for name in names["dask"]}, "threads": threads}))
"""
TOLD = {name: value for name, value in SETTINGS.items() if not name.startswith("distributed.deploy.")}
THREADS = SETTINGS["distributed.nanny.pre-spawn-environ"]


def settings_under(command: list[str], environment: dict[str, str]) -> dict:
    """Dask's settings, and the limits of native thread pools, in a process started by a command."""
    asked = json.dumps({"dask": list(TOLD), "threads": list(THREADS)})
    done = subprocess.run(command, input=asked, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def bare() -> dict[str, str]:
    """The environment without anything of Dask or of thread pools."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("DASK_", *THREADS))}


def test_variables_carry_every_setting():
    """A process started with the variables has each setting of local workers, of the same type; one without has not."""
    found = settings_under([sys.executable, "-c", ASK], {**bare(), **as_environment(SETTINGS)})
    assert found == {"dask": TOLD, "threads": THREADS}
    without = settings_under([sys.executable, "-c", ASK], bare())
    assert without["dask"]["distributed.scheduler.allowed-failures"] != TOLD["distributed.scheduler.allowed-failures"]


def slurm_script(options: dict, memory_per_worker: str = "4GiB") -> str:
    """The job script of a SLURM cluster with the options; no scheduler is started."""
    jobqueue = pytest.importorskip("dask_jobqueue", reason="pip install 'lungpipe[slurm]'")
    from tasks.job_cluster import job_options

    asked = job_options(jobqueue.SLURMCluster, options, memory_per_worker, SETTINGS)
    asked.pop("scheduler_options")
    return jobqueue.SLURMCluster.job_cls("tcp://10.0.0.1:8786", name="w", **asked).job_script()


def example_options(**changes) -> dict:
    recipe = tomllib.loads((RECIPES / "slurm.toml").read_text())
    return {**recipe["run"]["cluster"]["options"], **changes}


def test_script_of_the_example_asks_for_its_job(tmp_path):
    """The example's script asks SLURM for a processor, the worker's memory and its nanny's, and the example's own words."""
    directives = re.findall(r"^#SBATCH (.*)$", slurm_script(example_options(log_directory=str(tmp_path))), re.MULTILINE)
    assert set(directives) >= {
        "--cpus-per-task=1",
        "--mem=4608M",
        "-p normal",
        "-A imaging",
        "-t 08:00:00",
        "--no-requeue",
    }
    worker = slurm_script(example_options(log_directory=str(tmp_path))).splitlines()[-1]
    for words in ("--nthreads 1 ", "--memory-limit 4.00GiB", "--nanny", "--interface ib0", "--lifetime 7h30m"):
        assert words in worker


def test_script_gives_workers_the_settings_of_local_ones(tmp_path):
    """Run by a shell, the script leaves a worker with every setting and thread limit that local workers have."""
    script = slurm_script(example_options(log_directory=str(tmp_path), job_script_prologue=["export MINE=1"]))
    prologue = script.rsplit("\n", 2)[0]
    (tmp_path / "ask.py").write_text(ASK)
    (tmp_path / "job.sh").write_text(f"{prologue}\n[ $MINE = 1 ] && exec {sys.executable} {tmp_path / 'ask.py'}\n")
    assert settings_under(["bash", str(tmp_path / "job.sh")], bare()) == {"dask": TOLD, "threads": THREADS}


@pytest.mark.parametrize("name", ["pbs", "sge", "lsf", "oar"])
@pytest.mark.filterwarnings("ignore:OAR Job memory")
def test_kin_of_slurm_get_the_settings_too(name):
    """The scripts of the other batch systems export every setting before the worker of one thread starts."""
    pytest.importorskip("dask_jobqueue", reason="pip install 'lungpipe[slurm]'")
    from tasks.job_cluster import job_options

    cls = class_of(name)
    asked = job_options(cls, {}, "2GiB", SETTINGS)
    asked.pop("scheduler_options")
    *prologue, worker = cls.job_cls("tcp://10.0.0.1:8786", name="w", **asked).job_script().splitlines()
    exports = [f"export {key}={shlex.quote(value)}" for key, value in as_environment(SETTINGS).items()]
    assert prologue[-len(exports) :] == exports
    assert "--nthreads 1 --memory-limit 2.00GiB" in worker


def test_several_workers_in_a_job_share_it(tmp_path):
    """With processes = 3 a job has three workers of one thread and their limit each."""
    script = slurm_script(example_options(log_directory=str(tmp_path), processes=3), "2GiB")
    assert "#SBATCH --cpus-per-task=3" in script
    assert f"#SBATCH --mem={3 * 2048 + 512}M" in script
    assert "--nthreads 1 --memory-limit 2.00GiB --nworkers 3" in script


def pod_mistakes(value, kind: str, where: str = "") -> list[str]:
    """Keys that the published API of Kubernetes does not have, by the types of its Python client."""
    models = pytest.importorskip("kubernetes.client", reason="pip install 'lungpipe[kubernetes]'").models
    inner = re.fullmatch(r"[Ll]ist\[(.+)\]", kind)
    if inner:
        return [m for i, item in enumerate(value) for m in pod_mistakes(item, inner[1], f"{where}[{i}]")]
    model = getattr(models, kind, None)
    if model is None:
        return []
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    wrong = [f"{where}.{key}" for key in value if key not in names]
    return wrong + [
        mistake
        for key in set(value) & set(names)
        for mistake in pod_mistakes(value[key], model.openapi_types[names[key]], f"{where}.{key}")
    ]


def test_example_manifest_is_what_kubernetes_and_the_operator_know():
    """The example's manifest, filled in, has the operator's parts and no key that Kubernetes does not know."""
    operator = pytest.importorskip("dask_kubernetes.operator", reason="pip install 'lungpipe[kubernetes]'")
    from tasks.pod_cluster import cluster_spec

    spec = cluster_spec({"custom_cluster_spec": str(RECIPES / "daskcluster.yaml")}, 2, "3GiB", SETTINGS)
    pods = {role: spec["spec"][role]["spec"] for role in ("worker", "scheduler")}
    assert [mistake for pod in pods.values() for mistake in pod_mistakes(pod, "V1PodSpec")] == []
    assert pod_mistakes(spec["spec"]["scheduler"]["service"], "V1ServiceSpec") == []
    wrong = {"containers": [{"name": "worker", "volumeMounts": [{"path": "/archive"}]}]}
    assert pod_mistakes(wrong, "V1PodSpec") == [".containers[0].volumeMounts[0].path"]
    made = operator.make_cluster_spec("lungpipe")
    assert {k: spec[k] for k in ("apiVersion", "kind")} == {k: made[k] for k in ("apiVersion", "kind")}
    assert spec["spec"]["scheduler"]["service"]["selector"] == made["spec"]["scheduler"]["service"]["selector"]
    assert set(spec["spec"]) | {"idleTimeout"} == set(made["spec"])


def test_manifest_gives_pods_the_settings_of_local_workers():
    """Filled in, the example's pods have one thread, the limits, and every setting as a variable."""
    pytest.importorskip("dask_kubernetes.operator", reason="pip install 'lungpipe[kubernetes]'")
    from tasks.pod_cluster import cluster_spec

    spec = cluster_spec({"custom_cluster_spec": str(RECIPES / "daskcluster.yaml")}, 2, "3GiB", SETTINGS)
    assert spec["spec"]["worker"]["replicas"] == 2
    worker = spec["spec"]["worker"]["spec"]["containers"][0]
    assert worker["args"][-4:] == ["--nthreads", "1", "--memory-limit", "3GiB"]
    assert worker["resources"] == {"requests": {"cpu": "1"}, "limits": {"memory": str(3 * 2**30 + 2**29)}}
    for role in ("worker", "scheduler"):
        env = {e["name"]: e["value"] for e in spec["spec"][role]["spec"]["containers"][0]["env"]}
        assert env == as_environment(SETTINGS)


def test_manifest_is_made_from_an_image():
    """Without a manifest one is made from the image; the user's own variables and limits stay."""
    pytest.importorskip("dask_kubernetes.operator", reason="pip install 'lungpipe[kubernetes]'")
    from tasks.pod_cluster import cluster_spec

    env = {"AWS_ENDPOINT_URL": "http://store", "OMP_NUM_THREADS": "2"}
    limits = {"limits": {"memory": "9Gi"}}
    spec = cluster_spec({"image": "lungpipe:0.1.0", "env": env, "resources": limits}, 1, "4GiB", SETTINGS)
    worker = spec["spec"]["worker"]["spec"]["containers"][0]
    found = {e["name"]: e["value"] for e in worker["env"]}
    assert found == {**as_environment(SETTINGS), **env}
    assert worker["resources"]["limits"]["memory"] == "9Gi"
    assert worker["image"] == "lungpipe:0.1.0"
    assert spec["metadata"]["name"].startswith("lungpipe-")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "name an image that has lungpipe"),
        ({"image": "a", "n_workers": 3}, "n_workers is not yours to set: set run.workers"),
        ({"custom_cluster_spec": {"spec": {}}, "image": "a"}, "image: custom_cluster_spec says it"),
        ({"custom_cluster_spec": {"spec": {}}}, "'worker' is not there"),
        ({"custom_cluster_spec": "nowhere.yaml"}, "no manifest at nowhere.yaml"),
    ],
)
def test_wrong_manifests_are_told(options, words):
    """What cannot become a manifest is refused with what to do."""
    pytest.importorskip("dask_kubernetes.operator", reason="pip install 'lungpipe[kubernetes]'")
    from tasks.pod_cluster import cluster_spec

    with pytest.raises(DatasetError, match=re.escape(words)):
        cluster_spec(options, 1, "4GiB", SETTINGS)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("slrum", "did you mean 'slurm'?"),
        ("nobody.Cluster", "nobody is not installed; install the package that has nobody.Cluster"),
        ("distributed.LokalCluster", "distributed has no class 'LokalCluster'"),
        ("pathlib.Path", "pathlib.Path is no Dask cluster class"),
    ],
)
def test_unknown_classes_are_told(name, words):
    """A class that is not there is an error that says what to do."""
    with pytest.raises(DatasetError, match=re.escape(words)):
        class_of(name)


@pytest.mark.parametrize(("name", "package"), [("slurm", "dask_jobqueue"), ("kubernetes", "dask_kubernetes.operator")])
def test_missing_extra_is_named(name, package, monkeypatch):
    """Where the package of a short name is not installed, the error names the extra."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DatasetError, match=re.escape(f"pip install 'lungpipe[{name}]'")):
        class_of(name)


def started(name, **options):
    with dask_cluster(None, 1, "1GiB", NamedCluster(name, options)):
        pass


def test_unknown_option_is_named(monkeypatch):
    """An option that the class does not know is named with the nearest one, before anything is submitted."""
    pytest.importorskip("dask_jobqueue", reason="pip install 'lungpipe[slurm]'")
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/sbatch")
    with pytest.raises(DatasetError, match="SLURMCluster has no option 'walltme'; did you mean 'walltime'"):
        started("slurm", walltme="01:00:00")


def test_options_that_follow_from_others_are_refused():
    """Threads and memory are the recipe's: their options are refused with the key to set instead."""
    pytest.importorskip("dask_jobqueue", reason="pip install 'lungpipe[slurm]'")
    with pytest.raises(DatasetError, match=r"options\.memory is not yours to set: set run\.memory_per_worker"):
        started("slurm", memory="4GB")
    with pytest.raises(DatasetError, match="job_script_prologue a list of lines"):
        started("slurm", job_script_prologue="module load python")
    with pytest.raises(DatasetError, match=r"threads_per_worker is not yours to set: a worker has one thread"):
        started("distributed.LocalCluster", threads_per_worker=4)


def test_no_batch_system_is_told(monkeypatch):
    """Where sbatch is not on the path the error says where to start the run."""
    pytest.importorskip("dask_jobqueue", reason="pip install 'lungpipe[slurm]'")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DatasetError, match="sbatch is not on this machine"):
        started("slurm")


def test_refused_job_is_told(monkeypatch, tmp_path):
    """What sbatch says against a job ends the run with those words, and is not waited out in silence."""
    pytest.importorskip("dask_jobqueue", reason="pip install 'lungpipe[slurm]'")
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'invalid partition specified: nothing' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(DatasetError, match="invalid partition specified: nothing"):
        started("slurm", queue="nothing")


def test_a_lost_job_is_asked_for_again_after_two_minutes():
    """Dask understands how long a worker may be away, and it is longer than a nanny takes to restart one."""
    from tasks.job_cluster import LOST_AFTER

    assert parse_timedelta(LOST_AFTER) == 120


def test_settings_do_not_outlive_a_cluster():
    """After a cluster Dask has the settings of before."""
    before = dask.config.get("distributed.scheduler.allowed-failures")
    with pytest.raises(DatasetError):
        started("slrum")
    assert dask.config.get("distributed.scheduler.allowed-failures") == before
