"""The recipe of a training: a TOML file, checked whole before any work."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.config import override
from lungpipe.errors import DatasetError

Positive = Annotated[int, Field(ge=1)]
Config = TypeVar("Config", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSection(_Section):
    """What is learned from: simulated nodules, or the masks of a finished workspace.

    A workspace's patients are divided by the hash of their pseudonym; ``held_back`` of them are never learned from.
    """

    source: Literal["phantom", "workspace"] = "phantom"
    nodules: Positive = 600
    held: Positive = 80
    seed: Annotated[int, Field(ge=0)] = 100_000
    held_seed: Annotated[int, Field(ge=0)] = 200_000
    workspace: str = ""
    masks: tuple[str, ...] = ()
    held_back: Annotated[float, Field(gt=0, lt=1)] = 0.2


class ViewSection(_Section):
    """How the network sees a nodule; see :class:`lungpipe.deep.view.View`."""

    voxels: int = 48
    reach: float = 2.0
    least_mm: float = 6.0
    spacing_mm: float = 0.0
    window_hu: tuple[float, float] = (-1000.0, 400.0)
    prompt: Literal["box", "point", "saliency"] = "box"


class NetworkSection(_Section):
    """The architecture, its own parameters, and weights to start from."""

    name: str = "unet"
    parameters: dict[str, Any] = Field(default_factory=dict)
    start: str = ""


class PretrainingSection(_Section):
    """Volume Fusion on the images of the nodules to learn from, before their masks are seen; no steps for none.

    See :func:`lungpipe.deep.volume_fusion.pretrain`.
    """

    steps: Annotated[int, Field(ge=0)] = 0
    patches: Annotated[int, Field(ge=2)] = 64
    levels: Positive = 4
    batch: Positive = 4
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-3


class TrainingSection(_Section):
    """See :class:`lungpipe.deep.train.Training`."""

    epochs: Positive = 40
    steps: Positive = 100
    batch: Positive = 4
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    loss: str = "dice_ce"
    loss_parameters: dict[str, Any] = Field(default_factory=dict)
    patience: Positive = 10
    seed: Annotated[int, Field(ge=0)] = 0
    unfreeze_epochs: Annotated[int, Field(ge=0)] = 0
    unfreeze_groups: Annotated[int, Field(ge=2)] = 4
    unfreeze_ratio: Annotated[float, Field(ge=1)] = 2.6
    device: str = "cpu"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class TrainingConfig(_Section):
    """A whole recipe of a training."""

    data: DataSection = DataSection()
    view: ViewSection = ViewSection()
    network: NetworkSection = NetworkSection()
    pretraining: PretrainingSection = PretrainingSection()
    training: TrainingSection = TrainingSection()


def load_training(recipe: Path, overrides: list[str] | None = None) -> TrainingConfig:
    """Read and check the recipe of a training; see :func:`read_recipe`."""
    config = read_recipe(recipe, TrainingConfig, (("data", "workspace"), ("network", "start")), overrides)
    if config.pretraining.steps and config.network.start:
        raise DatasetError(f"{recipe}: network.start and pretraining.steps are two ways to begin; give one of them")
    if config.training.unfreeze_epochs and not (config.network.start or config.pretraining.steps):
        raise DatasetError(
            f"{recipe}: training.unfreeze_epochs holds back layers that have learned before; give network.start or "
            "pretraining.steps, or leave it 0"
        )
    if config.data.source == "workspace" and not (config.data.workspace and config.data.masks):
        raise DatasetError(
            f"{recipe}: data.source = 'workspace' needs data.workspace and data.masks (names of segmenters)"
        )
    return config


def read_recipe(
    recipe: Path,
    kind: type[Config],
    paths: tuple[tuple[str, str], ...],
    overrides: list[str] | None = None,
    words: tuple[str, ...] = (),
) -> Config:
    """Read and check a recipe that is not a run's.

    Parameters
    ----------
    recipe : Path
        TOML file.
    kind : type
        What it must be.
    paths : tuple of (str, str)
        Sections and keys of paths, which are relative to its folder; addresses stay.
    overrides : list of str
        ``section.key=value``, as of ``lungpipe run``.
    words : tuple of str
        Values of them that are no paths.

    Raises
    ------
    DatasetError
        If the file is missing or no TOML, or a key or value is wrong.
    """
    if not recipe.is_file():
        raise DatasetError(f"no recipe at {recipe}")
    try:
        values = tomllib.loads(recipe.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{recipe} is not TOML: {error}") from error
    for section, key in paths:
        table = values.get(section)
        given = table.get(key) if isinstance(table, dict) else None
        if isinstance(given, str) and given and "://" not in given and given not in words:
            values[section][key] = str(recipe.resolve().parent / given)
    for text in overrides or []:
        override(values, text)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise DatasetError(f"{recipe}: {told}") from error
