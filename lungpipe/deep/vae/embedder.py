"""Plug-in ``vae``: the means of an autoencoder's latents as features of a nodule."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lungpipe.deep.extra import ask_for_deep, needed
from lungpipe.deep.vae.header import in_words, read_header
from lungpipe.embedding import named
from lungpipe.errors import DatasetError
from lungpipe.plugin_parameters import HERE_ONLY
from lungpipe.segment.outside.identity import check_unchanged, weights_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungpipe.volume import CTVolume, Mask


@dataclass(frozen=True, slots=True)
class Vae:
    """Latents of an autoencoder that ``lungpipe train-vae`` trained.

    A slice-wise one gives the mean over the slices of the mask, each by its share of the mask.

    Parameters
    ----------
    weights : str
        Its file. Not recorded; its hash is.

    Attributes
    ----------
    weights_sha256 : str
        SHA-256 of the file.
    trained_on : tuple of str
        Names of the data sets that it was trained on.
    learned_from : str
        Nodules and patients that it was trained on, in words.

    Raises
    ------
    PluginError
        If the file is missing, or torch, monai or safetensors is not installed.
    DatasetError
        If no file is named, or it is no autoencoder.
    """

    name: ClassVar[str] = "vae"
    version: ClassVar[str] = "1"

    weights: str = field(default="", metadata=HERE_ONLY)
    weights_sha256: str = field(init=False, default="")
    trained_on: tuple[str, ...] = field(init=False, default=())
    learned_from: str = field(init=False, default="")

    def __post_init__(self) -> None:
        if not self.weights:
            raise DatasetError(
                f"{self.name}: name the file of weights as weights under [features.embedder_parameters.{self.name}]; "
                "lungpipe train-vae writes one"
            )
        ask_for_deep()
        object.__setattr__(self, "weights_sha256", weights_digest([self.weights]))
        about = read_header(self._path)
        object.__setattr__(self, "trained_on", tuple(about["trained_on"]["datasets"]))
        object.__setattr__(self, "learned_from", in_words(about))

    @property
    def _path(self) -> Path:
        return Path(self.weights).expanduser()

    def __call__(self, volume: CTVolume, mask: Mask) -> Mapping[str, float]:
        """Embed one nodule; see :class:`lungpipe.embedding.Embedder`.

        Raises
        ------
        PluginError
            If the file of weights changed since the run was planned.
        """
        check_unchanged(self.name, [self.weights], self.weights_sha256)
        loaded = needed("lungpipe.deep.vae.loaded", "deep")
        return named(loaded.autoencoder(str(self._path), self.weights_sha256).embedding(volume, mask))
