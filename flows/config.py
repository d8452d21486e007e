"""The recipe: a TOML file, checked whole before any work."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from data_catalog import load_dataset
from flows.sections import RunConfig
from lungpipe.errors import DatasetError
from lungpipe.segment.steps import Steps

if TYPE_CHECKING:
    from lungpipe.dicom.quality import QualitySettings


def load_config(recipe: Path, overrides: list[str] | None = None) -> RunConfig:
    """Read and check a recipe.

    Parameters
    ----------
    recipe : Path
        TOML file; paths in it are relative to its folder.
    overrides : list of str
        ``section.key=value`` with the value in TOML (a bare word counts as a string). Paths given here are
        relative to the current folder.

    Returns
    -------
    RunConfig
        With absolute paths.

    Raises
    ------
    DatasetError
        If the file is missing or no TOML, or a key or value is wrong; an unknown key is answered with the nearest
        known one.
    """
    values = _read(recipe)
    _resolve_paths(values, recipe.resolve().parent)
    given: dict[str, Any] = {}
    for text in overrides or []:
        override(given, text)
    _resolve_paths(given, Path.cwd())
    for section, keys in given.items():
        values.setdefault(section, {}).update(keys)
    config = _validate(values, str(recipe))
    if not config.cohort.dicom and load_dataset(config.cohort.dataset).intensities != "none":
        raise DatasetError(f"{recipe}: cohort.dicom is missing")
    return config


def load_quality(recipe: Path | None, overrides: list[str] | None = None) -> QualitySettings:
    """Read and check the quality section of a recipe, or the defaults, for use without a whole recipe.

    Raises
    ------
    DatasetError
        As :func:`load_config`.
    """
    values: dict[str, Any] = {"quality": _read(recipe).get("quality", {}) if recipe else {}, "cohort": {"dicom": "."}}
    for text in overrides or []:
        if not text.startswith("quality."):
            raise DatasetError(
                f"--set {text!r}: only keys of the quality section count here, as in quality.min_slices=10"
            )
        override(values, text)
    return _validate(values, str(recipe or "--set")).quality.settings()


def parsed_steps(changes: list[str]) -> Steps:
    """The steps of classical segmenters with changes (``KEY=VALUE``), for use without a recipe.

    Raises
    ------
    DatasetError
        As :func:`load_config`.
    """
    steps: dict[str, Any] = {}
    for text in changes:
        override(steps, f"steps.{text}")
    values = {"cohort": {"dicom": "."}, "segment": steps}
    return Steps(**_validate(values, "--set").segment.steps.model_dump())


def _read(recipe: Path) -> dict[str, Any]:
    if not recipe.is_file():
        raise DatasetError(f"no recipe at {recipe}")
    try:
        return tomllib.loads(recipe.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{recipe} is not TOML: {error}") from error


def _validate(values: dict[str, Any], name: str) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise DatasetError(f"{name}: " + "; ".join(_explain(item) for item in error.errors())) from error


def _resolve_paths(values: dict[str, Any], base: Path) -> None:
    cohort = values.get("cohort")
    if isinstance(cohort, dict):
        for key in ("dicom", "annotations"):
            if isinstance(cohort.get(key), str):
                cohort[key] = str(base / cohort[key])
    features = values.get("features")
    if isinstance(features, dict) and isinstance(features.get("parameter_file"), str):
        features["parameter_file"] = str(base / features["parameter_file"])
    _resolve_weights(features, "embedder_parameters", base)
    _resolve_weights(values.get("segment"), "parameters", base)
    report = values.get("report")
    if isinstance(report, dict) and isinstance(report.get("beside"), list):
        report["beside"] = [str(base / str(path)) for path in report["beside"]]
    _resolve_manifest(values.get("run"), base)
    benchmark = values.get("benchmark")
    if isinstance(benchmark, dict) and isinstance(benchmark.get("external"), dict):
        benchmark["external"] = {name: _place(base, path) for name, path in benchmark["external"].items()}
    if isinstance(benchmark, dict) and isinstance(benchmark.get("stability"), str):
        benchmark["stability"] = str(base / benchmark["stability"])


def _resolve_weights(section: Any, key: str, base: Path) -> None:
    """Paths of the weights of embedders or segmenters: one, or a list. A word is no path, unless such a file is there."""
    given = section.get(key) if isinstance(section, dict) else None
    for parameters in given.values() if isinstance(given, dict) else ():
        for name in ("weights", "ensemble") if isinstance(parameters, dict) else ():
            found = parameters.get(name)
            if isinstance(found, str) and (any(mark in found for mark in "/.") or (found and (base / found).exists())):
                parameters[name] = str(base / Path(found).expanduser())
            elif isinstance(found, list) and all(isinstance(one, str) for one in found):
                parameters[name] = [str(base / Path(one).expanduser()) for one in found]


def _resolve_manifest(run: Any, base: Path) -> None:
    """The path of a Kubernetes manifest among the options of a cluster."""
    cluster = run.get("cluster") if isinstance(run, dict) else None
    options = cluster.get("options") if isinstance(cluster, dict) else None
    if isinstance(options, dict) and isinstance(options.get("custom_cluster_spec"), str):
        options["custom_cluster_spec"] = str(base / options["custom_cluster_spec"])


def _place(base: Path, path: Any) -> Any:
    """A workspace's absolute path, or its address as it is."""
    return path if not isinstance(path, str) or "://" in path else str(base / path)


def override(values: dict[str, Any], text: str) -> None:
    """Put ``section.key=value`` into a recipe's values.

    Raises
    ------
    DatasetError
        If the text has another form.
    """
    key, equals, value = text.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot and name):
        raise DatasetError(f"--set {text!r}: expected SECTION.KEY=VALUE, as in run.workers=4")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    values.setdefault(section, {})[name] = parsed


def _explain(item: Any) -> str:
    path = [str(part) for part in item["loc"]]
    where = ".".join(path)
    if item["type"] != "extra_forbidden":
        return (
            f"{where}: {item['msg']} (found {item.get('input')!r})"
            if item["type"] != "missing"
            else f"{where} is missing"
        )
    known = _known_keys(path[:-1])
    close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    advice = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
    return f"unknown key {where!r}; {advice}"


def _known_keys(path: list[str]) -> list[str]:
    section: type[BaseModel] = RunConfig
    for name in path:
        kinds = [section.model_fields[name].annotation, *get_args(section.model_fields[name].annotation)]
        section = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(section.model_fields)
