"""Plug-in ``classifier3d``: what a trained classifier says of a nodule, as features."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from lungpipe.deep.extra import ask_for_deep, needed
from lungpipe.deep.header import read_record, seen
from lungpipe.embedding import named
from lungpipe.errors import DatasetError, FeatureError
from lungpipe.plugin_parameters import HERE_ONLY
from lungpipe.segment.outside.identity import check_unchanged, weights_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from lungpipe.volume import CTVolume, Mask

#: What the header's ``network`` says, and what else it says.
NETWORK, KEYS = "classifier3d", {"parameters", "view", "trained_on"}


@dataclass(frozen=True, slots=True)
class Classifier3D:
    """A classifier that ``lungpipe train-classifier`` trained: ``emb_0001`` is its log odds, the others the layer before.

    It has learned from labels. A scan that it learned from, or that chose its best epoch, gets no features: there they would be
    the answer and not a guess.

    Parameters
    ----------
    weights : str
        Its file. Not recorded; its hash is.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"auto"`` for a GPU where there is one.

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
        If the file is missing, or the extra is not installed.
    DatasetError
        If no file is named, or it is no classifier.
    """

    name: ClassVar[str] = NETWORK
    version: ClassVar[str] = "1"

    weights: str = field(default="", metadata=HERE_ONLY)
    device: str = "cpu"
    weights_sha256: str = field(init=False, default="")
    trained_on: tuple[str, ...] = field(init=False, default=())
    learned_from: str = field(init=False, default="")

    def __post_init__(self) -> None:
        if not self.weights:
            raise DatasetError(
                f"{self.name}: name the file of weights as weights under [features.embedder_parameters.{self.name}]; "
                "lungpipe train-classifier writes one"
            )
        ask_for_deep()
        object.__setattr__(self, "weights_sha256", weights_digest([self.weights]))
        about = read_classifier(self._path)
        object.__setattr__(self, "trained_on", tuple(about["trained_on"]["datasets"]))
        object.__setattr__(self, "learned_from", in_words(about))

    @property
    def _path(self) -> Path:
        return Path(self.weights).expanduser()

    def __call__(self, volume: CTVolume, mask: Mask) -> Mapping[str, float]:
        """Embed one nodule; see :class:`lungpipe.embedding.Embedder`.

        Parameters
        ----------
        volume : CTVolume
            The whole scan.
        mask : Mask

        Raises
        ------
        FeatureError
            ``seen_in_training`` for a scan that it was trained on.
        PluginError
            If the file of weights changed since the run was planned.
        """
        check_unchanged(self.name, [self.weights], self.weights_sha256)
        if seen(read_classifier(self._path), [volume.hu_sha256])[0]:
            raise FeatureError(
                "seen_in_training",
                f"{self.name} learned from this scan and its labels, so what it says of it is no test; train it on other "
                "patients (data.exclude, data.only)",
            )
        loaded = needed("lungpipe.deep.classify.loaded", "deep")
        return named(loaded.classifier(str(self._path), self.weights_sha256, self.device).embedding(volume, mask))


def read_classifier(path: Path) -> dict[str, Any]:
    """The record in a file of weights that ``lungpipe train-classifier`` wrote.

    Raises
    ------
    DatasetError
        If there is no such file, or it is of another kind.
    """
    about = read_record(path)
    if about.get("network") != NETWORK or not about.keys() >= KEYS:
        raise DatasetError(
            f"{path.name} is no classifier; expected a .safetensors file that lungpipe train-classifier wrote"
        )
    return about


def in_words(about: Mapping[str, Any]) -> str:
    """What it was trained on, in a few words for records and reports."""
    source = about["trained_on"]
    return (
        f"{source['nodules']} labelled nodules of {source['patients']} patients of {', '.join(source['datasets'])}, boxes of "
        f"masks by {source['segmenter']}"
    )
