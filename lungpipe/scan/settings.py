"""What determines the rows of a scan besides its files and annotations."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from lungpipe import plugins, versions
from lungpipe.embedding import Embedder, embedders_of, overlap
from lungpipe.errors import DatasetError
from lungpipe.plugin_parameters import check_parameters, recorded
from lungpipe.radiomics.settings import check_extractor
from lungpipe.region.codes import RegionLimits
from lungpipe.region.specs import grid_of_specs
from lungpipe.segment.steps import Steps
from lungpipe.segment.verdict import MaskLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.radiomics import Extractor
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.region.outside_lung import OutsideLungs
    from lungpipe.region.specs import Kind, ShellSpec
    from lungpipe.segment import Segmenter

#: Name of lungpipe's own way to find lungs.
CLASSICAL = "classical"


@dataclass(frozen=True, slots=True, eq=False)
class ScanSettings:
    """What determines the rows of a scan besides its files and annotations; each object equals itself alone."""

    segmenters: Mapping[str, Segmenter]
    specs: tuple[ShellSpec, ...]
    clip: str
    exclude_neighbours: bool
    extractor: Extractor
    radiomics: RadiomicsSettings
    consensus: tuple[str, ...] = ()
    limits: MaskLimits = field(default_factory=MaskLimits)
    exclude_structures: tuple[str, ...] = ()
    region_limits: RegionLimits = field(default_factory=RegionLimits)
    outside_lungs: OutsideLungs | None = None
    controls: tuple[str, ...] = ()
    embedders: Mapping[str, Embedder] = field(default_factory=dict)
    datasets: tuple[str, ...] = ()

    @property
    def needs_lungs(self) -> bool:
        """Whether regions depend on the lungs."""
        return self.clip == "lung" or bool(self.exclude_structures)

    def segmenter_names(self) -> dict[str, Any]:
        """The segmenters as JSON values: name, version and parameters of each."""
        return {name: recorded(s) for name, s in sorted(self.segmenters.items())}

    def consensus_names(self) -> dict[str, Any]:
        """The ways to one mask from those of all methods, as JSON values."""
        return {name: {"name": name, "version": versions.FUSION} for name in sorted(self.consensus)}

    def lung_names(self) -> dict[str, Any]:
        """Where the lungs come from, as JSON values."""
        if self.outside_lungs is None:
            return {"method": "classical"}
        sides = {"right": list(self.outside_lungs.right), "left": list(self.outside_lungs.left)}
        return {"method": recorded(self.outside_lungs.model), **sides}

    def feature_names(self) -> dict[str, Any]:
        """What features depend on besides their masks, as JSON values."""
        return {
            "regions": [asdict(spec) for spec in self.specs],
            "clip": self.clip,
            "exclude_neighbours": self.exclude_neighbours,
            "exclude_structures": list(self.exclude_structures),
            "extractor": recorded(self.extractor),
            "radiomics": asdict(self.radiomics),
            "controls": list(self.controls),
            **({"embedders": {name: recorded(e) for name, e in self.embedders.items()}} if self.embedders else {}),
        }

    def seen_before(self) -> dict[str, str]:
        """What is known of networks whose weights were trained on patients of this cohort, by the name in the recipe."""
        learned = {
            name: one for name, one in {**self.segmenters, **self.embedders}.items() if hasattr(one, "trained_on")
        }
        found = {name: overlap(one, self.datasets) for name, one in learned.items()}
        return {name: words for name, words in found.items() if words}

    @property
    def learned(self) -> bool:
        """Whether a network runs in the workers."""
        return any(hasattr(one, "trained_on") for one in (*self.segmenters.values(), *self.embedders.values()))

    @property
    def resource(self) -> str:
        """What a worker must have: ``"GPU"`` where a network is to run on one, else nothing."""
        devices = [getattr(one, "device", "") for one in (*self.segmenters.values(), *self.embedders.values())]
        return "GPU" if self.learned and any(str(device).startswith("cuda") for device in devices) else ""

    def feature_versions(self) -> dict[str, str]:
        """Versions of the code that regions and features come from."""
        found = {"scan": versions.SCAN, "region": versions.REGION}
        if self.controls:
            found |= {"controls": versions.CONTROLS}
        if self.exclude_structures:
            found |= {"vessels": versions.VESSELS, "airways": versions.AIRWAYS}
        return found

    def names(self) -> dict[str, Any]:
        """Everything, for ``run.json``."""
        return {
            "segmenters": self.segmenter_names(),
            "consensus": self.consensus_names(),
            "mask_quality": asdict(self.limits),
            "region_quality": asdict(self.region_limits),
            "lung": self.lung_names() if self.needs_lungs else None,
            **self.feature_names(),
            **({"trained_on_this_cohort": seen} if (seen := self.seen_before()) else {}),
            "versions": self.feature_versions(),
        }


def settings_from(
    *,
    methods: tuple[str, ...],
    preset: str,
    radii_mm: tuple[float, ...],
    kinds: tuple[Kind, ...],
    clip: str,
    exclude_neighbours: bool,
    extractor: str,
    radiomics: RadiomicsSettings,
    consensus: tuple[str, ...] = (),
    steps: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    quality: Mapping[str, Any] | None = None,
    exclude_structures: tuple[str, ...] = (),
    max_clipped_fraction: float = RegionLimits().max_clipped_fraction,
    lung: Mapping[str, Any] | None = None,
    controls: tuple[str, ...] = (),
    embedders: tuple[str, ...] = (),
    embedder_parameters: Mapping[str, Mapping[str, Any]] | None = None,
    datasets: tuple[str, ...] = (),
) -> ScanSettings:
    """Turn a recipe's words into plug-ins and regions.

    Under ``preset="pins"`` the segmenters are those of the published tool, regions are its cuboids, clipped to the
    image only, and resampled HU are whole numbers. ``steps`` are fields of :class:`lungpipe.segment.steps.Steps` and
    count for every segmenter that has them, ``parameters`` are those of single segmenters, ``quality`` the fields of
    :class:`lungpipe.segment.verdict.MaskLimits`. ``embedder_parameters`` are those of single embedders, and ``datasets`` the
    names of all data sets whose patients the cohort has.

    Raises
    ------
    PluginError
        If a segmenter, extractor or embedder is not installed.
    DatasetError
        If a region or a feature setting is impossible.
    """
    pins = preset == "pins"
    prefix = "pins-" if pins else ""
    return ScanSettings(
        segmenters=segmenters_of(methods, prefix, Steps(**(steps or {})), parameters or {}),
        specs=tuple(grid_of_specs(kinds, radii_mm, "cuboid" if pins else "ball")),
        clip="none" if pins else clip,
        exclude_neighbours=exclude_neighbours and not pins,
        extractor=_extractor(extractor, radiomics),
        radiomics=replace(radiomics, interpolation="int16") if pins else radiomics,
        consensus=_consensus(consensus, methods),
        limits=MaskLimits(**(quality or {})),
        exclude_structures=() if pins else exclude_structures,
        region_limits=RegionLimits(max_clipped_fraction),
        outside_lungs=_outside_lungs(**(lung or {})),
        controls=() if pins else tuple(dict.fromkeys(controls)),
        embedders=embedders_of(embedders, embedder_parameters or {}),
        datasets=datasets,
    )


def _extractor(name: str, radiomics: RadiomicsSettings) -> Extractor:
    """An extractor that can honour the settings."""
    extractor: Extractor = plugins.find("extractors", name)()
    check_extractor(extractor, radiomics)
    return extractor


def _outside_lungs(
    method: str = CLASSICAL,
    right: tuple[int | str, ...] = (),
    left: tuple[int | str, ...] = (),
    parameters: Mapping[str, Any] | None = None,
) -> OutsideLungs | None:
    """The model that the recipe names for the lungs, or None for lungpipe's own method."""
    if method == CLASSICAL:
        if right or left or parameters:
            raise DatasetError(f"regions.lung: labels and parameters are those of a model; {CLASSICAL!r} has none")
        return None
    from lungpipe.region.outside_lung import OutsideLungs
    from lungpipe.segment.outside.model import OutsideModel

    model = segmenters_of((method,), "", Steps(), {method: parameters or {}})[method]
    if not isinstance(model, OutsideModel):
        raise DatasetError(
            f"regions.lung.method: {method!r} is no model that labels a whole scan (docs/outside-models.md)"
        )
    return OutsideLungs(model, right, left)


