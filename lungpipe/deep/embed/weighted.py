"""What all embedders with weights have in common: a file whose hash is recorded, or weights that are said to be random."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lungpipe.deep.embed.patch import LESION, LESION_SPACING_MM, Kind, check_kind, sight
from lungpipe.deep.extra import needed
from lungpipe.embedding import RANDOM, named
from lungpipe.errors import DatasetError, PluginError
from lungpipe.geometry import IndexTriple, Triple
from lungpipe.plugin_parameters import HERE_ONLY
from lungpipe.segment.outside.identity import weights_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from lungpipe.volume import CTVolume, Mask


@dataclass(frozen=True, slots=True)
class WeightedEmbedder(ABC):
    """An embedder by a network with weights; subclasses say what it sees and which network it is.

    Parameters
    ----------
    weights : str
        File of the weights, or ``"random"``. Not recorded; its hash is, or that the weights are random.
    weights_sha256 : str
        SHA-256 that the file must have; empty for whatever it has, which is then recorded.
    trained_on : tuple of str
        Names of the data sets that the weights were trained on, in any way.
    seed : int
        Of random weights.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"auto"`` for a GPU where there is one.

    Attributes
    ----------
    initialised : str
        ``"file"`` or ``"random"``.
    runtime : str
        Names and versions of what runs it.

    Raises
    ------
    PluginError
        If a library or the file is not installed.
    DatasetError
        If no weights are named, their hash is another, or a value makes no sense.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    #: What the weights are, for the message that asks for them.
    wanted: ClassVar[str]
    #: Packages whose versions are recorded.
    packages: ClassVar[tuple[str, ...]] = ("torch", "monai")
    #: Extra of lungpipe that installs them.
    extra: ClassVar[str] = "deep"

    weights: str = field(default="", metadata=HERE_ONLY)
    weights_sha256: str = ""
    trained_on: tuple[str, ...] = ()
    seed: int = 0
    device: str = "cpu"
    initialised: str = field(init=False, default="")
    runtime: str = field(init=False, default="")

    def __post_init__(self) -> None:
        for item in fields(self):
            if isinstance(item.default, tuple):
                object.__setattr__(self, item.name, tuple(getattr(self, item.name)))
        if not all(isinstance(one, str) for one in self.trained_on):
            raise DatasetError(f"{self.name}: trained_on is a list of names, found {list(self.trained_on)}")
        self.check()
        object.__setattr__(self, "runtime", ", ".join(f"{one} {self._version(one)}" for one in self.packages))
        if not self.weights:
            raise DatasetError(
                f"{self.name}: name a file as weights under [features.embedder_parameters]: {self.wanted}. Nothing is "
                f'downloaded; weights = "{RANDOM}" takes random ones, and the record says so'
            )
        found = self.digest()
        if self.weights_sha256 and self.weights_sha256.lower() != found:
            raise DatasetError(
                f"{self.name}: expected weights with SHA-256 {self.weights_sha256.lower()}, found {found or 'random ones'}; it is "
                "another file or was damaged, fetch it again"
            )
        object.__setattr__(self, "weights_sha256", found)
        object.__setattr__(self, "initialised", RANDOM if self.weights == RANDOM else "file")

    def _version(self, package: str) -> str:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError as error:
            raise PluginError(
                f"{self.name}: {package} is not installed; install it with: pip install 'lungpipe[{self.extra}]'"
            ) from error

    def files(self) -> tuple[str, ...]:
        """Files whose bytes, one after another, are the weights; none where they are random."""
        return () if self.weights == RANDOM else (str(Path(self.weights).expanduser()),)

    def digest(self) -> str:
        """SHA-256 of the weights; empty where they are random."""
        return weights_digest(self.files())

    @abstractmethod
    def check(self) -> None:
        """Refuse impossible parameters."""

    @abstractmethod
    def values(self, volume: CTVolume, mask: Mask) -> NDArray[np.float32]:
        """The embedding, shape (n,); see :class:`lungpipe.embedding.Embedder`."""

    def network(self, architecture: str) -> Any:
        """The network with its weights, remembered by this process; see :func:`lungpipe.deep.embed.run.network`."""
        run = needed("lungpipe.deep.embed.run", "deep")
        return run.network(architecture, self.files(), self.weights_sha256, self.seed, self.device)

    def __call__(self, volume: CTVolume, mask: Mask) -> Mapping[str, float]:
        """Embed one nodule; see :class:`lungpipe.embedding.Embedder`."""
        found = self.digest()
        if found != self.weights_sha256:
            raise PluginError(
                f"{self.name}: the file of weights is not what it was when the run was planned (SHA-256 {found[:12]} instead of "
                f"{self.weights_sha256[:12]}); run again"
            )
        return named(self.values(volume, mask).tolist())


@dataclass(frozen=True, slots=True)
class PatchEmbedder(WeightedEmbedder):
    """A network that sees a patch in one channel and gives one vector.

    Parameters
    ----------
    patch : {"lesion", "chest_region"}
        A patch about the nodule, or eight axial slices of the whole chest (:mod:`lungpipe.deep.embed.patch`).
    patch_voxels : tuple of int
        Shape (z, y, x) of a lesion's patch.
    spacing_mm : tuple of float
        Of a lesion's patch, along (z, y, x).
    window_hu : tuple of float
        HU are clipped to this and scaled to 0 to 1.
    """

    patch: Kind = "lesion"
    patch_voxels: IndexTriple = LESION
    spacing_mm: Triple = LESION_SPACING_MM
    window_hu: tuple[float, float] = (-1000.0, 500.0)

    def check(self) -> None:
        """Refuse impossible parameters."""
        check_kind(self.name, self.patch)
        for key, length in (("patch_voxels", 3), ("spacing_mm", 3), ("window_hu", 2)):
            if len(getattr(self, key)) != length:
                raise DatasetError(
                    f"{self.name}: {key} is a list of {length} numbers, found {list(getattr(self, key))}"
                )
        if min(self.patch_voxels) < 1 or min(self.spacing_mm) <= 0 or self.window_hu[0] >= self.window_hu[1]:
            raise DatasetError(
                f"{self.name}: patch_voxels and spacing_mm must be positive, and window_hu go upwards; found "
                f"{list(self.patch_voxels)}, {list(self.spacing_mm)}, {list(self.window_hu)}"
            )

    def seen(self, volume: CTVolume, mask: Mask) -> NDArray[np.float32]:
        """The patch, scaled, shape (z, y, x)."""
        return sight(self.patch, volume, mask, self.patch_voxels, self.spacing_mm).scaled(self.window_hu)

    def values(self, volume: CTVolume, mask: Mask) -> NDArray[np.float32]:
        """The embedding, shape (n,)."""
        run = needed("lungpipe.deep.embed.run", "deep")
        found: NDArray[np.float32] = run.embed(self.network(self.name), self.seen(volume, mask)[None, None])[0]
        return found
