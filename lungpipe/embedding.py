"""From an image and a nodule's mask to an embedding: the embedder seam, and the embedders that a recipe names.

An embedding is a row of the table of features like any region's: its region is the name that the recipe gives the embedder, its
radius 0. So the benchmark evaluates it beside radiomics on the same folds.
"""

from __future__ import annotations

import math
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from lungpipe import plugins
from lungpipe.errors import DatasetError, FeatureError
from lungpipe.plugin_parameters import check_parameters
from lungpipe.store.schemas import BASELINES, CHOSEN, CONTROLS, REGIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lungpipe.volume import CTVolume, Mask

#: What the names of an embedding's columns begin with.
PREFIX = "emb_"
#: Key under which a recipe says which embedder stands behind a name of its own.
PLUGIN = "embedder"
#: In place of a file of weights: drawn at random, which has to be said.
RANDOM = "random"
#: Regions that are no embedder's.
_TAKEN = frozenset({*REGIONS, *CONTROLS, *BASELINES, CHOSEN})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@runtime_checkable
class Embedder(Protocol):
    """A plug-in of the group ``lungpipe.embedders``: a frozen dataclass whose fields are its parameters.

    Fields whose metadata say ``recorded=False`` belong to a machine (paths) and not to what was computed; the hash of what they
    lead to is a field of its own. Heavy libraries are imported when it is first called, in a worker.
    """

    name: ClassVar[str]
    version: ClassVar[str]

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Names of the data sets that its weights were trained on, as far as they are known."""
        ...

    def __call__(self, volume: CTVolume, mask: Mask) -> Mapping[str, float]:
        """Embed one nodule.

        Parameters
        ----------
        volume : CTVolume
            HU of the whole scan.
        mask : Mask
            The nodule, not empty, on the volume's frame.

        Returns
        -------
        mapping of str to float
            ``emb_0001``, ``emb_0002`` and so on (:func:`named`), as many for every nodule.

        Raises
        ------
        FeatureError
            If this nodule has no embedding.
        DatasetError, PluginError
            If its weights are not what they were when the run was planned, or do not fit.
        """
        ...


def named(values: Iterable[float]) -> dict[str, float]:
    """An embedding by the names of its columns.

    Parameters
    ----------
    values : iterable of float

    Raises
    ------
    FeatureError
        ``not_finite`` if a value is no number.
    """
    found = {f"{PREFIX}{number:04d}": float(value) for number, value in enumerate(values, 1)}
    if not all(map(math.isfinite, found.values())):
        raise FeatureError("not_finite", "the embedder gave values that are no numbers for this nodule")
    return found


def embedders_of(names: tuple[str, ...], parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, Embedder]:
    """Embedders by the name that a recipe gives, with their parameters.

    A name is that of a plug-in, or one of the recipe's own whose parameters name the plug-in as ``embedder``: so the same
    embedder may stand twice, with two kinds of patch.

    Raises
    ------
    PluginError
        If one is not installed.
    DatasetError
        If a parameter is not one of its embedder's, or a name cannot be that of a region.
    """
    where = "features.embedder_parameters"
    if unused := sorted(set(parameters) - set(names)):
        raise DatasetError(f"{where}.{unused[0]}: {unused[0]!r} is not among features.embedders")
    if len(set(names)) < len(names):
        raise DatasetError(f"features.embedders names one twice: {', '.join(names)}; give the second a name of its own")
    made: dict[str, Embedder] = {}
    for name in names:
        if name in _TAKEN or not _NAME.fullmatch(name):
            raise DatasetError(
                f"features.embedders: {name!r} cannot be the name of an embedder: use letters, digits, dot, hyphen and "
                f"underscore, and none of {', '.join(sorted(_TAKEN))}"
            )
        given = dict(parameters.get(name, {}))
        plugin = plugins.find("embedders", str(given.pop(PLUGIN, name)))
        check_parameters(f"{where}.{name}", given, {item.name: item.default for item in fields(plugin) if item.init})
        made[name] = plugin(**given)
    return made


def overlap(network: Any, datasets: Iterable[str]) -> str:
    """Say that a network's weights were trained on a data set; empty where that is not known.

    Parameters
    ----------
    network : Embedder or Segmenter
        With ``trained_on``.
    datasets : iterable of str
        Names of all data sets whose patients a cohort has; capitals, hyphens and the like do not count.
    """
    known = {_plain(name) for name in datasets}
    both = [name for name in network.trained_on if _plain(name) in known]
    if not both:
        return ""
    return (
        f"its weights were trained on {', '.join(both)}, which is this cohort's data set or shares patients with it: unless these "
        "were kept apart, its figures here are no test"
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
