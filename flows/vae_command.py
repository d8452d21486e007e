"""The command ``train-vae``: an autoencoder of nodules for the embedder ``vae``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import BaseModel, ConfigDict, Field

from flows.workspace_nodules import NodulesSection, divided, source_of, wanted
from lungpipe.errors import DatasetError
from tasks.progress import say

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from flows.workspace_nodules import Side
    from lungpipe.deep.vae.training import VaeEpoch, VaeTrained

Positive = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VaeSection(_Section):
    """The autoencoder and what it sees; see :mod:`lungpipe.deep.vae`."""

    kind: Literal["gaussian", "dirichlet"] = "gaussian"
    latent: Positive = 16
    parameters: dict[str, Any] = Field(default_factory=dict)
    width: Positive = 16
    dims: Literal[2, 3] = 2
    voxels: Positive = 64
    spacing_mm: Annotated[float, Field(gt=0)] = 0.75
    window_hu: tuple[float, float] = (-1000.0, 400.0)


class VaeTrainingSection(_Section):
    """See :class:`lungpipe.deep.vae.training.VaeTraining`."""

    epochs: Positive = 60
    batch: Positive = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    noise: float = 0.05
    structure: float = 0.15
    warm_up: float = 0.25
    patience: Positive = 15
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "cpu"


class VaeConfig(_Section):
    """A whole recipe."""

    data: NodulesSection
    vae: VaeSection = VaeSection()
    training: VaeTrainingSection = VaeTrainingSection()


def train_vae(
    recipe: Annotated[Path, typer.Argument(help="Recipe of the training (TOML).")],
    out: Annotated[Path, typer.Option(help="File of weights to write (.safetensors).")] = Path("vae.safetensors"),
    folder: Annotated[
        Path | None, typer.Option(help="For the checkpoint and TensorBoard's log; default: OUT's name + '-training'.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting; repeatable.")
    ] = None,
) -> None:
    """Train a variational autoencoder on the nodules of a finished workspace; labels play no part.

    The same command goes on where a training was cut off.

    Use it with features.embedders = ["vae"] and weights = "..." under [features.embedder_parameters.vae]. Train it on other
    patients than those of the benchmark: on another cohort, or with data.exclude. The file says which scans it saw.

    Example: lungpipe train-vae recipes/train/vae.toml --out vae.safetensors
    """
    from lungpipe.deep.extra import ask_for_deep

    if out.suffix != ".safetensors":
        raise DatasetError(f"{out}: expected a name that ends in .safetensors")
    config = load_vae(recipe, overrides)
    ask_for_deep()
    from lungpipe.deep import weights
    from lungpipe.deep.vae.patches import Sight

    table, place = wanted(config.data)
    sight = Sight(**config.vae.model_dump(include={"dims", "voxels", "spacing_mm", "window_hu"}))
    sides = divided(place, table, config.data.held_back, sight.box, lambda volume, mask: sight.images(volume, mask)[0])
    folder = folder or out.with_name(f"{out.stem}-training")
    network, trained = _trained(config, sides[0].seen, sides[1].seen, folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    weights.save(out, trained.tensors, _about(config, table, sides, network, trained))
    best, window_hu = trained.best, config.vae.window_hu
    error_hu = best.error * (window_hu[1] - window_hu[0])
    say(
        f"epoch {best.number} of {len(trained.epochs)}: mean error {error_hu:.0f} HU and {best.divergence:.1f} nats on "
        f"{len(sides[1].rows)} held-back nodules"
    )
    print(out)  # noqa: T201  the command line's own output


def load_vae(recipe: Path, overrides: list[str] | None = None) -> VaeConfig:
    """Read and check a recipe; its workspace is relative to its folder.

    Raises
    ------
    DatasetError
        If the file is missing or no TOML, or a key or value is wrong.
    """
    from flows.training_config import read_recipe

    return read_recipe(recipe, VaeConfig, (("data", "workspace"),), overrides)


def _trained(
    config: VaeConfig, learned: list[NDArray[np.float32]], held: list[NDArray[np.float32]], folder: Path
) -> tuple[Any, VaeTrained]:
    import numpy as np
    import torch

    from lungpipe.deep.vae.networks import LesionVae
    from lungpipe.deep.vae.training import VaeTraining, train_vae

    torch.manual_seed(config.training.seed)
    network = LesionVae(**_parameters(config))
    settings = VaeTraining(**config.training.model_dump())
    images = np.concatenate(learned), np.concatenate(held)
    of = config.model_dump_json(exclude={"training"})
    trained = train_vae(network, *images, settings, folder, _tell(settings.epochs), of=of)
    network.load_state_dict(trained.tensors)
    return network, trained


def _parameters(config: VaeConfig) -> dict[str, Any]:
    return config.vae.model_dump(include={"kind", "latent", "parameters", "width", "dims", "voxels"})


def _about(
    config: VaeConfig, table: pd.DataFrame, sides: tuple[Side[Any], Side[Any]], network: Any, trained: VaeTrained
) -> dict[str, Any]:
    """What the file of weights says of itself; patients by the fingerprints of their scans."""
    import numpy as np

    from lungpipe.deep.vae.header import NETWORK
    from lungpipe.deep.vae.loaded import described

    return {
        "network": NETWORK,
        "parameters": _parameters(config),
        "sight": config.vae.model_dump(mode="json", include={"dims", "voxels", "spacing_mm", "window_hu"}),
        "training": config.training.model_dump(mode="json", exclude={"device"}),
        "latents": described(network, np.concatenate(sides[0].seen)),
        "trained_on": {**source_of(config.data, table, sides), "images": sum(map(len, sides[0].seen))},
        "held_back": {"error": trained.best.error, "divergence": trained.best.divergence, "epoch": trained.best.number},
    }


def _tell(epochs: int) -> Any:
    def tell(epoch: VaeEpoch) -> None:
        say(
            f"epoch {epoch.number}/{epochs}: loss {epoch.loss:.4f}; held back: bound {epoch.bound:.4f}, error "
            f"{epoch.error:.4f}, divergence {epoch.divergence:.1f} nats"
        )

    return tell
