"""The command ``train-vae``: an autoencoder of nodules for the embedder ``vae``."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import BaseModel, ConfigDict, Field

from lungpipe.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from lungpipe.deep.vae.patches import Sight
    from lungpipe.deep.vae.training import VaeEpoch, VaeTrained
    from lungpipe.store.place import Place

Positive = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VaeDataSection(_Section):
    """Nodules of a finished workspace: whose masks, and which patients by their pseudonyms; all if ``only`` is empty."""

    workspace: str
    segmenter: str
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    held_back: Annotated[float, Field(gt=0, lt=1)] = 0.2


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

    data: VaeDataSection
    vae: VaeSection = VaeSection()
    training: VaeTrainingSection = VaeTrainingSection()


@dataclass(eq=False, slots=True)
class _Seen:
    """Images of nodules, and whose they are."""

    images: list[NDArray[np.float32]] = field(default_factory=list)
    patients: set[str] = field(default_factory=set)
    nodules: int = 0


def train_vae(
    recipe: Annotated[Path, typer.Argument(help="Recipe of the training (TOML).")],
    out: Annotated[Path, typer.Option(help="File of weights to write (.safetensors).")] = Path("vae.safetensors"),
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting; repeatable.")
    ] = None,
) -> None:
    """Train a variational autoencoder on the nodules of a finished workspace; labels play no part.

    Use it with features.embedders = ["vae"] and weights = "..." under [features.embedder_parameters.vae]. Train it on other
    patients than those of the benchmark: on another cohort, or with data.exclude. The file says which scans it saw.

    Example: lungpipe train-vae recipes/train/vae.toml --out vae.safetensors
    """
    from lungpipe.deep.extra import needed

    if out.suffix != ".safetensors":
        raise DatasetError(f"{out}: expected a name that ends in .safetensors")
    config = load_vae(recipe, overrides)
    for module in ("torch", "monai", "safetensors"):
        needed(module, "deep")
    from lungpipe.deep import weights

    table, place = _wanted(config.data)
    sides = _seen(place, table, config)
    network, trained = _trained(config, *(side.images for side in sides))
    out.parent.mkdir(parents=True, exist_ok=True)
    weights.save(out, trained.tensors, _about(config, table, sides, network, trained))
    best, window_hu = trained.best, config.vae.window_hu
    error_hu = best.error * (window_hu[1] - window_hu[0])
    _say(
        f"epoch {best.number} of {len(trained.epochs)}: mean error {error_hu:.0f} HU and {best.divergence:.1f} nats on "
        f"{sides[1].nodules} held-back nodules"
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


def _wanted(data: VaeDataSection) -> tuple[pd.DataFrame, Place]:
    """Rows of the nodules to learn from, one a nodule, and their workspace."""
    from lungpipe.store.place import Place
    from lungpipe.store.tables import read_table

    place = Place.at(data.workspace)
    if not place.exists("tables/nodules.parquet"):
        raise DatasetError(f"{place} has no tables/nodules.parquet; give the workspace of a finished run")
    table = read_table(place, "tables/nodules.parquet")
    if data.segmenter not in set(table["segmenter"]):
        there = ", ".join(sorted(map(str, table["segmenter"].unique())))
        raise DatasetError(f"{place} has no masks by {data.segmenter!r}; there are: {there}")
    if unknown := sorted({*data.only, *data.exclude} - set(table["patient_id"])):
        raise DatasetError(f"{place} has no patient {unknown[0]!r}; data.only and data.exclude are pseudonyms (P-...)")
    table = table[(table["segmenter"] == data.segmenter) & ~table["patient_id"].isin(data.exclude)]
    if data.only:
        table = table[table["patient_id"].isin(data.only)]
    return table.sort_values(["voxels_sha256", "z_mm", "y_mm", "x_mm"]), place


def _seen(place: Place, table: pd.DataFrame, config: VaeConfig) -> tuple[_Seen, _Seen]:
    """Images to learn from, and those of the patients that are held back; patients by the content of their scans."""
    from flows.lessons import share_of
    from lungpipe.deep.vae.patches import Sight
    from lungpipe.store.contents import stored_mask, volume_name
    from lungpipe.store.volumes import read_volume
    from tasks.progress import progress

    sight: Sight = Sight(**config.vae.model_dump(include={"dims", "voxels", "spacing_mm", "window_hu"}))
    first_scan = table.groupby("patient_id")["voxels_sha256"].min()
    sides = (_Seen(), _Seen())
    with progress("nodules", len(table)) as advance:
        for row in table.to_dict("records"):
            mask = stored_mask(place, row)
            volume = read_volume(place, volume_name(str(row["volume_id"])), sight.box(mask))
            patient = str(row["patient_id"])
            side = sides[share_of(first_scan[patient]) < config.data.held_back]
            side.images.append(sight.images(volume, mask)[0])
            side.patients.add(patient)
            side.nodules += 1
            advance(1, "")
    if not all(side.nodules for side in sides):
        raise DatasetError(
            f"{sides[0].nodules} nodules to learn from and {sides[1].nodules} held back; give a workspace of more patients, or "
            "another data.held_back"
        )
    return sides


def _trained(
    config: VaeConfig, learned: list[NDArray[np.float32]], held: list[NDArray[np.float32]]
) -> tuple[Any, VaeTrained]:
    import numpy as np
    import torch

    from lungpipe.deep.vae.networks import LesionVae
    from lungpipe.deep.vae.training import VaeTraining, train_vae

    torch.manual_seed(config.training.seed)
    network = LesionVae(**_parameters(config))
    settings = VaeTraining(**config.training.model_dump())
    trained = train_vae(network, np.concatenate(learned), np.concatenate(held), settings, _tell(settings.epochs))
    network.load_state_dict(trained.tensors)
    return network, trained


def _parameters(config: VaeConfig) -> dict[str, Any]:
    return config.vae.model_dump(include={"kind", "latent", "parameters", "width", "dims", "voxels"})


def _about(
    config: VaeConfig, table: pd.DataFrame, sides: tuple[_Seen, _Seen], network: Any, trained: VaeTrained
) -> dict[str, Any]:
    """What the file of weights says of itself; patients by the fingerprints of their scans."""
    import numpy as np

    from lungpipe.deep.vae.header import NETWORK, fingerprints
    from lungpipe.deep.vae.loaded import described

    return {
        "network": NETWORK,
        "parameters": _parameters(config),
        "sight": config.vae.model_dump(mode="json", include={"dims", "voxels", "spacing_mm", "window_hu"}),
        "training": config.training.model_dump(mode="json", exclude={"device"}),
        "latents": described(network, np.concatenate(sides[0].images)),
        "trained_on": {
            "datasets": sorted(map(str, table["dataset"].unique())),
            "intensities": "simulated" if (table["intensities"] == "simulated").any() else "measured",
            "segmenter": config.data.segmenter,
            "patients": len(sides[0].patients | sides[1].patients),
            "patients_held_back": len(sides[1].patients),
            "nodules": sides[0].nodules + sides[1].nodules,
            "images": sum(map(len, sides[0].images)),
            "scans": fingerprints(map(str, table["voxels_sha256"])),
        },
        "held_back": {"error": trained.best.error, "divergence": trained.best.divergence, "epoch": trained.best.number},
    }


def _tell(epochs: int) -> Any:
    def tell(epoch: VaeEpoch) -> None:
        _say(
            f"epoch {epoch.number}/{epochs}: loss {epoch.loss:.4f}; held back: bound {epoch.bound:.4f}, error "
            f"{epoch.error:.4f}, divergence {epoch.divergence:.1f} nats"
        )

    return tell


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  the command line's own output
