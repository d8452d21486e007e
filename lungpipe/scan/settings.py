"""What determines the rows of a scan besides its files and annotations."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from lungpipe import plugins
from lungpipe.region import expand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.radiomics import Extractor
    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.segment import Segmenter

#: Version of the chain: raise it when the same inputs and settings give other rows.
VERSION = "2"


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """What determines the rows of a scan besides its files and annotations."""

    segmenters: Mapping[str, Segmenter]
    specs: tuple[expand.ShellSpec, ...]
    clip: str
    exclude_neighbours: bool
    extractor: Extractor
    radiomics: RadiomicsSettings

    def segmenter_names(self) -> dict[str, Any]:
        """The segmenters as JSON values: name, version and parameters of each."""
        return {name: _plugin(s) for name, s in sorted(self.segmenters.items())}

    def feature_names(self) -> dict[str, Any]:
        """What features depend on besides their masks, as JSON values."""
        return {
            "regions": [asdict(spec) for spec in self.specs],
            "clip": self.clip,
            "exclude_neighbours": self.exclude_neighbours,
            "extractor": _plugin(self.extractor),
            "radiomics": asdict(self.radiomics),
        }

    @staticmethod
    def feature_versions() -> dict[str, str]:
        """Versions of the code that regions and features come from."""
        return {"scan": VERSION, "region": expand.VERSION}

    def names(self) -> dict[str, Any]:
        """Everything, for ``run.json``."""
        return {"segmenters": self.segmenter_names(), **self.feature_names(), "versions": self.feature_versions()}


def _plugin(plugin: Any) -> dict[str, Any]:
    return {"name": plugin.name, "version": plugin.version, "parameters": asdict(plugin)}


def settings_from(
    *,
    methods: tuple[str, ...],
    preset: str,
    radii_mm: tuple[float, ...],
    kinds: tuple[expand.Kind, ...],
    clip: str,
    exclude_neighbours: bool,
    extractor: str,
    radiomics: RadiomicsSettings,
) -> ScanSettings:
    """Turn a recipe's words into plug-ins and regions.

    Under ``preset="pins"`` the segmenters are those of the published tool, regions are its cuboids, clipped to the
    image only, and resampled HU are whole numbers.

    Raises
    ------
    PluginError
        If a segmenter or extractor is not installed.
    DatasetError
        If a region or a feature setting is impossible.
    """
    pins = preset == "pins"
    prefix = "pins-" if pins else ""
    return ScanSettings(
        segmenters={name: plugins.find("segmenters", prefix + name)() for name in methods},
        specs=tuple(expand.grid_of_specs(kinds, radii_mm, "cuboid" if pins else "ball")),
        clip="none" if pins else clip,
        exclude_neighbours=exclude_neighbours and not pins,
        extractor=plugins.find("extractors", extractor)(),
        radiomics=replace(radiomics, interpolation="int16") if pins else radiomics,
    )
