"""The command ``train-segmenter``: a network for the segmenter ``network`` and its architectures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tasks.progress import say

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from flows.training_config import TrainingConfig
    from lungpipe.deep.examples import Example
    from lungpipe.deep.train import Epoch, Trained
    from lungpipe.deep.view import View


def train_segmenter(
    recipe: Annotated[Path, typer.Argument(help="Recipe of the training (TOML).")],
    out: Annotated[Path, typer.Option(help="File of weights to write (.safetensors).")] = Path("network.safetensors"),
    folder: Annotated[
        Path | None, typer.Option(help="For the checkpoint and TensorBoard's log; default: OUT's name + '-training'.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting; repeatable.")
    ] = None,
) -> None:
    """Train a network that segments nodules; the same command goes on where a training was cut off.

    Use it with segment.methods = ["network"] and weights = "..." under [segment.parameters.network].

    Example: lungpipe train-segmenter recipes/train/network.toml --out network.safetensors
    """
    from flows.training_config import load_training
    from lungpipe.deep.extra import needed
    from lungpipe.errors import DatasetError

    if out.suffix != ".safetensors":
        raise DatasetError(f"{out}: expected a name that ends in .safetensors")
    config = load_training(recipe, overrides)
    needed("torch", "deep")
    from flows.lessons import examples_for

    learned, held, source = examples_for(config.data)
    folder = folder or out.with_name(f"{out.stem}-training")
    trained, fitted = _trained(config, learned, held, folder)
    weights = needed("lungpipe.deep.weights", "deep")
    about = _about(config, source, trained, len(learned), len(held)) | fitted
    out.parent.mkdir(parents=True, exist_ok=True)
    weights.save(out, trained.tensors, about)
    best = trained.best
    say(f"Dice {best.dice:.3f} on {len(held)} held-back nodules, epoch {best.number} of {len(trained.epochs)}")
    print(out)  # noqa: T201  the command line's own output


def _trained(
    config: TrainingConfig, learned: list[Example], held: list[Example], folder: Path
) -> tuple[Trained, dict[str, Any]]:
    """The trained network, and what its temperature adds to the record."""
    import numpy as np
    import torch

    from lungpipe.deep.epochs import CHECKPOINT
    from lungpipe.deep.examples import drawn
    from lungpipe.deep.nets import build
    from lungpipe.deep.train import Training, train
    from lungpipe.deep.view import View

    view = View(**config.view.model_dump())
    torch.manual_seed(config.training.seed)
    network = build(config.network.name, 2, config.network.parameters)
    if config.network.start:
        _start_from(network, Path(config.network.start))
    elif config.pretraining.steps and not (folder / CHECKPOINT).is_file():  # which holds what came of it
        _pretrain(network, config, learned, view)
    patches = [drawn(one, view, np.random.default_rng(number), varied=False) for number, one in enumerate(held)]
    settings = Training(**config.training.model_dump())
    of = config.model_dump_json(exclude={"training"})
    trained = train(network, _drawing(learned, view), patches, settings, folder, _tell(settings.epochs), of=of)
    network.load_state_dict(trained.tensors)
    return trained, _temperature(network, patches)


def _temperature(network: Any, patches: list[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> dict[str, Any]:
    """The temperature that held-back nodules ask for, for the record; nothing where none is best."""
    from dataclasses import asdict

    import numpy as np
    import torch

    from lungpipe.deep.temperature import fit_temperature
    from lungpipe.errors import DatasetError

    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        logits = [network(torch.from_numpy(x[None]).to(device))[0, 0].float().cpu().numpy() for x, _ in patches]
    try:
        found = fit_temperature(np.stack(logits), np.stack([y[0] >= 0.5 for _, y in patches]))
    except DatasetError as error:
        say(f"no temperature: {error}")
        return {}
    say(
        f"temperature {found.value:.3f}: calibration error {found.ece_before:.4f} before, {found.ece_after:.4f} after, on the "
        "held-back nodules that it was fitted on"
    )
    return {"temperature": asdict(found)}


def _drawing(
    learned: list[Example], view: View
) -> Callable[[np.random.Generator], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    from lungpipe.deep.examples import drawn

    def draw(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return drawn(learned[int(rng.integers(len(learned)))], view, rng)

    return draw


def _start_from(network: Any, path: Path) -> None:
    from lungpipe.deep import weights

    weights.load_into(network, weights.outside_tensors(path), path.name)


def _pretrain(network: Any, config: TrainingConfig, learned: list[Example], view: View) -> None:
    """Let all but a network's last layer learn from images alone, by Volume Fusion."""
    import numpy as np

    from lungpipe.deep import weights
    from lungpipe.deep.nets import build
    from lungpipe.deep.volume_fusion import pretrain

    plan, seed = config.pretraining, config.training.seed
    draw, rng = _drawing(learned, view), np.random.default_rng([seed, 1])
    images = [draw(rng)[0][0] for _ in range(plan.patches)]
    other = build(config.network.name, 2, config.network.parameters)
    values = plan.model_dump(include={"levels", "batch", "learning_rate"})
    found = pretrain(other, images, plan.steps, seed, **values)
    tail = slice(-max(1, plan.steps // 10), None)
    say(
        f"volume fusion, {plan.steps} steps: cross-entropy {np.mean(found.cross_entropy[tail]):.3f}, by chance "
        f"{np.mean(found.chance[tail]):.3f}"
    )
    weights.load_into(network, found.tensors, "volume fusion", without=(found.head,))


def _about(config: TrainingConfig, source: dict[str, Any], trained: Any, learned: int, held: int) -> dict[str, Any]:
    return {
        "network": config.network.name,
        "parameters": config.network.parameters,
        "view": config.view.model_dump(mode="json"),
        "start": _digest(config.network.start),
        "pretraining": config.pretraining.model_dump(mode="json") if config.pretraining.steps else {},
        "training": config.training.model_dump(mode="json", exclude={"device"}),
        "trained_on": {**source, "nodules": learned, "held_back": held},
        "dice_held_back": trained.best.dice,
        "epoch": trained.best.number,
    }


def _digest(path: str) -> str:
    """SHA-256 of the weights that a training began with; empty for none."""
    from lungpipe.deep import weights

    return weights.digest(Path(path)) if path else ""


def _tell(epochs: int) -> Callable[[Epoch], None]:
    import time

    begun = time.monotonic()

    def tell(epoch: Epoch) -> None:
        spent = time.monotonic() - begun
        say(f"epoch {epoch.number}/{epochs}: loss {epoch.loss:.4f}, Dice {epoch.dice:.4f}, {spent:.0f} s")

    return tell
