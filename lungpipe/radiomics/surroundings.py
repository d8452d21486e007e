"""Extractor ``surroundings``: pleura, airways, vessels and place of a nodule as features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from lungpipe.errors import FeatureError, RegionError
from lungpipe.region.airway_graph import airway_graph, summary
from lungpipe.region.airways import airway_tree
from lungpipe.region.lung import find_lungs
from lungpipe.region.surroundings import SurroundingsSettings, surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.region.lung import Lungs
    from lungpipe.volume import CTVolume, Mask

#: Column of each measure.
COLUMNS: Mapping[str, str] = {
    "distance_pleura_mm": "surroundings_DistancePleura_mm",
    "distance_airway_mm": "surroundings_DistanceAirway_mm",
    "distance_vessel_mm": "surroundings_DistanceVessel_mm",
    "distance_fissure_mm": "surroundings_DistanceFissure_mm",
    "distance_hilum_mm": "surroundings_DistanceHilum_mm",
    "n_airways": "surroundings_CountAirways",
    "n_vessels": "surroundings_CountVessels",
    "airway_volume_fraction": "surroundings_FractionAirways",
    "vessel_volume_fraction": "surroundings_FractionVessels",
    "side": "surroundings_Side",
    "relative_height": "surroundings_RelativeHeight",
    "relative_hilum_pleura": "surroundings_RelativeHilumPleura",
}
#: Column of each measure of the whole airway tree, the same for all nodules of a scan.
TREE_COLUMNS: Mapping[str, str] = {
    "n_branches": "surroundings_TreeBranches",
    "n_ends": "surroundings_TreeEnds",
    "max_generation": "surroundings_TreeMaxGeneration",
    "total_length_mm": "surroundings_TreeLength_mm",
    "longest_path_mm": "surroundings_TreeLongestPath_mm",
    "mean_calibre_mm": "surroundings_TreeCalibre_mm",
    "mean_tortuosity": "surroundings_TreeTortuosity",
    "mean_branching_angle_deg": "surroundings_TreeBranchingAngle_deg",
    "stenosis": "surroundings_TreeStenosis",
    "ectasia": "surroundings_TreeEctasia",
}

#: Lungs and airways of the volumes that are still there, or why they have none: the last volume of each worker.
_MADE: WeakKeyDictionary[CTVolume, Structures | RegionError] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False, slots=True)
class Structures:
    """Lungs and airway tree of a scan, and the tree's measures; None and NaN for a tree that was not found."""

    lungs: Lungs
    airways: Mask | None
    tree: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Plug-in ``surroundings``: what lies round each region, meant for the nodule itself (``radii_mm = [0]``).

    The settings of radiomics (bin width, resampling) mean nothing here.

    Parameters
    ----------
    ball_radius_mm : float
        How far round the nodule vessels and airways are looked for.
    """

    name: ClassVar[str] = "surroundings"
    version: ClassVar[str] = "2"

    ball_radius_mm: float = 20.0

    def __call__(
        self, volume: CTVolume, regions: Sequence[Mask], settings: RadiomicsSettings
    ) -> list[Mapping[str, float] | FeatureError]:
        """Measure the surroundings of every region; see :class:`lungpipe.radiomics.Extractor`."""
        del settings
        found = structures_of(volume)
        if isinstance(found, RegionError):
            return [FeatureError(found.code, found.message) for _ in regions]
        wanted = SurroundingsSettings(ball_radius_mm=self.ball_radius_mm)
        return [_features(volume, region, found, wanted) for region in regions]


def structures_of(volume: CTVolume) -> Structures | RegionError:
    """Lungs and airway tree of a volume, found once; or why there are no lungs."""
    if volume not in _MADE:
        try:
            lungs = find_lungs(volume)
        except RegionError as error:  # without its traceback, which would hold the volume
            _MADE[volume] = RegionError(error.code, error.message)
        else:
            _MADE[volume] = _with_tree(volume, lungs)
    return _MADE[volume]


def _with_tree(volume: CTVolume, lungs: Lungs) -> Structures:
    try:
        airways = airway_tree(volume, lungs)
    except RegionError:
        return Structures(lungs, None, dict.fromkeys(TREE_COLUMNS, float("nan")))
    return Structures(lungs, airways, summary(airway_graph(airways)))


def _features(
    volume: CTVolume, region: Mask, found: Structures, settings: SurroundingsSettings
) -> Mapping[str, float] | FeatureError:
    try:
        values = surroundings(volume, region, found.lungs, found.airways, settings)
    except RegionError as error:
        return FeatureError(error.code, error.message)
    of_nodule = {column: values[measure] for measure, column in COLUMNS.items()}
    return of_nodule | {column: found.tree[measure] for measure, column in TREE_COLUMNS.items()}
