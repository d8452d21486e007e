"""Features of one image for many regions, by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lungpipe.errors import FeatureError
from lungpipe.radiomics.nested import firstorder, neighbourhoods, pairs, sizes
from lungpipe.radiomics.nested.chains import chain_of, chains_of
from lungpipe.radiomics.nested.levels import levels_of
from lungpipe.radiomics.nested.offsets import half_of_neighbours, pair_weights, run_weights
from lungpipe.radiomics.nested.runs import run_lengths
from lungpipe.radiomics.nested.zones import zone_features
from lungpipe.radiomics.undefined import without_conventions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any

    from numpy.typing import NDArray

    from lungpipe.geometry import Triple
    from lungpipe.radiomics.nested.chains import Chain
    from lungpipe.radiomics.nested.levels import Levels
    from lungpipe.radiomics.texture import TextureSettings

#: Feature classes that this engine computes of an image; shape needs none.
CLASSES = ("firstorder", "glcm", "gldm", "glrlm", "glszm", "ngtdm")


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """What an image shows in a region.

    Parameters
    ----------
    values : mapping
        Features by ``<class>_<feature>``; NaN where one is undefined.
    n_bins : int
        Grey levels from the region's first to its last.
    constant : bool
        Whether all voxels have one value.
    """

    values: Mapping[str, float]
    n_bins: int
    constant: bool


@dataclass(frozen=True, eq=False, slots=True)
class Texture:
    """What texture and first-order features are computed of, prepared once for all images of a box.

    Parameters
    ----------
    masks : ndarray of bool, shape (n, z, y, x)
        Regions; none is empty. They may be anything: nested ones share their work.
    spacing_mm : tuple of float
        Voxel sides along (z, y, x), mm.
    settings : TextureSettings
    classes : collection of str
        Of :data:`CLASSES`.
    """

    masks: NDArray[np.bool_]
    spacing_mm: Triple
    settings: TextureSettings
    classes: Collection[str]
    chains: list[Chain]

    @classmethod
    def of(
        cls, masks: NDArray[np.bool_], spacing_mm: Triple, settings: TextureSettings, classes: Collection[str]
    ) -> Texture:
        """Prepare regions."""
        return cls(masks, spacing_mm, settings, classes, chains_of(masks, max(1, *settings.distances)))

    def features(self, image: NDArray[Any]) -> list[Found | FeatureError]:
        """Compute the features of an image for every region.

        Parameters
        ----------
        image : ndarray, shape (z, y, x)
            On the box of the regions, in the type in which its bins are to be made.

        Returns
        -------
        list
            For each region what was found, or why there is nothing.
        """
        found: list[Found | FeatureError] = [Found({}, 0, constant=True)] * len(self.masks)
        for chain, values, levels in self._numbered(image):
            if isinstance(levels, FeatureError):
                for member in chain.members:
                    found[member] = levels
                continue
            for place, features in enumerate(self._of_chain(chain, values, levels)):
                found[chain.members[place]] = features
        return found

    def _numbered(self, image: NDArray[Any]) -> Iterable[tuple[Chain, NDArray[Any], Levels | FeatureError]]:
        """Chains with the values and levels of their voxels; where bins do not match, a chain for each region."""
        waiting = list(self.chains)
        while waiting:
            chain = waiting.pop()
            values = chain.values(image)
            try:
                levels = levels_of(values, chain, self.settings)
            except FeatureError as error:
                if len(chain.members) == 1:
                    yield chain, values, error
                    continue
                levels = None
            if levels is None:
                pad = max(1, *self.settings.distances)
                waiting += [chain_of(self.masks, [member], pad) for member in chain.members]
                continue
            yield chain, values, levels

    def _of_chain(self, chain: Chain, values: NDArray[Any], levels: Levels) -> list[Found]:
        column = chain.padded(levels.column, -1)
        near = chain.steps(half_of_neighbours((1,), self.settings))
        tables: dict[str, tuple[tuple[str, ...], NDArray[np.float64]]] = {}
        if "firstorder" in self.classes:
            tables["firstorder"] = firstorder.NAMES, self._first_order(chain, values, levels)
        if "glcm" in self.classes:
            tables["glcm"] = pairs.NAMES, self._pairs(chain, column, levels)
        if "glrlm" in self.classes:
            tables["glrlm"] = sizes.NAMES["glrlm"], self._runs(chain, column, levels)
        if "glszm" in self.classes:
            tables["glszm"] = sizes.NAMES["glszm"], zone_features(column, chain, near, levels.number)
        if {"gldm", "ngtdm"} & set(self.classes):
            tables |= self._neighbourhoods(chain, column, levels)
        n_levels = np.count_nonzero(levels.present, axis=1).tolist()
        n_bins = levels.highest - np.where(levels.present, levels.number, levels.highest[:, None]).min(axis=1) + 1
        found = []
        for region in range(len(chain.members)):
            held = {
                f"{name}_{feature}": value
                for name, (names, table) in tables.items()
                for feature, value in zip(names, table[region].tolist(), strict=True)
                if feature
            }
            constant = n_levels[region] == 1 and bool(np.ptp(values[chain.own <= region]) == 0)
            defined = without_conventions(held, n_levels[region], constant)
            found.append(Found(defined, int(n_bins[region]), constant))
        return found

    def _first_order(self, chain: Chain, values: NDArray[Any], levels: Levels) -> NDArray[np.float64]:
        exact = values.astype(np.float64)
        n_columns = levels.number.shape[1]
        rows = []
        for region in range(len(chain.members)):
            held = chain.own <= region
            counts = np.bincount(levels.column[held], minlength=n_columns)
            own = exact[held]
            shift, voxel_mm3 = self.settings.voxel_array_shift, float(np.prod(self.spacing_mm))
            rows.append(firstorder.first_order(np.sort(own), float(own.mean()), counts, shift, voxel_mm3))
        return np.array(rows)

    def _pairs(self, chain: Chain, column: NDArray[np.int32], levels: Levels) -> NDArray[np.float64]:
        settings = self.settings
        offsets = half_of_neighbours(settings.distances, settings)
        norm = settings.weighting
        weights = np.ones(len(offsets)) if norm is None else pair_weights(offsets, self.spacing_mm, norm)
        return pairs.pair_features(
            column, chain.rank, chain.voxel, chain.own, chain.steps(offsets), weights, levels.number, levels.highest,
            settings.symmetrical_glcm, norm is not None,
        )  # fmt: skip

    def _runs(self, chain: Chain, column: NDArray[np.int32], levels: Levels) -> NDArray[np.float64]:
        offsets = half_of_neighbours((1,), self.settings)
        n_regions, n_columns = levels.number.shape
        counts = run_lengths(
            column, chain.rank, chain.voxel, chain.own, offsets, chain.padded_shape, n_regions, n_columns
        )
        lengths = np.arange(1, counts.shape[-1] + 1)
        if self.settings.weighting is not None:
            weights = run_weights(offsets, self.spacing_mm, self.settings.weighting)
            return sizes.size_features(np.tensordot(weights, counts, axes=1), levels.number, lengths)
        flat = counts.reshape(-1, n_columns, len(lengths)).astype(np.float64)
        features = sizes.size_features(flat, np.tile(levels.number, (len(offsets), 1)), lengths)
        by_direction = features.reshape(len(offsets), n_regions, -1)
        n_found = np.count_nonzero(np.isfinite(by_direction), axis=0)
        sums = np.nansum(by_direction, axis=0)
        return np.asarray(np.where(n_found > 0, sums / np.maximum(n_found, 1), np.nan))

    def _neighbourhoods(
        self, chain: Chain, column: NDArray[np.int32], levels: Levels
    ) -> dict[str, tuple[tuple[str, ...], NDArray[np.float64]]]:
        half = half_of_neighbours(self.settings.distances, self.settings)
        n_regions, n_columns = levels.number.shape
        level = chain.padded(levels.number[-1].astype(np.int32)[levels.column], 0)
        dependences, differences = neighbourhoods.neighbourhoods(
            column, level, chain.rank, chain.voxel, chain.own, chain.steps(np.concatenate([half, -half])),
            int(self.settings.gldm_a), n_regions, n_columns,
        )  # fmt: skip
        one_more = np.arange(1, dependences.shape[2] + 1)
        tables = {}
        if "gldm" in self.classes:
            features = sizes.size_features(dependences.astype(np.float64), levels.number, one_more)
            tables["gldm"] = sizes.NAMES["gldm"], features
        if "ngtdm" in self.classes:
            voxels = dependences.sum(axis=2)
            features = neighbourhoods.difference_features(voxels, differences, levels.number)
            tables["ngtdm"] = neighbourhoods.NGTDM_NAMES, features
        return tables
