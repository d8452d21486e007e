"""The recipe: a TOML file, checked whole before any work."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data_catalog import load_dataset
from lungpipe.dicom.quality import QualitySettings
from lungpipe.errors import DatasetError
from lungpipe.radiomics.filter_parameters import parameters_from
from lungpipe.radiomics.settings import Interpolation, RadiomicsSettings
from lungpipe.radiomics.texture import TextureSettings
from lungpipe.region.codes import RegionLimits
from lungpipe.segment.steps import Steps
from lungpipe.segment.verdict import MaskLimits
from tasks.named_cluster import NamedCluster

#: What a name has to be that stands in a table.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Positive = Annotated[int, Field(ge=1)]
_STEPS, _LIMITS = Steps(), MaskLimits()


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CohortSection(_Section):
    """Which images and annotations, and what becomes of annotations that fit another frame better."""

    dataset: str = "generic"
    dicom: str = ""
    annotations: str | None = None
    frame_check: Literal["refuse", "warn"] = "refuse"


class QualitySection(_Section):
    """Which series are good enough: limits, and verdicts other than the usual ones by quality code."""

    max_slice_mm: Annotated[float, Field(gt=0)] = 5.0
    min_slices: Annotated[int, Field(ge=2)] = 5
    verdicts: dict[str, Literal["accept", "warn", "quarantine"]] = Field(default_factory=dict)

    def settings(self) -> QualitySettings:
        """The section as the domain knows it."""
        return QualitySettings(self.max_slice_mm, self.min_slices, self.verdicts)


class StepsSection(_Section):
    """What all classical segmenters do before and after their method."""

    window_hu: tuple[float, float] = _STEPS.window_hu
    subsolid: Literal["auto", "on", "off"] = _STEPS.subsolid
    wall: bool = _STEPS.wall
    vessels: bool = _STEPS.vessels
    holes: bool = _STEPS.holes
    opening_mm: Annotated[float, Field(ge=0)] = _STEPS.opening_mm
    clip: Literal["box", "lung", "none"] = _STEPS.clip


class MaskQualitySection(_Section):
    """What makes a mask doubtful, and what becomes of it by code."""

    min_voxels: Positive = _LIMITS.min_voxels
    min_slices: Positive = _LIMITS.min_slices
    max_outside_fraction: Annotated[float, Field(ge=0, le=1)] = _LIMITS.max_outside_fraction
    max_excess_mm: Annotated[float, Field(ge=0)] = _LIMITS.max_excess_mm
    max_box_fraction: Annotated[float, Field(gt=0, le=1)] = _LIMITS.max_box_fraction
    min_thickness_ratio: Annotated[float, Field(ge=0, le=1)] = _LIMITS.min_thickness_ratio
    plausible_hu: tuple[float, float] = _LIMITS.plausible_hu
    max_disagreement: Annotated[float, Field(ge=0, le=1)] = _LIMITS.max_disagreement
    verdicts: dict[str, Literal["accept", "warn", "exclude"]] = Field(default_factory=dict)


class SegmentSection(_Section):
    """How nodules are segmented, and which masks are fit for use."""

    methods: tuple[str, ...] = Field(("otsu", "kmeans", "gmm", "fcm"), min_length=1)
    preset: Literal["default", "pins"] = "default"
    consensus: tuple[Literal["majority", "staple", "simple"], ...] = ()
    steps: StepsSection = StepsSection()
    quality: MaskQualitySection = MaskQualitySection()
    parameters: dict[str, dict[str, Any]] = Field(default_factory=dict)


class LungSection(_Section):
    """Where the lungs come from: lungpipe's own method, or a model outside with its labels of each lung."""

    method: str = "classical"
    right: tuple[int | str, ...] = ()
    left: tuple[int | str, ...] = ()
    parameters: dict[str, Any] = Field(default_factory=dict)


class RegionsSection(_Section):
    """Which surroundings."""

    radii_mm: tuple[Annotated[float, Field(ge=0, le=100)], ...] = Field((0, 2, 4, 6, 8, 10, 12), min_length=1)
    kinds: tuple[Literal["grown", "shell", "ring", "core", "band"], ...] = Field(("grown", "shell"), min_length=1)
    clip: Literal["lung", "none"] = "lung"
    exclude_neighbours: bool = True
    exclude_structures: tuple[Literal["vessels", "airways"], ...] = ()
    lung: LungSection = LungSection()
    max_clipped_fraction: Annotated[float, Field(ge=0, le=1)] = RegionLimits().max_clipped_fraction


