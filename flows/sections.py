"""The sections of a recipe: their keys, defaults and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
