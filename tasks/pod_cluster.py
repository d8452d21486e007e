"""Workers as pods of Kubernetes by Dask's operator, each with the settings that local workers have."""

from __future__ import annotations

import copy
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from dask.utils import parse_bytes

from lungpipe.errors import DatasetError
from tasks.cluster_settings import as_environment
from tasks.named_cluster import NUMBER, built, parameters, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Memory of a pod beside its worker's limit: the nanny that watches it, which would else be killed first.
NANNY_BYTES = 2**29

#: Options that a manifest has in another place, and what they are called there.
_IN_MANIFEST = ("name", "image", "resources", "env", "worker_command", "scheduler_service_type", "idle_timeout")


@contextmanager
def open_pods(
    cls: type[Any],
    options: Mapping[str, Any],
    workers: tuple[int, int],
    memory_per_worker: str,
    settings: Mapping[str, Any],
) -> Iterator[Any]:
    """Create a ``DaskCluster``, and delete it at the end.

    Parameters
    ----------
    cls : type
        ``KubeCluster`` or one derived from it.
    options : mapping
        Of that class; ``custom_cluster_spec`` may be the path of a manifest.
    workers : tuple of int
        Fewest and most.
    memory_per_worker : str
    settings : mapping
        Of Dask.

    Raises
    ------
    DatasetError
        If an option is unknown or not the user's, or Kubernetes or its operator do not answer.
    """
    spec = cluster_spec(options, workers[0], memory_per_worker, settings)
    others = {name: value for name, value in options.items() if name not in _IN_MANIFEST}
    # Results alone go to standard output: what the class draws there stays away.
    with built(cls, {"quiet": True, **others, "custom_cluster_spec": spec}, parameters(cls)) as cluster:
        if workers[1] > workers[0]:
            cluster.adapt(minimum=workers[0], maximum=workers[1])
        yield cluster


def cluster_spec(
    options: Mapping[str, Any], workers: int, memory_per_worker: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Manifest of a ``DaskCluster``: the user's own or one made from options, and what makes its workers like local ones.

    A variable, limit or argument that the user's own manifest has is left as it is.

    Raises
    ------
    DatasetError
        If there is no manifest at the path, or it is none, or neither a manifest nor an image is given.
    """
    from dask_kubernetes.operator import make_cluster_spec

    refuse(options, {"n_workers": NUMBER})
    own = options.get("custom_cluster_spec")
    if own is not None:
        if inside := sorted(set(options) & set(_IN_MANIFEST)):
            raise DatasetError(f"run.cluster.options.{inside[0]}: custom_cluster_spec says it; leave one of them out")
        spec = copy.deepcopy(_read(own) if isinstance(own, str) else own)
    elif "image" not in options:
        raise DatasetError("run.cluster.options: name an image that has lungpipe, or a custom_cluster_spec")
    else:
        name = f"lungpipe-{uuid.uuid4().hex[:8]}"
        spec = make_cluster_spec(**{"name": name, **{k: options[k] for k in _IN_MANIFEST if k in options}})
    try:
        worker, scheduler = (spec["spec"][role]["spec"]["containers"][0] for role in ("worker", "scheduler"))
        spec["spec"]["worker"]["replicas"] = workers
    except (KeyError, IndexError, TypeError) as error:
        raise DatasetError(
            f"run.cluster.options.custom_cluster_spec: expected a manifest of kind DaskCluster with a container for "
            f"worker and scheduler, and {error} is not there"
        ) from error
    for container in (worker, scheduler):
        there = list(container.get("env") or [])
        names = {item["name"] for item in there}
        container["env"] = there + [
            {"name": name, "value": value} for name, value in as_environment(settings).items() if name not in names
        ]
    worker["args"] = _limited(list(worker.get("args") or []), memory_per_worker)
    limits = {"memory": str(parse_bytes(memory_per_worker) + NANNY_BYTES)}
    resources = dict(worker.get("resources") or {})
    worker["resources"] = {**resources, "limits": {**limits, **resources.get("limits", {})}}
    return spec


def _limited(args: list[str], memory_per_worker: str) -> list[str]:
    for option, value in (("--nthreads", "1"), ("--memory-limit", memory_per_worker)):
        if option not in args:
            args += [option, value]
    return args


def _read(path: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise DatasetError(f"run.cluster.options.custom_cluster_spec: no manifest at {path}")
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"run.cluster.options.custom_cluster_spec: {path} is not one YAML document: {error}"
        ) from error
    if not isinstance(found, dict):
        raise DatasetError(f"run.cluster.options.custom_cluster_spec: {path} is no manifest")
    return found