class FeaturesSection(_Section):
    """How features are computed."""

    extractor: str = "nested"
    bin_width_hu: Annotated[float, Field(gt=0)] = 25.0
    bin_origin_hu: float | None = None
    spacing_mm: tuple[float, float, float] | None = (1.0, 1.0, 1.0)
    interpolation: Interpolation = "float32"
    filters: tuple[str, ...] = ("original",)
    filter_parameters: dict[str, dict[str, Any]] = Field(default_factory=dict)
    parameter_file: str | None = None
    embedders: tuple[str, ...] = ()
    embedder_parameters: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def settings(self) -> RadiomicsSettings:
        """The section as the domain knows it.

        Raises
        ------
        DatasetError
            If a name is unknown or a value makes no sense, or a parameter file is not alone in what it says.
        """
        if self.parameter_file is not None:
            if beside := sorted(
                self.model_fields_set - {"extractor", "parameter_file", "embedders", "embedder_parameters"}
            ):
                raise DatasetError(
                    f"features.{beside[0]} and features.parameter_file: the file says all of it; leave one of them out"
                )
            from lungpipe.radiomics.parameter_file import read_parameter_file  # it loads PyRadiomics

            return read_parameter_file(Path(self.parameter_file)).settings
        texture = TextureSettings(bin_width=self.bin_width_hu, bin_origin=self.bin_origin_hu)
        parameters, overrides, ibsi = parameters_from(self.filter_parameters, self.filters, texture)
        return RadiomicsSettings(
            bin_width_hu=self.bin_width_hu,
            spacing_mm=self.spacing_mm,
            interpolation=self.interpolation,
            filters=self.filters,
            texture=texture,
            parameters=parameters,
            overrides=overrides,
            ibsi=ibsi,
        )


class BenchmarkSection(_Section):
    """How classifiers are compared; a recipe without this section stops at the feature table."""

    label: Literal["malignant"] = "malignant"
    group: Literal["patient_id"] = "patient_id"
    classifiers: tuple[str, ...] = ("logistic", "random_forest", "knn")
    outer_folds: Annotated[int, Field(ge=2)] = 5
    inner_folds: Annotated[int, Field(ge=2)] = 3
    repeats: Positive = 1
    seed: Annotated[int, Field(ge=0)] = 7
    design: Literal["cross-validation", "split"] = "cross-validation"
    max_correlation: Annotated[float, Field(gt=0, le=1)] = 1.0
    selection: Literal["none", "mrmr", "lasso", "boruta"] = "none"
    n_features: tuple[Positive, ...] = Field((10, 20), min_length=1)
    balance: Literal["weights", "oversample", "none"] = "weights"
    harmonise: Literal["", "manufacturer", "model", "kernel"] = ""
    stability: str | None = None
    min_icc: Annotated[float, Field(ge=0, le=1)] = 0.75
    clinical: tuple[str, ...] = ()
    controls: tuple[Literal["box", "shuffled", "inpainted"], ...] = ("box", "shuffled")
    feature_sets: tuple[str, ...] | dict[Annotated[str, Field(pattern=NAME)], str | tuple[str, ...]] = ("all",)
    external: dict[Annotated[str, Field(pattern=NAME)], str] = Field(default_factory=dict)


class ReportSection(_Section):
    """The page: its title, how far a simulated effect reaches, and finished workspaces to show beside this one."""

    title: str | None = None
    planted_radius_mm: Annotated[float, Field(gt=0)] | None = None
    beside: tuple[str, ...] = ()


class ClusterSection(_Section):
    """Which Dask cluster class starts the workers, with its own options; adaptive with a ``maximum``."""

    cluster_class: Annotated[str, Field(min_length=1)]
    options: dict[str, Any] = Field(default_factory=dict)
    minimum: Annotated[int, Field(ge=0)] = 1
    maximum: Positive | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.maximum is None and "minimum" in self.model_fields_set:
            raise ValueError("minimum without maximum: give both, or run.workers alone for a fixed number")
        if self.maximum is not None and self.maximum < self.minimum:
            raise ValueError(f"maximum = {self.maximum} is below minimum = {self.minimum}")
        return self

    def named(self) -> NamedCluster:
        """The section as the tasks know it."""
        return NamedCluster(self.cluster_class, self.options, self.minimum, self.maximum)


class RunSection(_Section):
    """Where and with what the work is done; none of it changes a number."""

    workers: Positive = 2
    memory_per_worker: str = "4GiB"
    scan_timeout_s: Positive = 600
    dask: str | None = None
    cluster: ClusterSection | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.dask is not None and self.cluster is not None:
            raise ValueError("run.dask and run.cluster: a run has one cluster; leave one of them out")
        return self

    def named(self) -> NamedCluster | None:
        """The cluster to start where no address is given."""
        return self.cluster.named() if self.cluster else None


class RunConfig(_Section):
    """A whole recipe."""

    cohort: CohortSection
    quality: QualitySection = QualitySection()
    segment: SegmentSection = Field(default_factory=lambda: SegmentSection.model_validate({}))
    regions: RegionsSection = Field(default_factory=lambda: RegionsSection.model_validate({}))
    features: FeaturesSection = FeaturesSection()
    benchmark: BenchmarkSection | None = None
    report: ReportSection = ReportSection()
    run: RunSection = RunSection()

    @property
    def evaluated(self) -> BenchmarkSection | None:
        """The benchmark section, if it names a classifier; with none its controls are made, for a benchmark that comes later."""
        return self.benchmark if self.benchmark and self.benchmark.classifiers else None


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
