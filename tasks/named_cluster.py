"""Workers from a Dask cluster class that a recipe names: SLURM and its kin, Kubernetes, or any other."""

from __future__ import annotations

import difflib
import importlib
import inspect
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Short names, the class of each and the extra that brings it.
CLASSES = {
    **{
        name: (f"dask_jobqueue.{cls}", "slurm")
        for name, cls in {
            "slurm": "SLURMCluster",
            "pbs": "PBSCluster",
            "sge": "SGECluster",
            "lsf": "LSFCluster",
            "oar": "OARCluster",
        }.items()
    },
    "kubernetes": ("dask_kubernetes.operator.KubeCluster", "kubernetes"),
}

ONE_THREAD = "a worker has one thread, because the native code of a scan holds the others up"
MEMORY = "set run.memory_per_worker"
NUMBER = "set run.workers, or run.cluster.minimum and maximum"
#: Options of local clusters that follow from the recipe.
LOCAL = {"n_workers": NUMBER, "threads_per_worker": ONE_THREAD, "memory_limit": MEMORY}


@dataclass(frozen=True, slots=True)
class NamedCluster:
    """A cluster class by name, its options, and how far it may grow and shrink (``maximum`` None: it does not)."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    minimum: int = 1
    maximum: int | None = None


@contextmanager
def named_cluster(
    named: NamedCluster, workers: int, memory_per_worker: str, settings: Mapping[str, Any]
) -> Iterator[str]:
    """Start a cluster, give the address of its scheduler, and close it at the end.

    Parameters
    ----------
    named : NamedCluster
    workers : int
        How many, where the cluster is not adaptive.
    memory_per_worker : str
        Limit of each, as Dask writes it (``"4GiB"``).
    settings : mapping
        Dask's settings that schedulers and workers must have.

    Raises
    ------
    DatasetError
        If the class is not installed, does not know an option, or cannot start.
    """
    cls = class_of(named.name)
    lowest, highest = (workers, workers) if named.maximum is None else (named.minimum, named.maximum)
    packages = {base.__module__.partition(".")[0] for base in cls.__mro__}
    if "dask_jobqueue" in packages:
        from tasks.job_cluster import open_jobs

        opened = open_jobs(cls, named.options, (lowest, highest), memory_per_worker, settings)
    elif "dask_kubernetes" in packages:
        from tasks.pod_cluster import open_pods

        opened = open_pods(cls, named.options, (lowest, highest), memory_per_worker, settings)
    else:
        opened = _open_other(cls, named.options, (lowest, highest), memory_per_worker)
    with opened as cluster:
        yield str(cluster.scheduler_address)


def class_of(name: str) -> type[Any]:
    """The cluster class of a short or dotted name.

    Raises
    ------
    DatasetError
        If there is no such class, or its package is not installed.
    """
    dotted, extra = CLASSES.get(name, (name, None))
    module, _, attribute = dotted.rpartition(".")
    if not module:
        close = difflib.get_close_matches(name, CLASSES, n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(CLASSES)}"
        raise DatasetError(f"run.cluster.cluster_class = {name!r}: {advice} Else a dotted name, package.module.Class")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        fix = f"pip install 'lungpipe[{extra}]'" if extra else f"install the package that has {dotted}"
        raise DatasetError(f"run.cluster.cluster_class = {name!r}: {error.name} is not installed; {fix}") from error
    except AttributeError as error:
        raise DatasetError(
            f"run.cluster.cluster_class = {name!r}: {module} has no class {attribute!r}; check the spelling"
        ) from error
    from distributed.deploy import Cluster

    if not (inspect.isclass(cls) and issubclass(cls, Cluster)):
        raise DatasetError(f"run.cluster.cluster_class = {name!r}: {dotted} is no Dask cluster class")
    return cls


def built(cls: type[Any], options: Mapping[str, Any], known: set[str] | None = None) -> Any:
    """An instance of a cluster class.

    Parameters
    ----------
    cls : type
    options : mapping
    known : set of str, optional
        All that the class takes, where that can be told beforehand.

    Raises
    ------
    DatasetError
        If the class does not know an option, or refuses one.
    """
    for name in sorted(set(options) - known) if known is not None else ():
        close = difflib.get_close_matches(name, known or (), n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known or ()))}"
        raise DatasetError(f"run.cluster.options: {cls.__name__} has no option {name!r}; {advice}")
    try:
        return cls(**options)
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise DatasetError(f"run.cluster: {cls.__name__} cannot start with these options: {error}") from error


def parameters(cls: type[Any]) -> set[str]:
    """Names that a class takes, its bases' included."""
    names: set[str] = set()
    for base in cls.__mro__[:-1]:
        if "__init__" in vars(base):
            names.update(inspect.signature(vars(base)["__init__"]).parameters)
    return names - {"self", "args", "kwargs", "base_class_kwargs", "job_kwargs", "loop", "asynchronous"}


def refuse(options: Mapping[str, Any], why: Mapping[str, str]) -> None:
    """Refuse options that follow from others.

    Raises
    ------
    DatasetError
        If one of ``why`` is among the options; it says what to set instead.
    """
    for name in options:
        if name in why:
            raise DatasetError(f"run.cluster.options.{name} is not yours to set: {why[name]}")


@contextmanager
def _open_other(
    cls: type[Any], options: Mapping[str, Any], workers: tuple[int, int], memory_per_worker: str
) -> Iterator[Any]:
    """A cluster of any other class; of its workers we know how to set only those of local ones."""
    from distributed import LocalCluster

    ours: dict[str, Any] = {}
    if issubclass(cls, LocalCluster):
        ours = {"threads_per_worker": 1, "memory_limit": memory_per_worker, "n_workers": workers[0]}
        refuse(options, LOCAL)
        options = {"dashboard_address": "127.0.0.1:0", "silence_logs": 50, **options}
    with built(cls, {**options, **ours}) as cluster:
        if workers[1] > workers[0]:
            cluster.adapt(minimum=workers[0], maximum=workers[1])
        elif not ours:
            cluster.scale(workers[0])
        yield cluster
