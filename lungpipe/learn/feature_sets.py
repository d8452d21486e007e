"""Sets of features that a benchmark chooses among: built-in ones by kind of feature, or a recipe's own by patterns."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The set of all features.
ALL = "all"
#: Built-in sets by name: patterns of names ``image_class_Feature``; a pattern after ``!`` takes names out again.
BUILT_IN = {
    ALL: ("*",),
    "shape": ("*_shape_*",),
    "first_order": ("original_firstorder_*",),
    "texture": tuple(f"original_{kind}_*" for kind in ("glcm", "glrlm", "glszm", "gldm", "ngtdm")),
    "filtered": ("*_*_*", "!original_*", "!surroundings_*"),
    "embedding": ("emb_*",),
}
#: Name and patterns of a set.
FeatureSet = tuple[str, tuple[str, ...]]


def feature_sets(given: Sequence[str] | Mapping[str, str | Sequence[str]]) -> tuple[FeatureSet, ...]:
    """Sets that a recipe names: built-in ones, or its own.

    Parameters
    ----------
    given : sequence of str, or mapping of str to str or sequence of str
        Names of built-in sets; or pattern(s) by name, in which ``*`` stands for any text.

    Raises
    ------
    DatasetError
        If there is none, or a name is unknown or there twice.
    """
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, dict):
        unknown = [str(name) for name in given if name not in BUILT_IN]
        if unknown:
            raise DatasetError(
                f"benchmark.feature_sets: there is no set {unknown[0]!r}; built-in are {', '.join(BUILT_IN)}. A set of your own is "
                'a name with patterns, as in {wavelets = "wavelet-*"}'
            )
        if len(set(given)) < len(given):
            raise DatasetError(f"benchmark.feature_sets names a set twice: {', '.join(map(str, given))}")
        found = tuple((str(name), BUILT_IN[str(name)]) for name in given)
    else:
        found = tuple(
            (name, (patterns,) if isinstance(patterns, str) else tuple(patterns)) for name, patterns in given.items()
        )
    if not found or not all(patterns for _, patterns in found):
        raise DatasetError("benchmark.feature_sets: at least one set with a pattern is needed")
    return found


def members(patterns: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Columns of a set, in their order.

    Parameters
    ----------
    patterns : sequence of str
        As in :data:`BUILT_IN`.
    columns : sequence of str
    """
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return [
        name
        for name in columns
        if any(fnmatchcase(name, pattern) for pattern in wanted)
        and not any(fnmatchcase(name, pattern) for pattern in unwanted)
    ]
