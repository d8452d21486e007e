"""The command ``train-classifier``: a 3D network that learns from labels, for the embedder ``classifier3d``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field

from flows.workspace_nodules import NodulesSection, divided, source_of, wanted
from lungpipe.errors import DatasetError
from tasks.progress import say

if TYPE_CHECKING:
    import pandas as pd

    from flows.workspace_nodules import Side
    from lungpipe.deep.classify.network import NoduleClassifier
    from lungpipe.deep.classify.training import ClassifierEpoch, Labelled

Positive = Annotated[int, Field(ge=1)]
#: The weights that come with lungpipe, as what to begin from.
SHIPPED = "shipped"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CubeSection(_Section):
    """What the classifier sees: a cube of one size about each nodule's box."""

    voxels: Annotated[int, Field(ge=16)] = 32
    spacing_mm: Annotated[float, Field(gt=0)] = 1.5
    window_hu: tuple[float, float] = (-1000.0, 400.0)


class ClassifierSection(_Section):
    """The network, and the segmenter whose encoder it begins from: a file, ``"shipped"``, or nothing."""

    features: tuple[int, ...] = (8, 16, 32, 64)
    hidden: Positive = 16
    start: str = SHIPPED


class ClassifierTrainingSection(_Section):
    """See :class:`lungpipe.deep.classify.training.ClassifierTraining`."""

    epochs: Positive = 40
    batch: Positive = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    head_epochs: Annotated[int, Field(ge=0)] = 3
    patience: Positive = 10
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "cpu"


class ClassifierConfig(_Section):
    """A whole recipe."""

    data: NodulesSection
    view: CubeSection = CubeSection()
    network: ClassifierSection = ClassifierSection()
    training: ClassifierTrainingSection = ClassifierTrainingSection()


def train_classifier(
    recipe: Annotated[Path, typer.Argument(help="Recipe of the training (TOML).")],
    out: Annotated[Path, typer.Option(help="File of weights to write (.safetensors).")] = Path(
        "classifier.safetensors"
    ),
    folder: Annotated[
        Path | None, typer.Option(help="For the checkpoint and TensorBoard's log; default: OUT's name + '-training'.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting; repeatable.")
    ] = None,
) -> None:
    """Train a 3D classifier on the labelled nodules of a finished workspace, begun from a segmenter's encoder.

    The same command goes on where a training was cut off. Use it with features.embedders = ["classifier3d"] and
    weights = "..." under [features.embedder_parameters.classifier3d]. It learns from labels: scans that it saw get no features,
    so train it on other patients than those of the benchmark.

    Example: lungpipe train-classifier recipes/train/classifier.toml --out classifier.safetensors
    """
    from lungpipe.deep.extra import ask_for_deep

    if out.suffix != ".safetensors":
        raise DatasetError(f"{out}: expected a name that ends in .safetensors")
    config = load_classifier(recipe, overrides)
    ask_for_deep()
    from lungpipe.deep import weights
    from lungpipe.deep.classify.loaded import box_of, cube_of
    from lungpipe.deep.classify.training import ClassifierTraining
    from lungpipe.deep.classify.training import train_classifier as train
    from lungpipe.deep.view import View

    network = _network(config)
    table, place = wanted(config.data)
    if not (labelled := table["malignant"].notna()).any():
        raise DatasetError(
            f"{place} has no labelled nodules by {config.data.segmenter!r}; a classifier learns from labels"
        )
    table = table[labelled]
    view = View(**config.view.model_dump(), reach=0.0)
    sides = divided(
        place, table, config.data.held_back, lambda mask: box_of(view, mask), lambda *scan: cube_of(view, *scan)
    )
    settings = ClassifierTraining(**config.training.model_dump())
    of = config.model_dump_json(exclude={"training"})
    folder = folder or out.with_name(f"{out.stem}-training")
    learned, held = (_labelled(side) for side in sides)
    trained = train(network, learned, held, settings, folder, _tell(settings.epochs), of=of)
    out.parent.mkdir(parents=True, exist_ok=True)
    weights.save(out, trained.tensors, _about(config, table, sides, trained.best))
    say(
        f"epoch {trained.best.number} of {len(trained.epochs)}: AUC {trained.best.auc:.3f} on {len(sides[1].rows)} held-back "
        "nodules, by which the epoch was chosen"
    )
    print(out)  # noqa: T201  the command line's own output


def load_classifier(recipe: Path, overrides: list[str] | None = None) -> ClassifierConfig:
    """Read and check a recipe; its paths are relative to its folder.

    Raises
    ------
    DatasetError
        If the file is missing or no TOML, or a key or value is wrong.
    """
    from flows.training_config import read_recipe

    return read_recipe(recipe, ClassifierConfig, (("data", "workspace"), ("network", "start")), overrides, (SHIPPED,))


def _network(config: ClassifierConfig) -> NoduleClassifier:
    """The network as training begins with it."""
    import torch

    from lungpipe.deep import weights
    from lungpipe.deep.classify.network import NoduleClassifier, warm_start

    torch.manual_seed(config.training.seed)
    network = NoduleClassifier(**config.network.model_dump(include={"features", "hidden"}))
    if path := _start(config):
        warm_start(network, weights.outside_tensors(path), path.name)
    return network


def _start(config: ClassifierConfig) -> Path | None:
    from lungpipe.segment.network import shipped

    start = config.network.start
    if not start:
        return None
    return Path(shipped() if start == SHIPPED else start)


def _labelled(side: Side[Any]) -> Labelled:
    import numpy as np

    from lungpipe.deep.classify.training import Labelled

    return Labelled(np.stack(side.seen), np.array([int(row["malignant"]) for row in side.rows], dtype=np.int64))


def _about(
    config: ClassifierConfig, table: pd.DataFrame, sides: tuple[Side[Any], Side[Any]], best: ClassifierEpoch
) -> dict[str, Any]:
    """What the file of weights says of itself."""
    from lungpipe.deep import weights
    from lungpipe.deep.classify.embedder import NETWORK

    start = _start(config)
    return {
        "network": NETWORK,
        "parameters": config.network.model_dump(mode="json", include={"features", "hidden"}),
        "view": {**config.view.model_dump(mode="json"), "reach": 0.0},
        "start": weights.digest(start) if start else "",
        "training": config.training.model_dump(mode="json", exclude={"device"}),
        "trained_on": {**source_of(config.data, table, sides), "malignant": int(table["malignant"].sum())},
        "held_back": {"log_loss": best.log_loss, "auc": best.auc, "epoch": best.number},
    }


def _tell(epochs: int) -> Any:
    def tell(epoch: ClassifierEpoch) -> None:
        say(
            f"epoch {epoch.number}/{epochs}: loss {epoch.loss:.4f}; held back: cross-entropy {epoch.log_loss:.4f}, AUC "
            f"{epoch.auc:.3f}"
        )

    return tell
