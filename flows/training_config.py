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
    device: str = "cpu"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class TrainingConfig(_Section):
    """A whole recipe of a training."""

    data: DataSection = DataSection()
    view: ViewSection = ViewSection()
    network: NetworkSection = NetworkSection()
    training: TrainingSection = TrainingSection()


def load_training(recipe: Path, overrides: list[str] | None = None) -> TrainingConfig:
    """Read and check the recipe of a training; see :func:`read_recipe`."""
    config = read_recipe(recipe, TrainingConfig, (("data", "workspace"), ("network", "start")), overrides)
    if config.data.source == "workspace" and not (config.data.workspace and config.data.masks):
        raise DatasetError(
            f"{recipe}: data.source = 'workspace' needs data.workspace and data.masks (names of segmenters)"
        )
    return config


def read_recipe(
    recipe: Path, kind: type[Config], paths: tuple[tuple[str, str], ...], overrides: list[str] | None = None
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
        if isinstance(table, dict) and isinstance(table.get(key), str) and table[key] and "://" not in table[key]:
            table[key] = str(recipe.resolve().parent / table[key])
    for text in overrides or []:
        override(values, text)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise DatasetError(f"{recipe}: {told}") from error