def segmenters_of(
    methods: tuple[str, ...], prefix: str, steps: Steps, parameters: Mapping[str, Mapping[str, Any]]
) -> dict[str, Segmenter]:
    """Segmenters by the name that a recipe gives, with their parameters.

    Raises
    ------
    PluginError
        If one is not installed.
    DatasetError
        If a parameter is not one of its segmenter's, or of another kind.
    """
    if unused := sorted(set(parameters) - set(methods)):
        raise DatasetError(f"segment.parameters.{unused[0]}: {unused[0]!r} is not among segment.methods")
    made: dict[str, Segmenter] = {}
    for name in methods:
        plugin = plugins.find("segmenters", prefix + name)
        defaults = {item.name: item.default for item in fields(plugin) if item.init}
        given = dict(parameters.get(name, {}))
        own = {key: value for key, value in defaults.items() if key != "steps"}
        check_parameters(f"segment.parameters.{name}", given, own)
        if "steps" in defaults:
            given["steps"] = steps
        made[name] = plugin(**given)
    return made


def _consensus(names: tuple[str, ...], methods: tuple[str, ...]) -> tuple[str, ...]:
    if names and len(methods) < 2:
        raise DatasetError(
            f"segment.consensus = {list(names)} needs two methods or more; segment.methods has {len(methods)}"
        )
    if taken := sorted(set(names) & set(methods)):
        raise DatasetError(f"segment.consensus: {taken[0]!r} is the name of a method too")
    return names
