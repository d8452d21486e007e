"""Feature classes and features by PyRadiomics' names, and which of them settings ask for."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from lungpipe.errors import DatasetError
from lungpipe.radiomics.image_types import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lungpipe.radiomics.settings import RadiomicsSettings
    from lungpipe.radiomics.texture import TextureSettings

#: Deprecated features for which PyRadiomics still has values when they are named; for the others it has none.
_DEPRECATED_WITH_VALUE = frozenset(
    {
        ("firstorder", "StandardDeviation"),
        ("shape", "Compactness1"),
        ("shape", "Compactness2"),
        ("shape", "SphericalDisproportion"),
        ("shape2D", "SphericalDisproportion"),
    }
)


@cache
def known_features() -> Mapping[str, Mapping[str, bool]]:
    """PyRadiomics' feature classes in its order, with their features and whether each is deprecated."""
    from radiomics import getFeatureClasses  # it loads every compiled class

    return {name: dict(kind.getFeatureNames()) for name, kind in getFeatureClasses().items()}


def checked_classes(
    classes: Iterable[tuple[str, Sequence[str]]], texture: TextureSettings
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Check that classes and features exist.

    Raises
    ------
    DatasetError
        If one does not, or stands twice, or cannot be computed under the texture settings.
    """
    classes = tuple(classes)
    known = known_features() if classes else {}
    checked: dict[str, tuple[str, ...]] = {}
    for name, features in classes:
        if name not in known:
            raise DatasetError(f"features.classes: no feature class {name!r}{nearest(name, known)}")
        if name in checked:
            raise DatasetError(f"features.classes: {name!r} stands twice")
        for feature in features:
            if feature not in known[name]:
                raise DatasetError(f"features.classes.{name}: no feature {feature!r}{nearest(feature, known[name])}")
        if len(set(features)) < len(features):
            raise DatasetError(f"features.classes.{name}: a feature stands twice in {list(features)}")
        checked[name] = tuple(features)
    if "shape2D" in checked and not texture.force_2d:
        raise DatasetError("features.classes: shape2D is of one plane and needs force_2d (PyRadiomics' force2D)")
    return tuple(checked.items())


def enabled(settings: RadiomicsSettings) -> dict[str, tuple[str, ...]]:
    """Features that settings ask for.

    Returns
    -------
    dict
        Feature class to the names of its features, both in the order in which PyRadiomics gives their values. Deprecated
        features are in it only if they are named and PyRadiomics has a value for them.
    """
    known = known_features()
    asked = dict(settings.classes) or {name: () for name in known if name != "shape2D"}
    found: dict[str, tuple[str, ...]] = {}
    for name, features in asked.items():
        if features:
            found[name] = tuple(f for f in features if not known[name][f] or (name, f) in _DEPRECATED_WITH_VALUE)
        else:
            found[name] = tuple(f for f, deprecated in known[name].items() if not deprecated)
    return {name: features for name, features in found.items() if features}
